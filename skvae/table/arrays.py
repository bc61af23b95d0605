"""NumPy arrays as tables."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from .casting import cast, label_cells
from .dates import write_ticks
from .frames import Form, Panel, Part, Table
from .refusals import refuse_complex


def refuse_other_arrays(X: np.ndarray) -> None:
    """Raise for arrays whose dtype is no real number."""
    if X.dtype.kind == "c":
        refuse_complex("x0")
    if X.dtype.kind not in "fiub":
        raise TypeError(
            f"An array of dtype {X.dtype} cannot be encoded: expected real numbers or booleans. "
            "Convert it, e.g. X.astype(float), or pass a DataFrame with one dtype per column."
        )


class ArrayTable(Table):
    """A two-dimensional array of real numbers or booleans."""

    container = "numpy"

    def __init__(self, X):
        X = np.asarray(X)
        if X.ndim != 2:
            raise ValueError(
                f"Expected 2D array, got {X.ndim}D array instead. Reshape your data either "
                "using array.reshape(-1, 1) or array.reshape(1, -1)."
            )
        refuse_other_arrays(X)
        super().__init__(X)

    @property
    def names(self) -> list[str]:
        return [f"x{j}" for j in range(self.X.shape[1])]

    def take(self, keep: np.ndarray) -> "ArrayTable":
        return ArrayTable(self.X[keep])

    def panels(self) -> Iterator[Panel]:
        dtype = self.X.dtype
        role = "boolean" if dtype.kind == "b" else "numeric"
        form = Form(role, dtype.name, number=dtype.name)
        yield Panel(None, [form] * self.X.shape[1], self.X)

    @classmethod
    def build(cls, forms: Sequence[Form], parts: Iterable[Part], n_rows: int) -> np.ndarray:
        if any(form.role in ("categorical", "datetime") for form in forms):
            out = np.empty((n_rows, len(forms)), dtype=object)
            for j, part in enumerate(parts):
                out[:, j] = _mixed_cells(part)
            return out
        dtype = np.result_type(*(np.dtype(form.number) for form in forms))
        out = np.empty((n_rows, len(forms)), dtype=dtype)
        for j, part in enumerate(parts):
            missing = np.isnan(part.cells).any()
            if missing and out.dtype.kind != "f":  # an integer or boolean cell cannot be NaN
                out = out.astype(np.float64)
            out[:, j] = part.cells if missing else cast(part.cells, part.form.number)
        return out


def _mixed_cells(part: Part) -> np.ndarray:
    if part.labels is not None:
        return label_cells(part.cells, part.labels)
    if part.form.role == "datetime":
        return write_ticks(part.cells, part.form.step, "us").astype(object)
    out = part.cells.astype(object)
    seen = ~np.isnan(part.cells)
    out[seen] = cast(part.cells[seen], part.form.number)
    return out
