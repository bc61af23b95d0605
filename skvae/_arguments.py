"""Arguments that methods of several estimators share: counts, and the generator of a call."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state


def check_count(asker: str, name: str, value) -> int:
    """The number of something as an int.

    Raises
    ------
    TypeError, ValueError
        If it is no integer; if it is less than 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae._arguments import check_count
    >>> check_count("VAETransformer.sample", "n_samples", np.int64(3))
    3
    """
    if not isinstance(value, Integral) or value < 1:
        error = ValueError if isinstance(value, Integral) else TypeError
        raise error(f"{asker} expects {name} to be an integer of at least 1, got {value!r}.")
    return int(value)


def generator_of(estimator, random_state) -> np.random.RandomState:
    """Generator of a call; None stands for that of the constructor."""
    return check_random_state(estimator.random_state if random_state is None else random_state)


def seed_of(estimator, random_state) -> int:
    """A seed drawn from the generator of a call."""
    return generator_of(estimator, random_state).randint(np.iinfo(np.int32).max)
