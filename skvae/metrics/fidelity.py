"""How alike the columns of two tables are, and the pairs of their columns."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from .columns import Column, read_columns


class ColumnShapes(NamedTuple):
    """How alike the columns of two tables are.

    Attributes
    ----------
    scores : pandas.Series of shape (n_columns,)
        1 for columns of the same distribution, 0 for disjoint ones; NaN where the real table
        has no observed cell.
    mean : float
        Mean of the scores.
    """

    scores: pd.Series
    mean: float


class PairTrends(NamedTuple):
    """How alike the pairs of columns of two tables are.

    Attributes
    ----------
    scores : pandas.DataFrame of shape (n_columns, n_columns)
        1 for the same dependence, down to 0; NaN on the diagonal, and where a correlation is
        undefined in the real table.
    strength : pandas.DataFrame of shape (n_columns, n_columns)
        How strong the dependence is in the real table: absolute correlation of two numbers,
        Cramer's V of other pairs.
    mean : float
        Mean over the pairs that are strong enough in the real table; NaN if none is.
    """

    scores: pd.DataFrame
    strength: pd.DataFrame
    mean: float


def column_shapes(real, synthetic) -> ColumnShapes:
    r"""Compare the distributions of single columns.

    .. math::

        1 - \sup_x |F(x) - G(x)|
        \qquad\text{and}\qquad
        1 - \tfrac12 \sum_k |p_k - q_k|

    for numbers and dates (the Kolmogorov-Smirnov statistic of the empirical distribution
    functions) and for booleans and categories (the total variation distance of the shares).
    Missing cells are left out: whether as many are missing shows in `two_sample_auc`.

    Parameters
    ----------
    real, synthetic : array-like or DataFrame of shape (n_rows, n_columns)
        Tables of the same columns; the numbers of rows may differ.

    Returns
    -------
    ColumnShapes
        ``scores`` and ``mean``.

    Notes
    -----
    The definition is that of "Column Shapes" in the quality report of SDMetrics (DataCebo,
    2022), so that figures can be compared. A column that is missing everywhere in the
    synthetic table alone scores 0 here and is passed over there.

    Examples
    --------
    >>> import pandas as pd
    >>> from skvae.metrics import column_shapes
    >>> real = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0], "shape": list("aabb")})
    >>> synthetic = pd.DataFrame({"size": [1.0, 2.0, 2.0, 4.0], "shape": list("aaab")})
    >>> column_shapes(real, synthetic).scores
    size     0.75
    shape    0.75
    dtype: float64
    """
    columns = read_columns("column_shapes", real=real, synthetic=synthetic)
    scores = pd.Series([_shape(c) for c in columns], [c.name for c in columns])
    return ColumnShapes(scores, float(scores.mean()))


def pair_trends(
    real,
    synthetic,
    *,
    correlation="pearson",
    n_bins=10,
    strategy="uniform",
    min_correlation=0.5,
    min_association=0.3,
) -> PairTrends:
    r"""Compare the dependence between pairs of columns.

    .. math::

        1 - \tfrac12 |\rho - \hat\rho|
        \qquad\text{and}\qquad
        1 - \tfrac12 \sum_{k,l} |p_{kl} - q_{kl}|

    for two columns of numbers or dates (correlations over the rows where both are observed)
    and for other pairs (the total variation distance of the contingency tables, with missing
    as one more category). In a mixed pair the numbers are cut into bins of the real table.

    Parameters
    ----------
    real, synthetic : array-like or DataFrame of shape (n_rows, n_columns)
        Tables of the same columns; the numbers of rows may differ.
    correlation : {"pearson", "spearman"}, default="pearson"
        The correlation of two numbers.
    n_bins : int, default=10
        Bins of the numbers in mixed pairs.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width, or of equal numbers of real rows.
    min_correlation : float, default=0.5
        Only pairs of numbers whose absolute correlation in the real table is above count in
        the mean. 0 counts all.
    min_association : float, default=0.3
        The same for other pairs and Cramer's V.

    Returns
    -------
    PairTrends
        ``scores``, ``strength`` and ``mean``.

    Notes
    -----
    The definition is that of "Column Pair Trends" in the quality report of SDMetrics 0.32
    (DataCebo), thresholds included: without them independent columns, which any method gets
    right, carry most of the mean. Two things differ. That report cuts the synthetic numbers
    into bins of the synthetic range, so that one outlier spoils every mixed pair of its column;
    here bins are those of the real table for both, as in SDMetrics' ContingencySimilarity. And
    it passes over a column that is constant in the synthetic table; here the correlations of
    such a column are 0.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skvae.metrics import pair_trends
    >>> x = np.arange(8.0)
    >>> real = pd.DataFrame({"x": x, "y": 2 * x})
    >>> pair_trends(real, real).mean
    1.0
    >>> pair_trends(real, pd.DataFrame({"x": x, "y": -x})).mean
    0.0
    """
    _check_choice("correlation", correlation, ("pearson", "spearman"))
    _check_choice("strategy", strategy, ("uniform", "quantile"))
    if n_bins < 1:
        raise ValueError(f"pair_trends: n_bins should be at least 1, got {n_bins!r}.")
    columns = read_columns("pair_trends", real=real, synthetic=synthetic)
    names = [column.name for column in columns]
    codes = [_codes(column, n_bins, strategy) for column in columns]
    scores, strength = (np.full((len(columns), len(columns)), np.nan) for _ in range(2))
    counted = np.zeros(scores.shape, dtype=bool)
    for i, j in combinations(range(len(columns)), 2):
        if columns[i].is_number and columns[j].is_number:
            rho, other = _correlations(columns[i], columns[j], correlation)
            score = 1 - abs(rho - np.nan_to_num(other)) / 2
            strong, least = abs(rho), min_correlation
        else:
            score, strong = _contingency(codes[i], codes[j])
            least = min_association
        scores[i, j] = scores[j, i] = score
        strength[i, j] = strength[j, i] = strong
        counted[i, j] = not least > 0 or strong > least
    counted &= ~np.isnan(scores)
    mean = float(scores[counted].mean()) if counted.any() else np.nan
    return PairTrends(
        pd.DataFrame(scores, names, names), pd.DataFrame(strength, names, names), mean
    )


def quality(real, synthetic) -> float:
    """Return the mean of the mean column shape and the mean pair trend.

    Parameters
    ----------
    real, synthetic : array-like or DataFrame of shape (n_rows, n_columns)
        Tables of the same columns; the numbers of rows may differ.

    Returns
    -------
    float
        1 at best, 0 at worst; the mean column shape alone where no pair counts.

    See Also
    --------
    column_shapes : Scores of single columns.
    pair_trends : Scores of pairs of columns.

    Notes
    -----
    The overall score of the quality report of SDMetrics (DataCebo). A second sample of the
    same population scores below 1, and a copy of the table scores 1: judge it together with
    `closest_record`.

    Examples
    --------
    >>> import pandas as pd
    >>> from skvae.metrics import quality
    >>> real = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0], "shape": list("aabb")})
    >>> quality(real, real)
    1.0
    """
    return combine(column_shapes(real, synthetic), pair_trends(real, synthetic))


def combine(shapes: ColumnShapes, trends: PairTrends) -> float:
    """Return the mean of the two means, of the shapes alone where no pair counts."""
    return float(np.nanmean([shapes.mean, trends.mean]))


def _shape(column: Column) -> float:
    real, synthetic = (cells[~np.isnan(cells)] for cells in column.cells)
    if not len(real) or not len(synthetic):
        return 0.0 if len(real) else np.nan
    if column.is_number:
        places = np.concatenate([real, synthetic])
        below = [
            np.searchsorted(np.sort(cells), places, side="right") / len(cells)
            for cells in (real, synthetic)
        ]
        return float(1 - np.abs(below[0] - below[1]).max())
    shares = [
        np.bincount(cells.astype(np.intp), minlength=len(column.levels)) / len(cells)
        for cells in (real, synthetic)
    ]
    return float(1 - np.abs(shares[0] - shares[1]).sum() / 2)


def _codes(column: Column, n_bins: int, strategy: str) -> list[np.ndarray]:
    """Categories as whole numbers for both tables, missing cells as one more."""
    real = column.cells[0]
    n_levels, coded = len(column.levels), column.cells
    if column.is_number:
        edges = _edges(real[~np.isnan(real)], n_bins, strategy)
        n_levels = len(edges) + 1
        coded = [
            np.where(np.isnan(cells), np.nan, np.digitize(cells, edges)) for cells in column.cells
        ]
    return [np.where(np.isnan(cells), n_levels, cells).astype(np.intp) for cells in coded]


def _edges(real: np.ndarray, n_bins: int, strategy: str) -> np.ndarray:
    """Inner edges of the bins: the outer ones are open."""
    if not len(real):
        return np.empty(0)
    if strategy == "uniform":
        return np.histogram_bin_edges(real, bins=n_bins)[1:-1]
    return np.unique(np.quantile(real, np.linspace(0, 1, n_bins + 1)[1:-1]))


def _correlations(a: Column, b: Column, method: str) -> list[float]:
    """Correlation in each table, NaN where a column does not vary."""
    found = []
    for x, y in zip(a.cells, b.cells):
        seen = ~(np.isnan(x) | np.isnan(y))
        x, y = x[seen], y[seen]
        if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
            found.append(np.nan)
            continue
        if method == "spearman":
            x, y = rankdata(x), rankdata(y)
        found.append(float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1)))
    return found


def _contingency(a: list[np.ndarray], b: list[np.ndarray]) -> tuple[float, float]:
    """One less the total variation distance, and Cramer's V in the real table."""
    width = 1 + max(codes.max() for codes in b)
    joint = [first * width + second for first, second in zip(a, b)]
    # Only pairs of levels that occur: many levels by many do not fit into memory.
    cells, place = np.unique(np.concatenate(joint), return_inverse=True)
    n = len(joint[0])
    real, synthetic = (
        np.bincount(part, minlength=len(cells)) / len(part) for part in (place[:n], place[n:])
    )
    score = 1 - np.abs(real - synthetic).sum() / 2
    margins = [np.bincount(codes[0]) / n for codes in (a, b)]
    smaller = min(np.count_nonzero(margin) for margin in margins)
    if smaller < 2:
        return float(score), np.nan
    seen = real > 0
    expected = margins[0][cells[seen] // width] * margins[1][cells[seen] % width]
    squared = (real[seen] ** 2 / expected).sum() - 1
    return float(score), float(np.sqrt(max(squared, 0) / (smaller - 1)))


def _check_choice(name: str, value, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(
            f"pair_trends: {name} should be one of {', '.join(map(repr, allowed))}, got {value!r}."
        )
