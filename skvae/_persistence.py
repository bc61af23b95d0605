"""What a saved model says about the skvae that wrote it."""

from __future__ import annotations

from ._version import __version__
from .exceptions import VersionError

KEY = "_skvae_version"


def stamp_version(state: dict) -> dict:
    """Add the version of skvae to the state of an estimator."""
    return {**state, KEY: __version__}


def check_version(state: dict, name: str) -> dict:
    """Take the version off the state; refuse what a newer major version wrote.

    Raises
    ------
    VersionError
        If the state comes from a newer major version.
    """
    written = state.get(KEY, __version__)
    if int(written.split(".")[0]) > int(__version__.split(".")[0]):
        raise VersionError(
            f"This {name} was saved by skvae {written}, and skvae {__version__} cannot read it. "
            f"Upgrade skvae to {written.split('.')[0]}.0 or newer."
        )
    return {name: value for name, value in state.items() if name != KEY}
