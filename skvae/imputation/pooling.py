"""Rubin's rules: one answer from the analyses of several completed tables."""

from __future__ import annotations

from numbers import Real
from typing import NamedTuple

import numpy as np


class Pooled(NamedTuple):
    """Pooled estimates.

    Attributes
    ----------
    estimate : ndarray or float
        Mean of the estimates.
    variance : ndarray or float
        Total variance: that within the tables, and that between them.
    df : ndarray or float
        Degrees of freedom of the t distribution of ``(estimate - truth) / sqrt(variance)``.
    missing_information : ndarray or float
        Share of the information about each estimate that the gaps have cost.
    """

    estimate: np.ndarray | float
    variance: np.ndarray | float
    df: np.ndarray | float
    missing_information: np.ndarray | float


def pool(estimates, variances, complete_df=None) -> Pooled:
    """Combine the analyses of several completed tables by Rubin's rules.

    Parameters
    ----------
    estimates : array-like of shape (n_imputations,) or (n_imputations, ...)
        One estimate, or several, per table.
    variances : array-like of the same shape
        Squared standard errors.
    complete_df : float or None, default=None
        Degrees of freedom that the analysis would have without gaps, for the correction of
        Barnard and Rubin in small samples; None means infinitely many.

    Returns
    -------
    Pooled
        ``estimate``, ``variance``, ``df`` and ``missing_information``.

    References
    ----------
    Rubin, Multiple Imputation for Nonresponse in Surveys, 1987.

    Barnard and Rubin, Small-sample degrees of freedom with multiple imputation, 1999.

    Examples
    --------
    >>> from skvae import pool
    >>> pooled = pool([1.0, 2.0, 3.0], [0.5, 0.5, 0.5])
    >>> float(pooled.estimate), float(pooled.variance)
    (2.0, 1.8333333333333333)
    """
    estimates = np.asarray(estimates, dtype=np.float64)
    variances = np.asarray(variances, dtype=np.float64)
    if estimates.ndim == 0 or estimates.shape != variances.shape or len(estimates) < 2:
        raise ValueError(
            "pool expects estimates and variances of one shape, of at least two tables along "
            f"the first axis, got shapes {estimates.shape} and {variances.shape}."
        )
    if not np.isfinite(estimates).all() or not (np.isfinite(variances) & (variances >= 0)).all():
        raise ValueError("pool expects finite estimates and finite variances of at least 0.")
    if complete_df is not None:
        if not isinstance(complete_df, Real) or not float(complete_df) > 0:
            raise ValueError(
                f"pool expects complete_df to be a positive number or None, got {complete_df!r}."
            )
        complete_df = float(complete_df)
    m = len(estimates)
    within, between = variances.mean(0), estimates.var(0, ddof=1)
    extra = (1.0 + 1.0 / m) * between
    total = within + extra
    with np.errstate(divide="ignore", invalid="ignore"):
        # Where tables agree completely, nothing was lost to the gaps.
        share = np.where(total > 0, extra / total, 0.0)
        df = (m - 1) / share**2
        if complete_df is not None:
            observed = (complete_df + 1) / (complete_df + 3) * complete_df * (1.0 - share)
            df = 1.0 / (1.0 / df + 1.0 / observed)
        increase = extra / within
        information = np.where(
            np.isfinite(df) & np.isfinite(increase),
            (increase + 2.0 / (df + 3.0)) / (increase + 1.0),
            share,
        )
    return Pooled(estimates.mean(0), total, df, information[()])
