"""Whether scores of new rows are distributed as those of the training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import mannwhitneyu


@dataclass(frozen=True)
class ScoreDrift:
    """How the scores of new rows lie beside those of rows held out of the training.

    Attributes
    ----------
    p_value : float
        Of the test of Mann, Whitney and Wilcoxon that both have one distribution, against a
        shift to either side.
    effect : float
        Probability that a new row scores lower than a row held out, ties by half: 0.5 where
        nothing moved, 1 where all new rows are less normal.
    beyond : float
        Share of the new rows below the threshold.
    beyond_expected : float
        That of the rows held out.
    n_rows : int
        Number of new rows.
    n_held_out : int
        Number of rows that they are compared with.
    """

    p_value: float
    effect: float
    beyond: float
    beyond_expected: float
    n_rows: int
    n_held_out: int


def score_drift(held_out: np.ndarray, scores: np.ndarray, threshold: float) -> ScoreDrift:
    """Compare scores of new rows with those of rows held out.

    Parameters
    ----------
    held_out : ndarray of shape (n_held_out,)
        Scores of rows that are as the training rows, and were not trained on.
    scores : ndarray of shape (n_samples,)
        Those of new rows.
    threshold : float
        Below it a row is called an outlier.

    Returns
    -------
    drift : ScoreDrift
        The test, its effect, and the rows beyond the threshold.

    References
    ----------
    Mann and Whitney, On a test of whether one of two random variables is stochastically larger
    than the other, 1947.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.drift import score_drift
    >>> drift = score_drift(np.arange(100.0), np.arange(100.0) - 30.0, threshold=-5.0)
    >>> round(drift.effect, 2), drift.beyond, drift.p_value < 0.001
    (0.76, 0.25, True)
    """
    test = mannwhitneyu(held_out, scores)
    return ScoreDrift(
        p_value=float(test.pvalue),
        effect=float(test.statistic / (len(held_out) * len(scores))),
        beyond=float(np.mean(scores < threshold)),
        beyond_expected=float(np.mean(held_out < threshold)),
        n_rows=len(scores),
        n_held_out=len(held_out),
    )
