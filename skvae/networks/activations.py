"""Activations with their derivatives written out, on buffers that are used again.

A tensor on the CPU and a NumPy array share memory, and each library is the faster one at some
passes: every class takes the one that was measured faster for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import twin

_aten: Any = torch.ops.aten


class Activation:
    """One layer of an activation with ``f(0) = 0``.

    Parameters
    ----------
    before : Tensor
        Buffer of its input; ``forward`` may overwrite it.

    Attributes
    ----------
    after : Tensor
        Buffer of its output.
    """

    in_place = True

    def __init__(self, before: Tensor):
        self.before = before
        self.after = before if self.in_place else torch.empty_like(before)

    def forward(self) -> None:
        """Compute ``after``."""

    def backward(self, gradient: Tensor) -> None:
        """Multiply the gradient of ``after`` by the derivative, in place."""


class Identity(Activation):
    """No activation."""


class ReLU(Activation):
    """max(x, 0)."""

    def forward(self) -> None:
        self.before.relu_()

    def backward(self, gradient: Tensor) -> None:
        _aten.threshold_backward.grad_input(gradient, self.after, 0.0, grad_input=gradient)


class Tanh(Activation):
    """tanh(x)."""

    def __init__(self, before: Tensor):
        super().__init__(before)
        self._twin = twin(before)
        self._tanh: Any = np.tanh if isinstance(self._twin, np.ndarray) else torch.tanh

    def forward(self) -> None:
        self._tanh(self._twin, out=self._twin)

    def backward(self, gradient: Tensor) -> None:
        _aten.tanh_backward.grad_input(gradient, self.after, grad_input=gradient)


class SiLU(Activation):
    """x times its logistic function, whose value the derivative needs again."""

    in_place = False

    def __init__(self, before: Tensor):
        super().__init__(before)
        self.gate = torch.empty_like(before)
        self._twins = twin(self.before), twin(self.gate), twin(self.after)
        self._xp: Any = np if isinstance(self._twins[0], np.ndarray) else torch

    def forward(self) -> None:
        before, gate, after = self._twins
        torch.sigmoid(self.before, out=self.gate)
        self._xp.multiply(before, gate, out=after)

    def backward(self, gradient: Tensor) -> None:
        work, gate, after = self._twins
        xp, g = self._xp, twin(gradient)
        xp.multiply(after, gate, out=work)
        xp.subtract(after, work, out=work)
        xp.add(work, gate, out=work)
        xp.multiply(g, work, out=g)


class GELU(Activation):
    """x times the normal distribution function."""

    in_place = False

    def forward(self) -> None:
        _aten.gelu.out(self.before, out=self.after)

    def backward(self, gradient: Tensor) -> None:
        _aten.gelu_backward.grad_input(gradient, self.before, grad_input=gradient)


class ELU(Activation):
    """x above 0, exp(x) - 1 below."""

    in_place = False

    def forward(self) -> None:
        _aten.elu.out(self.before, out=self.after)

    def backward(self, gradient: Tensor) -> None:
        _aten.elu_backward.grad_input(gradient, 1, 1, 1, False, self.before, grad_input=gradient)


BY_HAND: dict[str, type[Activation]] = {
    "silu": SiLU,
    "relu": ReLU,
    "gelu": GELU,
    "elu": ELU,
    "tanh": Tanh,
    "identity": Identity,
}
