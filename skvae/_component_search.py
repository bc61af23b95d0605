"""How many latents: what ``n_components="auto"`` tries, and how it chooses."""

from __future__ import annotations

import copy
from bisect import bisect_right
from typing import Any, NamedTuple, NoReturn

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import _check_sample_weight, _num_features, _num_samples

from .noise import Noise

NUMBERS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
START = 8
# From one number to four times as many; what lies between is looked at afterwards.
STRIDE = 4
ROWS_PER_LATENT = 10
# With draws that all rows share, a number of latents could win by these very draws.
N_DRAWS = 64
MAX_ROWS = 2048
# The best of several is too good by chance, and of many rows a share is significant that no
# one would miss.
NATS_PER_COLUMN = 0.01


class Candidate(NamedTuple):
    """A fit with one number of latents.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    held_out : ndarray of int
        Places of the rows that judge.
    bounds : ndarray (rows,)
        Their importance-weighted bounds, nats.
    """

    estimator: Any
    held_out: np.ndarray
    bounds: np.ndarray


class ComponentSearch:
    """Fits with several numbers of latents, and the smallest that is as good as any.

    A number is as good as the best if its mean bound on log p(x) of the rows held out is less
    than a standard error of the paired difference below, or than 0.01 nats per column.  From a
    start of 8 the search goes up until more latents are no better, then halves what is left
    below.  Each fit is the one that this number of latents alone would give.

    Parameters
    ----------
    estimator : estimator
        With ``n_components="auto"``.
    X : array-like, DataFrame or sparse matrix
    sample_weight : array-like or None
    known : dict of str to ndarray or None
        What is known of the rows beside: ``classes`` for the penalty, ``targets``.
    """

    def __init__(self, estimator, X, sample_weight, known=None):
        self.estimator, self.X, self.sample_weight = estimator, X, sample_weight
        self.known = known or {}
        # Each candidate draws what the estimator alone would draw.
        self.random_state = check_random_state(estimator.random_state)
        self.cache: dict = {}
        self.fitted: dict[int, Candidate] = {}

    def run(self) -> np.ndarray:
        """Fit, give the estimator the chosen model, and give the places of the rows held out."""
        self._check_posterior()
        n_rows = _num_samples(self.X)
        if not self.estimator.early_stopping:
            self._refuse(n_rows)
        # Every group of latents has one at least.
        least = self.estimator._resolve("posterior").n_groups
        start = min(START, _num_features(self.X), n_rows // ROWS_PER_LATENT)
        start = max(self._largest(start), min((n for n in NUMBERS if n >= least), default=0))
        first = self._fit(start).estimator
        if "validation_bound" not in first.history_:
            self._refuse(n_rows)
        n_inputs = first.codec_.n_inputs_
        limit = min(n_inputs, n_rows // ROWS_PER_LATENT)
        numbers = [n for n in NUMBERS if least <= n <= max(limit, start)]
        self._climb(numbers, numbers.index(start))
        self._descend(numbers)
        return self._hand_over()

    def _check_posterior(self) -> None:
        view = self.estimator._resolve("view")
        if view is not None and view.explains_others:
            raise ValueError(
                f"n_components='auto' of {type(self.estimator).__name__} compares log p(x) of "
                f"rows, and {view!r} explains other rows. Set n_components to a number."
            )
        posterior = self.estimator._resolve("posterior")
        if not posterior.has_bound:
            raise ValueError(
                f"n_components='auto' of {type(self.estimator).__name__} compares bounds on log "
                f"p(x), and {posterior!r} has none. Use posterior='normal', or set n_components "
                "to a number."
            )

    def _refuse(self, n_rows: int) -> NoReturn:
        estimator = self.estimator
        raise ValueError(
            f"n_components='auto' of {type(estimator).__name__} is chosen by rows held out, and "
            f"early_stopping={estimator.early_stopping}, validation_fraction="
            f"{estimator.validation_fraction!r} holds out none of {n_rows}, or too few. Set "
            "early_stopping=True, give more rows, or set n_components to a number."
        )

    @staticmethod
    def _largest(limit: int) -> int:
        return NUMBERS[max(bisect_right(NUMBERS, limit) - 1, 0)]

    def _climb(self, numbers: list[int], place: int) -> None:
        while place < len(numbers) - 1:
            place = min(place + STRIDE, len(numbers) - 1)
            self._fit(numbers[place])
            if self.chosen != numbers[place]:
                break

    def _descend(self, numbers: list[int]) -> None:
        high = numbers.index(self.chosen)
        below = [n for n in self.fitted if n < numbers[high]]
        low = numbers.index(max(below)) + 1 if below else 0
        while low < high:
            middle = (low + high) // 2
            self._fit(numbers[middle])
            if self.chosen <= numbers[middle]:
                high = middle
            else:
                low = middle + 1

    def _fit(self, number: int) -> Candidate:
        random_state = copy.deepcopy(self.random_state)
        estimator = clone(self.estimator)
        estimator.set_params(n_components=number, random_state=random_state)
        # A callback follows one fit, epoch by epoch.
        vars(estimator).pop("_skl_callbacks", None)
        shared = {"cache": self.cache, **self.known}
        held_out = estimator._fit_quietly(self.X, self.sample_weight, **shared)
        judged = held_out[:MAX_ROWS]
        noise = Noise(range(estimator.n_members), estimator._device())
        bounds = estimator._score(_safe_indexing(self.X, judged), N_DRAWS, noise)
        self.fitted[number] = Candidate(estimator, held_out, bounds)
        self._tell(f"{number}: bound {self.bound(number):.3f} nats/row on {len(judged)} held out")
        return self.fitted[number]

    def bound(self, number: int) -> float:
        """Mean bound of the rows that judge, with this number of latents."""
        bounds = self.fitted[number].bounds
        return float(bounds @ self._shares(self.fitted[number].held_out[: len(bounds)]))

    def _tell(self, text: str) -> None:
        if self.estimator.verbose:
            print(f"[{type(self.estimator).__name__}] n_components={text}", flush=True)

    @property
    def chosen(self) -> int:
        """The smallest number of latents that is as good as the best."""
        table = self.table
        shortfall = max(table["bound"]) - np.array(table["bound"])
        codec = self.fitted[table["n_components"][0]].estimator.codec_
        little = NATS_PER_COLUMN * len(codec.modelled_names_)
        enough = shortfall <= np.maximum(table["standard_error"], little)
        return table["n_components"][int(np.argmax(enough))]

    @property
    def table(self) -> dict[str, list]:
        """Number of latents, mean bound, and standard error of its difference from the best."""
        numbers = sorted(self.fitted)
        bounds = np.array([self.fitted[n].bounds for n in numbers])
        share = self._shares(self.fitted[numbers[0]].held_out[: bounds.shape[1]])
        means = bounds @ share
        differences = bounds - bounds[means.argmax()]
        centred = differences - (differences @ share)[:, None]
        errors = np.linalg.norm(share * centred, axis=1)
        return {
            "n_components": numbers,
            "bound": means.tolist(),
            "standard_error": errors.tolist(),
        }

    def _shares(self, rows: np.ndarray) -> np.ndarray:
        if self.sample_weight is None:
            return np.full(len(rows), 1.0 / len(rows))
        weights = _check_sample_weight(self.sample_weight, self.X, dtype=np.float64)[rows]
        return weights / weights.sum()

    def _hand_over(self) -> np.ndarray:
        chosen = self.chosen
        tried = ", ".join(str(number) for number in sorted(self.fitted))
        self._tell(f"{chosen}, the smallest of {tried} that is as good as any")
        best, table = self.fitted[chosen], self.table
        params = self.estimator.get_params(deep=False)
        fitted = {name: v for name, v in vars(best.estimator).items() if name not in params}
        vars(self.estimator).update(fitted)
        table["chosen"] = [number == chosen for number in table["n_components"]]
        self.estimator.diagnostics_["n_components"] = table
        # A generator of the user's goes on as after one fit.
        self.random_state.set_state(best.estimator.random_state.get_state())
        return best.held_out
