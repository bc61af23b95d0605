"""Columns of tokens: the places of sequences over one alphabet."""

import numpy as np

from .columns import Column, ConstantColumn, NumericColumn
from .refusals import refuse_infinite
from .statistics import chunks, extremes

MAX_TOKENS = 1024


class TokenColumn(NumericColumn):
    """A place of a sequence of tokens, which are numbered from 0.

    The columns of a table share one alphabet, so that a token may stand where `fit` has not
    seen it.  A place that no sequence of `fit` reaches, all of it missing, is not modelled.

    Parameters
    ----------
    size : int
        Number of tokens.
    """

    kind = "token"
    domain = f"whole numbers from 0 to {MAX_TOKENS - 1}"
    remedy = (
        "Turn strings into such numbers by skvae.TokenEncoder, or use "
        'column_kinds={{{name!r}: "continuous"}}.'
    )

    def __init__(self, name, form, had_missing, size):
        super().__init__(name, form, had_missing)
        self.size = self.n_inputs = int(size)

    def _details(self) -> str:
        return f"size={self.size}"

    @staticmethod
    def outside(cells):
        finite = np.isfinite(cells)
        return (cells < 0) | (finite & ((cells != np.rint(cells)) | (cells >= MAX_TOKENS)))

    @classmethod
    def fit(cls, names, panel, weight, range_ratio):
        for rows in chunks(*panel.matrix.shape):
            cls.check(names, panel.matrix[rows], rows.start)
        _, high = extremes(panel.matrix)
        had_missing = np.isnan(panel.matrix).any(0)
        columns: list[Column] = []
        for name, form, top, gaps in zip(names, panel.forms, high, had_missing, strict=True):
            if np.isinf(top):
                refuse_infinite(name)
            if np.isnan(top):
                columns.append(ConstantColumn(name, form, True, None))
            else:
                columns.append(cls(name, form, gaps, top + 1))
        return columns

    @classmethod
    def encode(cls, columns, panel, chosen, unknown, out, log_jacobian):
        observed = super().encode(columns, panel, chosen, unknown, out, log_jacobian)
        new = out >= columns[0].size
        if not new.any():
            return observed
        row, j = np.argwhere(new)[0]
        if unknown == "error":
            raise ValueError(
                f"Column {columns[j].name!r} holds a token unseen in fit: {out[row, j]:.0f} in "
                f"row {row}, where those of all token columns go from 0 to {columns[0].size - 1}. "
                'Use unknown="missing" to treat such tokens as missing cells.'
            )
        out[new] = 0.0
        return ~new if observed is None else observed & ~new

    @classmethod
    def features(cls, columns, values, observed, out):
        out[:] = 0.0
        seen = np.ones(values.shape, dtype=bool) if observed is None else observed
        rows, places = np.nonzero(seen)
        out[rows, places * columns[0].size + values[rows, places].astype(np.intp)] = 1.0

    def decode(self, values, uniform=None):
        return np.clip(np.rint(values), 0, self.size - 1), None


def share_alphabet(columns: list) -> None:
    """Let all columns of tokens have as many as the largest of them."""
    tokens = [column for column in columns if isinstance(column, TokenColumn)]
    size = max((column.size for column in tokens), default=0)
    for column in tokens:
        column.size = column.n_inputs = size
