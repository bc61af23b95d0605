"""MMD: codes that look like draws from the prior, by the mean of a kernel over pairs."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._pass import Pass
from ..noise import Noise
from ._base import WeightedPenalty
from .pairs import (
    mean_of_pairs,
    mean_of_rows,
    memberwise,
    prior_draws,
    some_codes,
    squared_distances,
)

# Widths beside that of N(0, I): near and far codes have a slope, whatever they look like.
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def _multiquadratic(squares: Tensor, width: float) -> tuple[Tensor, Tensor]:
    value = width / (squares + width)
    return value, value.square().mul_(-1.0 / width)


def _gaussian(squares: Tensor, width: float) -> tuple[Tensor, Tensor]:
    value = memberwise(torch.exp, squares * (-1.0 / width))
    return value, value * (-1.0 / width)


# Value and slope in the squared distance.  Both are 1 for equal codes; ``width`` is the mean
# squared distance of two draws of N(0, I), times a scale.
KERNELS = {"imq": _multiquadratic, "gaussian": _gaussian}


class _MeanKernel(torch.autograd.Function):
    """The mean over the scales, as one node of the graph."""

    @staticmethod
    def forward(ctx, squares: Tensor, kernel: Callable, unit: float) -> Tensor:
        total, slopes = torch.zeros_like(squares), torch.zeros_like(squares)
        for scale in SCALES:
            value, slope = kernel(squares, scale * unit)
            total += value
            slopes += slope
        ctx.save_for_backward(slopes)
        return total / len(SCALES)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        (slopes,) = ctx.saved_tensors
        return gradient * slopes / len(SCALES), None, None


def mmd(x: Tensor, y: Tensor, kernel: str = "imq", weights: Tensor | None = None) -> Tensor:
    """Squared maximum mean discrepancy of two samples, without bias: it may be below 0.

    Parameters
    ----------
    x : Tensor (members, n, d)
    y : Tensor (members, m, d)
    kernel : {"imq", "gaussian"}
        The mean over seven widths is taken.
    weights : Tensor (members, n) or None
        Of the rows of ``x``.

    Returns
    -------
    Tensor (members,)
        Between 0 and 2 in expectation.
    """
    pairs = [squared_distances(*pair) for pair in ((x, x), (y, y), (x, y))]
    kernel_of, unit = KERNELS[kernel], 2.0 * x.shape[-1]
    within, prior, across = (_MeanKernel.apply(squares, kernel_of, unit) for squares in pairs)
    to_prior = across.mean(2)
    own = mean_of_pairs(within, weights, 1.0) + mean_of_pairs(prior, None, 1.0)
    return own - 2.0 * mean_of_rows(to_prior, weights)


class MMD(WeightedPenalty):
    """Maximum mean discrepancy between the codes of all rows and the prior.

    The KL term of the bound draws the codes of every row to the prior, and so makes them say
    less; this penalty asks only that all of them together look like draws from it.

    InfoVAE with its ``alpha`` and ``lambda`` is ``objective=ELBO(beta=1 - alpha)`` and a weight
    of ``alpha + lambda - 1``; the MMD-VAE has ``beta=0``; a Wasserstein autoencoder has
    ``posterior="deterministic"``, too.  ``VAETransformer(whiten=True)`` gives the codes in units
    of the prior.

    Parameters
    ----------
    weight : float, default=100.0
        Nats per row for a squared discrepancy of 1, which is between 0 and 2.
    kernel : {"imq", "gaussian"}, default="imq"
        Inverse multiquadratic, whose slope reaches far, or Gaussian; the mean over seven
        widths around that of N(0, I).
    n_prior_samples : int, default=None
        Draws from the prior per step; None for as many as codes.
        Of large batches 256 rows are looked at.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.objectives import ELBO
    >>> from skvae.penalties import MMD
    >>> X, _ = load_iris(return_X_y=True)
    >>> vae = VAETransformer(2, penalty=MMD(50.0), objective=ELBO(beta=0.0), random_state=0)
    >>> vae.fit(X).transform(X).shape
    (150, 2)

    References
    ----------
    Zhao, Song and Ermon, InfoVAE: Information Maximizing Variational Autoencoders, 2017;
    Tolstikhin, Bousquet, Gelly and Schoelkopf, Wasserstein Auto-Encoders, 2018; Gretton et al.,
    A Kernel Two-Sample Test, 2012.
    """

    _parameter_constraints = {
        **WeightedPenalty._parameter_constraints,
        "kernel": [StrOptions(set(KERNELS))],
        "n_prior_samples": [None, Interval(Integral, 2, None, closed="left")],
    }
    only_locates = True

    def __init__(self, weight=100.0, kernel="imq", n_prior_samples=None):
        super().__init__()
        self.weight = weight
        self.kernel = kernel
        self.n_prior_samples = n_prior_samples

    def term(self, step: Pass, noise: Noise) -> Tensor:
        """Discrepancy of the batch, ``(members,)``."""
        codes, weights = some_codes(step)
        drawn = prior_draws(step, noise, self.n_prior_samples or codes.shape[1])
        return mmd(codes, drawn, self.kernel, weights)
