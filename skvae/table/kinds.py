"""Kinds of columns: which classes there are, and which one a column gets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .bins import BinnedColumn
from .categories import CategoricalColumn, OrdinalColumn
from .columns import Column, ContinuousColumn
from .detection import detected
from .discrete import BinaryColumn, CountColumn
from .frames import Panel
from .positive import PositiveColumn
from .ranks import RankColumn
from .row_sizes import SizedCountColumn
from .tokens import TokenColumn

# The modelled columns are grouped in this order, and blocks have one kind each.
CLASSES: tuple[type[Column], ...] = (
    ContinuousColumn,
    PositiveColumn,
    RankColumn,
    CountColumn,
    SizedCountColumn,
    BinaryColumn,
    CategoricalColumn,
    BinnedColumn,
    OrdinalColumn,
    TokenColumn,
)
NUMERIC: dict[str, type[Column]] = {
    "continuous": ContinuousColumn,
    "count": CountColumn,
    "binary": BinaryColumn,
    "token": TokenColumn,
}
MARGINS: dict[str, type[Column]] = {"scale": ContinuousColumn, "rank": RankColumn}

_LABELS: dict[str, type[Column]] = {"categorical": CategoricalColumn, "ordinal": OrdinalColumn}
# Kinds that only models of whole rows have; elsewhere such columns are categorical.
_ONLY_ROWS = ("ordinal", "token")
# What may be asked for, by the role that a column's dtype gives it.
_ALLOWED: dict[str, dict[str, type[Column]]] = {
    "numeric": {**NUMERIC, "positive": PositiveColumn, **_LABELS},
    "boolean": {kind: NUMERIC[kind] for kind in ("continuous", "count", "binary")} | _LABELS,
    "categorical": {"binary": CategoricalColumn, **_LABELS},
    "datetime": {"datetime": ContinuousColumn, "continuous": ContinuousColumn},
}
COLUMN_KINDS = tuple(dict.fromkeys(kind for kinds in _ALLOWED.values() for kind in kinds))


class Kinds:
    """Rules by which columns get their classes.

    Parameters
    ----------
    numeric : {"continuous", "count", "binary", "auto"}
    margins : {"scale", "rank"}
    column_kinds : dict or None
        Kinds by name.
    ordered : bool
        Whether categories in a declared order are ordinal, and tokens have a kind of their own;
        elsewhere any order is ignored.
    """

    def __init__(self, numeric: str, margins: str, column_kinds: dict | None, ordered: bool):
        self.numeric, self.margins, self.ordered = numeric, margins, ordered
        self.asked = dict(column_kinds or {})

    def check(self, names: Iterable) -> None:
        """Raise for names that the table lacks and for kinds that there are not."""
        known = list(names)
        unknown = [name for name in self.asked if name not in known]
        if unknown:
            raise ValueError(
                f"column_kinds names columns that the table does not have: "
                f"{', '.join(map(repr, unknown[:5]))}. Its columns are "
                f"{', '.join(map(repr, known[:10]))}{', ...' if len(known) > 10 else ''}."
            )
        for name, kind in self.asked.items():
            if kind not in COLUMN_KINDS:
                raise ValueError(
                    f"column_kinds of column {name!r} should be one of "
                    f"{', '.join(map(repr, COLUMN_KINDS))}, got {kind!r}."
                )

    def classes(
        self, names: list, panel: Panel, weight: np.ndarray | None, is_frame: bool
    ) -> list[type[Column]]:
        """Return the class of each column of a panel."""
        role = panel.forms[0].role
        chosen = getattr(self, f"_of_{role}")(panel, weight, is_frame)
        for j, name in enumerate(names):
            if name in self.asked:
                chosen[j] = self._asked(name, panel)
        return [MARGINS[self.margins] if kind is ContinuousColumn else kind for kind in chosen]

    def _of_numeric(self, panel, weight, is_frame):
        if self.numeric != "auto":
            return [NUMERIC[self.numeric]] * len(panel.forms)
        found = detected(panel, weight, is_frame)
        if self.margins == "scale":
            return found
        # Ranks need no shape: only flags are told apart.
        return [kind if kind is BinaryColumn else ContinuousColumn for kind in found]

    def _of_boolean(self, panel, weight, is_frame):
        return [BinaryColumn] * len(panel.forms)

    def _of_categorical(self, panel, weight, is_frame):
        ordered = self.ordered and panel.forms[0].ordered
        return [OrdinalColumn if ordered else CategoricalColumn]

    def _of_datetime(self, panel, weight, is_frame):
        return [ContinuousColumn]

    def _asked(self, name: Any, panel: Panel) -> type[Column]:
        kind, form = self.asked[name], panel.forms[0]
        allowed = dict(_ALLOWED[form.role])
        if form.is_text:
            del allowed["ordinal"]
        labels = [] if panel.labels is None else _observed(panel)
        if kind == "binary" and len(labels) > 2:
            raise ValueError(
                f"column_kinds takes column {name!r} for binary, but it holds {len(labels)} "
                f"labels, among them {labels[2]!r}. Use 'categorical'."
            )
        if kind not in allowed:
            cell = f", for example {labels[0]!r}" if labels else ""
            raise ValueError(
                f"column_kinds takes column {name!r} for {kind}, but its dtype is {form.dtype}"
                f"{cell}: it can be {' or '.join(map(repr, allowed))}. {_repair(kind, name)}."
            )
        return allowed[kind] if self.ordered or kind not in _ONLY_ROWS else CategoricalColumn


def _observed(panel: Panel) -> list:
    cells = panel.matrix[:, 0]
    codes = np.unique(cells[~np.isnan(cells)]).astype(np.intp)
    return [panel.labels[code] for code in codes]  # type: ignore[index]


def _repair(kind: str, name: Any) -> str:
    if kind == "datetime":
        return "Turn it into dates first, as by pandas.to_datetime"
    if kind == "ordinal":
        return "Declare the order, as by pandas.Categorical(..., categories=[...], ordered=True)"
    return f"Turn it into numbers first, as by df[{name!r}].astype(float), or choose one of these"
