"""Limits within which imputed numbers are kept."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor, inf, isinf
from typing import Any

import numpy as np

Limits = dict[int, tuple[float | None, float | None]]


def limits_of(estimator: Any, columns: list) -> Limits:
    """The lowest and the highest value of each limited column, by its place in the table.

    Parameters
    ----------
    estimator : estimator instance
        Its ``min_value`` and ``max_value`` are read.
    columns : list of Column
        Those of the fitted codec.

    Raises
    ------
    ValueError
        If a limit is of no column, or of one without numbers, or not below the other.
    """
    low = _per_column(estimator, "min_value", columns, -inf)
    high = _per_column(estimator, "max_value", columns, inf)
    limits: Limits = {}
    for place, (column, a, b) in enumerate(zip(columns, low, high)):
        if a > b:
            raise ValueError(
                f"{type(estimator).__name__}: min_value of column {column.name!r} should be at "
                f"most its max_value; got {a:g} and {b:g}."
            )
        if column.form.role != "numeric" or isinf(a) and isinf(b):
            continue
        # Cells of whole numbers are whole, and so must be what they are clipped to.
        if np.dtype(column.form.number).kind in "iu":
            a, b = (a if isinf(a) else ceil(a)), (b if isinf(b) else floor(b))
        limits[place] = (None if isinf(a) else a, None if isinf(b) else b)
    return limits


def _per_column(estimator, parameter: str, columns: list, unlimited: float) -> list[float]:
    value, who = getattr(estimator, parameter), f"{type(estimator).__name__}: {parameter}"
    if isinstance(value, Mapping):
        roles = {column.name: column.form.role for column in columns}
        wrong = [name for name in value if roles.get(name) != "numeric"]
        if wrong:
            raise ValueError(
                f"{who} should name columns of numbers; got {wrong[0]!r}, which "
                + ("holds none." if wrong[0] in roles else "the table does not have.")
            )
        found = [value.get(column.name, unlimited) for column in columns]
    else:
        found = [value] * len(columns) if np.ndim(value) == 0 else list(value)
    if len(found) != len(columns):
        raise ValueError(
            f"{who} should hold one number per column, {len(columns)} in all; got {len(found)}."
        )
    try:
        numbers = [unlimited if limit is None else float(limit) for limit in found]
    except (TypeError, ValueError):
        numbers = [np.nan]
    if np.isnan(numbers).any():
        raise ValueError(f"{who} should be made of numbers; got {value!r}.")
    return numbers
