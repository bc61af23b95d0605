"""How cells move with the values that a model has of them, column by column."""

import numpy as np

from .bins import BinnedColumn
from .categories import CategoricalColumn
from .columns import Column, MappedColumn

SECONDS_PER_DAY = 86_400.0
# Enough for the mean of a cell whose logarithm has a standard deviation of 3, and for steps.
N_NODES = 48


def slopes(column: Column, loc: np.ndarray, sd: np.ndarray) -> np.ndarray | float:
    """Derivative of the expected cell by ``loc``, where the value is N(loc, sd**2).

    Parameters
    ----------
    column : NumericColumn
    loc, sd : ndarray of shape (rows,)

    Returns
    -------
    slopes : float or ndarray of shape (rows,)
        In units of the column, days for date-times.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.table import TableCodec
    >>> codec = TableCodec().fit(np.array([[0.0], [10.0]]))
    >>> slopes(codec.columns_[0], np.zeros(1), np.ones(1))
    5.0
    """
    unit = _unit(column)
    if not isinstance(column, MappedColumn):
        return column.scale / unit
    # By parts: E[cell * (value - loc)] / sd**2, which asks for no derivative of the map.
    nodes, weights = np.polynomial.hermite_e.hermegauss(N_NODES)
    values = loc[:, None] + sd[:, None] * nodes
    cells = column.decode(values.ravel())[0].reshape(values.shape)
    # The mean of the nodes times any number is 0, and that of the cells is the safest.
    centre = cells.mean(1, keepdims=True)
    weights = weights * nodes / weights.sum()
    return (cells - centre) @ weights / sd / unit


def change(column: Column, derivative: np.ndarray) -> np.ndarray:
    """Derivative of each expected cell as one number, in the value's unit, ``(rows,)``.

    Parameters
    ----------
    column : Column
    derivative : ndarray of shape (rows,) or (rows, categories)
        Of the value, or of the probability of each category; that of columns without an order
        becomes the probability that moves from some categories to others.
    """
    if derivative.ndim == 1:
        return derivative
    derivative = derivative[:, : column.size]
    numbers = level_numbers(column)
    if numbers is None:
        return 0.5 * np.abs(derivative).sum(1)
    return derivative @ numbers


def spread_of(column: Column, values: np.ndarray) -> float:
    """Standard deviation of the cells of values, in the units of `slopes` and `change`.

    That of a column without an order is the one that a flag of the same variance has.
    """
    numbers = level_numbers(column)
    if numbers is not None:
        spread = numbers[values.astype(np.intp)].std()
    elif column.size > 1:
        shares = np.bincount(values.astype(np.intp), minlength=column.size) / len(values)
        spread = np.sqrt(0.5 * (shares * (1.0 - shares)).sum())
    else:
        spread = column.decode(values)[0].std() / _unit(column)
    return float(spread) or 1.0


def is_nominal(column: Column) -> bool:
    """Whether cells of a column are names without an order."""
    return column.size > 1 and level_numbers(column) is None


def level_numbers(column: Column) -> np.ndarray | None:
    """Numbers that the codes of a column stand for; None where they are names without order.

    Levels in an order that are no numbers count 0, 1, 2, ...
    """
    codes = np.arange(column.size, dtype=np.float64)
    if isinstance(column, BinnedColumn):
        return column.decode(codes)[0] / _unit(column)
    if column.kind != "ordinal" or not isinstance(column, CategoricalColumn):
        return None
    if all(isinstance(label, (int, float, np.number)) for label in column.categories):
        return np.asarray(column.categories, dtype=np.float64)
    return codes


def _unit(column: Column) -> float:
    return SECONDS_PER_DAY if column.form.role == "datetime" else 1.0
