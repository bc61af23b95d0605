"""Numbers by pieces between quantiles, for what is not linear in them."""

from __future__ import annotations

import numpy as np

MOST_PIECES, ROWS_PER_PIECE = 8, 50
# Rows that tell whether pieces are of use.
MOST_ROWS = 10_000


class Pieces:
    """How much of each interval between quantiles of a column lies below a number, standardised.

    What is linear in the pieces is continuous and bends at the quantiles.  A column has a piece
    for 50 rows, eight at most, fewer where values recur, and none instead of a single one.

    Parameters
    ----------
    values : ndarray (rows, columns)
        Numbers to learn the quantiles from.
    observed : ndarray of bool (rows, columns)
    weight : ndarray (rows,) or None
        Weights of the rows.

    Attributes
    ----------
    columns : ndarray of int (pieces,)
        The column of each piece.
    edge, width : ndarray (pieces,)
        Where it starts, and how long it is.
    loc, scale : ndarray (pieces,)
        Mean and standard deviation of its share.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0.0, 8.0, 401)[:, None]
    >>> pieces = Pieces(x, np.ones(x.shape, dtype=bool), None)
    >>> pieces.edge
    array([0., 1., 2., 3., 4., 5., 6., 7.])
    >>> pieces(np.array([[0.0], [0.5], [8.0]]))[:, 0].round(1)
    array([-4.8, -2.2,  0.3], dtype=float32)

    References
    ----------
    Gorishniy et al., On Embeddings for Numerical Features in Tabular Deep Learning, 2022.
    """

    def __init__(self, values: np.ndarray, observed: np.ndarray, weight: np.ndarray | None):
        found = [
            _intervals(cells[seen], None if weight is None else weight[seen])
            for cells, seen in zip(values.T.astype(np.float64), observed.T)
        ]
        n_pieces = [len(edge) for edge, _ in found]
        self.columns = np.repeat(np.arange(len(found)), np.array(n_pieces, dtype=int))
        self.edge = np.concatenate([edge for edge, _ in found] or [np.empty(0)])
        self.width = np.concatenate([width for _, width in found] or [np.empty(0)])
        share = self._share(values)
        w = np.ones(len(values)) if weight is None else weight
        self.loc = w @ share / w.sum()
        self.scale = np.maximum(np.sqrt(w @ (share - self.loc) ** 2 / w.sum()), 1e-3)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Pieces ``(rows, pieces)`` of numbers ``(rows, columns)``."""
        return ((self._share(values) - self.loc) / self.scale).astype(np.float32)

    def useful(self, values, inputs, targets, weight: np.ndarray | None) -> Pieces:
        """Those of the columns that explain some target better in pieces, by the BIC.

        Parameters
        ----------
        values : ndarray (rows, columns)
        inputs : ndarray (rows, n_inputs)
            What explains the targets linearly in any case.
        targets : ndarray (rows, n_targets)
        weight : ndarray (rows,) or None

        References
        ----------
        Schwarz, Estimating the Dimension of a Model, 1978.
        """
        rows = slice(None, None, max(len(values) // MOST_ROWS, 1))
        w = np.ones(len(values)) if weight is None else weight
        root = np.sqrt(w[rows] / w[rows].mean())[:, None]
        n_rows = len(root)
        plain = np.hstack([np.ones_like(root), inputs[rows]]) * root
        more = self(values[rows]) * root
        # What the inputs leave of the targets and of the pieces.
        left = _left(plain, np.hstack([targets[rows] * root, more]))
        targets, more = left[:, : targets.shape[1]], left[:, targets.shape[1] :]
        before = np.sum(targets**2, 0)
        kept = np.zeros(len(self.columns), dtype=bool)
        for column in np.unique(self.columns):
            own = self.columns == column
            after = np.sum(_left(more[:, own], targets) ** 2, 0)
            least = np.finfo(np.float32).eps * n_rows
            gain = n_rows * np.log((before + least) / (after + least))
            kept[own] = (gain > own.sum() * np.log(n_rows)).any()
        self.columns = self.columns[kept]
        for name in ("edge", "width", "loc", "scale"):
            setattr(self, name, getattr(self, name)[kept])
        return self

    def _share(self, values: np.ndarray) -> np.ndarray:
        x = values.astype(np.float64)[:, self.columns]
        return np.clip((x - self.edge) / self.width, 0.0, 1.0)


def _left(explaining: np.ndarray, explained: np.ndarray) -> np.ndarray:
    """What a linear regression leaves."""
    return explained - explaining @ np.linalg.lstsq(explaining, explained, rcond=None)[0]


def _intervals(cells: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    n_pieces = min(len(cells) // ROWS_PER_PIECE, MOST_PIECES)
    if n_pieces < 2:
        return np.empty(0), np.empty(0)
    shares = np.linspace(0.0, 1.0, n_pieces + 1)
    edges = np.unique(np.quantile(cells, shares, weights=weight, method="inverted_cdf"))
    if len(edges) < 3:
        return np.empty(0), np.empty(0)
    return edges[:-1], np.diff(edges)
