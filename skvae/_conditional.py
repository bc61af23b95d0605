"""What a fitted model says about cells given other cells: conditional samples, imputations."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.utils.validation import check_is_fitted

from . import conditioning
from ._arguments import check_count, generator_of, seed_of
from ._sources import by_parts
from ._warning import level_of_caller
from .noise import Noise
from .sequences import continuation
from .table import Encoded, check_table
from .table.conditions import Conditions
from .table.filling import filled, missing_cells
from .table.frames import container_of, labelled_as
from .table.reach import within_reach

# Draws per row where each row has a condition of its own.
DRAWS_PER_CONDITION = 64
# Below this share of the rows that were asked for, and below so many draws of a row, their
# distribution is not to be relied on.
LOW_SHARE = 0.1
FEW_DRAWS = 5.0


class ConditionalMixin:
    """Sampling, with or without given cells, and imputation."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def sample(
        self,
        n_samples=1,
        *,
        given=None,
        condition=None,
        y=None,
        n_draws=None,
        return_effective_size=False,
        temperature=1.0,
        random_state=None,
    ):
        """Draw new rows, the noise of the cells included; ``given`` fixes some of their cells.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        given : dict, DataFrame or list of dict, default=None
            Values that cells must have, by the name of their column (or its position in an
            array); the others are drawn from p(rest | given) by annealed importance sampling
            over codes.  A frame or a list holds one condition per row, and each gets one
            draw; ``n_samples`` is then their number, and may be left out.
        condition : dict, DataFrame, ndarray or list of dict, default=None
            Values of the columns named in ``condition`` of the constructor, where there are
            some: a dict serves all rows, anything else has one condition per row, and
            ``n_samples`` is then their number.  Beside ``given`` both are dicts.
        y : class or array-like of shape (n_samples,), default=None
            Class of the rows, where the model has learned of classes; None draws it.
        n_draws : int, default=None
            Draws of the code that each condition is met by; None takes 1,024 or ``n_samples``
            if that is more, and 64 for each row of a frame.
        return_effective_size : bool, default=False
            Whether to tell how many independent draws the rows are worth.
        temperature : float, default=1.0
            What the noise of normal codes is multiplied by: below 1 rows are more typical and
            less different from one another, as pictures of images are drawn.  At 0 the codes
            are the means of the prior, group by group, or of the normals that it mixes.  The
            noise of the cells stays.  Only 1 draws from the model, and the only choice with
            ``given``.
        random_state : int, RandomState instance or None, default=None
            None takes that of the constructor.

        Returns
        -------
        rows : ndarray, sparse array or DataFrame of shape (n_samples, n_features)
            With the columns, dtypes and categories seen in ``fit``; given cells as given.  A
            sparse array by rows, where the table of ``fit`` was sparse.
        effective_size : float or ndarray of shape (n_samples,)
            Only with ``return_effective_size=True``: independent draws that the rows are worth,
            at most ``n_samples``; for one condition per row, of the draws behind each row.

        Raises
        ------
        ValueError
            If a column or category is unknown, a value is missing or of another kind than its
            column, all columns are given, or the posterior has no density.
        ValueError
            If the temperature is negative, or is not 1 with ``given``.
        """
        check_is_fitted(self)
        asker = f"{type(self).__name__}.sample"
        n_samples = check_count(asker, "n_samples", n_samples)
        if not isinstance(temperature, Real) or not 0.0 <= float(temperature) < np.inf:
            raise ValueError(
                f"{asker} expects temperature to be a number of at least 0, got {temperature!r}."
            )
        if n_draws is not None:
            n_draws = check_count(asker, "n_draws", n_draws)
        empty = isinstance(given, dict) and not given
        if given is None or empty:
            under = self._sampled_conditions(condition, n_samples, y)
            n_samples = n_samples if under is None else len(under.inputs)
            rows = self._draw(n_samples, random_state, under, float(temperature))
            rows = labelled_as(rows, condition)
            return (rows, float(n_samples)) if return_effective_size else rows
        if temperature != 1.0:
            raise ValueError(
                f"{asker} draws rows with given cells from the model, which has temperature=1.0, "
                f"got {temperature!r}. Leave it out, or leave out given."
            )
        self._check_density("sample with given cells")
        self._check_no_classes("sample with given cells")
        under = self._condition_beside(given, condition)
        given = given if under is None else given | condition
        conditions = Conditions(self.codec_, given, asker)
        conditions.check_count(n_samples)
        encoded = self._given_cells(conditions)
        noise = self._noise_of(random_state)
        size: Any
        with self._arithmetic():
            vae = self._coder()
            by: Any = conditioning if vae.n_steps == 1 else continuation
            if conditions.is_one:
                n = n_samples
                values, size = by.draws_given(vae, encoded, n, n_draws, noise)
            else:
                n = n_draws or DRAWS_PER_CONDITION
                values, size = by.draws_given_each(vae, encoded, n, noise)
        self._warn_of_few_draws(conditions, n, size)
        under = None if under is None else under.repeated(len(values))
        table = self._table(values, generator_of(self, random_state), under)
        rows = conditions.put_into(table)
        rows = csr_array(rows) if self._draws_sparse else rows
        return (rows, size) if return_effective_size else rows

    @by_parts
    def impute(self, X, n_imputations=None, *, method="miwae", n_draws=None, random_state=None):
        """Fill missing cells by what the model says given the observed cells of their row.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        n_imputations : int, default=None
            None fills in the best values: means, and likeliest categories.  A number gives as
            many tables of random draws, to be analysed one by one and pooled by ``skvae.pool``.
        method : {"miwae", "annealed", "gibbs"}, default="miwae"
            ``"miwae"`` weighs draws from the encoder and the prior by the observed cells;
            ``"annealed"`` also moves them, for rows about which the encoder is wrong;
            ``"gibbs"`` is Metropolis-within-Gibbs, with the encoder of the filled row as
            proposal.  Networks that go step by step take the first alone.
        n_draws : int, default=None
            Draws per row; None takes 500, 64 and 200.
        random_state : int, RandomState instance or None, default=None
            Seeds random draws; None takes that of the constructor.  The best values depend on
            nothing but the row.

        Returns
        -------
        X_imputed : ndarray or DataFrame, or list of them
            In the container and with the dtypes of ``X``; observed cells are untouched.  A
            column without any observed cell in ``fit`` stays as it is.

        References
        ----------
        Mattei and Frellsen, MIWAE, 2019; Mattei and Frellsen, Leveraging the Exact Likelihood
        of Deep Latent Variable Models, 2018; Ipsen, Mattei and Frellsen, not-MIWAE, 2021.
        """
        check_is_fitted(self)
        self._check_method("impute", method)
        for name, value in (("n_imputations", n_imputations), ("n_draws", n_draws)):
            if value is not None:
                check_count(f"{type(self).__name__}.impute", name, value)
        self._check_density("impute")
        self._check_no_classes("impute")
        X = check_table(self, X, reset=False)
        if issparse(X):  # cells that are not stored are zeros
            return X.copy() if n_imputations is None else [X.copy() for _ in range(n_imputations)]
        missing, encoded = missing_cells(X), self.codec_.encode(X)
        tables = np.repeat(encoded.values[:, None], n_imputations or 1, 1)
        if encoded.mask is not None:
            gaps = np.flatnonzero(~encoded.mask.all(1))
            part = Encoded(*(array[gaps] for array in encoded))
            n_tried = int(n_draws or conditioning.METHODS[method].n_draws)
            noise = self._noise_of(random_state)
            with self._arithmetic():
                tables[gaps], size = self._completed(part, method, n_tried, n_imputations, noise)
            self._warn_of_uncertain_rows(method, size)
        if n_imputations is None:
            tables = within_reach(self.codec_, tables)
        # Cells that share a value are drawn where the others are.
        uniform: Any = [None] * tables.shape[1]
        if n_imputations is not None and self.codec_.draws_cells_:
            uniform = generator_of(self, random_state).random_sample(tables.swapaxes(0, 1).shape)
        container = container_of(X)
        decoded = (self.codec_.decode(tables[:, i], container, u) for i, u in enumerate(uniform))
        completed = [filled(X, missing, table) for table in decoded]
        return completed[0] if n_imputations is None else completed

    def _completed(self, encoded: Encoded, method: str, n_draws: int, n_imputations, noise: Noise):
        """Encoded rows with their gaps filled, and the effective size of the draws behind each."""
        vae = self._coder()
        if vae.n_steps > 1:
            return continuation.completions(vae, encoded, n_draws, n_imputations, noise)
        return conditioning.completions(
            vae, encoded, method, n_draws, n_imputations, noise, self._features
        )

    def _check_method(self, asker: str, method) -> None:
        asker = f"{type(self).__name__}.{asker}"
        if method not in conditioning.METHODS:
            raise ValueError(
                f"{asker} expects a method among {sorted(conditioning.METHODS)}, got {method!r}."
            )
        if self.vae_.n_steps > 1 and method != "miwae":
            raise ValueError(
                f"{asker} by method={method!r} moves codes apart from cells, and by "
                f"{self.vae_.network!r} missing cells have a say in the codes that follow. Use "
                "method='miwae'."
            )

    def _noise_of(self, random_state) -> Noise:
        return Noise([seed_of(self, random_state)], self._device())

    def _features(self, values: np.ndarray) -> np.ndarray:
        """What the encoder sees of complete rows."""
        return self.codec_.inputs(values, None)

    def _sampled_conditions(self, condition, n_samples: int, y):
        """Conditions of drawn rows, None where the model has none."""
        under = self._sampled_columns(condition, max(n_samples, np.size(y)))
        if y is None:
            return under
        n_rows = max(n_samples, np.size(y)) if under is None else len(under.inputs)
        return self._with_classes(under, y, n_rows, f"{type(self).__name__}.sample")

    def _sampled_columns(self, condition, n_samples: int):
        if condition is None or self.condition is None:
            return self._given_columns(condition, "sample", n_samples)
        given = self.codec_.given(condition, f"{type(self).__name__}.sample")
        n_rows = len(given.inputs)
        if n_rows > 1 and n_samples not in (1, n_rows):
            raise ValueError(
                f"{type(self).__name__}.sample got {n_rows} conditions for n_samples="
                f"{n_samples}. Leave out n_samples, or pass one condition for all rows."
            )
        return given.repeated(n_samples)

    def _condition_beside(self, given, condition):
        """The condition of rows of which other cells are given too."""
        asker = f"{type(self).__name__}.sample"
        if self.condition is None and condition is None:
            return None
        if not isinstance(given, dict) or not isinstance(condition, dict):
            raise ValueError(
                f"{asker} with given expects given and condition to be dicts where the model has "
                f"conditions, got {type(given).__name__} and {type(condition).__name__}. Pass "
                "dicts, or leave out given."
            )
        return self._given_columns(condition, "sample", 1)

    def _given_cells(self, conditions: Conditions) -> Encoded:
        """Conditions as the model sees them; cells of constant columns tell it nothing."""
        encoded = self.codec_.encode(conditions.frame)
        if encoded.mask is not None:
            return encoded
        return encoded._replace(mask=np.ones(encoded.values.shape, dtype=bool))

    def _warn_of_few_draws(self, conditions: Conditions, n: int, size) -> None:
        if conditions.is_one and size < LOW_SHARE * n:
            worth = f"the {n} rows are worth about {size:.1f} independent draws"
        elif not conditions.is_one and np.median(size) < LOW_SHARE * n:
            worth = f"half of the rows rest on fewer than {np.median(size):.1f} of {n} draws"
        else:
            return
        warnings.warn(
            f"{type(self).__name__}.sample: {worth}, because the given cells are unlikely "
            "under the model or leave very little room. Raise n_draws, give fewer cells, or "
            "look whether rows like these were in fit.",
            UserWarning,
            stacklevel=level_of_caller(),
        )

    def _warn_of_uncertain_rows(self, method: str, size: np.ndarray) -> None:
        share = float(np.mean(size < FEW_DRAWS))
        if share <= LOW_SHARE:
            return
        apart = method != "annealed" and self.vae_.n_steps == 1
        remedy = "Raise n_draws" + (", or use method='annealed'" if apart else "")
        warnings.warn(
            f"{type(self).__name__}.impute: for {share:.0%} of the rows with gaps the result "
            f"rests on fewer than {FEW_DRAWS:.0f} effective draws. {remedy}.",
            UserWarning,
            stacklevel=level_of_caller(),
        )
