"""All trainable parameters of a stack as one matrix, updated by one fused Adam step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays import twin

# A vector kernel's tail must not begin at a place that depends on the member.
ROW_MULTIPLE = 64
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class FlatAdam:
    """Adam with decoupled weight decay on ``(members, P)`` buffers.

    The parameters of the module become views of the buffer until ``release``.
    Matrices come first, so that decay and clipping are slices.

    Parameters
    ----------
    module : nn.Module
        Its trainable parameters have a leading member axis.
    weight_decay : float or ndarray (members,)
        Decay of the weight matrices (biases and noises are not decayed), per unit of rate.
    clip_norm : float or ndarray (members,) or None
        Largest norm of the gradient of a member.
    """

    def __init__(self, module: nn.Module, weight_decay, clip_norm):
        self.module: Any = module
        named = [p for p in module.parameters() if p.requires_grad]
        decayed = {id(p) for n, p in module.named_parameters() if "weight_" in n}
        self.parameters = sorted(named, key=lambda p: id(p) not in decayed)
        self.sizes = [p[0].numel() for p in self.parameters]
        self.n_decayed = sum(s for p, s in zip(self.parameters, self.sizes) if id(p) in decayed)
        members, device = len(self.parameters[0]), self.parameters[0].device
        self.weight_decay = np.broadcast_to(weight_decay, members).tolist()
        self.clip_norm = clip_norm
        if clip_norm is not None:
            self.clip_norm = np.broadcast_to(np.float64(clip_norm), members)
        width = -(-sum(self.sizes) // ROW_MULTIPLE) * ROW_MULTIPLE
        self.flat = torch.zeros(members, width, device=device, dtype=self.parameters[0].dtype)
        for parameter, view in zip(self.parameters, self._views(self.flat)):
            view.copy_(parameter.detach())
        self._free = self._free_places(getattr(module, "held", list)())
        self.gradient = torch.zeros_like(self.flat)
        self.moments = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        if clip_norm is not None:
            # On the device once: a step would wait for what is sent there.
            self._limit = torch.tensor(self.clip_norm).to(self.flat)
        self.n_steps = torch.zeros((), device=device)
        self._update = _fused_update()
        self._point_at_buffers()

    def gradient_of(self, parameter: nn.Parameter) -> Tensor:
        """Where the gradient of a parameter is written."""
        return self.gradients[id(parameter)]

    def differentiate(self, loss: Tensor) -> None:
        """Write the gradients of ``loss`` into their buffer."""
        if self.by_hand is not None:
            gradients = self.by_hand.differentiate(loss, self.others)
        else:
            gradients = torch.autograd.grad(
                loss, self.others, allow_unused=True, materialize_grads=True
            )
        if self.others:
            torch._foreach_copy_(self.other_views, gradients)

    def step(self, rates: list[tuple[int, int, float]]) -> None:
        """Apply the gradients; ``rates`` are first member, last + 1 and step size."""
        if self._free is not None:
            self._gradient *= self._free
        if self.clip_norm is not None:
            self._clip()
        self._count += 1
        for first, stop, rate in rates:
            buffers = [self.flat, self.gradient, *self.moments]
            if stop - first < len(self.flat):
                buffers = [buffer[first:stop] for buffer in buffers]
            kept = 1.0 - rate * self.weight_decay[first]
            if kept != 1.0:
                buffers[0][:, : self.n_decayed].mul_(kept)
            self._update(*buffers, self.n_steps, rate)

    def _clip(self) -> None:
        if isinstance(self._gradient, np.ndarray):
            rows = self._gradient
            norms = np.sqrt(np.matmul(rows[:, None], rows[:, :, None])[:, 0, 0])
            # A gradient that is not finite is left to show itself in the loss.
            if (norms > self.clip_norm).any():
                share = np.minimum(self.clip_norm / (norms + 1e-12), 1.0)
                rows *= share[:, None].astype(rows.dtype)
            return
        norm = torch.linalg.vector_norm(self.gradient, dim=1)
        share = (self._limit / (norm + 1e-12)).clamp_(max=1.0)
        self.gradient.mul_(share[:, None])

    def select(self, module: nn.Module, members: Tensor, settings) -> FlatAdam:
        """Go on with these members, which ``module`` consists of."""
        chosen = FlatAdam(module, settings.weight_decay, settings.clip_norm)
        for mine, theirs in zip(chosen.moments, self.moments):
            mine.copy_(theirs[members])
        chosen.n_steps.copy_(self.n_steps)
        return chosen

    def state(self) -> tuple[np.ndarray, ...]:
        """Moments and number of steps as arrays."""
        return tuple(t.cpu().numpy() for t in (*self.moments, self.n_steps))

    def load_state(self, state: tuple[np.ndarray, ...] | None) -> None:
        """Go on from an earlier state, if it fits."""
        if state is not None and state[0].shape == tuple(self.flat.shape):
            for tensor, array in zip((*self.moments, self.n_steps), state):
                tensor.copy_(torch.as_tensor(array))

    def whole_state(self) -> dict[str, np.ndarray]:
        """Weights too, by name."""
        names = "first_moment", "second_moment", "n_steps"
        return {"weights": self.flat.cpu().numpy(), **dict(zip(names, self.state()))}

    def load_whole_state(self, state: dict[str, np.ndarray]) -> None:
        """Go on from weights, moments and steps of members of the same number."""
        kept = self.flat, *self.moments, self.n_steps
        for tensor, array in zip(kept, state.values(), strict=True):
            tensor.copy_(torch.as_tensor(array))

    def release(self) -> None:
        """Give the module parameters of its own again."""
        for parameter in self.parameters:
            parameter.data = parameter.detach().clone()

    def _free_places(self, held: list) -> Any:
        """1 where a number may change and 0 where it may not, or None where all may."""
        if not held:
            return None
        free = torch.ones_like(self.flat[:1])
        places = dict(zip(map(id, self.parameters), self._views(free)))
        for parameter, columns in held:
            places[id(parameter)][..., columns] = 0.0
        return twin(free)

    def _views(self, buffer: Tensor) -> list[Tensor]:
        parts = buffer.split([*self.sizes, buffer.shape[1] - sum(self.sizes)], 1)
        return [
            part.view(len(buffer), *parameter.shape[1:])
            for part, parameter in zip(parts, self.parameters)
        ]

    def _point_at_buffers(self) -> None:
        views = dict(zip(map(id, self.parameters), self._views(self.gradient)))
        for parameter, value in zip(self.parameters, self._views(self.flat)):
            parameter.data = value
        self.gradients = views
        self._gradient, self._count = twin(self.gradient), twin(self.n_steps)
        self.by_hand = None
        # What a penalty decodes on the side needs the decoder within the graph.
        decodes = getattr(getattr(self.module, "penalty", None), "decodes", False)
        decodes = decodes or getattr(self.module, "passes_twice", False)
        if hasattr(self.module, "network") and not decodes:
            self.by_hand = self.module.network.by_hand(lambda p: views[id(p)])
        apart = self.by_hand.parameters if self.by_hand is not None else set()
        self.others = [p for p in self.parameters if id(p) not in apart]
        self.other_views = [views[id(p)] for p in self.others]


def _fused_update() -> Callable[..., None]:
    return _private_fused if hasattr(torch, "_fused_adam_") else _plain


def _private_fused(flat, gradient, moment_1, moment_2, n_steps, rate) -> None:
    # The public fused optimiser calls this kernel behind a layer of Python that costs more
    # than the kernel at the sizes of tables.
    torch._fused_adam_(
        [flat],
        [gradient],
        [moment_1],
        [moment_2],
        [],
        [n_steps],
        lr=rate,
        beta1=BETA_1,
        beta2=BETA_2,
        weight_decay=0.0,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
    )


def _plain(flat, gradient, moment_1, moment_2, n_steps, rate) -> None:
    moment_1.lerp_(gradient, 1.0 - BETA_1)
    moment_2.mul_(BETA_2).addcmul_(gradient, gradient, value=1.0 - BETA_2)
    correction_1, correction_2 = (-torch.expm1(n_steps * math.log(b)) for b in (BETA_1, BETA_2))
    denominator = (moment_2 / correction_2).sqrt_().add_(EPSILON)
    flat.sub_(moment_1 / denominator * (rate / correction_1))
