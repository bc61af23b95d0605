"""Training without the rows that fit least, for tables that hold outliers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .score_mixture import quantile


class TrimmingMixin:
    """A second fit without the rows that score lowest in the first."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def _fit_trimmed(
        self, X, sample_weight, fit_rows: Callable[..., np.ndarray], resume: bool
    ) -> np.ndarray:
        """Fit, and fit again by the best ``1 - trim`` of the rows; give places held out."""
        held_out = fit_rows(X, sample_weight, resume=resume)
        if not self.trim:
            return held_out
        self._check_has_scores()
        scores = self._score(X, self.n_draws)
        weights = np.ones(len(scores)) if sample_weight is None else sample_weight.copy()
        weights[scores < quantile(scores, self.trim, sample_weight)] = 0.0
        return fit_rows(X, weights, resume=False)
