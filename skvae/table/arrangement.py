"""The modelled columns of a codec in the order in which they are encoded."""

from collections.abc import Iterator
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np

from .columns import Column, ContinuousColumn
from .frames import Panel
from .units import Units


class Group(list):
    """Columns of one class that are encoded at once, with what they are encoded by.

    Parameters
    ----------
    columns : list of Column
    places : list of int
        Those in the table.
    start : int
        Place of the first among the modelled columns.
    """

    def __init__(self, columns, places, start):
        super().__init__(columns)
        self.places, self.slots = np.array(places), slice(start, start + len(columns))

    @cached_property
    def names(self) -> list:
        return [column.name for column in self]

    @cached_property
    def loc(self) -> np.ndarray:
        return np.array([column.loc for column in self])

    @cached_property
    def scale(self) -> np.ndarray:
        return np.array([column.scale for column in self])

    @cached_property
    def are_dates(self) -> np.ndarray:
        return np.array([column.form.role == "datetime" for column in self])


class Arrangement:
    """The modelled columns, made once of a codec that is fitted.

    Parameters
    ----------
    columns : list of Column
        All of the table.
    index : list of int
        Places of the modelled ones.
    """

    def __init__(self, columns, index):
        self.n_columns = len(columns)
        self.modelled: list[Column] = [columns[place] for place in index]
        self.groups: list[Group] = []
        self.slot_of = {place: slot for slot, place in enumerate(index)}
        for _, group in groupby(index, lambda place: type(columns[place])):
            places, start = list(group), sum(map(len, self.groups))
            self.groups.append(Group([columns[place] for place in places], places, start))
        self.is_linear = all(column.is_linear for column in self.modelled)
        self.indicated = [j for j, column in enumerate(self.modelled) if column.had_missing]

    def shares(self, panel: Panel) -> Iterator[tuple[Group, Any]]:
        """Yield groups of modelled columns of a panel, each with which of its columns they are."""
        if panel.position is None:
            for group in self.groups:
                everything = len(group) == panel.matrix.shape[1]
                yield group, slice(None) if everything else group.places
        elif panel.position in self.slot_of:
            slot = self.slot_of[panel.position]
            yield Group([self.modelled[slot]], [panel.position], slot), slice(None)

    @cached_property
    def units(self) -> Units | None:
        """Those of the inputs, where all are standardised numbers of no large mean, else None."""
        if (
            len(self.groups) != 1
            or self.indicated
            or type(self.modelled[0]) is not ContinuousColumn
        ):
            return None
        (group,) = self.groups
        if not all(column.form.role == "numeric" for column in group):
            return None
        return Units.of(group.places, group.loc, group.scale, self.n_columns)
