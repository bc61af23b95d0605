"""Which parts of a model can be exported, and as what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..exceptions import ExportError


class Exporters:
    """What writes each kind of part as a graph, by the exact type of the part.

    A subclass is another part: what it changes of its base, its exporter must know of.

    Parameters
    ----------
    what : str
        What these parts are, for the error.

    Examples
    --------
    >>> from skvae.export.registry import Exporters
    >>> numbers = Exporters("number")
    >>> @numbers.of(int)
    ... def whole(number):
    ...     return "whole"
    >>> numbers(3)(3)
    'whole'
    >>> numbers(3.5)
    Traceback (most recent call last):
    ...
    skvae.exceptions.ExportError: The number 3.5 cannot be exported. Those that can be: int.
    """

    def __init__(self, what: str):
        self.what = what
        self.known: dict[type, Callable[..., Any]] = {}

    def of(self, *types: type) -> Callable[[Any], Any]:
        """Decorate the exporter of these types."""

        def register(exporter: Any) -> Any:
            self.known.update(dict.fromkeys(types, exporter))
            return exporter

        return register

    def __call__(self, part: Any) -> Any:
        """The exporter of a part.

        Raises
        ------
        ExportError
            If there is none.
        """
        if type(part) not in self.known:
            names = ", ".join(kind.__name__ for kind in self.known)
            raise ExportError(
                f"The {self.what} {part!r} cannot be exported. Those that can be: {names}."
            )
        return self.known[type(part)]
