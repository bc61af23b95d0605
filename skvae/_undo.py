"""A fit that does not come to its end leaves the estimator as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


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
        before, with_gradients = dict(vars(self)), torch.is_grad_enabled()
        # It is trained in place where training goes on, and others may hold it.
        vae = before.get("vae_")
        kept: Any = copy.deepcopy(vae)
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            # Those of torch that turn gradients off lose track of an interrupt on their way in.
            torch.set_grad_enabled(with_gradients)
            _become(self, before)
            if vae is not None:
                _become(vae, vars(kept))
            raise

    return whole


def _become(thing: Any, attributes: dict[str, Any]) -> None:
    own = thing.__dict__
    own.clear()
    own.update(attributes)
