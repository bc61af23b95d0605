"""A fit that does not come to its end leaves the estimator as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import wraps
from typing import Any

from ._process import modes


def all_or_nothing(fit: Callable) -> Callable:
    """Let a method that trains put everything back when it ends in an error or an interrupt.

    Whoever catches it has the model of before, or none, and not parts of two.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> X, _ = load_iris(return_X_y=True)
    >>> vae = VAETransformer(2, max_iter=2, random_state=0).fit(X)
    >>> try:
    ...     vae.fit(X[:, :3] * float("inf"))
    ... except ValueError:
    ...     vae.transform(X).shape
    (150, 2)
    """

    @wraps(fit)
    def whole(self, *args, **kwargs):
        before, put_back_modes = dict(vars(self)), modes()
        # It is trained in place where training goes on, and others may hold it.
        vae = before.get("vae_")
        kept: Any = copy.deepcopy(vae)
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            put_back_modes()
            _become(self, before)
            if vae is not None:
                _become(vae, vars(kept))
            raise

    return whole


def _become(thing: Any, attributes: dict[str, Any]) -> None:
    own = thing.__dict__
    own.clear()
    own.update(attributes)
