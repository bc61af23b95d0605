"""A prior that no posterior of independent latents can meet."""

from __future__ import annotations

from numbers import Real

from sklearn.utils._param_validation import Interval

from .. import distributions
from ..distributions.chain import NormalChain, committed_rate
from .normal import StandardNormal


class AutoregressiveNormal(StandardNormal):
    """Latents that follow one another with a fixed correlation: the prior of the delta-VAE.

    Posteriors of independent latents cannot match it: their KL is at least ``committed_rate``
    nats, which keeps codes from becoming empty, whatever the decoder could do without them.

    Parameters
    ----------
    correlation : float, default=0.5
        Of latents side by side, above -1 and below 1; 0 is N(0, I).

    Examples
    --------
    >>> from skvae.priors import AutoregressiveNormal
    >>> round(AutoregressiveNormal(correlation=0.8).committed_rate(n_components=6), 4)
    1.5002

    References
    ----------
    Razavi, van den Oord, Poole and Vinyals, Preventing Posterior Collapse with delta-VAEs,
    2019.
    """

    _parameter_constraints = {"correlation": [Interval(Real, -1, 1, closed="neither")]}

    def __init__(self, correlation=0.5):
        super().__init__()
        self.correlation = correlation

    def forward(self, encoded=None) -> distributions.Distribution:
        """Give the chain."""
        return NormalChain(self.zero, self.n_latents, self.correlation)

    def committed_rate(self, n_components: int) -> float:
        """Nats per row that codes of so many latents, two at least, carry in any case."""
        return committed_rate(n_components, self.correlation)
