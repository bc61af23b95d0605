"""A prior made of what the encoder says about rows that are learned."""

from __future__ import annotations

from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor

from .. import distributions
from .._component import Shapes
from ..noise import Noise
from ._base import Prior


class VampPrior(Prior):
    """A mixture of the posteriors of learned rows, the pseudo-inputs.

    The best prior for the bound is the mean of the posteriors over all rows; here it is that
    over a few rows, which start at rows of the table and are trained with the rest, as are
    their shares.  Nothing is refitted after training, as the mixture follows the encoder.

    Parameters
    ----------
    n_mixture_components : int, default=50
        Number of pseudo-inputs.

    Raises
    ------
    ValueError
        In ``fit``, if posteriors are not normal: a mixture of others has no density
        everywhere.

    Examples
    --------
    >>> from skvae.priors import VampPrior
    >>> VampPrior(n_mixture_components=20)
    VampPrior(n_mixture_components=20)

    References
    ----------
    Tomczak and Welling, VAE with a VampPrior, 2018.
    """

    _parameter_constraints = {"n_mixture_components": [Interval(Integral, 1, None, closed="left")]}

    def __init__(self, n_mixture_components=50):
        super().__init__()
        self.n_mixture_components = n_mixture_components

    def build(self, shapes: Shapes, noise: Noise) -> VampPrior:
        """Create shares, all alike, and pseudo-inputs, which start at draws from N(0, 1)."""
        device, n = noise.device, self.n_mixture_components
        shape = 1, n, shapes.n_inputs
        self.logits = self.weight(noise, lambda g: torch.zeros(n, device=device))
        self.rows = self.weight(noise, lambda g: torch.randn(shape, generator=g, device=device))
        return self

    @property
    def pseudo_inputs(self) -> Tensor:
        """The learned rows."""
        return self.rows

    @torch.no_grad()
    def start(self, inputs: Tensor) -> None:
        """Begin at these rows, ``(members, 1, rows, n_inputs)``; over again if they are few."""
        place = torch.arange(self.n_mixture_components, device=inputs.device) % inputs.shape[2]
        self.rows.copy_(inputs[:, :, place])

    def forward(self, encoded=None) -> distributions.NormalMixture:
        """Give the mixture of the posteriors of the pseudo-inputs."""
        if not isinstance(encoded, distributions.Normal):
            raise ValueError(
                f"VampPrior is a mixture of the posteriors of its pseudo-inputs, which must be "
                f"normal to have a density everywhere; they are {encoded!r}. Use "
                "posterior='normal', or another prior, as prior='aggregate'."
            )
        whitening = torch.diag_embed((-encoded.log_scale[:, 0]).exp())
        loc = encoded.loc[:, 0]
        return distributions.NormalMixture(self.logits.log_softmax(-1), loc, whitening)
