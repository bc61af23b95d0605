"""What a saved model says about the skvae that wrote it, and whether it is one."""

from __future__ import annotations

from typing import Any

import torch

from ._state import check_attributes
from ._version import __version__
from .exceptions import StateError, VersionError

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
    StateError
        If it does not tell a version.
    """
    written = state.get(KEY, __version__)
    if not isinstance(written, str) or not written.split(".")[0].isdigit():
        raise StateError(
            f"This {name} was saved by skvae {written!r}, which is no version: the file is "
            "damaged. Save the model again."
        )
    if int(written.split(".")[0]) > int(__version__.split(".")[0]):
        raise VersionError(
            f"This {name} was saved by skvae {written}, and skvae {__version__} cannot read it. "
            f"Upgrade skvae to {written.split('.')[0]}.0 or newer."
        )
    return {name: value for name, value in state.items() if name != KEY}


def checked_state(state: Any, cls: type) -> dict:
    """Take the version off the state of an estimator, and refuse what is no state.

    Raises
    ------
    VersionError, StateError
        As ``check_version``, and if the state holds what is no data.
    """
    check_attributes(cls, state)
    return check_version(state, cls.__name__)


def check_shapes(estimator: Any) -> None:
    """Refuse a model whose weights do not fit one another, or its table, by a row of zeros.

    Raises
    ------
    StateError
        If the row does not go through.
    """
    vae, codec = (vars(estimator).get(name) for name in ("vae_", "codec_"))
    if vae is None or codec is None:
        return
    try:
        inputs = torch.zeros(vae.n_members, 1, 1, codec.n_inputs_ + codec.n_conditions_)
        with torch.no_grad():
            cells = vae.decode(vae.infer(inputs).mean, vae.conditions(inputs)).point
        # Wide enough is not enough: weights are padded.
        if cells.shape[-1] != codec.n_modelled_:
            raise ValueError(f"{cells.shape[-1]} columns came out")
    except (RuntimeError, IndexError, ValueError) as error:
        raise StateError(
            f"The weights of this saved {type(estimator).__name__} do not fit one another, or "
            f"its table of {codec.n_modelled_} columns ({error}): the file is damaged. Save "
            "the model again."
        ) from error
