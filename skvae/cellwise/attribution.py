"""Which cells make a row odd, and what would be normal in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .evidence import Cells, Evidence
from .slips import slips

ROWS_AT_ONCE = 4096
# Cells that are tried in each round, those least likely for their column first.
N_CANDIDATES = 8
# So many cells of a row are taken for its oddities at most.
MOST_ODD = 3
# A cell is one if the rest of its row is better without it by so many nats, beyond what a
# typical cell of its column loses.
LEAST_GAIN = 3.0
# A value that a slip explains is preferred to one that is more plausible by so many nats.
SLIP = 4.0


class Written(NamedTuple):
    """Cells as they stand in a table: columns of its codec, values of these, and numbers."""

    columns: Sequence
    values: np.ndarray
    numbers: np.ndarray

    def take(self, rows: np.ndarray) -> Written:
        """These rows."""
        return Written(self.columns, self.values[rows], self.numbers[rows])


class Odd(NamedTuple):
    """What each cell answers for, and which cells are odd.

    Parameters
    ----------
    terms : ndarray (rows, columns)
        Nats that sum, with the rest, to the scores.
    rest : ndarray (rows,)
    visible : ndarray of bool (rows, columns)
        Observed cells that are not odd.
    place : ndarray (rows, columns)
        In which order the odd ones were found.
    """

    terms: np.ndarray
    rest: np.ndarray
    visible: np.ndarray
    place: np.ndarray


class Attribution:
    """The score of a row as a sum over its cells, and cells that would raise it.

    One wrong cell makes the others unlikely too, given it.  Cells are therefore judged by what
    the whole row gains without them: the one with the largest gain is taken away and answers
    for all of it, and so on while there is such a cell.  What is left is judged cell by cell.
    As each cell answers for what its absence changes, the contributions sum to the score.

    Parameters
    ----------
    evidence : Evidence
        What the model says.
    cells : Cells
        Ordinary rows, which tell what is typical of a column.
    device : torch.device

    Attributes
    ----------
    typical : ndarray (columns,)
        Median term of the cells of each column, in nats and their units.
    typical_rest : float
        That of what is no cell's.

    References
    ----------
    Rousseeuw and Van den Bossche, Detecting Deviating Data Cells, 2018.
    """

    def __init__(self, evidence: Evidence, cells: Cells, device):
        self.evidence = evidence
        terms, rest = self._terms(cells, cells.mask, device)
        seen = np.where(cells.mask, terms, np.nan)
        with np.errstate(all="ignore"):
            filled = np.where(cells.mask.any(0), seen, 0.0)
        self.typical = np.nanmedian(filled, axis=0)
        self.typical_rest = float(np.median(rest))

    def odd(self, cells: Cells, device) -> Odd:
        """Take the odd cells of each row away, one after another."""
        n_rows = len(cells.values)
        parts = [
            self._odd(cells.take(np.arange(start, min(start + ROWS_AT_ONCE, n_rows))), device)
            for start in range(0, n_rows, ROWS_AT_ONCE)
        ]
        return Odd(*(np.concatenate(each) for each in zip(*parts)))

    def normal(self, cells: Cells, odd: Odd, device) -> np.ndarray:
        """Most plausible values ``(rows, columns)`` given the cells of a row that are not odd."""
        return self.evidence.guess(cells, odd.visible, device)

    def replacements(
        self, cells: Cells, written: Written, free: np.ndarray, searched: np.ndarray, device
    ) -> tuple[np.ndarray, ...]:
        """One cell of each row to replace, and by what.

        It is the first of the odd cells, by its most plausible value given the cells that are
        not odd; in a searched row without one, the cell whose replacement raises the score
        most.  A value that is one slip from the wrong one is preferred to a better one.

        Parameters
        ----------
        cells : Cells
        written : Written
            The same cells as they stand in the table.
        free : ndarray of bool (rows, columns)
            Cells that may be replaced; others of their rows have been.
        searched : ndarray of bool (rows,)
            Rows in which a cell is to be replaced though none is odd.
        device : torch.device

        Returns
        -------
        rows, columns : ndarray of int
            At most one cell per row.
        values : ndarray of float32
            What to put there.
        """
        asked = np.flatnonzero((free & cells.mask).any(1))
        if not len(asked):
            return asked, asked, np.empty(0, dtype=np.float32)
        cells, free = cells.take(asked), free[asked] & cells.mask[asked]
        written, searched = written.take(asked), searched[asked]
        odd = self.odd(cells, device)
        guesses = self.normal(cells, odd, device)
        place = np.where(free & ~odd.visible, odd.place, np.inf)
        rows = np.flatnonzero(np.isfinite(place).any(1))
        columns = place[rows].argmin(1)
        others = np.setdiff1d(np.flatnonzero(searched), rows)
        more_rows, more_columns = self._best_replacements(cells, free, guesses, others, device)
        rows, columns = np.append(rows, more_rows), np.append(columns, more_columns)
        # Numbers that may have changed places with one another.
        loose = (cells.mask & ~odd.visible) | (cells.mask & ~free)
        values = self._meant(
            cells, odd.visible, loose, rows, columns, guesses[rows, columns], written, device
        )
        return asked[rows], columns, values

    def _meant(self, cells, visible, loose, rows, columns, guesses, written: Written, device):
        """What each cell was meant to be, if it may be a slip, else the guess."""
        if not len(rows):
            return guesses
        options = []
        numeric = np.array([column.kind in ("continuous", "count") for column in written.columns])
        for i, j, guess in zip(rows, columns, guesses):
            others = written.numbers[i, loose[i] & numeric]
            found = slips(written.columns[j], written.values[i, j], written.numbers[i, j], others)
            options.append(np.append(guess, self.evidence.scaled(np.array(found), j)))
        cell = np.repeat(np.arange(len(rows)), [len(option) for option in options])
        tried = np.concatenate([*options, np.empty(0)]).astype(np.float32)
        changed, shown = cells.take(rows[cell]), visible[rows[cell]]
        at = np.arange(len(cell)), columns[cell]
        changed.values[at], shown[at] = tried, True
        terms, _ = self.evidence.terms(changed, shown, device)
        terms = terms[at]
        first = np.unique(cell, return_index=True)[1]
        # A slip may be a good deal less plausible than the best guess.
        bonus = np.full(len(cell), SLIP)
        bonus[first] = 0.0
        return tried[_best_of_each(cell, terms + bonus)]

    def _odd(self, cells: Cells, device) -> Odd:
        visible = cells.mask.copy()
        terms, rest = self._terms(cells, visible, device)
        found, place = np.zeros_like(terms), np.zeros(terms.shape)
        # A row whose cells are about as likely as typical ones has nothing to gain.
        lack = np.where(visible, self.typical - terms, 0.0).clip(min=0.0).sum(1)
        going = np.flatnonzero((visible.sum(1) > 1) & (lack >= LEAST_GAIN))
        for i in range(MOST_ODD):
            rows, columns = self._candidates(terms[going], visible[going])
            if not len(rows):
                break
            rows = going[rows]
            without = visible[rows]
            without[np.arange(len(rows)), columns] = False
            new_terms, new_rest = self._terms(cells.take(rows), without, device)
            change = terms[rows].sum(1) + rest[rows] - new_terms.sum(1) - new_rest
            gain = self.typical[columns] - change
            best = _best_of_each(rows, gain)
            best = best[gain[best] >= LEAST_GAIN]
            going, places = rows[best], columns[best]
            found[going, places], place[going, places] = change[best], i
            visible[going, places] = False
            terms[going], rest[going] = new_terms[best], new_rest[best]
            going = going[visible[going].sum(1) > 1]
        return Odd(np.where(visible, terms, found), rest, visible, place)

    def _best_replacements(self, cells: Cells, free, guesses, chosen, device):
        """Rows among the chosen ones and the cell of each that is best replaced."""
        cells, free, guesses = cells.take(chosen), free[chosen], guesses[chosen]
        if not len(chosen):
            return chosen, chosen
        before, rest = self.evidence.terms(cells, cells.mask, device)
        rows, columns = self._candidates(before - np.where(cells.mask, cells.log_slope, 0), free)
        changed = cells.take(rows)
        changed.values[np.arange(len(rows)), columns] = guesses[rows, columns]
        after, new_rest = self.evidence.terms(changed, changed.mask, device)
        gain = after.sum(1) + new_rest - before[rows].sum(1) - rest[rows]
        best = _best_of_each(rows, gain)
        best = best[gain[best] > 0]
        return chosen[rows[best]], columns[best]

    def _terms(self, cells: Cells, visible: np.ndarray, device) -> tuple[np.ndarray, np.ndarray]:
        """Terms in the units of the cells."""
        terms, rest = self.evidence.terms(cells, visible, device)
        return terms - np.where(visible, cells.log_slope, 0.0), rest

    def _candidates(self, terms: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the cells to try."""
        relative = np.where(visible, terms - self.typical, np.inf)
        order = np.argsort(relative, axis=1, kind="stable")[:, :N_CANDIDATES]
        rows = np.repeat(np.arange(len(order)), order.shape[1])
        columns = order.ravel()
        kept = visible[rows, columns]
        return rows[kept], columns[kept]


def _best_of_each(rows: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Places of the largest gain of each row, which stand side by side."""
    order = np.lexsort((-gain, rows))
    return order[np.unique(rows[order], return_index=True)[1]]
