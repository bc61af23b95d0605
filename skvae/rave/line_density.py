"""The density of weighted numbers: a histogram, smoothed."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

N_BINS = 200
# What a range is widened by on each side, in its own length.
MARGIN = 0.1


class LineDensity:
    """Density on a line.

    Parameters
    ----------
    centers : ndarray (bins,)
        Middles of bins of equal width.
    density : ndarray (bins,)
        Per unit of the line; sums to 1 over the bins.
    """

    def __init__(self, centers: np.ndarray, density: np.ndarray):
        self.centers = centers
        self.density = density

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        weights: np.ndarray | None = None,
        limits: tuple[float, float] | None = None,
        n_bins: int = N_BINS,
    ) -> LineDensity:
        """Smooth the histogram of values, by Silverman's rule for as many as the weights leave.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.rave.line_density import LineDensity
        >>> line = LineDensity.of(np.random.default_rng(0).normal(size=5000))
        >>> float(np.interp(0.0, line.centers, line.density).round(1))
        0.4
        """
        weights = np.ones(len(values)) if weights is None else weights
        share = weights / weights.sum()
        if limits is None:
            low, high = float(values.min()), float(values.max())
            room = MARGIN * max(high - low, 1e-12)
            limits = low - room, high + room
        counts, edges = np.histogram(values, n_bins, limits, weights=share)
        width = edges[1] - edges[0]
        n_effective = 1.0 / (share**2).sum()
        mean = share @ values
        spread = np.sqrt(share @ (values - mean) ** 2)
        quartiles = _quantiles(values, share, [0.25, 0.75])
        apart = (quartiles[1] - quartiles[0]) / 1.349
        spread = min(spread, apart) if apart > 0 else spread
        bins = 0.9 * spread * n_effective**-0.2 / width
        smooth = gaussian_filter1d(counts, max(bins, 1e-9), mode="nearest")
        total = smooth.sum()
        return cls(0.5 * (edges[1:] + edges[:-1]), smooth / (total * width if total else 1.0))

    def log_density(self, depth: float) -> np.ndarray:
        """Logarithm over that of the highest bin, no lower than ``-depth``, ``(bins,)``."""
        highest = self.density.max()
        return np.log(np.maximum(self.density / highest, np.exp(-depth)))

    def kl(self, other: LineDensity) -> float:
        """KL divergence of another density on the same bins from this one, nats."""
        here, there = (line.density / line.density.sum() for line in (self, other))
        some = here > 0
        return float((here[some] * np.log(here[some] / np.maximum(there[some], 1e-9))).sum())

    def reversed(self) -> LineDensity:
        """The density of the numbers with the other sign, on the same bins about 0."""
        return LineDensity(self.centers, self.density[::-1])


def _quantiles(values: np.ndarray, share: np.ndarray, levels: list[float]) -> np.ndarray:
    order = np.argsort(values)
    return np.interp(levels, np.cumsum(share[order]), values[order])
