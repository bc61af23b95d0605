"""What a column remembers from fit, and how its cells are coded; columns of real numbers.

The methods on matrices take a list of columns of one class and all their cells at
once; a frame's mixed columns come as matrices one column wide.
"""

import numpy as np

from .frames import Form, Panel
from .refusals import refuse_infinite, refuse_role, refuse_string, refuse_unseen
from .statistics import Summary, chunks, extremes, summarise

LARGEST = 1e9
# So many cells are encoded at once: what each step writes is read by the next from the cache.
ENCODED_CELLS = 2**16


class Column:
    """One column of a table as seen in fit.

    Attributes
    ----------
    name : object
        The column's label; ``"x0"``, ``"x1"``, ... for arrays.
    kind : {"continuous", "count", "binary", "categorical", "ordinal", "constant"}
        How the column is modelled.
    dtype : str
        The dtype's name in the table.
    size : int
        The number of categories, 1 for other kinds.
    n_inputs : int
        How many inputs of the encoder the column fills.
    had_missing : bool
        Whether a cell was missing in fit.
    is_linear : bool
        Whether one scale turns log densities of all values into those of cells.
    draws_cells : bool
        Whether cells of one value differ, so that `decode` can draw among them.
    ceiling : float
        Largest value that is given as the best one of a cell; draws know no such limit.

    Examples
    --------
    >>> import pandas as pd
    >>> from skvae.table import TableCodec
    >>> X = pd.DataFrame({"size": [1.0, 2.0, 3.0], "shape": ["disc", "ring", "disc"]})
    >>> TableCodec().fit(X).columns_
    [ContinuousColumn('size', 'float64', loc=2, scale=0.816),
     CategoricalColumn('shape', 'str', categories=['disc', 'ring'])]
    """

    kind = "constant"
    size = 1
    n_inputs = 1
    scale = 1.0
    is_linear = True
    draws_cells = False
    ceiling = np.inf

    def __init__(self, name, form: Form, had_missing: bool = False):
        self.name = name
        self.form = form
        self.had_missing = bool(had_missing)

    @property
    def dtype(self) -> str:
        return self.form.dtype

    @classmethod
    def fit(cls, names: list, panel: Panel, weight, range_ratio) -> list["Column"]:
        """Make one column per column of the panel, constant ones where nothing varies."""
        raise NotImplementedError

    @classmethod
    def encode(
        cls, columns: list, panel: Panel, chosen, unknown, out, log_jacobian
    ) -> np.ndarray | None:
        """Write values to `out`; return where cells are observed, None for everywhere.

        Columns that are not linear write to `log_jacobian` what their scale leaves out; it
        is None where all columns of the table are linear.
        """
        raise NotImplementedError

    @classmethod
    def features(cls, columns: list, values, observed, out) -> None:
        """Write what the encoder sees of `values` to `out`."""
        raise NotImplementedError

    def check_unseen(self, panel: Panel, unknown: str) -> None:
        """Raise for cells that nobody encodes and that fit has not seen."""

    def decode(self, values: np.ndarray, uniform=None) -> tuple[np.ndarray, list | None]:
        """Return a column's cells, and their labels when they are indices into those.

        Where cells of one value differ, `uniform` numbers draw among them.
        """
        raise NotImplementedError

    def _details(self) -> str:
        return ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.dtype!r}, {self._details()})"


class ConstantColumn(Column):
    """A column with one observed value, or none (`value` is None): it is not modelled."""

    n_inputs = 0

    def __init__(self, name, form, had_missing, value):
        super().__init__(name, form, had_missing)
        self.value = value

    def _details(self) -> str:
        return f"value={self.value!r}"

    def check_unseen(self, panel, unknown):
        if unknown != "error" or self.form.role != "categorical" or self.value is None:
            return
        found = np.unique(panel.matrix[~np.isnan(panel.matrix)]).tolist()
        labels = found if panel.labels is None else [panel.labels[int(code)] for code in found]
        refuse_unseen(self.name, [label for label in labels if label != self.value], [self.value])

    def decode(self, values, uniform=None):
        if self.form.role == "categorical":
            labels = [] if self.value is None else [self.value]
            return np.full(len(values), 0.0 if labels else np.nan), labels
        return np.full(len(values), np.nan if self.value is None else self.value), None


class NumericColumn(Column):
    """What continuous, count and binary columns share: ``values = (x - loc) / scale``."""

    loc = 0.0
    title = ""
    domain = "numbers"
    remedy = ""

    @classmethod
    def from_summary(cls, name, form, summary: Summary, j: int) -> "NumericColumn":
        """Make the column from column `j` of a summary."""
        raise NotImplementedError

    @staticmethod
    def squash(cells: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return the increasing function of the cells that statistics are taken of."""
        return cells

    @staticmethod
    def outside(cells: np.ndarray) -> np.ndarray | None:
        """Return where cells lie outside the kind's domain; NaN does not."""
        return None

    @classmethod
    def fit(cls, names, panel, weight, range_ratio):
        for rows in chunks(*panel.matrix.shape):
            cls.check(names, panel.matrix[rows], rows.start)
        low, high = extremes(panel.matrix)
        for name, infinite in zip(names, np.isinf(low) | np.isinf(high), strict=True):
            if infinite:
                refuse_infinite(name)
        summary = summarise(panel.matrix, low, high, weight, range_ratio, cls.squash)
        return [
            constant(name, form, summary, j)
            if summary.is_constant[j]
            else cls.from_summary(name, form, summary, j)
            for j, (name, form) in enumerate(zip(names, panel.forms, strict=True))
        ]

    @classmethod
    def check(cls, names: list, part: np.ndarray, first_row: int) -> None:
        """Raise for a cell outside the kind's domain."""
        outside = cls.outside(part)
        if outside is not None and outside.any():
            row, j = np.argwhere(outside)[0]
            raise ValueError(
                f"Column {names[j]!r} is modelled as {cls.title or cls.kind}, which expects "
                f"{cls.domain}; got {part[row, j]!s} in row {first_row + row}. "
                + cls.remedy.format(name=names[j])
            )

    @staticmethod
    def numbers(columns, panel: Panel, chosen) -> np.ndarray:
        """Return a panel's cells as numbers; refuse dates among the `chosen` where were none."""
        role = panel.forms[0].role
        for j in np.flatnonzero(columns.are_dates != (role == "datetime")):
            if not is_empty(panel.matrix[:, chosen][:, j]):
                refuse_role(columns[j].name, role, columns[j].form.role)
        if panel.labels is None:
            return panel.matrix
        return _as_numbers(columns[0].name, panel.matrix, panel.labels)

    @classmethod
    def encode(cls, columns, panel, chosen, unknown, out, log_jacobian):
        matrix = cls.numbers(columns, panel, chosen)
        index = None if isinstance(chosen, slice) else chosen
        observed = None
        with np.errstate(over="ignore"):
            for rows in chunks(matrix.shape[0], matrix.shape[1], ENCODED_CELLS):
                part = matrix[rows]
                # Brackets would lay the columns out where rows should be.
                part = part if index is None else part.take(index, axis=1)
                cls.check(columns.names, part, rows.start)
                # Cast first: a subtraction that casts goes by small buffers.
                work = part.astype(np.float64)
                work -= columns.loc
                work /= columns.scale
                # One sum tells that no cell is missing or far out.
                if not np.vdot(work, work) <= LARGEST**2:
                    missing = np.isnan(work)
                    if missing.any():
                        if observed is None:
                            observed = np.ones(out.shape, dtype=bool)
                        observed[rows] = ~missing
                        np.copyto(work, 0.0, where=missing)
                    # A float32 infinity would turn into NaN in the networks.
                    np.clip(work, -LARGEST, LARGEST, out=work)
                out[rows] = work
        return observed

    def decode(self, values, uniform=None):
        with np.errstate(over="ignore"):
            return values * self.scale + self.loc, None


class ContinuousColumn(NumericColumn):
    """Real numbers, standardised."""

    kind = "continuous"

    def __init__(self, name, form, had_missing, loc, scale):
        super().__init__(name, form, had_missing)
        self.loc = float(loc)
        self.scale = float(scale)

    def _details(self) -> str:
        return f"loc={self.loc:.3g}, scale={self.scale:.3g}"

    @classmethod
    def from_summary(cls, name, form, summary, j):
        return cls(name, form, summary.had_missing[j], summary.mean[j], summary.scale[j])

    @classmethod
    def features(cls, columns, values, observed, out):
        out[:] = values


class MappedColumn(NumericColumn):
    """Real numbers mapped one column at a time by a function that is no straight line."""

    kind = "continuous"
    is_linear = False

    def forward(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values of cells, and the logarithm of the slope of cells by values."""
        raise NotImplementedError

    @classmethod
    def encode(cls, columns, panel, chosen, unknown, out, log_jacobian):
        matrix = cls.numbers(columns, panel, chosen)[:, chosen]
        missing = np.isnan(matrix)
        for j, column in enumerate(columns):
            values, log_slope = column.forward(matrix[:, j].astype(np.float64))
            np.clip(values, -LARGEST, LARGEST, out=values)
            # The scale is the part of the slope that all cells share.
            log_slope = log_slope - np.log(column.scale)
            out[:, j] = np.where(missing[:, j], 0.0, values)
            log_jacobian[:, j] = np.where(missing[:, j], 0.0, log_slope)
        return ~missing if missing.any() else None

    @classmethod
    def features(cls, columns, values, observed, out):
        out[:] = values


def is_empty(cells: np.ndarray) -> bool:
    """Whether all cells are missing, which then are of any sort."""
    return bool(np.isnan(cells).all())


def constant(name, form, summary: Summary, j: int) -> ConstantColumn:
    """Return a column in which nothing varies."""
    value = None if np.isnan(summary.low[j]) else float(summary.low[j])
    return ConstantColumn(name, form, summary.had_missing[j], value)


def _as_numbers(name, cells: np.ndarray, labels: list) -> np.ndarray:
    """Read categories as numbers, for a column that came as such in fit."""
    index = np.where(np.isnan(cells), len(labels), cells).astype(np.intp)
    numbers = np.full(len(labels) + 1, np.nan)
    for code in np.unique(index[index < len(labels)]):
        label = labels[code]
        if isinstance(label, str):
            repair = f"column {name!r} held numbers in fit and holds strings now"
            refuse_string(label, f"{repair}: pass numbers again, as by pd.to_numeric")
        numbers[code] = label
    return numbers[index]
