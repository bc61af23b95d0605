"""Conformal p-values: ranks of scores among those of rows that the model has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def conformal_p_values(
    calibration: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    uniform: np.ndarray | None = None,
) -> np.ndarray:
    """P-values of rows under the hypothesis that they are like those of the calibration.

    With one set of calibration scores, from rows exchangeable with a new one and not trained
    on, P(p <= a) <= a for every a in finite samples, whatever the scores are.  With several,
    each judged by a model that was trained on the other rows, that holds up to a factor of 2
    in the worst case, and in practice without it.

    Parameters
    ----------
    calibration : sequence of ndarray of shape (n_calibration_k,)
        Scores of the rows that model k has not seen; higher is more normal.
    scores : sequence of ndarray of shape (n_samples,)
        Scores of the new rows by model k.
    uniform : ndarray of shape (n_samples,), default=None
        Uniform numbers in [0, 1) by which ties are broken, so that p-values are exactly
        uniform; None counts every tie against the row being an outlier.

    Returns
    -------
    p_values : ndarray of shape (n_samples,)
        In (0, 1]; none is below 1 / (1 + number of calibration scores) unless ties are broken.

    References
    ----------
    Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Vovk,
    Cross-conformal predictors, 2015; Bates, Candes, Lei, Romano and Sesia, Testing for
    outliers with conformal p-values, 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.conformal import conformal_p_values
    >>> conformal_p_values([np.array([1.0, 2.0, 3.0])], [np.array([0.0, 2.0, 9.0])])
    array([0.25, 0.75, 1.  ])
    """
    below = np.zeros(len(scores[0]), dtype=int)
    at_most = below + 1
    for known, new in zip(calibration, scores):
        ordered = np.sort(known)
        below = below + np.searchsorted(ordered, new, side="left")
        at_most = at_most + np.searchsorted(ordered, new, side="right")
    n_ranks = 1 + sum(map(len, calibration))
    if uniform is None:
        return at_most / n_ranks
    # 1 - uniform is in (0, 1], so that no p-value is 0.
    return (below + (1.0 - uniform) * (at_most - below)) / n_ranks
