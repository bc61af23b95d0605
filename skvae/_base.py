"""BaseVAE: what every estimator shares, and the only file that sees every axis."""

from __future__ import annotations

import copy
import os
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, clone
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from . import inference
from ._arguments import check_count
from ._assembly import assembled
from ._component import Component, Shapes
from ._density import DensityMixin
from ._device import resolve_device
from ._fitting import FittingMixin
from ._persistence import check_shapes, checked_state, stamp_version
from ._process import PRECISIONS, arithmetic, n_threads_of
from ._shorthand import expand_shorthands, outer_first
from ._sklearn_compat import CallbackSupportMixin, nested_diagram
from ._sources import by_parts
from .likelihoods import LIKELIHOODS, Columnwise, Likelihood
from .missingness import MISSINGNESS, Missingness
from .networks import ACTIVATIONS, NETWORKS, Network
from .noise import Noise
from .objectives import ELBO, OBJECTIVES, Objective
from .penalties import PENALTIES, Penalty
from .posteriors import POSTERIORS, Posterior
from .priors import PRIORS, Prior
from .reading import Reader
from .supervision import SUPERVISION, Supervision
from .table import SPARSE, check_table
from .table.places import Places
from .training import SCHEDULES
from .vae import VAE
from .views import VIEWS, View

# Weight of the KL term at which codes tell most of a row; what it costs the bound, the
# second part of training gives back (benchmarks/results/representation.md).
BETA = 0.2

AXES: dict[str, dict[str, Any]] = {
    "objective": OBJECTIVES | {"auto": partial(ELBO, beta=BETA)},
    "posterior": POSTERIORS,
    "prior": PRIORS,
    "likelihood": LIKELIHOODS | {"auto": Columnwise},
    "network": NETWORKS,
    "view": VIEWS,
    "missingness": MISSINGNESS,
    "penalty": PENALTIES,
    "supervision": SUPERVISION,
}


class BaseVAE(DensityMixin, FittingMixin, CallbackSupportMixin, BaseEstimator):
    """Parameters, components and scoring shared by all estimators."""

    # By name, of parts that the estimator wants other than they come.
    _settings_of_parts: dict = {}
    _parameter_constraints: dict = {
        "n_components": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "objective": [StrOptions(set(AXES["objective"])), Objective],
        "posterior": [StrOptions(set(POSTERIORS)), Posterior],
        "prior": [StrOptions(set(PRIORS)), Prior],
        "likelihood": [
            StrOptions(set(LIKELIHOODS) - {"categorical", "ordinal"} | {"auto"}),
            Likelihood, Columnwise,
        ],
        "network": [StrOptions(set(NETWORKS)), Network],
        "view": [StrOptions(set(VIEWS)), View, None],
        "missingness": [StrOptions(set(MISSINGNESS)), Missingness, None],
        "penalty": [StrOptions(set(PENALTIES)), Penalty, None],
        "supervision": [StrOptions(set(SUPERVISION)), Supervision, None],
        "condition": [str, Integral, "array-like", None],
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
        "checkpoint": [None, str, os.PathLike],
        "unknown": [StrOptions({"error", "missing"})],
        "margins": [StrOptions({"scale", "rank"})],
        "column_kinds": [dict, None],
        "n_jobs": [None, Integral],
        "device": [str],
        "precision": [StrOptions(set(PRECISIONS))],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }  # fmt: skip

    def __init__(
        self,
        n_components=8,
        *,
        objective="auto",
        posterior="normal",
        prior="aggregate",
        likelihood="auto",
        network="mlp",
        view="denoising",
        missingness=None,
        penalty=None,
        supervision=None,
        condition=None,
        hidden_layer_sizes=(128, 64),
        activation="silu",
        init="linear",
        calibrate=True,
        whiten=False,
        n_members=1,
        n_draws=16,
        max_iter=200,
        batch_size="auto",
        learning_rate="cosine",
        learning_rate_init=3e-3,
        weight_decay=0.3,
        clip_norm=100.0,
        early_stopping=True,
        validation_fraction=0.15,
        n_iter_no_change=20,
        tol=1e-4,
        warm_start=False,
        checkpoint=None,
        unknown="error",
        margins="scale",
        column_kinds=None,
        n_jobs=None,
        device="auto",
        precision="float32",
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
        self.missingness = missingness
        self.penalty = penalty
        self.supervision = supervision
        self.condition = condition
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.init = init
        self.calibrate = calibrate
        self.whiten = whiten
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
        self.checkpoint = checkpoint
        self.unknown = unknown
        self.margins = margins
        self.column_kinds = column_kinds
        self.n_jobs = n_jobs
        self.device = device
        self.precision = precision
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
        own, nested = outer_first(params)
        super().set_params(**own)
        objects = expand_shorthands(self, nested, AXES, self._resolve)
        super().set_params(**objects)
        return super().set_params(**nested)

    def _resolve(self, axis: str, value=None) -> Component | None:
        """Object of an axis, unbuilt and the caller's own."""
        value = getattr(self, axis) if value is None else value
        if not isinstance(value, str):
            return None if value is None else clone(value)
        if axis == "network":
            pair: Any = NETWORKS[value]
            sizes = tuple(self.hidden_layer_sizes)
            return pair(hidden_layer_sizes=sizes, activation=self.activation)
        return AXES[axis][value](**self._settings_of_parts.get(value, {}))

    def _components(self) -> dict[str, Component]:
        resolved = {axis: self._resolve(axis) for axis in AXES}
        return {axis: part for axis, part in resolved.items() if part is not None}

    def _sk_visual_block_(self):
        parts = [(axis, part) for axis, part in self._components().items()]
        return nested_diagram(self, parts)

    def _build(self, parts: dict[str, Component], noise: Noise, n_rows: int) -> None:
        for part in parts.values():
            part._validate_params()
        self.objective_ = parts.pop("objective")
        parts["likelihood"] = Columnwise.of(parts["likelihood"])
        codec = self.codec_
        n_conditions = codec.n_conditions_
        n_inputs = codec.n_inputs_ + n_conditions
        shapes = Shapes(
            n_inputs, self.n_components_, codec.blocks_, codec.row_size_, n_conditions, n_rows,
            **Places.of(codec)._asdict(),
        )  # fmt: skip
        auto = self.objective == "auto"
        self.vae_, own = assembled(
            parts, None if auto else self.objective_, shapes, noise, self.max_iter
        )
        self.objective_ = own or self.objective_

    # -- inference ------------------------------------------------------------------------

    @by_parts
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
        n_draws = self.n_draws if n_draws is None else n_draws
        n_draws = check_count(f"{type(self).__name__}.score_samples", "n_draws", n_draws)
        check_is_fitted(self)
        self._check_has_scores()
        return self._score(X, n_draws)

    def _check_has_scores(self, asker: str = "score_samples") -> None:
        if self.vae_.view is not None and self.vae_.view.explains_others:
            raise ValueError(
                f"{asker} is of rows, and this {type(self).__name__} explains later rows by "
                f"earlier ones, view={self.vae_.view!r}. Compare the rows of reconstruct with the "
                "later ones, or use a lag of 0."
            )
        if not self.vae_.posterior.has_bound:
            raise ValueError(
                f"{asker} needs a density over codes, and the posterior of this "
                f"{type(self).__name__}, {self.vae_.posterior!r}, has none. Use "
                "posterior='normal', or judge rows by reconstruct."
            )

    def _score(self, X, n_draws: int, noise: Noise | None = None) -> np.ndarray:
        """Scores in the original units; with ``noise``, each row has draws of its own."""
        return self._in_units(X, self._log_marginal(n_draws, noise))

    def _log_marginal(self, n_draws: int, noise: Noise | None = None):
        with self._arithmetic():
            return inference.log_marginal(self.vae_, n_draws, self._device(), noise)

    def _bound(self, X, n_draws: int) -> np.ndarray:
        """Lower bounds on the scores, likewise."""
        return self._in_units(X, inference.bound(self.vae_, n_draws, self._device()))

    def _residuals(self, encoded) -> np.ndarray:
        """What the model leaves of each encoded cell."""
        blocks = dict(self.codec_.blocks_)
        n_continuous = len(blocks.get("continuous", ()))
        with self._arithmetic():
            return inference.residuals(self.vae_, n_continuous, self._device(), encoded)

    @property
    def _log_unit(self) -> np.ndarray:
        # So rounded, they sum to the same bits in any order, with a mask or without.
        return np.rint(self.codec_.log_scale_ * 2.0**30) / 2.0**30

    def _in_units(self, X, score) -> np.ndarray:
        """What ``score`` gives of an encoded table, averaged over members, in original units."""
        n_rows, parts = self._parts(X)
        scores = np.empty(n_rows)
        for rows, encoded in parts:
            scores[rows] = self._encoded_in_units(encoded, score)
        return scores

    def _encoded_in_units(self, encoded, score) -> np.ndarray:
        """The same for an encoded table."""
        log_unit = self._log_unit
        with self._arithmetic():
            part = score(encoded)
        unit = log_unit.sum() if encoded.mask is None else encoded.mask @ log_unit
        scores = part.mean(1, dtype=np.float64) - unit
        return scores if encoded.log_jacobian is None else scores - encoded.log_jacobian.sum(1)

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

    def _parts(self, X, reader: Reader | None = None):
        """Number of rows, and the table read part by part, by the codec unless told otherwise."""
        check_is_fitted(self)
        reader = reader or Reader(None, self.codec_, self._device())
        # The check of names would warn of each part of an array anew; that of counts says which
        # row is bad.
        whole = issparse(X) or hasattr(self, "feature_names_in_")
        return reader.parts(X, partial(check_table, self, reset=False), whole)

    def _infer(self, X, statistics=("mean", "stddev")) -> list[np.ndarray]:
        """Statistics of the posterior of each row."""
        check_is_fitted(self)
        with self._arithmetic():
            reader = Reader.of(self._coder(), self.codec_, self._device())
        n_rows, parts = self._parts(X, reader)
        found = [np.empty((n_rows, reader.vae.n_latents), dtype=np.float32) for _ in statistics]
        for rows, read in parts:
            with self._arithmetic():
                for whole, part in zip(found, reader.posterior(read, statistics)):
                    whole[rows] = part
        return found

    def _coder(self) -> VAE:
        """The member with the best held-out bound, alone."""
        vae, device = self.vae_, self._device()
        # To ask all its tensors takes longer than a few rows do.
        if next(vae.parameters()).device != device:
            vae = vae.to(device)
        if vae.n_members > 1:
            vae = copy.deepcopy(vae)
            vae.select(torch.tensor([self.best_member_]))
        return vae

    # -- machine --------------------------------------------------------------------------

    def _sparse_kind(self) -> str | None:
        """The kind of all columns, where their zeros need not be stored."""
        likelihood = self.likelihood
        if isinstance(likelihood, str):
            likelihood = LIKELIHOODS.get(likelihood)
        kind = getattr(likelihood, "kind", None)
        dense = kind not in SPARSE or getattr(self, "column_kinds", None)
        beside = [getattr(self, name, None) for name in ("condition", "supervision")]
        return None if dense or any(part is not None for part in beside) else kind

    def _device(self) -> torch.device:
        return resolve_device(self.device)

    def _precision(self) -> str | None:
        return self.precision if self._device().type == "cuda" else None

    def _n_threads(self) -> int:
        return n_threads_of(self.n_jobs)

    def _arithmetic(self):
        return arithmetic(self._n_threads(), self._precision())

    def __getstate__(self):
        return stamp_version(super().__getstate__())

    def __setstate__(self, state):
        super().__setstate__(checked_state(state, type(self)))
        check_shapes(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = self._sparse_kind() is not None
        return tags
