"""Classes of rows, known for some: what the semi-supervised model M2 adds."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor
from torch.nn import functional as F

from .._component import Shapes
from ..noise import Noise
from ._base import Head, Supervision

# In nats per row of the table.  The published 0.1 leaves the classes to whatever clusters the
# bound likes best; much more leaves the bound no say (50 labels of 1257 digits, and planted
# clusters).
SHARE = 1.0


class ClassHead(Supervision):
    """Rows have a class beside their code, known for some rows and summed over for the others.

    The decoder sees the class, so that codes tell what it does not: ``p(y) p(z) p(x|y, z)``.  A
    classifier ``q(y|x)`` weighs the classes where ``y`` is -1, NaN or None; it is what ``predict``
    and ``predict_proba`` give.

    Parameters
    ----------
    label_weight : float or "auto", default="auto"
        Weight of ``log q(y|x)`` per labelled row, beside the bound.  ``"auto"``: the number of
        rows over that of labelled ones, so that a mistaken label costs as much as a nat in every
        row.
    hidden_layer_sizes : tuple of int, default=(64,)
        Widths of the classifier's hidden layers.
    n_classes : int, default=None
        How many classes there are, those that no label names among them; these are named by the
        first whole numbers that no label is.  None: those that labels name.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> X, y = load_iris(return_X_y=True)
    >>> known = y.copy()
    >>> known[::2] = -1
    >>> vae = VAETransformer(1, supervision="classes", max_iter=99, random_state=0).fit(X, known)
    >>> float((vae.predict(X) == y).mean()) > 0.85
    True

    References
    ----------
    Kingma, Rezende, Mohamed and Welling, Semi-Supervised Learning with Deep Generative Models,
    2014.
    """

    _parameter_constraints = {
        "label_weight": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "hidden_layer_sizes": ["array-like"],
        "n_classes": [None, Interval(Integral, 2, None, closed="left")],
    }
    of_classes = True

    def __init__(self, label_weight="auto", hidden_layer_sizes=(64,), n_classes=None):
        super().__init__()
        self.label_weight = label_weight
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_classes = n_classes

    def learn(self, targets: np.ndarray) -> None:
        """Count the classes, -1 where unknown."""
        known = targets[targets >= 0].astype(int)
        least = max(int(targets.max()) + 1, self.n_classes or 0)
        counts = np.bincount(known, minlength=least) + 1.0
        self.shares = (counts / counts.sum()).tolist()
        self.label_factor = self.label_weight
        if self.label_weight == "auto":
            self.label_factor = SHARE * len(targets) / max(len(known), 1)

    def attach(self, rows: Any, targets: np.ndarray) -> Any:
        """The table with an indicator per class behind what the encoder sees; 0 if unknown."""
        known = targets[:, None] == np.arange(len(self.shares))
        inputs = torch.as_tensor(known.astype(np.float32), device=rows.inputs.device)
        return replace(rows, inputs=torch.cat([rows.inputs, inputs], 1))

    def build(self, shapes: Shapes, noise: Noise) -> ClassHead:
        """Create the classifier; the last of ``shapes.n_inputs`` are the classes."""
        n = len(self.shares)
        widths = (shapes.n_inputs - n, *self.hidden_layer_sizes, n)
        self.classifier = Head(widths).build(shapes, noise)
        log_prior = torch.tensor(self.shares, device=noise.device).log()
        self.register_buffer("log_prior", log_prior.repeat(noise.n_members, 1))
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Log q(y|x) for inputs without classes, ``(members, 1, rows, n_classes)``."""
        return F.log_softmax(self.classifier(inputs), -1)
