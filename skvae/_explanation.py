"""Which cells make a row an outlier, and what would be normal in their place."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from sklearn.utils.validation import _num_samples, check_is_fitted

from ._sources import by_parts
from .cellwise.attribution import Attribution, Written
from .cellwise.evidence import joined
from .scores import ConditionalScore
from .table import check_table
from .table.filling import filled
from .table.frames import container_of, labelled_as
from .table.per_cell import numbers_of, per_cell

# What the price of the code is called among the names of columns.
CODE = "(code)"
# Rows that tell what is typical of a column.
MOST_TYPICAL_ROWS = 2000


class ExplanationMixin:
    """Attribution of scores to cells, for detectors with a ``codec_``."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def _fit_explanation(self, X, held_out: np.ndarray) -> None:
        """Learn what is typical of each column, by a conditional model where it takes one."""
        evidence = self.score_.evidence(self)
        if evidence is None:
            evidence = ConditionalScore().fit(self, X, held_out).cells_
        rows = _safe_indexing(X, held_out[:MOST_TYPICAL_ROWS])
        with self._arithmetic():
            cells = evidence.prepare(self._joined(rows))
            self.attribution_ = Attribution(evidence, cells, self._device())
        self.typical_cells_ = np.zeros(self.n_features_in_ + evidence.has_rest)
        self.typical_cells_[self._modelled_places()] = self.attribution_.typical
        if evidence.has_rest:
            self.typical_cells_[-1] = self.attribution_.typical_rest

    @by_parts
    def explain(self, X, return_normal=False):
        """Say which cells make each row odd, and by how much.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        return_normal : bool, default=False
            Whether to say what would be normal, too.

        Returns
        -------
        contributions : pandas DataFrame of shape (n_samples, n_features)
            Nats that each cell adds to the score of its row beyond a typical cell of its column,
            the median of rows held out: negative for cells that make the row odd, NaN for
            missing cells, 0 for conditions and for constant columns that hold their value.  See
            Notes.
        normal : array or DataFrame of shape (n_samples, n_features)
            Most plausible value of each cell, also of missing ones, given the cells of its row
            that are not odd, in the container of ``X``; only with ``return_normal=True``.

        Notes
        -----
        One wrong cell makes others unlikely too, given it.  So a cell whose absence improves its
        row by 3 nats or more beyond what a typical cell would have added answers for all that
        its absence changes, the worst cell first and three at most; the others are judged
        without those.  Contributions, with ``typical_cells_`` added but for missing cells,
        therefore sum to a score without remainder, as in
        ``(detector.explain(X) + detector.typical_cells_).sum(axis=1)``:

        - ``score_function="conditional"``: that of the detector, the sum over cells of
          log p(cell | the others);
        - ``"elbo"``: that of the detector, the bound: E_q log p(cell | z) per cell, and a further
          column ``"(code)"`` for what the codes cost;
        - ``"likelihood"``: that of the detector, the terms of the bound with draws weighed by
          importance, and the rest in ``"(code)"``;
        - others, which are no sums over cells: the score ``"conditional"``, whose model the
          detector fits beside them.

        References
        ----------
        Rousseeuw and Van den Bossche, Detecting Deviating Data Cells, 2018.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skvae import VAEOutlierDetector
        >>> X, _ = load_iris(return_X_y=True, as_frame=True)
        >>> detector = VAEOutlierDetector(score_function="conditional", random_state=0).fit(X)
        >>> odd = X[:1].copy()
        >>> odd["petal length (cm)"] = 14.0  # 1.4, but for the point
        >>> detector.explain(odd).idxmin(axis=1).item()
        'petal length (cm)'
        """
        check_is_fitted(self)
        X = check_table(self, X, reset=False)
        attribution = self.attribution_
        with self._arithmetic():
            cells = attribution.evidence.prepare(self._joined(X))
            odd = attribution.odd(cells, self._device())
        out = np.zeros((len(odd.terms), self.n_features_in_))
        relative = np.where(cells.mask, odd.terms - attribution.typical, np.nan)
        out[:, self._modelled_places()] = relative
        departed = self.constants_.departed(X)
        places = self.constants_.places[: departed.shape[1]]
        out[:, places] = np.where(departed, -self.constants_.nats, 0.0)
        names = self._cell_names()
        if attribution.evidence.has_rest:
            names.append(CODE)
            out = np.column_stack([out, odd.rest - attribution.typical_rest])
        contributions = per_cell(X, names, out)
        if not return_normal:
            return contributions
        with self._arithmetic():
            values = attribution.normal(cells, odd, self._device())
        values = attribution.evidence.restored(values)
        normal = self.codec_.decode(values, container_of(X))
        if self.condition is not None:
            normal = self.codec_.given(X, f"{type(self).__name__}.explain").put_into(normal)
        return contributions, labelled_as(normal, X)

    @by_parts
    def repair(self, X, n_cells=1):
        """Change the cells of outliers that keep them from being normal.

        In each round one cell is changed to its most plausible value given the others: the
        likeliest category, or the mean on a scale that is logarithmic for far values; but a
        value that a slip explains (a point, a unit or a sign that is off, one letter of a word,
        numbers of two columns exchanged), if it is nearly as plausible.  It is the first of the
        cells that ``explain`` finds to answer for more than themselves, the others of these not
        being asked; where there is none, one that left the only value of its column in ``fit``,
        and then the one whose change raises the sum of ``explain`` most.  A row is left when
        ``predict`` calls it an inlier and it has no such cell, and an inlier as it is; missing
        cells stay missing.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        n_cells : int, default=1
            Most cells to change in a row.

        Returns
        -------
        repaired : array or DataFrame of shape (n_samples, n_features)
            The rows, in the container of ``X``.
        changed : pandas DataFrame of bool, shape (n_samples, n_features)
            Which cells were changed.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skvae import VAEOutlierDetector
        >>> X, _ = load_iris(return_X_y=True, as_frame=True)
        >>> detector = VAEOutlierDetector(score_function="conditional", random_state=0).fit(X)
        >>> odd = X[:1].copy()
        >>> odd["petal length (cm)"] = 14.0
        >>> repaired, changed = detector.repair(odd)
        >>> bool(repaired["petal length (cm)"].item() < 2.5)
        True
        """
        check_is_fitted(self)
        validate_parameter_constraints(
            {"n_cells": [Interval(Integral, 1, None, closed="left")]},
            {"n_cells": n_cells},
            f"{type(self).__name__}.repair",
        )
        X = check_table(self, X, reset=False)
        sparse_class = type(X) if issparse(X) else None
        X = X.toarray() if issparse(X) else X
        changed = np.zeros((_num_samples(X), self.n_features_in_), dtype=bool)
        numbers = numbers_of(X)
        started = self.predict(X) < 0
        for i in range(n_cells):
            odd = self.predict(X) < 0 if i else started
            where, table = self._replacements(X, numbers, ~changed & started[:, None], odd)
            if not where.any():
                break
            X, changed = filled(X, where, table), changed | where
        X = X if sparse_class is None else sparse_class(X)
        return X, per_cell(X, self._cell_names(), changed)

    def _replacements(self, X, numbers: np.ndarray, free: np.ndarray, searched: np.ndarray):
        """Where one of the free cells of a row is better replaced, and a table with it."""
        attribution, codec, places = self.attribution_, self.codec_, self._modelled_places()
        encoded, kinds = self._joined(X), [codec.columns_[j] for j in places]
        departed = np.zeros_like(free)
        found = self.constants_.departed(X)
        departed[:, self.constants_.places[: found.shape[1]]] = found
        departed &= free
        searched = searched & ~departed.any(1)
        written = Written(kinds, encoded.values.copy(), numbers[:, places])
        with self._arithmetic():
            cells = attribution.evidence.prepare(encoded)
            rows, columns, values = attribution.replacements(
                cells, written, free[:, places], searched, self._device()
            )
        # One cell of a row at a time, those that the model finds odd before constants.
        departed[rows] = False
        where = departed & (departed.cumsum(1) == 1)
        where[rows, places[columns]] = True
        cells.values[rows, columns] = values
        return where, codec.decode(attribution.evidence.restored(cells.values), container_of(X))

    def _cell_names(self) -> list:
        return [column.name for column in self.codec_.columns_]

    def _modelled_places(self) -> np.ndarray:
        return np.asarray(self.codec_.modelled_index_)

    def _joined(self, X):
        return joined([part for _, part in self._parts(X)[1]])
