"""VAEImputer: missing cells filled from what the visible cells of a row say about them."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, MissingValues, StrOptions
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from ._arguments import check_count, generator_of
from ._persistence import checked_state, stamp_version
from ._resuming import resumable
from ._sklearn_compat import CallbackSupportMixin, with_callbacks
from ._sources import by_parts, fits_samples
from ._undo import all_or_nothing
from .imputation.codec import ImputationCodec
from .imputation.fitting import (
    ACTIVATIONS,
    NUMERIC_LIKELIHOODS,
    Columnwise,
    Likelihood,
    fit_completion,
    numeric_kind,
    on_device,
)
from .imputation.gaps import Gaps, read_table
from .imputation.limits import limits_of
from .table.filling import missing_cells
from .table.reach import within_reach


class VAEImputer(CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Fill missing cells by an ensemble of conditional variational autoencoders.

    Each member learns p(hidden cells | visible cells) for every visible set, and is judged by
    cells of its own that it never saw.  Regressors on the completed table refine what the
    ensemble says, weighed by those cells; their errors give intervals and draws.

    Parameters
    ----------
    n_components : int, default=16
        Number of latents.
    missing_values : int, float, str, np.nan, None or pandas.NA, default=np.nan
        What stands for a missing cell.  NaN, None and NA are all missing unless another
        placeholder is given.
    refine : {"auto"} or None, default="auto"
        Whether a normal distribution, kernel ridge regression and extremely randomised trees
        refine the columns that have gaps in ``fit`` (all columns where there is none).  None is
        faster and smaller.
    add_indicator : bool, default=False
        Whether to append one column per column with gaps in ``fit`` that says where they are.
    keep_empty_features : bool, default=False
        Whether columns without any observed cell are kept, and filled with 0.
    min_value, max_value : float, array-like of shape (n_features,) or dict, default=-inf and inf
        Limits of imputed numbers, for all columns, for each or by name, as in
        ``min_value={"age": 0}``.  Values, draws and bounds beyond are moved to the limit.
    likelihood : {"auto", "normal", "student_t", "normal_mixture", "bernoulli", "poisson", \
            "negative_binomial", "zero_inflated_poisson", "zero_inflated_negative_binomial"} or \
            Likelihood or Columnwise, default="auto"
        Family of the numeric columns; ``"auto"`` is normal with one noise per column.
        Boolean and categorical columns have their own.
    hidden_layer_sizes : tuple of int, default=(64, 64)
        Widths of the hidden layers.
    activation : {"silu", "relu", "gelu", "elu", "tanh", "identity"}, default="silu"
        Non-linearity of the hidden layers.
    n_members : int, default=4
        Models trained as one stack.
    n_draws : int, default=4
        Codes per row and member that a prediction averages over.
    max_iter : int, default=6
        Epochs at most.  An epoch of a small table goes through it several times, so that it
        has about forty steps.
    batch_size : int or "auto", default="auto"
        Rows per step; ``"auto"`` takes an eighth of the rows, from 32 to 128 (512 from
        16,000 rows on).
    learning_rate_init : float, default=1e-2
        Largest step size; it rises first and falls along a cosine.
    weight_decay : float, default=1e-4
        Decoupled decay of the weight matrices, per unit of step size.
    early_stopping : bool, default=True
        Whether members stop, and keep their best weights, by their held-out cells.  Cells are
        held out in any case: they weigh the regressors and say how wide intervals should be.
    validation_fraction : float, default=0.1
        Share of each column's observed cells that a member holds out; members hold out
        different ones.
    n_iter_no_change : int, default=5
        Epochs without improvement before a member stops.
    tol : float, default=1e-4
        Smallest improvement that counts, nats per row.
    checkpoint : path or None, default=None
        Folder in which ``fit`` keeps where it is, about every second.  Killed and called again
        in the same way, it goes on and ends with the same bits as without the kill.
    unknown : {"error", "missing"}, default="error"
        What to do with a category that ``fit`` did not see: refuse it, or leave it where it
        is and use it for nothing.
    column_kinds : dict or None, default=None
        Kinds by column name (``"x0"``, ``"x1"``, ... for arrays) in the place of those of
        dtypes and ``likelihood``: "continuous", "positive", "count", "binary", "categorical",
        "ordinal" or "datetime", as in ``{"age": "count"}``.
    n_jobs : int or None, default=None
        Threads for the arithmetic; None is one, -1 all.
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1", "mps": where to train and to infer.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, noise, masks, held-out cells and trees.
    verbose : int, default=0
        1 prints a progress line, 2 every epoch.

    Attributes
    ----------
    codec_ : TableCodec
        What was learned about the columns.
    vae_ : ConditionalVAE or None
        The trained ensemble; None where no column varies.
    history_ : dict of list
        Per epoch, means over the members: ``bound``, ``log_likelihood``, ``kl``, ``loss`` and
        ``validation_bound``, the log-likelihood of held-out cells, in nats per row.
    n_iter_ : int
        Epochs trained.
    indicator_features_ : ndarray of int
        Columns that had gaps in ``fit``.
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of str
        Their names, where they are strings.

    References
    ----------
    Ivanov, Figurnov and Vetrov, Variational Autoencoder with Arbitrary Conditioning, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAEImputer
    >>> X, _ = load_wine(return_X_y=True)
    >>> X[::3, 0] = np.nan
    >>> imputer = VAEImputer(max_iter=2, random_state=0).fit(X)
    >>> bool(np.isnan(imputer.transform(X)).any())
    False
    >>> lower, upper = imputer.predict_interval(X, coverage=0.8)
    >>> bool((lower[::3, 0] < upper[::3, 0]).all())
    True
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "missing_values": [MissingValues()],
        "refine": [StrOptions({"auto"}), None],
        "add_indicator": ["boolean"],
        "keep_empty_features": ["boolean"],
        "min_value": [None, Real, dict, "array-like"],
        "max_value": [None, Real, dict, "array-like"],
        "likelihood": [StrOptions(NUMERIC_LIKELIHOODS | {"auto"}), Likelihood, Columnwise],
        "hidden_layer_sizes": ["array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "n_members": [Interval(Integral, 1, 100, closed="both")],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "checkpoint": [None, str, os.PathLike],
        "unknown": [StrOptions({"error", "missing"})],
        "column_kinds": [dict, None],
        "n_jobs": [None, Integral],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components=16,
        *,
        missing_values=np.nan,
        refine="auto",
        add_indicator=False,
        keep_empty_features=False,
        min_value=-np.inf,
        max_value=np.inf,
        likelihood="auto",
        hidden_layer_sizes=(64, 64),
        activation="silu",
        n_members=4,
        n_draws=4,
        max_iter=6,
        batch_size="auto",
        learning_rate_init=1e-2,
        weight_decay=1e-4,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=5,
        tol=1e-4,
        checkpoint=None,
        unknown="error",
        column_kinds=None,
        n_jobs=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.missing_values = missing_values
        self.refine = refine
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.min_value = min_value
        self.max_value = max_value
        self.likelihood = likelihood
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.n_members = n_members
        self.n_draws = n_draws
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.checkpoint = checkpoint
        self.unknown = unknown
        self.column_kinds = column_kinds
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    @all_or_nothing
    @resumable
    @fits_samples
    def fit(self, X, y=None):
        """Learn how the cells of a row hang together.

        Parameters
        ----------
        X : array-like, DataFrame or source of shape (n_samples, n_features)
            Rows with or without gaps.  Of a source that is too large for memory, a Parquet file
            for example, a random sample is learned from.
        y : None
            Ignored.

        Returns
        -------
        self : VAEImputer
            The fitted imputer.

        Raises
        ------
        DivergedError
            If the loss stops being a finite number.
        """
        _, X = read_table(self, X, reset=True)
        numeric = numeric_kind(self.likelihood)
        # Scales are standard deviations: every column has a noise of its own.
        codec = ImputationCodec(
            numeric=numeric, unknown=self.unknown, range_ratio=None, column_kinds=self.column_kinds
        )
        self.codec_ = codec.fit(X)
        limits = limits_of(self, codec.columns_)
        self._gaps = Gaps(codec, missing_cells(X), self.keep_empty_features, limits)
        self.indicator_features_ = self._gaps.with_gaps
        self._completion = fit_completion(self, *self._cells(X))
        return self

    @by_parts
    def transform(self, X):
        """Fill the gaps by the best value: means, likeliest categories, median levels.

        The median is for categories in an order: no other level is off by less on average.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows, those of ``fit`` or others.

        Returns
        -------
        X_imputed : ndarray or DataFrame of shape (n_samples, n_features_out)
            In the container and with the dtypes of ``X``; observed cells are untouched.
        """
        check_is_fitted(self)
        X, missing, values, mask = self._encoded(X)
        with on_device(self) as device:
            point = self._completion.point(values, mask, device) if self._completion else values
        point = within_reach(self.codec_, point)
        return self._gaps.filled(X, missing, point, indicator=self.add_indicator)

    @by_parts
    def impute(self, X, n_imputations=5, *, random_state=None):
        """Fill the gaps at random, several times: what the cells may have been.

        Analyse each table, and pool the estimates by ``skvae.pool``.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        n_imputations : int, default=5
            Number of tables.
        random_state : int, RandomState instance or None, default=None
            None takes that of the constructor.

        Returns
        -------
        tables : list of ndarray or DataFrame
            Completed tables, without indicators.
        """
        check_is_fitted(self)
        asker = f"{type(self).__name__}.impute"
        n_imputations = check_count(asker, "n_imputations", n_imputations)
        X, missing, values, mask = self._encoded(X)
        generator = generator_of(self, random_state)
        drawn = [values] * n_imputations
        if self._completion:
            seeds = generator.randint(np.iinfo(np.int32).max, size=self.n_members)
            with on_device(self) as device:
                drawn = self._completion.draws(values, mask, n_imputations, seeds, device)
        return [self._gaps.filled(X, missing, table) for table in drawn]

    @by_parts
    def predict_interval(self, X, coverage=0.9):
        """Lower and upper bounds that hold a missing number with this probability.

        The bounds are quantiles of the errors on held-out cells around the imputation, in
        units of a spread that is predicted for each cell, by the variances of the ensemble
        and of a normal distribution and by how far regressors and trees are apart.  So bounds
        are wider where rows are unlike the others, and right on average where gaps depend on
        cells that are seen.  Errors are those of rows with as many gaps as rows of ``fit``
        have: of rows that lack far more than these, bounds hold too few numbers.  After a
        table without gaps they are those of rows with up to 80 % of the cells hidden at random.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        coverage : float, default=0.9
            Probability that a missing number lies between its bounds.

        Returns
        -------
        lower, upper : ndarray or DataFrame of shape (n_samples, n_features_out)
            Tables like that of ``transform``, without indicators; observed cells, booleans
            and categories are their own bounds.
        """
        check_is_fitted(self)
        if not isinstance(coverage, Real) or not 0 < float(coverage) < 1:
            raise ValueError(
                f"{type(self).__name__}.predict_interval expects a coverage between 0 and 1, "
                f"got {coverage!r}."
            )
        X, missing, values, mask = self._encoded(X)
        bounds = values, values
        if self._completion:
            with on_device(self) as device:
                bounds = self._completion.interval(values, mask, float(coverage), device)
        lower, upper = (self._gaps.filled(X, missing, bound) for bound in bounds)
        return lower, upper

    def get_feature_names_out(self, input_features=None):
        """Names of the columns that ``transform`` gives.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns of ``X``; None takes those seen in ``fit``.

        Returns
        -------
        names : ndarray of str objects
            Kept columns, then ``missingindicator_<name>`` for each indicator.
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        kept = names[self._gaps.kept]
        if not self.add_indicator:
            return kept
        return np.concatenate([kept, self._gaps.indicator_names(names)]).astype(object)

    def _encoded(self, X) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
        """The table as it came, its missing cells, and its modelled columns' values and mask."""
        X, read = read_table(self, X)
        return X, missing_cells(read), *self._cells(read)

    def _cells(self, X) -> tuple[np.ndarray, np.ndarray]:
        """Values of the modelled columns, and which are observed."""
        values, mask, _ = self.codec_.encode(X)
        return values, np.ones(values.shape, dtype=bool) if mask is None else mask

    def __getstate__(self):
        return stamp_version(super().__getstate__())

    def __setstate__(self, state):
        super().__setstate__(checked_state(state, type(self)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
