"""SlicedWasserstein: codes that look like the prior from every side."""

from __future__ import annotations

from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor

from .._pass import Pass
from ..alignment import aligned, padded
from ..arrays import wide
from ..noise import Noise
from ._base import WeightedPenalty
from .pairs import prior_draws


def sliced_wasserstein(
    x: Tensor, y: Tensor, directions: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Mean over directions of the squared Wasserstein distance of two projected samples.

    Parameters
    ----------
    x : Tensor (members, n, d)
    y : Tensor (members, m, d)
        As many as those of ``x`` unless these have weights.
    directions : Tensor (members, n_projections, d)
        Of length 1.
    weights : Tensor (members, n) or None
        Of the rows of ``x``.

    Returns
    -------
    Tensor (members,)
        For N(mu, I) against N(0, I) it is ``|mu|^2 / d``.
    """
    n_projections, d = directions.shape[1:]
    width = aligned(n_projections)
    onto = torch.cat([directions, directions.new_zeros(len(x), width - n_projections, d)], 1)
    onto = padded(onto, aligned(d)).mT
    ours, theirs = (
        torch.bmm(padded(rows, aligned(d)), onto)[..., :n_projections].sort(1) for rows in (x, y)
    )
    matched = ours.values
    if weights is not None:
        matched = _at_ranks(*ours, weights, y.shape[1])
    return (matched - theirs.values).square().mean((1, 2))


def _at_ranks(values: Tensor, order: Tensor, weights: Tensor, n: int) -> Tensor:
    """Which of the sorted ``values (members, rows, lines)`` stand at ``n`` equal ranks."""
    ordered = wide(weights)[..., None].expand_as(order).gather(1, order)
    edges = ordered.cumsum(1).mT.contiguous()
    ranks = (torch.arange(n, dtype=edges.dtype, device=edges.device) + 0.5) / n
    place = torch.searchsorted(edges, ranks * edges[..., -1:]).clamp_(max=values.shape[1] - 1)
    return values.gather(1, place.mT)


class SlicedWasserstein(WeightedPenalty):
    """Squared Wasserstein distance between all codes and the prior, seen from many sides.

    On a line the distance is that of sorted values, so that no kernel has to be chosen.  The
    sliced Wasserstein autoencoder has ``posterior="deterministic"`` and
    ``objective=ELBO(beta=0)``.

    Parameters
    ----------
    weight : float, default=20.0
        Nats per row for a squared distance of 1, in units of the prior.
    n_projections : int, default=50
        Directions per step.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> X, _ = load_iris(return_X_y=True)
    >>> vae = VAETransformer(2, penalty="sliced_wasserstein", random_state=0).fit(X)
    >>> vae.transform(X).shape
    (150, 2)

    References
    ----------
    Kolouri, Pope, Martin and Rohde, Sliced Wasserstein Auto-Encoders, 2019.
    """

    _parameter_constraints = {
        **WeightedPenalty._parameter_constraints,
        "n_projections": [Interval(Integral, 1, None, closed="left")],
    }
    only_locates = True

    def __init__(self, weight=20.0, n_projections=50):
        super().__init__()
        self.weight = weight
        self.n_projections = n_projections

    def term(self, step: Pass, noise: Noise) -> Tensor:
        """Distance of the batch, ``(members,)``."""
        codes = step.z[:, 0]
        drawn = prior_draws(step, noise, codes.shape[1])
        arrow = noise.normal(self.n_projections, codes.shape[2])
        directions = arrow / arrow.square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt()
        return sliced_wasserstein(codes, drawn, directions, step.weights)
