"""Numbers that go with rows, known for some: a head on the code."""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from .._component import Shapes
from ..noise import Noise
from ._base import Head, Supervision

SMALLEST_SCALE = 1e-2


class PropertyHead(Supervision):
    """Properties are explained from the code, which comes to tell of them: ``p(y|z)``.

    The encoder does not see them.  Unknown ones, NaN in ``y``, take no part.

    Parameters
    ----------
    property_weight : float or "auto", default="auto"
        Weight of ``log p(y|z)`` beside the log-likelihood of the row.  ``"auto"``: the number of
        columns over that of properties, but at least 1, so that both sides have as much to say.
    hidden_layer_sizes : tuple of int, default=(32,)
        Widths of the head's hidden layers; () is linear.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skvae import VAETransformer
    >>> X, y = load_diabetes(return_X_y=True)
    >>> y[::3] = float("nan")
    >>> vae = VAETransformer(4, supervision="properties", max_iter=30, random_state=0).fit(X, y)
    >>> vae.predict(X).shape
    (442,)

    References
    ----------
    Gomez-Bombarelli et al., Automatic Chemical Design Using a Data-Driven Continuous
    Representation of Molecules, 2018; Yao et al., Inverse design of nanoporous crystalline
    reticular materials with deep generative models, 2021.
    """

    _parameter_constraints = {
        "property_weight": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "hidden_layer_sizes": ["array-like"],
    }

    def __init__(self, property_weight="auto", hidden_layer_sizes=(32,)):
        super().__init__()
        self.property_weight = property_weight
        self.hidden_layer_sizes = hidden_layer_sizes

    def learn(self, targets: np.ndarray) -> None:
        """Take note of means and standard deviations of the known ones, column by column."""
        self.loc = np.nanmean(targets, 0)
        scale = np.nanstd(targets, 0)
        self.unit = np.where(scale > 0, scale, 1.0)

    def attach(self, rows: Any, targets: np.ndarray) -> Any:
        """The table with its standardised properties, NaN where unknown."""
        scaled = ((targets - self.loc) / self.unit).astype(np.float32)
        return replace(rows, targets=torch.as_tensor(scaled, device=rows.values.device))

    def build(self, shapes: Shapes, noise: Noise) -> PropertyHead:
        """Create the head, and a noise per property."""
        n = len(self.loc)
        n_columns = sum(len(sizes) for _, sizes in shapes.blocks)
        auto = self.property_weight == "auto"
        self.factor = max(n_columns / n, 1.0) if auto else float(self.property_weight)
        widths = (shapes.n_components, *self.hidden_layer_sizes, n)
        self.head = Head(widths).build(shapes, noise)
        zeros = torch.zeros(noise.n_members, 1, 1, n, device=noise.device)
        self.log_scale = nn.Parameter(zeros)
        return self

    def forward(self, z: Tensor) -> Tensor:
        """Expected properties of codes, standardised, ``(members, draws, rows, n)``."""
        return self.head(z)

    def log_prob_rows(self, z: Tensor, targets: Tensor) -> Tensor:
        """Weighted log p(y|z) over the known properties, ``(members, draws, rows)``."""
        known = ~targets.isnan()
        scale = self.log_scale.exp() + SMALLEST_SCALE
        residual = torch.where(known, targets, 0.0) - self(z)
        log_p = -0.5 * (residual / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)
        return self.factor * torch.where(known, log_p, 0.0).sum(-1)

    def outward(self, scaled: np.ndarray) -> np.ndarray:
        """Properties in their own units."""
        return scaled * self.unit + self.loc

    def inward(self, properties: np.ndarray) -> np.ndarray:
        """Standardised properties."""
        return (properties - self.loc) / self.unit
