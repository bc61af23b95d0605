"""From float64 cells back to the cells a table holds."""

import numpy as np


def cast(cells: np.ndarray, number: str) -> np.ndarray:
    """Convert float64 cells without NaN, or to a float dtype, rounding and clipping.

    Examples
    --------
    >>> import numpy as np
    >>> cast(np.array([-3.0, 1.6, 1e9]), "uint8")
    array([  0,   2, 255], dtype=uint8)
    """
    dtype = np.dtype(number)
    return _CASTS[dtype.kind](cells, dtype)


def _to_flags(cells, dtype):
    return cells >= 0.5


def _to_whole(cells, dtype):
    info = np.iinfo(dtype)
    high = float(info.max)
    if int(high) > info.max:  # 2**63 - 1 is no float64: the next one up would wrap around
        high = np.nextafter(high, 0.0)
    return np.clip(np.rint(cells), float(info.min), high).astype(dtype)


def _to_float(cells, dtype):
    info = np.finfo(dtype)
    if dtype.itemsize > 8:
        return cells.astype(dtype)
    return np.clip(cells, float(info.min), float(info.max)).astype(dtype, copy=False)


_CASTS = {"b": _to_flags, "i": _to_whole, "u": _to_whole, "f": _to_float}


def label_cells(cells: np.ndarray, labels: list) -> np.ndarray:
    """Return an object array of labels, None where the index is NaN."""
    table = np.empty(len(labels) + 1, dtype=object)
    table[:-1] = labels
    index = np.where(np.isnan(cells), len(labels), cells).astype(np.intp)
    return table[index]


def number_cells(cells: np.ndarray, number: str) -> np.ndarray:
    """Return an object array of Python numbers, None where the cell is NaN."""
    missing = np.isnan(cells)
    out = cast(np.where(missing, 0.0, cells), number).astype(object)
    out[missing] = None
    return out
