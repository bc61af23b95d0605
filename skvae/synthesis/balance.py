"""Balance: of more rows than are wanted, those that count together as the real ones do."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from .raking import edges_of

# Bins of a column, where pairs of columns are counted, in the leaves of a tree, and where it
# may be split.
PAIR_BINS = 16
LEAF_BINS = 4
SPLIT_BINS = 64
# Real rows in a bin and in a leaf at least.
BIN_ROWS = 20
LEAF_ROWS = 40
# Real rows in a cell at least; rarer ones of a pair of columns, or a leaf, are counted together.
CELL_ROWS = 20
# A cell in which fewer rows are looked for is counted with those that are too rare.
FEWEST = 2
# Wider tables are balanced on so many of their columns, and on the pairs that depend most.
MOST_COLUMNS = 64
MOST_PAIRS = 256
# Rows are exchanged so often at most, this share of them at first.
N_EXCHANGES = 200
FIRST_SHARE = 0.02


class Leaves:
    """The leaves of a tree that learns one column from the others.

    Parameters
    ----------
    codes : ndarray of int (rows, columns)
        Bins.
    j : int
        Which column is learned.
    is_code : bool
        Whether its bins have no order.
    seed : int
    """

    def __init__(self, codes: np.ndarray, j: int, is_code: bool, seed: int):
        kind = DecisionTreeClassifier if is_code else DecisionTreeRegressor
        others = codes.copy()
        others[:, j] = 0
        model = kind(min_samples_leaf=LEAF_ROWS, random_state=seed).fit(others, codes[:, j])
        tree = model.tree_
        self.depth, self.size = tree.max_depth, tree.node_count
        # A leaf is its own child.
        node = np.arange(tree.node_count)
        self.children = np.stack(
            [np.where(c < 0, node, c) for c in (tree.children_left, tree.children_right)]
        )
        self.column = np.maximum(tree.feature, 0)
        self.limit = tree.threshold.copy()

    def place(self, codes: np.ndarray) -> np.ndarray:
        """Node in which each row ends."""
        rows, node = np.arange(len(codes)), np.zeros(len(codes), dtype=np.intp)
        for _ in range(self.depth):
            right = codes[rows, self.column[node]] > self.limit[node]
            node = self.children[right.astype(np.intp), node]
        return node


class Count(NamedTuple):
    """Two partitions that are crossed.

    Attributes
    ----------
    first, second : int
        Which ones.
    width : int
        Parts of the second.
    number : ndarray of int
        Number of each cell; 0 for all that are too rare.
    share : ndarray
        Share of the real rows in each number.
    """

    first: int
    second: int
    width: int
    number: np.ndarray
    share: np.ndarray


class Balance:
    """Counts of a table with which those of drawn rows are to agree.

    They are those of pairs of columns in bins, and of each column in the leaves of a tree that
    learns it from the others.  Independent rows of the best model would miss them by the square
    root of their expectation.

    Parameters
    ----------
    real : ndarray (rows, columns)
        Features, without gaps.
    categorical : sequence of bool
        Which columns are codes of categories.
    seed : int

    References
    ----------
    Deville and Tille, Efficient Balanced Sampling: the Cube Method, 2004.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.RandomState(0)
    >>> real = rng.normal(size=(500, 2)) @ [[1.0, 0.8], [0.0, 0.6]]
    >>> drawn = rng.normal(size=(1000, 2))
    >>> kept = Balance(real, [False, False], 0).choose(drawn, 400, rng)
    >>> correlation = np.corrcoef(drawn[kept].T)[0, 1]
    >>> len(np.unique(kept)), bool(correlation > 0.5)
    (400, True)
    """

    def __init__(self, real: np.ndarray, categorical, seed: int):
        n_columns = real.shape[1]
        order = np.random.RandomState(seed).permutation(n_columns)
        self.columns = np.sort(order[:MOST_COLUMNS])
        is_code = [categorical[j] for j in self.columns]
        self.edges = [
            [edges_of(real[:, j], categorical[j], n, BIN_ROWS) for j in self.columns]
            for n in (PAIR_BINS, LEAF_BINS, SPLIT_BINS)
        ]
        codes = self._bins(real, 2)
        self.leaves = [Leaves(codes, j, code, seed) for j, code in enumerate(is_code)]
        places, n = self._places(real), len(self.columns)
        widths = [len(e) + 1 for edges in self.edges[:2] for e in edges]
        widths += [leaves.size for leaves in self.leaves]
        pairs = [(i, j) for i, j in combinations(range(n), 2)]
        if len(pairs) > MOST_PAIRS:
            strength = [-_dependence(places[i], places[j]) for i, j in pairs]
            pairs = [pairs[k] for k in np.sort(np.argsort(strength)[:MOST_PAIRS])]
        self.counts: list[Count] = []
        crossed = [(*pair, False) for pair in pairs]
        crossed += [(2 * n + j, n + j, True) for j in range(n)]
        for first, second, apart in crossed:
            joint = places[first] * widths[second] + places[second]
            found = np.bincount(joint, minlength=widths[first] * widths[second])
            own = found >= CELL_ROWS
            # Number 0 is for what is too rare; each leaf has one of its own for that.
            rest = np.repeat(np.arange(1, widths[first] + 1), widths[second]) * apart
            number = np.where(own, np.cumsum(own) + rest.max(), rest)
            share = np.bincount(number, found) / len(real)
            self.counts.append(Count(first, second, widths[second], number, share))

    def choose(self, drawn: np.ndarray, n: int, rng) -> np.ndarray:
        """Choose ``n`` of the rows.

        Parameters
        ----------
        drawn : ndarray (rows, columns)
            Features, independent of one another.
        n : int
        rng : RandomState

        Returns
        -------
        ndarray of int (n,)
            Increasing.
        """
        cells = self._cells(drawn)
        wanted: list[float] = []
        weight: list[float] = []
        for k, count in enumerate(self.counts):
            expected = count.share * n
            rare = np.flatnonzero(expected < FEWEST)
            expected[0] += expected[rare[rare > 0]].sum()
            merged = np.arange(len(expected))
            merged[rare] = 0
            cells[:, k] = merged[cells[:, k]] + len(wanted)
            # Rounded at random: few rows of many calls are to agree on the average, too.
            wanted.extend(np.floor(expected + rng.uniform(size=len(expected))))
            weight.extend(1.0 / (expected + 1.0))
        return _exchange(cells, np.asarray(wanted), np.asarray(weight), n, rng)

    def _bins(self, features: np.ndarray, k: int) -> np.ndarray:
        columns = zip(self.edges[k], features[:, self.columns].T)
        return np.stack([np.searchsorted(e, cells, side="right") for e, cells in columns], 1)

    def _places(self, features: np.ndarray) -> list[np.ndarray]:
        """Bins of each column for pairs, those for leaves, and the leaf in each tree."""
        pairs, coarse, codes = (self._bins(features, k) for k in range(3))
        return [*pairs.T, *coarse.T, *(leaves.place(codes) for leaves in self.leaves)]

    def _cells(self, features: np.ndarray) -> np.ndarray:
        """Number of the cell of each row in each count."""
        places = self._places(features)
        joint = (c.number[places[c.first] * c.width + places[c.second]] for c in self.counts)
        return np.stack(list(joint), 1)


def _exchange(cells, wanted: np.ndarray, weight: np.ndarray, n: int, rng) -> np.ndarray:
    """Exchange chosen rows for others while the weighed squares of the differences fall."""
    n_cells = len(wanted)
    indptr = np.arange(len(cells) + 1) * cells.shape[1]
    within = csr_array((np.ones(cells.size), cells.ravel(), indptr), (len(cells), n_cells))
    chosen = np.arange(len(cells)) < n
    apart = np.bincount(cells[:n].ravel(), minlength=n_cells) - wanted
    loss, alone = weight @ apart**2, within @ weight
    size = max(int(FIRST_SHARE * n), 1)
    for _ in range(N_EXCHANGES):
        pull = 2.0 * (within @ (weight * apart))
        # A random half of the rows: the same ones would be best again and again.
        half = rng.uniform(size=len(cells)) < 0.5
        inside, outside = np.flatnonzero(chosen & half), np.flatnonzero(~chosen & half)
        size = min(size, len(inside), len(outside))
        if not size:
            break
        leaving = inside[np.argpartition(alone[inside] - pull[inside], size - 1)[:size]]
        coming = outside[np.argpartition(alone[outside] + pull[outside], size - 1)[:size]]
        change = np.bincount(cells[coming].ravel(), minlength=n_cells)
        change -= np.bincount(cells[leaving].ravel(), minlength=n_cells)
        after = weight @ (apart + change) ** 2
        if after < loss:
            chosen[leaving], chosen[coming] = False, True
            apart, loss = apart + change, after
        else:
            size //= 2
    return np.flatnonzero(chosen)


def _dependence(first: np.ndarray, second: np.ndarray) -> float:
    """How much more than by chance two columns of bins depend: chi-squared over its mean."""
    width = int(second.max()) + 1
    found = np.bincount(first * width + second, minlength=(int(first.max()) + 1) * width)
    found = found.reshape(-1, width)
    found = found[np.ix_(found.any(1), found.any(0))]
    expected = np.outer(found.sum(1), found.sum(0)) / found.sum()
    free = max((found.shape[0] - 1) * (found.shape[1] - 1), 1)
    return float(((found - expected) ** 2 / expected).sum() / free)
