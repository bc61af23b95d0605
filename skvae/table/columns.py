"""The kinds of columns: what each remembers from fit, and how its cells are coded.

The methods on matrices take a list of columns of one kind and all their cells at
once; a frame's mixed columns come as matrices one column wide.
"""

import numpy as np

from .frames import Form, Panel
from .refusals import refuse_free_text, refuse_infinite, refuse_string
from .statistics import Summary, chunks, extremes, summarise

_LARGEST = 1e9


class Column:
    """One column of a table as seen in fit.

    Attributes
    ----------
    name : object
        The column's label; ``"x0"``, ``"x1"``, ... for arrays.
    kind : {"continuous", "count", "binary", "categorical", "constant"}
        How the column is modelled.
    dtype : str
        The dtype's name in the table.
    size : int
        The number of categories, 1 for other kinds.
    n_inputs : int
        How many inputs of the encoder the column fills.
    had_missing : bool
        Whether a cell was missing in fit.

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
    def encode(cls, columns: list, panel: Panel, chosen, unknown, out) -> np.ndarray | None:
        """Write values to `out`; return where cells are observed, None for everywhere."""
        raise NotImplementedError

    @classmethod
    def features(cls, columns: list, values, observed, out) -> None:
        """Write what the encoder sees of `values` to `out`."""
        raise NotImplementedError

    def decode(self, values: np.ndarray) -> tuple[np.ndarray, list | None]:
        """Return a column's cells, and their labels when they are indices into those."""
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

    def decode(self, values):
        if self.form.role == "categorical":
            labels = [] if self.value is None else [self.value]
            return np.full(len(values), 0.0 if labels else np.nan), labels
        return np.full(len(values), np.nan if self.value is None else self.value), None


class NumericColumn(Column):
    """What continuous, count and binary columns share: ``values = (x - loc) / scale``."""

    loc = 0.0
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
            cls._check(names, panel.matrix[rows], rows.start)
        low, high = extremes(panel.matrix)
        for name, infinite in zip(names, np.isinf(low) | np.isinf(high), strict=True):
            if infinite:
                refuse_infinite(name)
        summary = summarise(panel.matrix, low, high, weight, range_ratio, cls.squash)
        return [
            _constant(name, form, summary, j)
            if summary.is_constant[j]
            else cls.from_summary(name, form, summary, j)
            for j, (name, form) in enumerate(zip(names, panel.forms, strict=True))
        ]

    @classmethod
    def _check(cls, names: list, part: np.ndarray, first_row: int) -> None:
        outside = cls.outside(part)
        if outside is not None and outside.any():
            row, j = np.argwhere(outside)[0]
            raise ValueError(
                f"Column {names[j]!r} is modelled as {cls.kind}, which expects {cls.domain}; "
                f"got {part[row, j]!s} in row {first_row + row}. {cls.remedy}"
            )

    @classmethod
    def encode(cls, columns, panel, chosen, unknown, out):
        names = [column.name for column in columns]
        loc = np.array([column.loc for column in columns])
        scale = np.array([column.scale for column in columns])
        matrix = panel.matrix
        if panel.labels is not None:
            matrix = _as_numbers(names[0], matrix, panel.labels)
        observed = None
        with np.errstate(over="ignore"):
            for rows in chunks(*matrix.shape):
                part = matrix[rows][:, chosen]
                cls._check(names, part, rows.start)
                work = np.subtract(part, loc, dtype=np.float64)
                work /= scale
                missing = np.isnan(work)
                if missing.any():
                    if observed is None:
                        observed = np.ones(out.shape, dtype=bool)
                    observed[rows] = ~missing
                    np.copyto(work, 0.0, where=missing)
                # Far out is far out: a float32 infinity would turn into NaN in the networks.
                np.clip(work, -_LARGEST, _LARGEST, out=work)
                out[rows] = work
        return observed

    def decode(self, values):
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


class _RawColumn(NumericColumn):
    """Cells kept as they are in `values`, and standardised for the encoder only."""

    bounds = (0.0, np.inf)

    def __init__(self, name, form, had_missing, mean, sd):
        super().__init__(name, form, had_missing)
        self.mean = float(mean)
        self.sd = float(sd)

    def _details(self) -> str:
        return f"mean={self.mean:.3g}, sd={self.sd:.3g}"

    @classmethod
    def features(cls, columns, values, observed, out):
        out[:] = values
        cls.squash(out, out=out)
        out -= np.array([column.mean for column in columns], dtype=np.float32)
        out /= np.array([column.sd for column in columns], dtype=np.float32)
        if observed is not None:
            out *= observed

    def decode(self, values):
        return np.clip(values, *self.bounds), None


class CountColumn(_RawColumn):
    """Whole numbers from zero; `mean` and `sd` are those of ``log1p``."""

    kind = "count"
    domain = "non-negative whole numbers up to 1e9"
    remedy = (
        'Use a likelihood of continuous columns, as likelihood="normal", or repair the column.'
    )

    @classmethod
    def from_summary(cls, name, form, summary, j):
        return cls(name, form, summary.had_missing[j], summary.mean[j], summary.scale[j])

    @staticmethod
    def squash(cells, out=None):
        return np.log1p(cells, out=out)

    @staticmethod
    def outside(cells):
        finite = np.isfinite(cells)
        return (cells < 0) | (finite & ((cells != np.rint(cells)) | (cells > _LARGEST)))


class BinaryColumn(_RawColumn):
    """Zeros and ones, or shares in between."""

    kind = "binary"
    bounds = (0.0, 1.0)
    domain = "values between 0 and 1"
    remedy = 'Rescale it, e.g. (x - x.min()) / (x.max() - x.min()), or use numeric="continuous".'
    # The sd of an event of probability 1 %: rarer ones must not be blown up further.
    smallest_sd = 0.1

    @classmethod
    def from_summary(cls, name, form, summary, j):
        mean = summary.mean[j]
        sd = max(np.sqrt(max(mean * (1.0 - mean), 0.0)), cls.smallest_sd)
        return cls(name, form, summary.had_missing[j], mean, sd)

    @staticmethod
    def outside(cells):
        return (cells < 0) | (cells > 1)


class CategoricalColumn(Column):
    """Labels, coded by their place among the observed ones."""

    kind = "categorical"

    def __init__(self, name, form, had_missing, categories):
        super().__init__(name, form, had_missing)
        self.categories = categories
        self.size = self.n_inputs = len(categories)

    def _details(self) -> str:
        return f"categories={self.categories!r}"

    @classmethod
    def fit(cls, names, panel, weight, range_ratio):
        (name,), (form,), cells = names, panel.forms, panel.matrix[:, 0]
        missing = np.isnan(cells)
        codes = np.flatnonzero(np.bincount(cells[~missing].astype(np.intp)))
        categories = [panel.labels[code] for code in codes]
        if form.is_text:
            refuse_free_text(name, len(categories), len(cells))
        if len(categories) > 1:
            return [cls(name, form, missing.any(), categories)]
        return [ConstantColumn(name, form, missing.any(), categories[0] if categories else None)]

    @classmethod
    def encode(cls, columns, panel, chosen, unknown, out):
        observed = np.ones(out.shape, dtype=bool)
        for j, (column, cells) in enumerate(zip(columns, panel.matrix[:, chosen].T, strict=True)):
            labels = panel.labels
            if labels is None:
                cells, labels = _as_labels(cells)
            codes = column._codes(cells, labels, unknown)
            observed[:, j] = codes >= 0
            out[:, j] = np.maximum(codes, 0)
        return None if observed.all() else observed

    def _codes(self, cells, labels: list, unknown: str) -> np.ndarray:
        place = {category: code for code, category in enumerate(self.categories)}
        recode = np.array([place.get(label, -1) for label in labels] + [-1])
        index = np.where(np.isnan(cells), len(labels), cells).astype(np.intp)
        codes = recode[index]
        if unknown == "error":
            unseen = np.unique(index[codes < 0])
            self._refuse([labels[code] for code in unseen if code < len(labels)])
        return codes

    def _refuse(self, unseen: list) -> None:
        if unseen:
            known = ", ".join(map(repr, self.categories[:10]))
            raise ValueError(
                f"Column {self.name!r} holds categories unseen in fit: "
                f"{', '.join(map(repr, unseen[:5]))}{', ...' if len(unseen) > 5 else ''}; "
                f"expected one of {known}{', ...' if self.size > 10 else ''}. "
                'Use unknown="missing" to treat them as missing cells.'
            )

    @classmethod
    def features(cls, columns, values, observed, out):
        out[:] = 0.0
        rows, start = np.arange(len(values)), 0
        for j, column in enumerate(columns):
            seen = rows if observed is None else np.flatnonzero(observed[:, j])
            out[seen, start + values[seen, j].astype(np.intp)] = 1.0
            start += column.size

    def decode(self, values):
        return np.clip(np.rint(values), 0, self.size - 1), self.categories


def _constant(name, form, summary: Summary, j: int) -> ConstantColumn:
    value = None if np.isnan(summary.low[j]) else float(summary.low[j])
    return ConstantColumn(name, form, summary.had_missing[j], value)


def _as_labels(cells: np.ndarray) -> tuple[np.ndarray, list]:
    """Read numbers as categories, for a column that came as such in fit."""
    missing = np.isnan(cells)
    labels, codes = np.unique(np.where(missing, np.nan, cells), return_inverse=True)
    return np.where(missing, np.nan, codes), labels[~np.isnan(labels)].tolist()


def _as_numbers(name, cells: np.ndarray, labels: list) -> np.ndarray:
    """Read categories as numbers, for a column that came as such in fit."""
    index = np.where(np.isnan(cells), len(labels), cells).astype(np.intp)
    numbers = np.full(len(labels) + 1, np.nan)
    for code in np.unique(index[index < len(labels)]):
        label = labels[code]
        if isinstance(label, str):
            refuse_string(label, f"column {name!r} held numbers in fit: pass numbers again")
        numbers[code] = label
    return numbers[index]


# The modelled columns are grouped in this order.
KINDS = (ContinuousColumn, CountColumn, BinaryColumn, CategoricalColumn)
