"""What conditions say linearly: of cells, where training starts, and of codes, where it ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .rows import Rows

# In units of a condition's variance: conditions that repeat one another share their slopes.
RIDGE = 1e-6


def slopes_of(conditions, values, seen: Any, weights: Any) -> np.ndarray:
    """Least-squares change of each column per unit of each condition.

    Parameters
    ----------
    conditions : array-like (rows, n_conditions)
    values : array-like (rows, columns)
    seen : array-like of bool (rows, columns) or None
        Which cells are observed.
    weights : array-like (rows,) or None

    Returns
    -------
    slopes : ndarray (n_conditions, columns)

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.training.conditional_start import slopes_of
    >>> c = np.linspace(-1, 1, 5)[:, None]
    >>> slopes_of(c, 3 * c + 7, None, None).round(3)
    array([[3.]])
    """
    C, X = np.asarray(conditions, np.float64), np.asarray(values, np.float64)
    w = np.ones(len(C)) if weights is None else np.asarray(weights, np.float64)
    if seen is None:
        return _slopes(C, X, w)
    # Columns with gaps in the same rows share one problem.
    patterns, which = np.unique(np.asarray(seen), axis=1, return_inverse=True)
    slopes = np.zeros((C.shape[1], X.shape[1]))
    for place, pattern in enumerate(patterns.T.astype(bool)):
        columns = np.ravel(which) == place
        slopes[:, columns] = _slopes(C[pattern], X[pattern][:, columns], w[pattern])
    return slopes


@torch.no_grad()
def note_conditions(vae, rows: Rows, train_index: Tensor) -> None:
    """Take note of the usual conditions, for what is asked of the model under none."""
    conditions = vae.given(rows.inputs)
    if conditions is None:
        return
    usual = [_average(conditions, rows.weights, index) for index in train_index]
    vae.usual_conditions.copy_(torch.stack(usual)[:, None, None])


@torch.no_grad()
def means_under_conditions(vae, rows: Rows, index: Tensor) -> Tensor:
    """What the conditions of rows say of their codes, ``(members, rows, n_components)``.

    The model takes note of it, so that p(z | condition) has a mean of its own under each: codes
    are told from there on less what is found here, and have one prior under all conditions.
    """
    parts = [(vae.infer(p.inputs).mean[:, 0], vae.conditions(p.inputs)) for p in rows.parts(index)]
    codes = torch.cat([mean for mean, _ in parts], 1)
    conditions = torch.cat([given[:, 0] for _, given in parts], 1)
    pairs = zip(conditions.cpu().numpy(), codes.cpu().numpy())
    found = [slopes_of(given, mean, None, None) for given, mean in pairs]
    slopes = torch.as_tensor(np.stack(found), dtype=codes.dtype, device=codes.device)
    vae.code_slopes.copy_(slopes.unsqueeze(1))
    vae.usual_conditions.copy_(conditions.mean(1)[:, None, None])
    return conditions @ slopes


def _average(columns: Tensor, weights: Tensor | None, index: Tensor) -> Tensor:
    if weights is None:
        return columns[index].mean(0)
    share = weights[index] / weights[index].sum().clamp_min(1e-12)
    return share @ columns[index]


def _slopes(C: np.ndarray, X: np.ndarray, w: np.ndarray) -> np.ndarray:
    if w.sum() <= 0:
        return np.zeros((C.shape[1], X.shape[1]))
    w = w[:, None] / w.sum()
    centred = C - (w * C).sum(0)
    gram = centred.T @ (w * centred)
    gram += RIDGE * max(np.trace(gram) / len(gram), 1e-12) * np.eye(len(gram))
    return np.linalg.solve(gram, centred.T @ (w * (X - (w * X).sum(0))))
