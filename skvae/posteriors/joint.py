"""Continuous latents beside one category."""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor

from .. import distributions
from .._component import Shapes
from ..distributions.joint import JointCodes, JointPrior
from ..noise import Noise
from ._base import LOG_SCALE_BOUND
from .normal import DiagonalNormal

# What each category is seen before any row is.
PSEUDO_COUNT = 0.5


class Joint(DiagonalNormal):
    """Normals per continuous latent, and one category: JointVAE.

    The category is relaxed in training and one-hot afterwards.  It starts at k-means of the
    rows, and the continuous latents at what the rows of a category differ in.  The last
    ``n_categories`` columns of ``transform`` are the probabilities of the categories;
    ``categories`` gives the likeliest one.  The ``prior`` of the estimator is that of the
    ``n_components`` continuous latents; the shares of the categories are fitted after
    training.  ``objective=ELBO(beta=30, capacity=(5, 5), warm_up=...)`` is that of the paper, with
    a capacity for the numbers and one for the category.

    Parameters
    ----------
    n_categories : int, default=10
        Number of categories.
    temperature : float, default=0.67
        Of the relaxation: near 0 draws are one-hot and gradients noisy.

    Examples
    --------
    >>> from skvae.posteriors import Joint
    >>> Joint(n_categories=5)
    Joint(n_categories=5)

    References
    ----------
    Dupont, Learning Disentangled Joint Continuous and Discrete Representations, 2018; Jang,
    Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, 2017; Maddison, Mnih and
    Teh, The Concrete Distribution, 2017.
    """

    is_discrete = True
    moves = False

    _parameter_constraints = {
        "n_categories": [Interval(Integral, 2, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, n_categories=10, temperature=0.67):
        super().__init__()
        self.n_categories = n_categories
        self.temperature = temperature

    def build(self, shapes: Shapes, noise: Noise) -> Joint:
        """Create the factor that calibration fits, and equal shares of the categories."""
        super().build(shapes, noise)
        self.n_numbers = shapes.n_components
        equal = torch.full((noise.n_members, self.n_categories), -math.log(self.n_categories))
        self.register_buffer("log_share", equal.to(noise.device))
        return self

    def n_latents(self, shapes: Shapes) -> int:
        """The continuous latents and the categories."""
        return shapes.n_components + self.n_categories

    def n_parameters(self, shapes: Shapes) -> int:
        """Locations, logits and log-scales."""
        return 2 * shapes.n_components + self.n_categories

    def as_trained(self, parameters: Tensor) -> JointCodes:
        """The codes as the encoder gives them."""
        return self._codes(parameters, 0.0)

    def forward(self, parameters: Tensor) -> JointCodes:
        """Turn encoder outputs into codes, relaxed in training."""
        return self._codes(parameters, 0.0 if self.training else self.log_factor)

    def _codes(self, parameters: Tensor, log_factor) -> JointCodes:
        n = self.n_numbers
        loc, logits, raw = parameters.split([n, self.n_categories, n], -1)
        log_scale = LOG_SCALE_BOUND * torch.tanh(raw / LOG_SCALE_BOUND) + log_factor
        normal = distributions.Normal(loc, log_scale)
        return JointCodes(normal, logits, self.temperature if self.training else None)

    def start(self, matrix: Tensor, offset: Tensor, log_scale: Tensor):
        """Location linear in the inputs, the same scale for every row, no category likelier."""
        weights, biases = super().start(matrix, offset, log_scale)
        n = self.n_numbers
        weights, biases = (
            torch.cat([t[..., :n], t.new_zeros(*t.shape[:-1], self.n_categories), t[..., n:]], -1)
            for t in (weights, biases)
        )
        return weights, biases

    def over(self, prior: distributions.Distribution) -> JointPrior:
        """Equal shares of the categories in training, the fitted ones afterwards."""
        equal = torch.full_like(self.log_share, -math.log(self.n_categories))
        return JointPrior(prior, equal if self.training else self.log_share)

    def continuous(self, codes: np.ndarray) -> np.ndarray:
        """The first latents."""
        return codes[..., : codes.shape[-1] - self.n_categories]

    def categories(self, parameters: Tensor) -> Tensor:
        """The likeliest category."""
        return self.as_trained(parameters).logits[:, 0].argmax(-1, keepdim=True)

    def nats(self, found: JointCodes) -> Tensor:
        """Nats of each latent; those of the categories sum to those of the category."""
        share = found.log_share.cpu().double()
        of_category = share.exp() * (share + math.log(self.n_categories))
        return torch.cat([super().nats(found.normal), of_category], -1)

    def calibrate_prior(self, found: list, codes: np.ndarray) -> None:
        """Set the shares of the categories to those of codes."""
        counts = codes[..., -self.n_categories :].sum(1) + PSEUDO_COUNT
        log_share = np.log(counts / counts.sum(-1, keepdims=True))
        self.log_share.copy_(torch.as_tensor(log_share))

    def uncalibrate(self) -> None:
        """Go back to the scales of training and equal shares."""
        super().uncalibrate()
        self.log_share.fill_(-math.log(self.n_categories))
