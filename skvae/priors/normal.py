"""Normal priors: standard, mixtures that are learned, and mixtures fitted after training."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch
from sklearn.utils._param_validation import Interval

from .. import distributions
from .._component import Shapes
from ..expectation_maximization import FittedMixture
from ..noise import Noise
from ._base import Prior

MAX_FITTED_ROWS = 10_000
# Fewer rows than these make no normal, however few the latents are.
LEAST_ROWS = 32
# From so many rows per latent on covariances are full.
FULL_ROWS_PER_LATENT = 5


class StandardNormal(Prior):
    """Independent normals of mean 0 and variance 1.

    Examples
    --------
    >>> from skvae.priors import StandardNormal
    >>> StandardNormal()
    StandardNormal()
    """

    @property
    def closed_form(self) -> bool:
        """That it is N(0, I) in training."""
        return type(self) in (StandardNormal, Aggregate)

    def build(self, shapes: Shapes, noise: Noise) -> StandardNormal:
        """Remember the number of latents."""
        self.n_latents = shapes.n_components
        self.register_buffer("zero", torch.zeros(noise.n_members, 1, 1, 1, device=noise.device))
        return self

    def forward(self, encoded=None) -> distributions.Distribution:
        """Give the standard normal."""
        return distributions.StandardNormal(self.zero, self.n_latents)


class GaussianMixture(Prior):
    """A learned mixture of axis-parallel normals.

    Parameters
    ----------
    n_mixture_components : int, default=10
        Number of normals in the mixture.

    Examples
    --------
    >>> from skvae.priors import GaussianMixture
    >>> GaussianMixture(n_mixture_components=5)
    GaussianMixture(n_mixture_components=5)

    References
    ----------
    Dilokthanakul et al., Deep Unsupervised Clustering with Gaussian Mixture Variational
    Autoencoders, 2016.
    """

    _parameter_constraints = {"n_mixture_components": [Interval(Integral, 1, None, closed="left")]}

    def __init__(self, n_mixture_components=10):
        super().__init__()
        self.n_mixture_components = n_mixture_components

    def build(self, shapes: Shapes, noise: Noise) -> GaussianMixture:
        """Create weights, means and log-scales; the means start at draws from N(0, 1)."""
        shape = (self.n_mixture_components, shapes.n_components)
        device = noise.device
        self.logits = self.weight(noise, lambda g: torch.zeros(shape[0], device=device))
        self.loc = self.weight(noise, lambda g: torch.randn(shape, generator=g, device=device))
        self.log_scale = self.weight(noise, lambda g: torch.zeros(shape, device=device))
        return self

    def forward(self, encoded=None) -> distributions.NormalMixture:
        """Give the mixture."""
        whitening = torch.diag_embed((-self.log_scale).exp())
        return distributions.NormalMixture(self.logits.log_softmax(-1), self.loc, whitening)


class Aggregate(StandardNormal):
    """Standard normal in training; afterwards a mixture of normals fitted to the codes.

    The aggregate of the posteriors over the training rows never equals N(0, I); sampling
    from it, and scoring by it, is what the fitted mixture makes honest.

    Parameters
    ----------
    n_mixture_components : int, default=20
        Largest number of full-covariance normals; fewer are used where rows are few.
    rows_per_latent : int, default=4
        Rows for each normal, per latent.  The more, the less a few rows far from the others,
        which may be outliers, count as usual.

    Examples
    --------
    >>> from skvae.priors import Aggregate
    >>> Aggregate()
    Aggregate()

    References
    ----------
    Ghosh et al., From Variational to Deterministic Autoencoders, 2020; Dai and Wipf,
    Diagnosing and Enhancing VAE Models, 2019; Friedman, Regularized Discriminant Analysis, 1989,
    for covariances drawn to their mean, by as much as Fraley and Raftery, Bayesian
    Regularization for Normal Mixture Estimation, 2007, let a prior weigh.
    """

    _parameter_constraints = {
        "n_mixture_components": [Interval(Integral, 1, None, closed="left")],
        "rows_per_latent": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, n_mixture_components=20, rows_per_latent=4):
        super().__init__()
        self.n_mixture_components = n_mixture_components
        self.rows_per_latent = rows_per_latent

    def forward(self, encoded=None) -> distributions.Distribution:
        """Give N(0, I) in training and before calibration, the fitted mixture afterwards."""
        if self.training or "loc" not in self._buffers:
            return super().forward()
        return distributions.NormalMixture(self.log_weights, self.loc, self.whitening)

    def calibrate(self, codes: np.ndarray, seeds, n_draws: int = 1) -> None:
        """Fit the mixture to the codes of each member."""
        n_latents = codes.shape[2]
        draws = codes.reshape(len(codes), n_draws, -1, n_latents)
        n_rows = min(draws.shape[2], MAX_FITTED_ROWS)
        least = max(self.rows_per_latent * n_latents, LEAST_ROWS)
        n_mixture = int(np.clip(n_rows // least, 1, self.n_mixture_components))
        fits = [_fit_mixture(m, n_rows, n_mixture, int(s)) for m, s in zip(draws, seeds)]
        for name, attribute in (
            ("log_weights", "weights"),
            ("loc", "means"),
            ("whitening", "whitening"),
        ):
            stacked = np.stack([getattr(fit, attribute) for fit in fits])
            if name == "whitening" and stacked.ndim == 3:
                stacked = stacked[..., None] * np.eye(n_latents)
            value = np.log(stacked) if name == "log_weights" else stacked
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32).to(self.zero))

    def uncalibrate(self) -> None:
        """Go back to N(0, I)."""
        for name in ("log_weights", "loc", "whitening"):
            self._buffers.pop(name, None)


def _fit_mixture(draws: np.ndarray, n_rows: int, n_mixture: int, seed: int) -> FittedMixture:
    n_draws, n_samples, n_latents = draws.shape
    chosen = np.random.RandomState(seed).permutation(n_samples)[:n_rows]
    codes = draws[:, chosen].reshape(-1, n_latents)
    # A covariance of many latents from few rows would be far too sure of itself.
    full = n_rows >= FULL_ROWS_PER_LATENT * n_latents
    # As many rows as a covariance needs to be one; each is there as often as it was drawn.
    return FittedMixture.fit(codes, n_mixture, seed, full, n_pooled=n_draws * (n_latents + 2))
