"""A bias potential along one direction of space."""

from __future__ import annotations

import numpy as np


class Bias:
    """Energy along ``chi = x @ coef``, by interpolation; beyond the grid that of its end.

    Parameters
    ----------
    coef : ndarray (n_features,)
        The direction.
    grid : ndarray (n_points,)
        Values of chi, rising.
    energy : ndarray (n_points,)
        Bias there, in the unit of the thermal energy.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.rave import Bias
    >>> bias = Bias(np.array([0.0, 1.0]), np.array([0.0, 2.0]), np.array([0.0, 3.0]))
    >>> bias([[9.0, 1.0], [9.0, 5.0]]).tolist(), bias.gradient([[9.0, 1.0]]).tolist()
    ([1.5, 3.0], [[0.0, 1.5]])
    """

    def __init__(self, coef: np.ndarray, grid: np.ndarray, energy: np.ndarray):
        self.coef = coef
        self.grid = grid
        self.energy = energy

    def __call__(self, X) -> np.ndarray:
        """Energy of each row of ``X (n_samples, n_features)``."""
        return np.interp(np.asarray(X) @ self.coef, self.grid, self.energy)

    def gradient(self, X) -> np.ndarray:
        """Derivative of the energy by each column; the force is minus that."""
        chi = np.asarray(X) @ self.coef
        slope = np.diff(self.energy) / np.diff(self.grid)
        place = np.searchsorted(self.grid, chi, side="right") - 1
        inside = (place >= 0) & (place < len(slope))
        along = np.where(inside, slope[np.clip(place, 0, len(slope) - 1)], 0.0)
        return along[:, None] * self.coef
