"""Date-times as seconds since 1970 in UTC, and back."""

import numpy as np

from .frames import Form

# Coarsest first: a day, an hour, a minute, a second, a millisecond.
_STEPS = (86_400.0, 3_600.0, 60.0, 1.0, 1e-3)
# Ticks per second by unit.
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# NumPy's missing date-time.
_MISSING = np.iinfo(np.int64).min


def read_ticks(ticks: np.ndarray, missing: np.ndarray, unit: str) -> np.ndarray:
    """Return seconds of whole ticks, NaN where missing."""
    per_second = TICKS[unit]
    whole, rest = np.divmod(np.where(missing, 0, ticks), per_second)
    return np.where(missing, np.nan, whole + rest / per_second)


def date_form(dtype: str, seconds: np.ndarray, zone: str | None) -> Form:
    """Return the form of a column of date-times, their resolution included."""
    seen = seconds[~np.isnan(seconds)]
    found = (step for step in _STEPS if step >= 1 and not (seen % step).any())
    step = next(found, 0.0)
    if not step and len(seen) and not np.abs(seen * 1e3 - np.rint(seen * 1e3)).max() > 1e-3:
        step = _STEPS[-1]
    return Form("datetime", dtype, zone=zone, step=step)


def write_ticks(seconds: np.ndarray, step: float, unit: str) -> np.ndarray:
    """Return ``datetime64`` of this unit, at this resolution, NaT where NaN.

    Examples
    --------
    >>> import numpy as np
    >>> write_ticks(np.array([86_400.0 * 365.2, np.nan]), 86_400.0, "s")
    array(['1971-01-01T00:00:00',                 'NaT'], dtype='datetime64[s]')
    """
    missing = np.isnan(seconds)
    seconds = np.where(missing, 0.0, seconds)
    if step:
        seconds = np.rint(seconds / step) * step
    # The largest date-time of the unit, a little less because float64 rounds.
    largest = (2.0**63 - 2.0**11) / TICKS[unit]
    seconds = np.clip(seconds, -largest, largest)
    whole = np.floor(seconds)
    rest = np.rint((seconds - whole) * TICKS[unit]).astype(np.int64)
    ticks = whole.astype(np.int64) * TICKS[unit] + rest
    return np.where(missing, _MISSING, ticks).view(f"datetime64[{unit}]")
