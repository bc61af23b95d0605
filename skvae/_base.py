"""BaseVAE: what every estimator shares, and the only file that sees every axis."""

from __future__ import annotations

import copy
import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator, clone
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from . import inference
from ._component import Component, Shapes
from ._device import resolve_device
from ._diagnostics import diagnose, warn_if_empty
from ._persistence import check_version, stamp_version
from ._process import arithmetic
from ._progress import ProgressLine
from ._shorthand import expand_shorthands, outer_first
from ._sklearn_compat import CallbackSupportMixin, FitProgress, nested_diagram
from .calibration import calibrate
from .likelihoods import LIKELIHOODS, Columnwise, Likelihood
from .networks import ACTIVATIONS, NETWORKS, Network
from .noise import Noise
from .objectives import OBJECTIVES, Objective
from .posteriors import POSTERIORS, Posterior
from .priors import PRIORS, Prior
from .table import TableCodec, check_table
from .training import Rows, Settings, start_at_linear_model, train
from .training.loop import SCHEDULES
from .vae import VAE
from .views import VIEWS, View

# A validation split of fewer rows says nothing about the bound.
MIN_VALIDATION_ROWS = 5

AXES: dict[str, dict[str, type[Component]]] = {
    "objective": OBJECTIVES,
    "posterior": POSTERIORS,
    "prior": PRIORS,
    "likelihood": LIKELIHOODS | {"auto": Columnwise},
    "network": NETWORKS,
    "view": VIEWS,
}


class BaseVAE(CallbackSupportMixin, BaseEstimator):
    """Parameters, fitting and scoring shared by all estimators."""

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "objective": [StrOptions(set(OBJECTIVES)), Objective],
        "posterior": [StrOptions(set(POSTERIORS)), Posterior],
        "prior": [StrOptions(set(PRIORS)), Prior],
        "likelihood": [
            StrOptions(set(LIKELIHOODS) - {"categorical"} | {"auto"}), Likelihood, Columnwise
        ],
        "network": [StrOptions(set(NETWORKS)), Network],
        "view": [StrOptions(set(VIEWS)), View, None],
        "hidden_layer_sizes": ["array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "init": [StrOptions({"linear", "random"})],
        "calibrate": ["boolean"],
        "n_members": [Interval(Integral, 1, None, closed="left")],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions(set(SCHEDULES))],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "unknown": [StrOptions({"error", "missing"})],
        "n_jobs": [None, Integral],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }  # fmt: skip

    def __init__(
        self,
        n_components=8,
        *,
        objective="elbo",
        posterior="normal",
        prior="aggregate",
        likelihood="auto",
        network="mlp",
        view="denoising",
        hidden_layer_sizes=(128, 64),
        activation="silu",
        init="linear",
        calibrate=True,
        n_members=1,
        n_draws=16,
        max_iter=200,
        batch_size="auto",
        learning_rate="cosine",
        learning_rate_init=3e-3,
        weight_decay=0.1,
        clip_norm=100.0,
        early_stopping=True,
        validation_fraction=0.15,
        n_iter_no_change=20,
        tol=1e-4,
        warm_start=False,
        unknown="error",
        n_jobs=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.objective = objective
        self.posterior = posterior
        self.prior = prior
        self.likelihood = likelihood
        self.network = network
        self.view = view
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.init = init
        self.calibrate = calibrate
        self.n_members = n_members
        self.n_draws = n_draws
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.unknown = unknown
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # -- parameters -----------------------------------------------------------------------

    def set_params(self, **params):
        """Set parameters; ``objective__beta=4`` turns the shorthand into its object first.

        Parameters
        ----------
        **params : dict
            Estimator parameters, nested ones with double underscores.

        Returns
        -------
        self : estimator
            The estimator itself.
        """
        own, nested = outer_first(expand_shorthands(self, params, AXES, self._resolve))
        super().set_params(**own)
        return super().set_params(**nested)

    def _resolve(self, axis: str, value=None) -> Component | None:
        """Object of an axis, unbuilt and the caller's own."""
        value = getattr(self, axis) if value is None else value
        if not isinstance(value, str):
            return None if value is None else clone(value)
        if axis == "network":
            pair: Any = NETWORKS[value]
            return pair(tuple(self.hidden_layer_sizes), self.activation)
        return AXES[axis][value]()

    def _components(self) -> dict[str, Component]:
        resolved = {axis: self._resolve(axis) for axis in AXES}
        return {axis: part for axis, part in resolved.items() if part is not None}

    def _sk_visual_block_(self):
        parts = [(axis, part) for axis, part in self._components().items()]
        return nested_diagram(self, parts)

    # -- fitting --------------------------------------------------------------------------

    def _fit(self, X, sample_weight, seeds=None, resume=False, n_epochs=None):
        """Encode, build, train and calibrate; ``seeds`` are one per member."""
        first = not (resume and hasattr(self, "vae_"))
        X = check_table(self, X, reset=first)
        X, sample_weight = self._check_weights(X, sample_weight)
        random_state = check_random_state(self.random_state)
        if first:
            parts = self._components()
            numeric = getattr(parts["likelihood"], "kind", "continuous")
            self.codec_ = TableCodec(numeric=numeric, unknown=self.unknown)
            self.codec_.fit(X, sample_weight=sample_weight)
            self.n_iter_ = 0
        encoded = self.codec_.encode(X)
        order = random_state.permutation(len(encoded.values))
        drawn = random_state.randint(np.iinfo(np.int32).max, size=self.n_members)
        seeds = drawn if seeds is None else np.asarray(seeds)
        noise = Noise(seeds + self.n_iter_, self._device())
        rows = Rows.from_arrays(encoded, self.codec_.log_scale_, sample_weight, noise.device)
        train_index, validation_index = self._split(order, n_epochs, len(seeds), noise.device)
        if first:
            self._build(parts, noise)
            if self.init == "linear":
                start_at_linear_model(self.vae_, rows, train_index)
        self.vae_.to(noise.device)
        settings = self._settings(train_index.shape[1], n_epochs)
        history = self._train(rows, train_index, validation_index, noise, settings, X)
        # Only a stream of batches goes on with the same moments; a model to keep is smaller.
        self._optimizer_state = history.optimizer_state if n_epochs else None
        self.vae_.uncalibrate()
        # A stream of batches would spend its time on refits: recalibrate does it once.
        if self.calibrate and not n_epochs:
            calibrate(self.vae_, rows, train_index, validation_index, int(seeds[0]))
        judged = train_index if validation_index is None else validation_index
        self._record(history, rows.take(judged[:, : inference.CHUNK_ROWS]), resume and not first)
        return self

    def recalibrate(self, X, y=None, sample_weight=None):
        """Refit noise, prior and posterior width to these rows, the networks fixed.

        ``fit`` does so by itself; after ``partial_fit``, or when new rows differ from those
        of the training, this makes scores and samples right again.  Codes do not change.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows, best ones that were not trained on.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        self : estimator
            The estimator.
        """
        encoded = self._encode(X)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, encoded.values)
        unit = self.codec_.log_scale_
        rows = Rows.from_arrays(encoded, unit, sample_weight, self._device())
        index = torch.arange(len(encoded.values), device=rows.values.device)
        vae = self.vae_.to(rows.values.device)
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        calibrate(vae, rows, index.expand(vae.n_members, -1), None, seed)
        return self

    def _check_weights(self, X, sample_weight):
        if sample_weight is None:
            return X, None
        weights = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        if not weights.any():
            raise ValueError(
                f"sample_weight of {type(self).__name__} sums to zero: at least one row needs a "
                "positive weight. Leave sample_weight out to weigh all rows equally."
            )
        kept = np.flatnonzero(weights)
        if len(kept) == len(weights):
            return X, weights
        return _safe_indexing(X, kept), weights[kept]

    def _build(self, parts: dict[str, Component], noise: Noise) -> None:
        self.objective_ = parts.pop("objective")
        likelihood = parts["likelihood"]
        if isinstance(likelihood, Likelihood):
            parts["likelihood"] = Columnwise(**{likelihood.kind: likelihood})
        shapes = Shapes(self.codec_.n_inputs_, self.n_components, self.codec_.blocks_)
        self.vae_ = VAE(**parts).build(shapes, noise)

    def _split(self, order: np.ndarray, n_epochs: int | None, n_members: int, device):
        n_held_out = round(self.validation_fraction * len(order))
        if not self.early_stopping or n_epochs or n_held_out < MIN_VALIDATION_ROWS:
            n_held_out = 0
        index = torch.as_tensor(order, device=device).expand(n_members, -1)
        return index[:, n_held_out:], index[:, :n_held_out] if n_held_out else None

    def _settings(self, n_rows: int, n_epochs: int | None) -> Settings:
        batch_size = self.batch_size
        if batch_size == "auto":
            batch_size = int(np.clip(2 ** round(np.log2(max(n_rows / 16, 1))), 32, 512))
        return Settings(
            max_iter=n_epochs or self.max_iter,
            batch_size=batch_size,
            learning_rate=self.learning_rate_init,
            schedule="constant" if n_epochs else self.learning_rate,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            n_iter_no_change=self.n_iter_no_change,
            tol=self.tol,
            n_threads=self._n_threads(),
        )

    def _train(self, rows, train_index, validation_index, noise, settings, X):
        progress = FitProgress(self, settings.max_iter, X=X)
        printed = ProgressLine(type(self).__name__, settings.max_iter, self.verbose)

        def on_epoch(record) -> bool:
            printed(record)
            return progress.end_epoch()

        history = train(
            self.vae_, self.objective_, rows, train_index, validation_index, noise, settings,
            on_epoch, getattr(self, "_optimizer_state", None),
        )  # fmt: skip
        printed.end()
        progress.end()
        if history.interrupted:
            warnings.warn(
                f"Training was interrupted in epoch {history.n_epochs + 1} of "
                f"{settings.max_iter}; the best model so far is kept.",
                stacklevel=4,
            )
        return history

    def _record(self, history, batch, added: bool) -> None:
        self.best_member_ = int(np.argmin(history.best_loss))
        earlier = vars(self)["history_"] if added else None
        n_before = len(earlier["epoch"]) if earlier else 0
        self.best_epoch_ = n_before + int(history.best_epoch[self.best_member_]) + 1
        self.history_ = history.member(self.best_member_, earlier)
        self.n_iter_ += int(history.n_iter[self.best_member_])
        columns, log_scale = self.codec_.modelled_names_, self.codec_.log_scale_
        self.diagnostics_ = diagnose(self.vae_, self.best_member_, batch, columns, log_scale)
        warn_if_empty(self.diagnostics_, type(self).__name__)

    # -- inference ------------------------------------------------------------------------

    def score_samples(self, X, n_draws=None):
        """Importance-weighted log p(x) of each row over its observed cells.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows; missing cells are left out of the sum.
        n_draws : int, default=None
            Draws from the posterior; None takes that of the constructor.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Nats in the original units; higher is more normal.  The same draws serve every
            row, so that a row's score depends on that row alone.
        """
        encoded = self._encode(X)
        if not self.vae_.posterior.has_density:
            raise ValueError(
                f"score_samples needs a density over codes, and the posterior of this "
                f"{type(self).__name__}, {self.vae_.posterior!r}, has none. Use "
                "posterior='normal', or judge rows by reconstruct."
            )
        with arithmetic(self._n_threads()):
            scores = inference.log_marginal(
                self.vae_, encoded, n_draws or self.n_draws, self._device()
            )
        scores = scores.astype(np.float64).mean(1)
        if encoded.mask is None:
            return scores - self.codec_.log_scale_.sum()
        return scores - encoded.mask @ self.codec_.log_scale_

    def score(self, X, y=None):
        """Mean of ``score_samples``, for model selection.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        score : float
            Nats per row; higher is better.
        """
        return float(np.mean(self.score_samples(X)))

    def _encode(self, X):
        check_is_fitted(self)
        return self.codec_.encode(check_table(self, X, reset=False))

    def _coder(self) -> VAE:
        """The member with the best held-out bound, alone."""
        vae = self.vae_.to(self._device())
        if vae.n_members > 1:
            vae = copy.deepcopy(vae)
            vae.select(torch.tensor([self.best_member_]))
        return vae

    # -- machine --------------------------------------------------------------------------

    def _device(self) -> torch.device:
        return resolve_device(self.device)

    def _n_threads(self) -> int:
        return 1 if self.n_jobs is None else effective_n_jobs(self.n_jobs)

    def __getstate__(self):
        return stamp_version(super().__getstate__())

    def __setstate__(self, state):
        super().__setstate__(check_version(state, type(self).__name__))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
