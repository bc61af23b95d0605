"""Likelihoods of counts."""

from __future__ import annotations

import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor

from .. import distributions
from .._component import Shapes
from ..noise import Noise
from ._base import Likelihood

# Nodes of the quadrature over the size of a row; in training one pass over the cells must do.
NODES = 8
TRAINING_NODES = 1
# exp(60) is far beyond any count and far below what overflows float32.
LARGEST_LOG_MEAN = 60.0
# Between which the logarithm of the inverse dispersion is kept.
LOG_TOTALS = -10.0, 15.0


class _Count(Likelihood):
    kind = "count"
    _parameter_constraints = {"row_sizes": ["boolean", StrOptions({"auto"})]}

    def __init__(self, row_sizes="auto"):
        super().__init__()
        self.row_sizes = row_sizes

    def build(self, shapes: Shapes, noise: Noise) -> Likelihood:
        """Keep what is known of the sizes of rows beforehand."""
        super().build(shapes, noise)
        if self.row_sizes is True and shapes.row_size is None:
            raise ValueError(
                f"{self!r} expects a table whose rows have sizes, as VAETransformer and "
                "VAEOutlierDetector make of one; this model takes cells one by one. Use "
                f"{type(self).__name__}(row_sizes=False)."
            )
        self.has_sizes = bool(self.row_sizes) and shapes.row_size is not None
        if self.has_sizes:
            for name, number in zip(("size_loc", "size_scale"), shapes.row_size):  # type: ignore[arg-type]
                size = torch.full((noise.n_members, 1, 1, 1), number, device=noise.device)
                self.register_buffer(name, size)
        return self

    def start(self, mean: Tensor) -> Tensor:
        """Logarithm of the mean."""
        return mean.clamp_min(1e-4).log()

    def forward(self, parameters: Tensor) -> distributions.Distribution:
        """Give counts per cell."""
        return self._sized(self._counts(self._log_means(parameters)))

    def _log_means(self, parameters: Tensor) -> Tensor:
        """The decoder's output, in which rows of sizes have shares."""
        return parameters.log_softmax(-1) if self.has_sizes else parameters

    def _sized(self, counts: distributions.Distribution) -> distributions.Distribution:
        if not self.has_sizes:
            return counts
        n_nodes = TRAINING_NODES if self.training else NODES
        return distributions.SizedCounts(counts, self.size_loc, self.size_scale, n_nodes)

    def _counts(self, log_mean: Tensor) -> distributions.Distribution:
        raise NotImplementedError


class Poisson(_Count):
    """Counts whose variance equals their mean.

    Parameters
    ----------
    row_sizes : bool or "auto", default="auto"
        Whether rows differ in size, as cells do in how deeply they were sequenced and texts
        in how long they are.  The decoder then gives the shares of the columns, and the total
        of a row is log-normal: it is integrated out of scores and drawn in samples, and no
        latent is spent on it.  ``"auto"``: where all columns are counts and the totals vary
        more than independent columns would let them.

    Examples
    --------
    >>> from skvae.likelihoods import Poisson
    >>> Poisson()
    Poisson()
    """

    def _counts(self, log_mean: Tensor) -> distributions.Distribution:
        return distributions.Poisson(_bounded_log(log_mean))


class NegativeBinomial(_Count):
    """Counts with more variance than their mean; one learned dispersion per column.

    Parameters
    ----------
    row_sizes : bool or "auto", default="auto"
        Whether rows differ in size, as cells do in how deeply they were sequenced and texts
        in how long they are.  The decoder then gives the shares of the columns, and the total
        of a row is log-normal: it is integrated out of scores and drawn in samples, and no
        latent is spent on it.  ``"auto"``: where all columns are counts and the totals vary
        more than independent columns would let them.

    Examples
    --------
    >>> from skvae.likelihoods import NegativeBinomial
    >>> NegativeBinomial()
    NegativeBinomial()

    References
    ----------
    Lopez et al., Deep generative modeling for single-cell transcriptomics, 2018.
    """

    @property
    def closed_form(self) -> tuple | None:
        """Limits of the logarithms of means and inverse dispersions, where rows have no sizes."""
        plain = type(self) is NegativeBinomial and not self.has_sizes
        return (LARGEST_LOG_MEAN, LOG_TOTALS) if plain else None

    def build(self, shapes: Shapes, noise: Noise) -> NegativeBinomial:
        """Create the log of ``total_count``, the inverse dispersion, per column."""
        super().build(shapes, noise)
        shape = (1, 1, len(self.sizes))
        self.log_total_count = self.weight(
            noise, lambda g: torch.zeros(shape, device=noise.device)
        )
        return self

    def _counts(self, log_mean: Tensor) -> distributions.Distribution:
        total = self.log_total_count.clamp(*LOG_TOTALS)
        return distributions.NegativeBinomial(_bounded_log(log_mean), total)


class _ZeroInflated(_Count):
    # The decoder gives two numbers per cell: the logarithm of the mean of what is counted, and
    # the log-odds that nothing is.

    @property
    def n_parameters(self) -> int:
        """Two numbers per column."""
        return 2 * len(self.sizes)

    def expand(self, values: Tensor) -> Tensor:
        """Each cell, and whether it is 0."""
        return torch.stack([values, (values == 0).to(values.dtype)], -1).flatten(-2)

    def repeat(self, columns: Tensor) -> Tensor:
        """Repeat each column twice."""
        return columns.repeat_interleave(2, -1)

    def start(self, mean: Tensor) -> Tensor:
        """Explain the mean and the share of zeros."""
        mean, zeros = mean.unflatten(-1, (1, 1, -1, 2)).unbind(-1)
        inflated = torch.zeros_like(mean)
        # More zeros set beforehand leave a larger mean and fewer zeros to what is counted.
        for _ in range(10):
            log_mean = super().start(mean / (1 - inflated))
            counted = self._counts(log_mean).log_prob(torch.zeros_like(mean)).exp()
            inflated = ((zeros - counted) / (1 - counted).clamp_min(1e-6)).clamp(0.01, 0.95)
        log_mean = super().start(mean / (1 - inflated))
        pair = torch.stack([log_mean.expand_as(inflated), inflated.logit()], -1)
        return pair.flatten(-2)[:, 0, 0]

    def forward(self, parameters: Tensor) -> distributions.Distribution:
        """Give counts with zeros of their own per cell."""
        log_mean, logits = parameters.unflatten(-1, (-1, 2)).unbind(-1)
        counts = self._counts(self._log_means(log_mean))
        return self._sized(distributions.ZeroInflated(counts, logits))


class ZeroInflatedPoisson(_ZeroInflated, Poisson):
    """Counts of a Poisson, or 0 with a probability of its own.

    The decoder gives that probability per cell: how often a gene is missed depends on the
    cell that it is looked for in, as well as on the gene.

    Parameters
    ----------
    row_sizes : bool or "auto", default="auto"
        Whether rows differ in size, as cells do in how deeply they were sequenced and texts
        in how long they are.  The decoder then gives the shares of the columns, and the total
        of a row is log-normal: it is integrated out of scores and drawn in samples, and no
        latent is spent on it.  ``"auto"``: where all columns are counts and the totals vary
        more than independent columns would let them.

    Examples
    --------
    >>> from skvae.likelihoods import ZeroInflatedPoisson
    >>> ZeroInflatedPoisson()
    ZeroInflatedPoisson()

    References
    ----------
    Lambert, Zero-Inflated Poisson Regression, With an Application to Defects in
    Manufacturing, 1992.
    """


class ZeroInflatedNegativeBinomial(_ZeroInflated, NegativeBinomial):
    """Counts of a negative binomial, or 0 with a probability of its own.

    The decoder gives that probability per cell of the table, as in scVI; the dispersion is
    one number per column.

    Parameters
    ----------
    row_sizes : bool or "auto", default="auto"
        Whether rows differ in size, as cells do in how deeply they were sequenced and texts
        in how long they are.  The decoder then gives the shares of the columns, and the total
        of a row is log-normal: it is integrated out of scores and drawn in samples, and no
        latent is spent on it.  ``"auto"``: where all columns are counts and the totals vary
        more than independent columns would let them.

    Examples
    --------
    >>> from skvae.likelihoods import ZeroInflatedNegativeBinomial
    >>> ZeroInflatedNegativeBinomial()
    ZeroInflatedNegativeBinomial()

    References
    ----------
    Lopez et al., Deep generative modeling for single-cell transcriptomics, 2018.
    """


def _bounded_log(log_mean: Tensor) -> Tensor:
    return log_mean.clamp_max(LARGEST_LOG_MEAN)
