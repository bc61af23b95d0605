"""Component: hyper-parameters of scikit-learn and weights of torch in one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from ._state import check_arrays, check_attributes, check_keys
from .noise import Noise

STATE = frozenset(("params", "weights", "fixed", "buffers", "children", "attributes", "evaluated"))


@dataclass(frozen=True)
class Shapes:
    """What a component must know to create its weights.

    Parameters
    ----------
    n_inputs : int
        Width of the table as the encoder sees it.
    n_components : int
        Number of latent dimensions.
    blocks : tuple of (str, tuple of int)
        The modelled columns grouped by kind, with the number of categories of each column.
    row_size : (float, float) or None, default=None
        Mean and standard deviation of the logarithm of the total count of a row, where rows
        have sizes.
    n_conditions : int, default=0
        How many of the inputs, the last ones, are conditions that the decoder sees too.
    n_rows : int or None, default=None
        How many rows are trained on, where that is known.
    places : tuple of int or None, default=None
        Where each modelled column stands among those of the table that are not conditions; None
        where all are modelled, in their order.
    n_places : int or None, default=None
        How many such columns the table has.
    indicated : tuple of int, default=()
        Modelled columns of which an input, behind those of the cells, says whether the cell is
        observed.
    groups : tuple of int, default=()
        Latents in each group, where codes are drawn group after group.
    """

    n_inputs: int
    n_components: int
    blocks: tuple[tuple[str, tuple[int, ...]], ...]
    row_size: tuple[float, float] | None = None
    n_conditions: int = 0
    n_rows: int | None = None
    places: tuple[int, ...] | None = None
    n_places: int | None = None
    indicated: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()

    @property
    def n_columns(self) -> int:
        """How many columns of the table are no conditions, modelled or not."""
        if self.n_places is not None:
            return self.n_places
        return sum(len(sizes) for _, sizes in self.blocks)

    @property
    def n_exact(self) -> int:
        """How many inputs, the last ones that are no conditions, no noise may be added to.

        Where there are tokens, these, which come last, and the indicators behind them.
        """
        n_tokens = sum(sum(sizes) for kind, sizes in self.blocks if kind == "token")
        return n_tokens + len(self.indicated) if n_tokens else 0

    @property
    def is_discrete(self) -> bool:
        """Whether all columns are counts or flags."""
        return {kind for kind, _ in self.blocks} <= {"count", "binary"}


class Component(BaseEstimator, nn.Module):
    """One part of a VAE: constructor arguments are hyper-parameters, ``build`` makes weights.

    Every tensor has a leading member axis: ``n_members`` models of equal shape live in one
    component and are trained as one stack.  Pickles hold NumPy arrays only, so a component
    that was trained on a GPU loads where there is none.
    """

    # As in scikit-learn: name to allowed values, checked when a model is built.
    _parameter_constraints: dict = {}
    # Whether what it adds to the loss is a mean over rows, so that the gradient of a batch is the
    # mean of those of its parts.
    rows_apart: Any = True

    if TYPE_CHECKING:
        # Parameters, buffers and parts are found by name; torch's stub knows only two kinds.
        def __getattr__(self, name: str) -> Any: ...

    @property
    def closed_form(self) -> Any:
        """What a written-out training step of the Gaussian family needs of this part, or None.

        A subclass may change any method, so a component answers for its own class alone.
        """
        return None

    def __init__(self):
        nn.Module.__init__(self)

    def build(self, shapes: Shapes, noise: Noise) -> Component:
        """Create the weights for all members; the base component has none."""
        return self

    def weight(self, noise: Noise, init: Callable[[torch.Generator], Tensor]) -> nn.Parameter:
        """Stack one initial weight per member, each drawn from that member's generator."""
        return nn.Parameter(torch.stack([init(g) for g in noise.generators]))

    def select(self, members: Tensor) -> None:
        """Keep only these members, in this order."""
        for module in self.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    kept = nn.Parameter(parameter.detach()[members], parameter.requires_grad)
                    module._parameters[name] = kept
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = buffer[members]

    def __getstate__(self):
        params = self._get_param_names()
        return {
            "params": {name: getattr(self, name) for name in params},
            "weights": _arrays(self._parameters),
            "fixed": [
                n for n, p in self._parameters.items() if p is not None and not p.requires_grad
            ],
            "buffers": _arrays(self._buffers),
            "children": {k: m for k, m in self._modules.items() if k not in params},
            "attributes": {
                name: value
                for name, value in self.__dict__.items()
                if not name.startswith("_") and name not in params and name != "training"
            },
            "evaluated": not self.training,
        }

    def __setstate__(self, state):
        check_keys(type(self), state, STATE)
        check_attributes(type(self), state["attributes"])
        for arrays in (state["weights"], state["buffers"]):
            check_arrays(type(self), arrays)
        self.__init__(**state["params"])  # type: ignore[misc]
        for name, value in state["attributes"].items():
            setattr(self, name, value)
        for name, child in state["children"].items():
            self.add_module(name, child)
        for name, array in state["weights"].items():
            trained = name not in state["fixed"]
            self.register_parameter(name, nn.Parameter(torch.tensor(array), trained))
        for name, array in state["buffers"].items():
            self.register_buffer(name, torch.tensor(array))
        self.train(not state["evaluated"])


def _arrays(tensors) -> dict[str, np.ndarray]:
    return {
        name: tensor.detach().cpu().numpy()
        for name, tensor in tensors.items()
        if tensor is not None
    }
