"""Columns of labels, without and with an order."""

import numpy as np

from .columns import Column, ConstantColumn, is_empty
from .refusals import refuse_free_text, refuse_role, refuse_unseen

# A column of more categories than this keeps the most frequent ones and lets the rest share one.
MAX_CODES = 256


class CategoricalColumn(Column):
    """Labels, coded by their place among the observed ones.

    Of more than 256 labels the most frequent ones have codes of their own; the last code
    stands for all others, which have their shares within it.

    Parameters
    ----------
    categories : list
        The labels that have codes, in the order of the codes.
    rare : list
        The labels that share the last code, the most frequent one first.
    rare_shares : ndarray of float64
        How frequent they are within it.
    """

    kind = "categorical"

    def __init__(self, name, form, had_missing, categories, rare=(), rare_shares=()):
        super().__init__(name, form, had_missing)
        self.categories = categories
        self.rare = list(rare)
        self.rare_shares = np.asarray(rare_shares, dtype=np.float64)
        self.size = self.n_inputs = len(categories) + bool(self.rare)
        self.is_linear, self.draws_cells = not self.rare, bool(self.rare)

    def _details(self) -> str:
        others = f", rare={len(self.rare)}" if self.rare else ""
        return f"categories={self.categories!r}{others}"

    @classmethod
    def fit(cls, names, panel, weight, range_ratio):
        columns = zip(names, panel.forms, panel.matrix.T, strict=True)
        return [cls._of_cells(*column, panel.labels, weight) for column in columns]

    @classmethod
    def _of_cells(cls, name, form, cells, labels, weight) -> Column:
        if labels is None:
            cells, labels = _as_labels(cells)
        seen = ~np.isnan(cells)
        counts = np.bincount(cells[seen].astype(np.intp), None if weight is None else weight[seen])
        codes = np.flatnonzero(counts)
        if form.is_text:
            refuse_free_text(name, len(codes), len(cells))
        had_missing = not seen.all()
        categories = [labels[code] for code in codes]
        if len(codes) < 2:
            return _constant(name, form, had_missing, categories)
        if len(codes) <= MAX_CODES:
            return cls(name, form, had_missing, categories)
        return cls._with_rare(name, form, had_missing, categories, counts[codes])

    @classmethod
    def _with_rare(cls, name, form, had_missing, categories: list, counts) -> "CategoricalColumn":
        order = np.argsort(-counts, kind="stable")
        kept, others = np.sort(order[: MAX_CODES - 1]), order[MAX_CODES - 1 :]
        shares = counts[others] / counts[others].sum()
        common, rare = ([categories[code] for code in codes] for codes in (kept, others))
        return CategoricalColumn(name, form, had_missing, common, rare, shares)

    @classmethod
    def encode(cls, columns, panel, chosen, unknown, out, log_jacobian):
        observed = np.ones(out.shape, dtype=bool)
        for j, (column, cells) in enumerate(zip(columns, panel.matrix[:, chosen].T, strict=True)):
            labels = panel.labels
            if labels is None:
                if panel.forms[0].role == "datetime" and not is_empty(cells):
                    refuse_role(column.name, "datetime", column.form.role)
                cells, labels = _as_labels(cells)
            codes, log_share = column._codes(cells, labels, unknown)
            observed[:, j] = codes >= 0
            out[:, j] = np.maximum(codes, 0)
            if column.rare:
                log_jacobian[:, j] = -log_share
        return None if observed.all() else observed

    def _codes(self, cells, labels: list, unknown: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the codes of cells, -1 where there is none, and log shares within the codes."""
        place = {category: code for code, category in enumerate(self.categories + self.rare)}
        recode = np.array([place.get(label, -1) for label in labels] + [-1])
        index = np.where(np.isnan(cells), len(labels), cells).astype(np.intp)
        codes = recode[index]
        if unknown == "error":
            unseen = np.unique(index[codes < 0])
            found = [labels[code] for code in unseen if code < len(labels)]
            refuse_unseen(self.name, found, self.categories + self.rare)
        if not self.rare:
            return codes, None
        # The last share is that of a code of -1.
        log_shares = np.log(np.r_[np.ones(len(self.categories)), self.rare_shares, 1.0])
        return np.minimum(codes, self.size - 1), log_shares[codes]

    @classmethod
    def features(cls, columns, values, observed, out):
        out[:] = 0.0
        rows, start = np.arange(len(values)), 0
        for j, column in enumerate(columns):
            seen = rows if observed is None else np.flatnonzero(observed[:, j])
            out[seen, start + values[seen, j].astype(np.intp)] = 1.0
            start += column.size

    def decode(self, values, uniform=None):
        codes = np.clip(np.rint(values), 0, self.size - 1)
        if self.rare and uniform is not None:
            shared = codes == self.size - 1
            upto = np.cumsum(self.rare_shares)
            drawn = np.searchsorted(upto, uniform[shared] * upto[-1], side="right")
            codes[shared] += np.minimum(drawn, len(self.rare) - 1)
        labels = self.categories + self.rare
        if self.form.role == "categorical":
            return codes, labels
        # Numbers that are taken for labels.
        cells = np.array([*labels, np.nan], dtype=np.float64)
        return cells[np.where(np.isnan(codes), len(labels), codes).astype(np.intp)], None


class OrdinalColumn(CategoricalColumn):
    """Labels in an order: that which the table declares, or that of numbers."""

    kind = "ordinal"


def _constant(name, form, had_missing, categories: list) -> ConstantColumn:
    return ConstantColumn(name, form, had_missing, categories[0] if categories else None)


def _as_labels(cells: np.ndarray) -> tuple[np.ndarray, list]:
    """Read numbers as categories, for a column that came as such in fit."""
    missing = np.isnan(cells)
    labels, codes = np.unique(np.where(missing, np.nan, cells), return_inverse=True)
    return np.where(missing, np.nan, codes), labels[~np.isnan(labels)].tolist()
