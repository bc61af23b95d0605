"""Missing cells of rows that are compared, as the rest of their row lets expect them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .spaces import FARTHEST, Described, WhitenedSpace, in_blocks

# Of conjugate gradients; what is left of the square after them, or before, is nothing.
N_STEPS, NOTHING = 12, 1e-20
# Of filling gaps and learning from what was filled.
N_ROUNDS = 3


class Gaps:
    """Means of missing inputs given the others of their row, by linear regression.

    Those of a normal with the covariance of ``WhitenedSpace``, which extremes and outliers do not
    bend.  Each pattern of gaps has a linear system of its own, which is solved by a fixed number
    of conjugate gradients.

    Attributes
    ----------
    space_ : WhitenedSpace
    precision_ : ndarray of shape (n_inputs, n_inputs)
        Inverse covariance of the scaled inputs.
    loc_ : ndarray of shape (n_inputs,)
        Their means.

    References
    ----------
    Hestenes and Stiefel, Methods of Conjugate Gradients for Solving Linear Systems, 1952.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(-1, 1, 50, dtype=np.float32)[:, None]
    >>> gaps = Gaps().fit(np.hstack([x, x]), np.ones((50, 2), dtype=bool))
    >>> row, seen = np.array([[0.5, 0.0]], dtype=np.float32), np.array([[True, False]])
    >>> bool(abs(gaps(row, seen)[0, 1] - 0.5) < 0.02)
    True
    """

    def fit(self, inputs: np.ndarray, seen: np.ndarray) -> Gaps:
        """Learn from rows ``(rows, n_inputs)``, and which inputs are there."""
        mean = np.sum(inputs, 0, where=seen, dtype=np.float64) / np.maximum(seen.sum(0), 1)
        filled = np.where(seen, inputs, mean).astype(np.float32)
        for _ in range(1 if seen.all() else N_ROUNDS):
            self.space_ = WhitenedSpace().fit(Described(filled, filled[:, :0]))
            self.loc_ = self.space_.scaled(filled).mean(0)
            self.precision_ = self.space_.whitening_ @ self.space_.whitening_.T
            filled = self(inputs, seen)
        return self

    def __call__(self, inputs: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Inputs without gaps."""
        apart = np.where(seen, self.space_.scaled(inputs) - self.loc_, 0.0)
        left = np.where(seen, 0.0, -in_blocks(apart, self.precision_))
        step, found, square = left, np.zeros_like(left), _sum(left * left)
        enough = NOTHING * square
        for _ in range(N_STEPS):
            image = np.where(seen, 0.0, in_blocks(step, self.precision_))
            goes = square > enough
            along = np.where(goes, _sum(step * image), 1.0)
            length = np.where(goes, square / along, 0.0)
            found, left = found + length * step, left - length * image
            square, before = _sum(left * left), np.where(goes, square, 1.0)
            step = left + np.where(goes, square / before, 0.0) * step
        scaled = np.clip(found + self.loc_, -FARTHEST, FARTHEST)
        filled = scaled * self.space_.unit_ + self.space_.median_
        return np.where(seen, inputs, filled).astype(np.float32)


def _sum(x: np.ndarray) -> np.ndarray:
    return x.sum(1, keepdims=True)


def inputs_without_flags(codec: Any, encoded: Any) -> tuple[np.ndarray, np.ndarray]:
    """Inputs that do not say which cells are missing, and which of them are there."""
    seen = np.ones(encoded.inputs.shape, dtype=bool)
    inputs = encoded.inputs
    if encoded.mask is not None:
        owner = owners(codec)
        seen[:, : len(owner)] = encoded.mask[:, owner]
        inputs = np.concatenate([inputs[:, : len(owner)], seen[:, len(owner) :]], 1)
        inputs = inputs.astype(np.float32)
    return inputs, seen


def owners(codec: Any) -> np.ndarray:
    """The modelled column that each input is of; flags of gaps come behind these."""
    columns = [codec.columns_[place] for place in codec.modelled_index_]
    return np.repeat(np.arange(len(columns)), [column.n_inputs for column in columns])
