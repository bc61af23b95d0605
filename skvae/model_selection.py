"""Hyper-parameter search that trains candidates and folds as stacks of models."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from contextlib import contextmanager
from numbers import Integral
from typing import Any

from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, check_cv
from sklearn.utils import indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params

from ._stacked_search import Collector, Finished, Request, Requested, as_search
from .training.refinement import codes_held
from .training.stack import n_bytes, signature, train_stack

__all__ = ["StackedGridSearchCV", "StackedRandomizedSearchCV"]


class _StackedSearchMixin:
    """A search of scikit-learn whose fits are trained in stacks beforehand."""

    _parameter_constraints: dict
    cv: Any
    n_jobs: Any
    estimator: Any
    max_stack_bytes: int
    _get_routed_params_for_fit: Any

    def fit(self, X, y=None, **params):
        """Run fit with all sets of parameters.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,), default=None
            Target, where a step after the estimator or the scoring needs one.
        **params : dict of str -> object
            Passed on to the ``fit`` of the estimator, the scorer and the splitter.

        Returns
        -------
        self : object
            The fitted search.
        """
        with self._one_process(y):
            self._arguments = X, y, params
            try:
                return super().fit(X, y, **params)  # type: ignore[misc]
            finally:
                del self._arguments
                self.__dict__.pop("_fit_seconds", None)

    @contextmanager
    def _one_process(self, y):
        """Keep the splits of one splitter, and the finished models where they can be found."""
        given = {"cv": self.cv, "n_jobs": self.n_jobs}
        self.cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        self.n_jobs = None
        try:
            yield
        finally:
            vars(self).update(given)

    def _run_search(self, evaluate_candidates, callback_ctx=None):
        def evaluate(candidates, cv=None, **more):
            candidates = list(candidates)
            splits = _Splits(self._split(cv))
            requests = self._requests(candidates, splits.pairs)
            models, seconds = fit_in_stacks(
                [request for request in requests if request is not None], self.max_stack_bytes
            )
            self._fit_seconds = [seconds[r.key] if r is not None else 0.0 for r in requests]
            with as_search(Finished(models)):
                return evaluate_candidates(candidates, cv=splits, **more)

        context = {} if callback_ctx is None else {"callback_ctx": callback_ctx}
        super()._run_search(evaluate, **context)  # type: ignore[misc]

    def _split(self, cv) -> list:
        X, y, params = self._arguments
        X, y = indexable(X, y)
        routed = self._get_routed_params_for_fit(params)
        return list((cv or self.cv).split(X, y, **routed.splitter.split))

    def _requests(self, candidates: list[dict], splits: list) -> list[Request | None]:
        """What each fit would do, candidates first; None where it cannot be told."""
        X, y, params = self._arguments
        X, y = indexable(X, y)
        fit_params = self._get_routed_params_for_fit(params).estimator.fit
        fits = [(candidate, train) for candidate in candidates for train, _ in splits]
        requests: list[Request | None] = []
        # Steps before the estimator will warn again in the fit that counts.
        with as_search(Collector()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for candidate, train in fits:
                try:
                    _fit(self.estimator, candidate, X, y, train, fit_params)
                except Requested as requested:
                    requests.append(requested.request)
                except Exception:
                    # The fit that counts raises it again, where error_score decides.
                    requests.append(None)
                else:
                    # Nothing in the estimator is ours: do not fit everything twice.
                    return [None] * len(fits)
        return requests

    def _format_results(self, candidate_params, n_splits, out, more_results=None):
        # Each fit took over a finished model; what it cost is its share of the stack's time.
        for result, seconds in zip(out, self.__dict__.pop("_fit_seconds", [])):
            result["fit_time"] += seconds
        return super()._format_results(candidate_params, n_splits, out, more_results)  # type: ignore[misc]


class _Splits:
    """Splits that are made already."""

    def __init__(self, pairs: list):
        self.pairs = pairs

    def split(self, X=None, y=None, groups=None, **params):
        """Give the splits."""
        return iter(self.pairs)

    def get_n_splits(self, X=None, y=None, groups=None, **params) -> int:
        """Give their number."""
        return len(self.pairs)


def _fit(estimator, candidate: dict, X, y, train, fit_params) -> None:
    """Fit a candidate to some rows as scikit-learn's search does."""
    fitted = clone(estimator).set_params(**clone(candidate, safe=False))
    X_train, y_train = _safe_split(fitted, X, y, train)
    routed = _check_method_params(X, params=fit_params, indices=train)
    if y_train is None:
        fitted.fit(X_train, **routed)
    else:
        fitted.fit(X_train, y_train, **routed)


def fit_in_stacks(
    requests: list[Request], max_stack_bytes: int
) -> tuple[dict[str, tuple], dict[str, float]]:
    """Train what was asked for, models of equal shape as one stack.

    Parameters
    ----------
    requests : list of Request
    max_stack_bytes : int
        A stack is trained once its models need this much memory.

    Returns
    -------
    models : dict
        Fitted attributes and places of the held-out rows by the key of the request; without
        those that failed.
    seconds : dict
        Share of each request in the time of all.
    """
    models: dict[str, tuple] = {}
    seconds: dict[str, float] = defaultdict(float)
    waiting: dict[tuple, list] = defaultdict(list)
    cache: dict = {}
    for request in {request.key: request for request in requests}.values():
        started = time.perf_counter()
        prepared = _prepared(request, cache)
        seconds[request.key] += time.perf_counter() - started
        if prepared is None:
            continue
        estimator, job = prepared
        key = signature(estimator.vae_, estimator.objective_, job)
        waiting[key].append((request, estimator, job))
        if sum(n_bytes(e.vae_, j) for _, e, j in waiting[key]) >= max_stack_bytes:
            _train(waiting.pop(key), models, seconds)
    for group in waiting.values():
        _train(group, models, seconds)
    return models, seconds


def _prepared(request: Request, cache: dict):
    estimator = clone(request.estimator)
    try:
        return estimator, estimator._prepare(request.X, request.sample_weight, cache=cache)
    except Exception:
        # An ordinary fit will say what is wrong.
        return None


def _train(group: list, models: dict, seconds: dict) -> None:
    started = time.perf_counter()
    requests, estimators, jobs = zip(*group)
    vaes = [estimator.vae_ for estimator in estimators]
    histories = train_stack(vaes, [estimator.objective_ for estimator in estimators], jobs)
    if histories[0].interrupted:
        raise KeyboardInterrupt
    _refine([pair for pair, h in zip(zip(estimators, jobs), histories) if not h.errors])
    for request, estimator, job, history in zip(requests, estimators, jobs, histories):
        if not history.errors:
            held_out = estimator._complete(job, history, calibrated=True)
            params = estimator.get_params(deep=False)
            fitted = {k: v for k, v in vars(estimator).items() if k not in params}
            models[request.key] = fitted, held_out
    for request in requests:
        seconds[request.key] += (time.perf_counter() - started) / len(group)


def _refine(trained: list) -> None:
    """Train the second part of these estimators, equal shapes as one stack."""
    waiting: dict[tuple, list] = defaultdict(list)
    for estimator, job in trained:
        second = estimator._refinement(job)
        if second is not None:
            objective = estimator.objective_.honest()
            key = signature(estimator.vae_, objective, second)
            waiting[key].append((estimator.vae_, objective, second))
    for group in waiting.values():
        vaes, objectives, jobs = zip(*group)
        with codes_held(vaes):
            histories = train_stack(vaes, objectives, jobs)
        if histories[0].interrupted:
            raise KeyboardInterrupt


MAX_STACK_BYTES = 32 * 2**20
_CONSTRAINTS = {"max_stack_bytes": [Interval(Integral, 1, None, closed="left")]}


class StackedGridSearchCV(_StackedSearchMixin, GridSearchCV):
    """Exhaustive search over given values, many models at a time.

    Candidates and folds whose models have equal shapes are trained as one stack, which costs
    a fraction of training them one by one and gives the same scores, to the last bit on one
    thread of a CPU.  Learning rates, decay, the weight of the KL term, seeds, limits and
    tolerances may differ within a stack; what cannot be stacked is fitted as ever.

    Parameters
    ----------
    estimator : estimator
        One of skvae's, or one that holds it, as a Pipeline does.
    param_grid : dict or list of dict
        Values to try for each parameter.
    scoring, refit, cv, verbose, pre_dispatch, error_score, return_train_score
        As in :class:`~sklearn.model_selection.GridSearchCV`.
    n_jobs : int or None, default=None
        Only there for the signature: one process trains a stack faster than several.
    max_stack_bytes : int, default=32 MiB
        Memory for weights and activations of one stack.  Stacks beyond the caches of a CPU
        are slower, not faster; on a GPU give it more.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        As in :class:`~sklearn.model_selection.GridSearchCV`; ``mean_fit_time`` holds each fit's
        share of the time of its stack, in seconds.
    best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_
        As in :class:`~sklearn.model_selection.GridSearchCV`.

    Raises
    ------
    ValueError
        As scikit-learn does, for instance where every fit failed.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer
    >>> from skvae.model_selection import StackedGridSearchCV
    >>> X, _ = load_wine(return_X_y=True)
    >>> vae = VAETransformer(n_components=2, max_iter=5, random_state=0)
    >>> space = {"objective__beta": [0.5, 1.0], "learning_rate_init": [1e-3, 1e-2]}
    >>> search = StackedGridSearchCV(vae, space, cv=3).fit(X)
    >>> len(search.cv_results_["params"])
    4
    """

    _parameter_constraints: dict = {**GridSearchCV._parameter_constraints, **_CONSTRAINTS}

    def __init__(
        self,
        estimator,
        param_grid,
        *,
        scoring=None,
        n_jobs=None,
        refit=True,
        cv=None,
        verbose=0,
        pre_dispatch="2*n_jobs",
        error_score=float("nan"),
        return_train_score=False,
        max_stack_bytes=MAX_STACK_BYTES,
    ):
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.max_stack_bytes = max_stack_bytes


class StackedRandomizedSearchCV(_StackedSearchMixin, RandomizedSearchCV):
    """Search over draws from values or distributions, many models at a time.

    Candidates and folds whose models have equal shapes are trained as one stack, which costs
    a fraction of training them one by one and gives the same scores, to the last bit on one
    thread of a CPU.  Learning rates, decay, the weight of the KL term, seeds, limits and
    tolerances may differ within a stack; what cannot be stacked is fitted as ever.

    Parameters
    ----------
    estimator : estimator
        One of skvae's, or one that holds it, as a Pipeline does.
    param_distributions : dict or list of dict
        Values or distributions to draw from for each parameter.
    n_iter : int, default=10
        Number of candidates.
    random_state : int, RandomState instance or None, default=None
        Seeds the draws of candidates.
    scoring, refit, cv, verbose, pre_dispatch, error_score, return_train_score
        As in :class:`~sklearn.model_selection.RandomizedSearchCV`.
    n_jobs : int or None, default=None
        Only there for the signature: one process trains a stack faster than several.
    max_stack_bytes : int, default=32 MiB
        Memory for weights and activations of one stack.  Stacks beyond the caches of a CPU
        are slower, not faster; on a GPU give it more.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        As in :class:`~sklearn.model_selection.RandomizedSearchCV`; ``mean_fit_time`` holds
        each fit's share of the time of its stack, in seconds.
    best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_
        As in :class:`~sklearn.model_selection.RandomizedSearchCV`.

    Raises
    ------
    ValueError
        As scikit-learn does, for instance where every fit failed.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer
    >>> from skvae.model_selection import StackedRandomizedSearchCV
    >>> X, _ = load_wine(return_X_y=True)
    >>> vae = VAETransformer(n_components=2, max_iter=5, random_state=0)
    >>> space = {"objective__beta": [0.5, 1.0], "learning_rate_init": [1e-3, 1e-2]}
    >>> search = StackedRandomizedSearchCV(vae, space, cv=3, n_iter=3, random_state=0).fit(X)
    >>> len(search.cv_results_["params"])
    3
    """

    _parameter_constraints: dict = {**RandomizedSearchCV._parameter_constraints, **_CONSTRAINTS}

    def __init__(
        self,
        estimator,
        param_distributions,
        *,
        n_iter=10,
        scoring=None,
        n_jobs=None,
        refit=True,
        cv=None,
        verbose=0,
        pre_dispatch="2*n_jobs",
        random_state=None,
        error_score=float("nan"),
        return_train_score=False,
        max_stack_bytes=MAX_STACK_BYTES,
    ):
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.max_stack_bytes = max_stack_bytes
