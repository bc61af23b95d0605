"""Fitting: from a table to a trained and calibrated stack of models."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from joblib import hash as joblib_hash
from scipy.sparse import issparse
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import _check_sample_weight, _num_samples, check_is_fitted

from . import inference
from ._component_search import ComponentSearch
from ._diagnostics import diagnose, warn_of_latents
from ._progress import EpochProgress
from ._sources import SourceMixin
from ._stacked_search import stacked_search
from ._undo import all_or_nothing
from .calibration import calibrate, calibrate_noise
from .noise import Noise
from .table import TableCodec, check_table
from .table.conditioned import ConditionedCodec
from .table.sequences import SequenceCodec
from .training import (
    History,
    Rows,
    Settings,
    SparseRows,
    note_conditions,
    start_at_linear_model,
    train,
)
from .training.refinement import codes_held, refinable, refined

# Seeds of the second part of training: none that the first part or another member has.
SECOND_PART = 1 << 32
# A validation split of fewer rows says nothing about the bound.
MIN_VALIDATION_ROWS = 5


@dataclass
class Job:
    """A model that is built and ready to be trained, alone or in a stack.

    Parameters
    ----------
    rows : Rows
        The resident table.
    train_index, validation_index : Tensor (members, rows)
    noise : Noise
        One generator per member.
    seeds : ndarray of int
        What the generators were seeded with.
    settings : Settings
    kept : ndarray of int
        Places in the table of the resident rows.
    added : bool
        Whether an earlier fit goes on.
    """

    rows: Rows
    train_index: torch.Tensor
    validation_index: torch.Tensor | None
    noise: Noise
    seeds: np.ndarray
    settings: Settings
    kept: np.ndarray
    added: bool


class FittingMixin(SourceMixin):
    """The steps of ``fit``; what is fitted, and with which parameters, is the estimator's."""

    codec_: TableCodec
    # Whether training starts at one linear model of continuous columns, flags and categories.
    _joint_start = False

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def _fit(self, X, sample_weight, **settings):
        """Fit and give the estimator; ``settings`` are those of ``_fit_quietly``."""
        self._fit_rows(X, sample_weight, **settings)
        return self

    def _fit_rows(self, X, sample_weight, **settings) -> np.ndarray:
        """Encode, build, train and calibrate, and say so if there is little in the codes.

        Gives the places in ``X`` of the rows held out, or of all rows where none were.
        """
        held_out = self._fit_quietly(X, sample_weight, **settings)
        n_columns = self.codec_.n_inputs_
        warn_of_latents(self.diagnostics_, type(self).__name__, n_columns, self.vae_.n_steps)
        return held_out

    def _fit_quietly(
        self, X, sample_weight, seeds=None, resume=False, n_epochs=None, cache: dict | None = None,
        classes: np.ndarray | None = None, targets: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Fit; ``seeds`` are one per member, a ``cache`` shares the table with equal fits."""
        first = not (resume and hasattr(self, "vae_"))
        search = stacked_search()
        alone = classes is None and targets is None
        if search is not None and first and not n_epochs and alone:
            held_out = search.fitted(self, X, sample_weight)
            if held_out is not None:
                return held_out
        if first and self.n_components == "auto" and not n_epochs:
            known = {"classes": classes, "targets": targets}
            held_out = ComponentSearch(self, X, sample_weight, known).run()
            if self._streamed is None:
                return held_out
        job = self._prepare(X, sample_weight, seeds, first, n_epochs, cache, classes, targets)
        state = getattr(self, "_optimizer_state", None) if n_epochs and not first else None
        history = self._train(job, X, state)
        second = None if n_epochs or history.interrupted else self._refinement(job)
        if second is not None:
            self._refine(second)
        # Only a stream of batches goes on with the same moments; a model to keep is smaller.
        self._optimizer_state = history.optimizer_state if n_epochs else None
        return self._complete(job, history, calibrated=not n_epochs)

    def _prepare(
        self, X, sample_weight, seeds=None, first=True, n_epochs=None, cache: dict | None = None,
        classes: np.ndarray | None = None, targets: np.ndarray | None = None,
    ) -> Job:  # fmt: skip
        """Encode the table and build the model; a ``cache`` shares both with equal fits."""
        if first:
            self._set_n_components()
        else:
            self._check_same_shape()
        if n_epochs or not first:
            self._check_goes_on()
        X = check_table(self, X, reset=first)
        n_given = _num_samples(X)
        X, sample_weight, kept = self._check_weights(X, sample_weight)
        # Equal weights are none, to the last bit.
        if sample_weight is not None and np.ptp(sample_weight) == 0.0:
            sample_weight = None
        random_state = check_random_state(self.random_state)
        if first:
            parts = self._components()
            codec = self._codec(
                parts["network"],
                numeric=getattr(parts["likelihood"], "kind", "auto"),
                unknown=self.unknown,
                margins=self.margins,
                column_kinds=self.column_kinds,
                row_sizes=parts["likelihood"].row_sizes,
            )
            self.n_iter_ = 0
        rows = self._rows(codec if first else None, X, sample_weight, cache)
        if targets is not None:
            supervision = parts["supervision"]
            supervision.learn(targets[kept])
            rows = supervision.attach(rows, targets[kept])
        view = parts.get("view") if first else self.vae_.view
        rows, kept = self._viewed(rows, kept, n_given, view, random_state)
        order = random_state.permutation(len(rows.values))
        drawn = random_state.randint(np.iinfo(np.int32).max, size=self.n_members)
        seeds = drawn if seeds is None else np.asarray(seeds)
        noise = Noise(seeds + self.n_iter_, self._device())
        train_index, validation_index = self._split(order, n_epochs, len(seeds), noise.device)
        n_held_out = 0 if validation_index is None else validation_index.shape[1]
        n_rows = self._n_training_rows(train_index.shape[1], n_held_out)
        if first:
            self._build(parts, noise, n_rows)
            if n_epochs and self.vae_.n_steps > 1 and self.objective == "auto":
                # Batches that come one by one have no end, and a warm-up is a part of the whole.
                self.objective_: Any = self.objective_.honest()
            note_conditions(self.vae_, rows, train_index)
            if self.vae_.penalty is not None:
                with self._arithmetic():
                    known = None if classes is None else classes[kept]
                    codes = self.vae_.penalty.prepare(rows, noise, known)
                rows = rows if codes is None else replace(rows, codes=codes)
            if self.init == "linear":
                with self._arithmetic():
                    start_at_linear_model(self.vae_, rows, train_index, cache, self._joint_start)
        self.vae_.to(noise.device)
        settings = self._settings(n_rows, n_epochs)
        return Job(rows, train_index, validation_index, noise, seeds, settings, kept, not first)

    def _codec(self, network, **settings) -> TableCodec:
        condition = self.condition
        if condition is None and network.unrolls:
            # Steps of one feature are of one kind, whatever their values suggest.
            kind = settings.pop("numeric").replace("auto", "continuous")
            return SequenceCodec(network.features_of_step, numeric=kind, **settings)
        if condition is None:
            return TableCodec(**settings)
        one = isinstance(condition, (str, Integral))
        return ConditionedCodec([condition] if one else list(condition), **settings)

    def _viewed(self, rows: Rows, kept: np.ndarray, n_given: int, view, random_state):
        """The table with what a view needs, rows beside those that they explain, and places."""
        if view is None:
            return rows, kept
        pairs = view.pairs(n_given)
        if pairs is None:
            return view.attach(rows, self.codec_, random_state), kept
        if isinstance(rows, SparseRows):
            raise ValueError(f"view={view!r} needs a dense table; use X.toarray().")
        place = np.full(n_given, -1)
        place[kept] = np.arange(len(kept))
        seen, explained = (place[part] for part in pairs)
        both = (seen >= 0) & (explained >= 0)
        rows = view.lagged(rows, seen[both], explained[both])
        return view.attach(rows, self.codec_, random_state), kept[seen[both]]

    def _rows(self, codec: TableCodec | None, X, sample_weight, cache: dict | None) -> Rows:
        """The resident table, by the codec at hand or a new one."""
        device, key = self._device(), None
        if codec is not None and cache is not None:
            key = joblib_hash((codec.get_params(), X, sample_weight, str(device)))
            if key in cache:
                self.codec_, rows = cache[key]
                return rows
        if codec is not None:
            self.codec_ = self._learn(codec, X, sample_weight)
        rows = self._resident(X, sample_weight)
        if cache is not None:
            cache[key] = self.codec_, rows
        return rows

    def _resident(self, X, sample_weight) -> Rows:
        """The encoded table on the device; a sparse one is encoded batch by batch."""
        codec, device = self.codec_, self._device()
        if issparse(X):
            counts = X[:, codec.modelled_index_]
            return SparseRows.of(counts, codec.inputs, codec.n_inputs_, sample_weight, device)
        return Rows.from_arrays(codec.encode(X), codec.log_scale_, sample_weight, device)

    def _refinement(self, job: Job) -> Job | None:
        """The second part of training, ready to be trained, or None if there is none."""
        if not self.calibrate or not refinable(self.vae_):
            return None
        rows, indices = job.rows, (job.train_index, job.validation_index)
        noise = Noise((np.asarray(job.seeds) + SECOND_PART).tolist(), rows.values.device)
        with self._arithmetic():
            calibrate_noise(self.vae_, rows, *indices, noise)
        self.vae_.likelihood.untie()
        return replace(job, noise=noise, settings=refined(job.settings))

    def _refine(self, job: Job) -> None:
        """Train the second part."""
        with codes_held([self.vae_]):
            train(
                self.vae_, self.objective_.honest(), job.rows, job.train_index,
                job.validation_index, job.noise, job.settings, isolate=True,
                stream=self._stream(job),
            )  # fmt: skip

    def _complete(self, job: Job, history: History, calibrated: bool) -> np.ndarray:
        """Calibrate the trained model and record how it came about."""
        rows, train_index, validation_index = job.rows, job.train_index, job.validation_index
        judged = train_index if validation_index is None else validation_index
        self.vae_.uncalibrate()
        if self.vae_.encodes:
            rows = replace(rows, codes=None)
        with self._arithmetic():
            # A stream of batches would spend its time on refits: recalibrate does it once.
            if self.calibrate and calibrated:
                calibrate(self.vae_, rows, train_index, validation_index, job.seeds)
            self._record(history, rows, judged[:, : inference.CHUNK_ROWS], job.added)
        return job.kept[judged[0].cpu().numpy()]

    def _check_goes_on(self) -> None:
        """Refuse what must see the whole table, or its targets, to go on with other rows."""
        if self.supervision is not None:
            raise ValueError(
                f"partial_fit, and fit with warm_start=True, take no targets, which supervision="
                f"{self.supervision!r} of {type(self).__name__} needs. Call fit on all rows with "
                "warm_start=False."
            )
        penalty = self.vae_.penalty if hasattr(self, "vae_") else self._resolve("penalty")
        if penalty is not None and penalty.needs_whole_table:
            raise ValueError(
                f"partial_fit, and fit with warm_start=True, train on rows as they come, but "
                f"penalty={penalty!r} of {type(self).__name__} looks at the whole table first. "
                "Call fit on all rows with warm_start=False."
            )

    def _set_n_components(self) -> None:
        if self.n_components == "auto":
            if self._streamed is not None and hasattr(self, "n_components_"):
                return
            raise ValueError(
                f"n_components='auto' of {type(self).__name__} is chosen by fit, on rows held "
                "out; partial_fit has none. Call fit first, or set n_components to a number."
            )
        self.n_components_ = self.n_components

    def _check_same_shape(self) -> None:
        """Refuse to go on with a model of another shape than the parameters ask for."""
        network = self._resolve("network").get_params(deep=False)
        built = self.vae_.network.get_params(deep=False)
        number = self.n_components_ if self.n_components == "auto" else self.n_components
        asked = {"n_members": self.n_members, "n_components": number, **network}
        there = {"n_members": self.vae_.n_members, "n_components": self.vae_.n_continuous, **built}
        for name, value in asked.items():
            if there.get(name) != value:
                raise ValueError(
                    f"partial_fit, and fit with warm_start=True, go on with the model at hand, "
                    f"whose {name} is {there.get(name)!r}; {type(self).__name__} has {value!r} "
                    f"now. Set it back, or fit anew with warm_start=False."
                )

    @all_or_nothing
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
        check_is_fitted(self)
        X = check_table(self, X, reset=False)
        n_given = _num_samples(X)
        X, sample_weight, kept = self._check_weights(X, sample_weight)
        rows = self._resident(X, sample_weight)
        generator = check_random_state(self.random_state)
        rows, _ = self._viewed(rows, kept, n_given, self.vae_.view, generator)
        index = torch.arange(len(rows.values), device=rows.values.device)
        vae = self.vae_.to(rows.values.device)
        seeds = generator.randint(np.iinfo(np.int32).max, size=vae.n_members)
        with self._arithmetic():
            calibrate(vae, rows, index.expand(vae.n_members, -1), None, seeds)
        return self

    def _check_weights(self, X, sample_weight):
        if sample_weight is None:
            return X, None, np.arange(_num_samples(X))
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
            return X, weights, kept
        return _safe_indexing(X, kept), weights[kept], kept

    def _split(self, order: np.ndarray, n_epochs: int | None, n_members: int, device):
        n_held_out = round(self.validation_fraction * len(order))
        if not self.early_stopping or n_epochs or n_held_out < MIN_VALIDATION_ROWS:
            n_held_out = 0
        if n_held_out == len(order):
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of {type(self).__name__} leaves "
                f"none of {len(order)} rows to train on. Lower it, or set early_stopping=False."
            )
        index = torch.as_tensor(order, device=device).expand(n_members, -1)
        return index[:, n_held_out:], index[:, :n_held_out] if n_held_out else None

    def _settings(self, n_rows: int, n_epochs: int | None) -> Settings:
        batch_size, max_iter, penalty = self.batch_size, self.max_iter, self.vae_.penalty
        if batch_size == "auto":
            most = 512 if penalty is None else penalty.largest_batch or 512
            batch_size = int(np.clip(2 ** round(np.log2(max(n_rows / 16, 1))), 32, most))
        if penalty is not None and penalty.n_steps is not None:
            max_iter = min(max_iter, math.ceil(penalty.n_steps * batch_size / n_rows))
        factor = 1.0 if penalty is None else penalty.step_factor
        return Settings(
            max_iter=n_epochs or max_iter,
            batch_size=batch_size,
            learning_rate=self.learning_rate_init * factor,
            schedule="constant" if n_epochs else self.learning_rate,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            n_iter_no_change=self.n_iter_no_change,
            tol=self.tol,
            n_threads=self._n_threads(),
            precision=self._precision(),
        )

    def _train(self, job: Job, X, state) -> History:
        progress = EpochProgress(self, job.settings.max_iter, X)
        history = train(
            self.vae_, self.objective_, job.rows, job.train_index, job.validation_index,
            job.noise, job.settings, progress, state, stream=self._stream(job),
        )  # fmt: skip
        progress.end(history)
        return history

    def _record(self, history, rows: Rows, judged: torch.Tensor, added: bool) -> None:
        self.best_member_ = int(np.argmin(history.best_loss))
        earlier = vars(self)["history_"] if added else None
        n_before = len(earlier["epoch"]) if earlier else 0
        self.best_epoch_ = n_before + int(history.best_epoch[self.best_member_]) + 1
        self.history_ = history.member(self.best_member_, earlier)
        self.n_iter_ += int(history.n_iter[self.best_member_])
        columns = self.codec_.modelled_names_
        log_unit = self.codec_.log_scale_ + rows.mean_log_jacobian()
        batch = rows.take(judged)
        self.diagnostics_ = diagnose(self.vae_, self.best_member_, batch, columns, log_unit)
