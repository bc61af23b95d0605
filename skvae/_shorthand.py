"""Strings that stand for components, and what nested parameters make of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any


def expand_shorthands(
    owner: Any, nested: dict[str, Any], axes: Collection[str], resolve: Callable[[str, str], Any]
) -> dict[str, Any]:
    """Object behind each shorthand of ``owner`` that a nested parameter reaches into.

    ``objective__beta=4`` on ``objective="elbo"`` needs an ``ELBO()`` to set ``beta`` on.
    """
    reached = {key.split("__", 1)[0] for key in nested} & set(axes)
    given = {name: getattr(owner, name) for name in reached}
    return {name: resolve(name, v) for name, v in given.items() if isinstance(v, str)}


def outer_first(params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split parameters into those of the object itself and those of its parts."""
    own = {key: value for key, value in params.items() if "__" not in key}
    return own, {key: value for key, value in params.items() if "__" in key}
