"""Where training starts when later rows are explained: at the linear map that tells them best."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .conditional_start import slopes_of


class LaggedModel(NamedTuple):
    """Reduced-rank regression of later rows on earlier ones.

    Parameters
    ----------
    loadings : ndarray (columns, n_components)
    matrix : ndarray (n_inputs, n_components)
        Codes of unit variance are ``inputs @ matrix + offset``.
    offset, log_scale : ndarray (n_components,)
    variance : ndarray (columns,)
        What is left of each column.
    """

    loadings: np.ndarray
    matrix: np.ndarray
    offset: np.ndarray
    log_scale: np.ndarray
    variance: np.ndarray

    @classmethod
    def fit(cls, inputs, values, weights: Any, n_components: int, floor: float) -> LaggedModel:
        """Regress complete rows ``(rows, columns)`` on inputs ``(rows, n_inputs)``.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.training.lagged_start import LaggedModel
        >>> x = np.random.default_rng(0).normal(size=(100, 2))
        >>> model = LaggedModel.fit(x, 0.5 * x[:, :1], None, 1, 1e-3)
        >>> float(np.abs(model.matrix @ model.loadings.T)[0].round(2).item())
        0.5
        """
        inputs, values = np.asarray(inputs, np.float64), np.asarray(values, np.float64)
        w = np.ones(len(inputs)) if weights is None else np.asarray(weights, np.float64)
        w = (w / w.sum())[:, None]
        centre = (w * inputs).sum(0)
        early, late = inputs - centre, values - (w * values).sum(0)
        map_ = slopes_of(inputs, values, None, weights)
        told = early @ map_
        spread, axes = np.linalg.eigh(told.T @ (w * told))
        n_found = min(n_components, len(spread))
        spread, axes = spread[::-1][:n_found], axes[:, ::-1][:, :n_found]
        scale = np.sqrt(np.maximum(spread, 1e-12))
        loadings = np.zeros((values.shape[1], n_components))
        matrix = np.zeros((inputs.shape[1], n_components))
        loadings[:, :n_found], matrix[:, :n_found] = axes * scale, map_ @ axes / scale
        left = late - early @ matrix @ loadings.T
        variance = np.maximum((w * left**2).sum(0), floor)
        precision = 1.0 + (loadings**2 / variance[:, None]).sum(0)
        return cls(loadings, matrix, -centre @ matrix, -0.5 * np.log(precision), variance)

    def posterior(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Matrix, offset and log-scale of codes given inputs."""
        return self.matrix, self.offset, self.log_scale
