"""Tables of every sort, made from a recipe that is short enough to be written down.

Hypothesis draws and shrinks the recipe, not the cells: a table that failed is one line.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scipy.sparse
from hypothesis import strategies as st

NAN = np.nan


# ------------------------------------------------------------------------------------ columns


def _normal(scale=1.0, loc=0.0):
    return lambda rng, n: loc + scale * rng.normal(size=n)


def _labels(*labels):
    return lambda rng, n: rng.choice(np.array(labels, dtype=object), n)


def _days(unit, zone=None, span=4000):
    def dates(rng, n):
        days = rng.integers(-span, span, n).astype("timedelta64[D]")
        column = pd.Series(np.datetime64("2000-01-01", "D") + days).astype(f"datetime64[{unit}]")
        return column if zone is None else column.dt.tz_localize(zone)

    return dates


def _ordered(rng, n):
    codes = rng.integers(0, 3, n)
    return pd.Categorical.from_codes(codes, categories=["s", "m", "l", "xl"], ordered=True)


def _declared(levels):
    def categories(rng, n):
        codes = rng.integers(-1 if n > 3 else 0, len(levels), n)
        return pd.Categorical.from_codes(codes, categories=levels)

    return categories


def _nearly_constant(rng, n):
    cells = np.full(n, 5.0)
    cells[rng.integers(n)] = 6.0
    return cells


def _spikes(rng, n):
    return np.where(rng.random(n) < 0.8, 0.0, rng.normal(size=n))


# What a column of an array can hold.
NUMBERS = {
    "normal": _normal(),
    "tiny": _normal(1e-30),
    "huge": _normal(1e30),
    "far": _normal(1.0, 1e15),
    "shifted": _normal(1e-3, 1e3),
    "log-normal": lambda rng, n: rng.lognormal(sigma=2.0, size=n),
    "cauchy": lambda rng, n: rng.standard_cauchy(size=n),
    "every scale": lambda rng, n: rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(-30, 30, n),
    "shares": lambda rng, n: rng.beta(0.3, 0.3, n),
    "rounded": lambda rng, n: np.round(rng.normal(size=n), 1),
    "whole": lambda rng, n: rng.integers(-100, 100, n).astype(float),
    "counts": lambda rng, n: rng.poisson(3.0, n).astype(float),
    "rare counts": lambda rng, n: rng.poisson(0.05, n).astype(float),
    "large counts": lambda rng, n: rng.negative_binomial(1, 1e-5, n).astype(float),
    "flags": lambda rng, n: (rng.random(n) < 0.3).astype(float),
    "rare flags": lambda rng, n: (np.arange(n) == rng.integers(n)).astype(float),
    "two values": lambda rng, n: rng.choice([-7.5, 2.25], n),
    "spikes": _spikes,
    "nearly constant": _nearly_constant,
    "constant": lambda rng, n: np.full(n, 4.0),
    "zero": lambda rng, n: np.zeros(n),
    "index": lambda rng, n: np.arange(n, dtype=float),
    "holes": lambda rng, n: np.full(n, NAN),
}
# Whole numbers, or the cells of a sparse matrix of counts.
COUNTS = ("counts", "rare counts", "flags", "rare flags", "constant", "zero", "large counts")
# What only a frame can hold; the cells come with a dtype of their own.
OTHERS = {
    "bool": lambda rng, n: rng.random(n) < 0.5,
    "text": _labels("red", "green", "blue"),
    "odd text": _labels("", " ", "nan", "None", "\u00e9\u4e2d\U0001f600", "x" * 300, "0"),
    "text with holes": _labels("a", "b", None, NAN),
    "many labels": lambda rng, n: np.array([f"l{k}" for k in rng.integers(0, 40, n)], object),
    "one label": _labels("x"),
    "category": _declared(["u", "v", "w", "never"]),
    "category of numbers": _declared([1, 2, 5]),
    "category of floats": _declared([0.5, 1.5]),
    "category of flags": _declared([False, True]),
    "ordered": _ordered,
    "days": _days("ns"),
    "seconds": _days("s", span=300_000),
    "zoned": _days("us", "Europe/Berlin"),
    "no date": lambda rng, n: pd.Series(np.full(n, np.datetime64("NaT")).astype("M8[ns]")),
    "objects": lambda rng, n: np.array([None if u < 0.1 else u for u in rng.random(n)], object),
    "whole objects": lambda rng, n: rng.integers(0, 5, n).astype(object),
    "flag objects": lambda rng, n: (rng.random(n) < 0.5).astype(object),
    "Int8": lambda rng, n: pd.array(rng.integers(-9, 9, n), dtype="Int8"),
    "Int64": lambda rng, n: pd.array(rng.integers(0, 2**60, n), dtype="Int64"),
    "UInt16": lambda rng, n: pd.array(rng.integers(0, 60_000, n), dtype="UInt16"),
    "Float32": lambda rng, n: pd.array(rng.normal(size=n), dtype="Float32"),
    "Float64": lambda rng, n: pd.array(rng.normal(size=n), dtype="Float64"),
    "boolean": lambda rng, n: pd.array(rng.random(n) < 0.5, dtype="boolean"),
    "string": lambda rng, n: pd.array(rng.choice(["p", "q"], n), dtype="string"),
    "arrow number": lambda rng, n: pd.array(rng.normal(size=n), dtype="double[pyarrow]"),
    "arrow whole": lambda rng, n: pd.array(rng.integers(0, 9, n), dtype="int32[pyarrow]"),
    "arrow flag": lambda rng, n: pd.array(rng.random(n) < 0.5, dtype="bool[pyarrow]"),
    "arrow text": lambda rng, n: pd.array(rng.choice(["p", "q"], n), dtype="string[pyarrow]"),
    "empty nullable": lambda rng, n: pd.array([None] * n, dtype="Int64"),
}
KINDS = {**NUMBERS, **OTHERS}
DTYPES = (
    "float16", "float32", "float64", "longdouble", "int8", "int16", "int32", "int64", "uint8",
    "uint16", "uint32", "uint64", "bool", "object", "list", "fortran", "read-only", ">f8",
)  # fmt: skip
NAMES = {
    "letters": lambda j: f"c{j}",
    "numbers": lambda j: j,
    "like arrays": lambda j: f"x{9 - j if j < 10 else j}",
    "odd": lambda j: (
        ["", " ", "__", "a b", "\u00e9\U0001f600", "(code)", "0", "nan"][j % 8]
        + "\u200b" * (j // 8)
    ),
    "long": lambda j: "n" * 500 + str(j),
}


# ------------------------------------------------------------------------------------- recipes


@dataclass(frozen=True)
class Recipe:
    """How a table is made.

    Parameters
    ----------
    kinds : tuple of str
        Kinds of the first columns; later columns repeat them.
    n_rows, n_columns : int
    container : {"array", "pandas", "polars", "csr"}
    dtype : str
        That of an array.
    names : str
        A key of ``NAMES``.
    holes : float
        Share of the cells that are missing.
    hole_rows : bool
        Whether some rows miss all cells.
    together : float
        How much the numbers of a row hang together.
    repeated : float
        Share of the rows that repeat others.
    infinite : bool
        Whether a cell is infinite, which is to be refused.
    seed : int
    """

    kinds: tuple
    n_rows: int = 40
    n_columns: int = 3
    container: str = "array"
    dtype: str = "float64"
    names: str = "letters"
    holes: float = 0.0
    hole_rows: bool = False
    together: float = 0.0
    repeated: float = 0.0
    infinite: bool = False
    seed: int = 0

    @property
    def columns(self) -> list:
        return [self.kinds[j % len(self.kinds)] for j in range(self.n_columns)]

    def other(self) -> "Recipe":
        """Recipe of later rows: the same columns, other cells."""
        return replace(self, seed=self.seed + 1000, infinite=False)

    def table(self):
        rng = np.random.default_rng(self.seed)
        frame = {j: KINDS[kind](rng, self.n_rows) for j, kind in enumerate(self.columns)}
        order = np.arange(self.n_rows)
        if self.repeated:
            again = rng.random(self.n_rows) < self.repeated
            order[again] = rng.integers(0, self.n_rows, again.sum())
        if self.container in ("array", "csr"):
            return self._array(rng, np.column_stack(list(frame.values()))[order])
        frame = pd.DataFrame(frame).iloc[order].reset_index(drop=True)
        for j in range(self.n_columns):
            gone = self._gone(rng)
            if gone.any() and not (frame[j].dtype == bool or frame[j].dtype == object):
                frame[j] = frame[j].mask(pd.Series(gone))
        if self.infinite:
            j = next((j for j in frame if frame[j].dtype == float), None)
            if j is not None:
                frame.loc[0, j] = np.inf
        frame.columns = pd.Index([NAMES[self.names](j) for j in range(self.n_columns)])
        if self.container == "polars":
            import polars as pl

            frame.columns = [str(name) for name in frame.columns]
            return pl.from_pandas(frame, nan_to_null=self.seed % 2 == 0)
        return frame

    def _gone(self, rng) -> np.ndarray:
        gone = rng.random(self.n_rows) < self.holes
        if self.hole_rows:
            gone[:: max(self.n_rows // 3, 2)] = True
        return gone

    def _array(self, rng, X):
        if self.together:
            with np.errstate(all="ignore"):
                common = rng.normal(size=self.n_rows)[:, None] * np.nanstd(X, 0)
            X = np.where(np.isfinite(common), X + self.together * common, X)
        if self.container == "csr":
            # Spoilt by what hangs together or not: cells of a sparse matrix are counts here.
            X = scipy.sparse.csr_array(np.clip(np.rint(np.abs(X)), 0, 1e9))
            return X.astype(self.dtype if self.dtype in ("float32", "int64") else "float64")
        if not self._is_float:
            return _whole(X, self.dtype)
        for j in range(self.n_columns):
            X[self._gone(rng), j] = NAN
        if self.infinite:
            X[0, 0] = np.inf
        return _as_dtype(X, self.dtype)

    @property
    def _is_float(self) -> bool:
        return np.dtype(_DTYPES.get(self.dtype, self.dtype)).kind in "fO"


_DTYPES = {"list": "O", "fortran": "f8", "read-only": "f8"}


def _whole(X, dtype):
    with np.errstate(all="ignore"):
        if dtype == "bool":
            return X > 0
        info = np.iinfo(dtype)
        return np.clip(np.nan_to_num(X), float(info.min) / 4, float(info.max) / 4).astype(dtype)


def _as_dtype(X, dtype):
    if dtype == "list":
        return X.tolist()
    if dtype == "object":
        return np.where(np.isnan(X), None, X.astype(object))
    if dtype == "fortran":
        return np.asfortranarray(X)
    if dtype == "read-only":
        X.flags.writeable = False
        return X
    if dtype == "float16":
        X = np.where(np.isfinite(X), np.clip(X, -6e4, 6e4), X)
    if dtype == "float32":
        X = np.where(np.isfinite(X), np.clip(X, -3e38, 3e38), X)
    return X.astype(dtype)


# ---------------------------------------------------------------------------------- strategies

# Most tables are small, so that thousands are tried; the few large ones come in steps.
ROWS = [2, 3, 4, 5, 6, 7, 9, 12, 20, 33, 40, 60, 64, 65, 100, 150]
MANY_ROWS = [200, 333, 512, 700, 1000, 2000, 2049, 3000]
COLUMNS = [1, 2, 3, 4, 5, 7, 10]
MANY_COLUMNS = [16, 17, 33, 64, 100, 128, 200, 300]
# A table of more cells than this takes seconds.
MOST_CELLS = 15_000


@st.composite
def recipes(draw, large=False):
    """Recipes of tables; ``large`` ones have up to 3,000 rows and 300 columns."""
    container = draw(st.sampled_from(["array", "array", "pandas", "pandas", "polars", "csr"]))
    n_rows = draw(st.sampled_from(ROWS + MANY_ROWS * large))
    n_columns = draw(st.sampled_from(COLUMNS + MANY_COLUMNS * large))
    if n_rows * n_columns > MOST_CELLS:
        n_columns = max(MOST_CELLS // n_rows, 1)
    kinds = {"array": list(NUMBERS), "csr": list(COUNTS)}.get(container, list(KINDS))
    holes = st.sampled_from([0.0, 0.0, 0.05, 0.3, 0.9])
    return Recipe(
        kinds=tuple(draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=6))),
        n_rows=n_rows,
        n_columns=n_columns,
        container=container,
        dtype=draw(st.sampled_from(DTYPES)) if container in ("array", "csr") else "float64",
        names=draw(st.sampled_from(list(NAMES)))
        if container in ("pandas", "polars")
        else "letters",
        holes=0.0 if container == "csr" else draw(holes),
        hole_rows=container != "csr" and draw(st.sampled_from([False, False, True])),
        together=draw(st.sampled_from([0.0, 0.5, 3.0])) if container == "array" else 0.0,
        repeated=draw(st.sampled_from([0.0, 0.0, 0.5, 1.0])),
        infinite=container != "csr" and draw(st.sampled_from([False] * 15 + [True])),
        seed=draw(st.integers(0, 999)),
    )
