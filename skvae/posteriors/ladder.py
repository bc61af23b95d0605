"""Codes in groups: the first says the gist, each that follows adds to those before it."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor

from .. import distributions
from .._component import Shapes
from ..distributions.ladder import LadderCodes, LadderPrior
from ..noise import FixedDraws, Noise
from ._base import LOG_SCALE_BOUND
from .normal import DiagonalNormal

# Of NVAE: numbers that a softer network could not give either.
SOFT_BOUND = 5.0
# Less than this, in units of that of N(0, 1), a row does not say of a group at the start.
LEAST_PRECISION = 0.01
# Draws behind what each latent carries.
N_DRAWS = 8


class Ladder(DiagonalNormal):
    """Groups of latents, each normal given those before it: the ladder VAE.

    ``p(z) = p(z_1) p(z_2|z_1) ... p(z_L|z_1, ..., z_(L-1))``, and the cells depend on all groups.
    A row is inferred in the same order: of a group, the path says what is expected given the
    groups before it, the encoder what the row says, and their normals are multiplied.  The
    ``prior`` of the estimator is that of the first group, the top of the ladder; the others
    learn theirs.  A code is one vector, group after group, and ``diagnostics_["kl_per_group"]``
    what each group carries.

    Parameters
    ----------
    n_groups : int, default=2
        Number of groups, which share ``n_components`` as the network can (see ``group_sizes``
        of the network).

    Raises
    ------
    ValueError
        In ``fit``, if the network has no path from group to group, or the latents cannot be
        shared out.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.posteriors import Ladder
    >>> X, _ = load_iris(return_X_y=True)
    >>> vae = VAETransformer(3, posterior=Ladder(2), max_iter=20, random_state=0).fit(X)
    >>> vae.transform(X).shape, vae.diagnostics_["kl_per_group"].shape
    ((150, 3), (2,))

    References
    ----------
    Sonderby et al., Ladder Variational Autoencoders, 2016.
    """

    is_ladder = True
    moves = False
    _parameter_constraints = {"n_groups": [Interval(Integral, 1, None, closed="left")]}

    def __init__(self, n_groups=2):
        super().__init__()
        self.n_groups = n_groups

    def build(self, shapes: Shapes, noise: Noise) -> Ladder:
        """Create the factor that calibration fits."""
        self.sizes = shapes.groups or (shapes.n_components,)
        super().build(shapes, noise)
        return self

    def first(self, shapes: Shapes) -> Shapes:
        """Of the latents that the prior of the estimator is of: those of the first group."""
        return replace(shapes, n_components=self.sizes[0])

    # -- one group ------------------------------------------------------------------------

    def given(self, heads: Tensor) -> distributions.Normal:
        """A group given those before it, by the first half of what the path says."""
        loc, raw = heads.chunk(4, -1)[:2]
        return distributions.Normal(loc, _soft(raw, LOG_SCALE_BOUND))

    def merged(self, evidence: Tensor, heads: Tensor) -> distributions.Normal:
        """A group given its row too: the product of what is expected and what the row says."""
        prior, (loc, raw) = self.given(heads), self._evidence(evidence, heads)
        ours = torch.exp(-2.0 * _soft(raw, LOG_SCALE_BOUND))
        theirs = torch.exp(-2.0 * prior.log_scale)
        total = ours + theirs
        loc = prior.loc + ours / total * (loc - prior.loc)
        return self._widened(loc, -0.5 * torch.log(total))

    def _evidence(self, evidence: Tensor, heads: Tensor) -> tuple[Tensor, ...]:
        """Locations and raw log-scales: what the encoder says, and the path adds to."""
        return (evidence + heads[..., evidence.shape[-1] :]).chunk(2, -1)

    def _widened(self, loc: Tensor, log_scale: Tensor) -> distributions.Normal:
        log_scale = log_scale if self.training else log_scale + self.log_factor
        return distributions.Normal(loc, log_scale)

    # -- all groups -----------------------------------------------------------------------

    def as_trained(self, parameters: Tensor) -> distributions.Distribution:
        """The first group as the encoder gives it: all that the encoder alone can tell."""
        return super().as_trained(self.evidence(parameters)[0])

    def evidence(self, parameters: Tensor) -> tuple[Tensor, ...]:
        """What the encoder says, group by group: locations and raw log-scales."""
        if len(self.sizes) == 1:
            return (parameters,)
        parts = (part.split(self.sizes, -1) for part in parameters.chunk(2, -1))
        return tuple(torch.cat(pair, -1) for pair in zip(*parts))

    def along(self, path, parameters: Tensor) -> LadderCodes:
        """The whole code of rows."""
        return LadderCodes(self.sizes, path, self, self(parameters), self.evidence(parameters))

    def prior_along(self, path, first: distributions.Distribution) -> LadderPrior:
        """The whole code before a row is seen."""
        return LadderPrior(self.sizes, path, self, first)

    def start(self, matrix: Tensor, offset: Tensor, log_scale: Tensor):
        """Codes of the linear encoder where the path expects N(0, 1) of every group."""
        n = self.sizes[0]
        share, told = self._start_of_evidence(log_scale[:, n:])
        share = torch.cat([torch.ones_like(log_scale[:, :n]), share], -1)
        told = torch.cat([log_scale[:, :n], told], -1)
        return super().start(matrix / share.unsqueeze(1), offset / share, told)

    def _start_of_evidence(self, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """What the product's location and log-scale are told by, for that of the product.

        Gives the share that the row has in the location, and the log-scale of what it says.
        """
        shares, scales = [], []
        for member in log_scale.unbind():
            precision = torch.expm1(-2.0 * member).clamp_min(LEAST_PRECISION)
            shares.append(precision / (1.0 + precision))
            scales.append(-0.5 * torch.log(precision))
        return torch.stack(shares), torch.stack(scales)

    def nats(self, found: LadderCodes) -> Tensor:
        """KL of each latent from the groups before it, that of the first group from N(0, 1)."""
        zero = torch.zeros_like(self.log_factor)
        prior = self.prior_along(found.path, distributions.StandardNormal(zero, self.sizes[0]))
        draws = FixedDraws(N_DRAWS, sum(self.sizes), zero.device)
        nats = found.nats(prior, found.rsample(draws, N_DRAWS))
        return nats.mean(1, keepdim=True).cpu().double()


class ResidualLadder(Ladder):
    """Groups of latents of which the encoder says what to change: the posterior of NVAE.

    As :class:`Ladder`, but with ``q(z_l|x, z_1, ...) = N(mu + dmu, (sigma dsigma)^2)`` about the
    mean and the deviation that the path expects, so that a group of which the row says nothing
    costs nothing.  All of these, but the mean of the first group, are bounded softly.  With
    ``network=ResidualConvolutional(...)``, ``objective=ELBO(warm_up=..., balance=True)`` and
    ``penalty=SpectralNorm()`` it is NVAE.

    Parameters
    ----------
    n_groups : int, default=2
        Number of groups.

    Raises
    ------
    ValueError
        In ``fit``, as for :class:`Ladder`.

    Examples
    --------
    >>> from skvae.posteriors import ResidualLadder
    >>> ResidualLadder(n_groups=4)
    ResidualLadder(n_groups=4)

    References
    ----------
    Vahdat and Kautz, NVAE: A Deep Hierarchical Variational Autoencoder, 2020.
    """

    def given(self, heads: Tensor) -> distributions.Normal:
        """A group given those before it, both numbers bounded softly."""
        loc, raw = heads.chunk(4, -1)[:2]
        return distributions.Normal(_soft(loc, SOFT_BOUND), _soft(raw, SOFT_BOUND))

    def merged(self, evidence: Tensor, heads: Tensor) -> distributions.Normal:
        """A group given its row too: moved and narrowed by what the row says."""
        prior, told = self.given(heads), self._evidence(evidence, heads)
        change, log_factor = (_soft(part, SOFT_BOUND) for part in told)
        return self._widened(prior.loc + change, prior.log_scale + log_factor)

    def _start_of_evidence(self, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(log_scale), log_scale


def _soft(x: Tensor, bound: float) -> Tensor:
    """``x`` near 0, never beyond the bound."""
    return bound * torch.tanh(x / bound)
