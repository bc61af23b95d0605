"""From codes to rows: best rows, reconstructions, and paths through code space."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array, vstack
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from . import inference
from ._arguments import generator_of
from ._sources import by_parts
from .noise import Noise
from .table import check_table
from .table.conditioned import Given
from .table.frames import labelled_as
from .table.reach import within_reach

# Where set_output asks for one of these, inverse_transform and sample follow.
CONTAINERS = ("pandas", "polars")
# Cells of a drawn table that are dense at once, where the whole of it is to be sparse.
DENSE_CELLS = 1 << 24


class DecodingMixin:
    """What a transformer makes of codes."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def inverse_transform(self, X, condition=None, y=None):
        """Best row for each code: means, and the likeliest category.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes.
        condition : dict, DataFrame, ndarray or list of dict, default=None
            Values of the columns named in ``condition``, where there are some: a dict serves
            all rows, anything else has one condition per row.  Of a table with all columns the
            others are ignored.
        y : class or array-like of shape (n_samples,), default=None
            Class of the rows, needed where the model has learned of classes.

        Returns
        -------
        rows : ndarray or DataFrame of shape (n_samples, n_features)
            With the columns, dtypes and categories seen in ``fit``, and the index of ``X``.
            Counts, and numbers modelled by their logarithm, lie at most half the range of their
            column in ``fit`` above its largest: they would multiply with each step of a code.

        Raises
        ------
        ValueError
            If conditions are needed and missing, or the other way round, or are not those of
            the model.
        """
        check_is_fitted(self)
        name = f"{type(self).__name__}.inverse_transform"
        Z = check_array(X, dtype=np.float32, input_name="X", estimator=name)
        if Z.shape[1] != self.vae_.n_latents:
            raise ValueError(
                f"X has {Z.shape[1]} features, but {name} is expecting "
                f"{self.vae_.n_latents} features as input: one per component."
            )
        given = self._given(condition, "inverse_transform", len(Z), y)
        return labelled_as(self._decode(self._axes.inward(Z), given), X)

    @by_parts
    def reconstruct(self, X):
        """Row that the model puts in the place of each row, missing cells filled.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        rows : ndarray or DataFrame of shape (n_samples, n_features)
            ``inverse_transform`` of the posterior means, under the conditions of the rows.
            Conditions are as they came, missing ones missing, and so is the index.
        """
        codes = self.infer(X)[0]
        rows = self.inverse_transform(codes, self._conditions_of(X), self._classes_of(X))
        return labelled_as(rows, X)

    def interpolate(self, X, n_steps=9, *, method="linear"):
        """Rows along the way from the first row of ``X`` to the second, through code space.

        Parameters
        ----------
        X : array-like or DataFrame of shape (2, n_features)
            Start and end.  Where the model has conditions, those of the start hold all the way.
        n_steps : int, default=9
            Number of rows, both ends included.
        method : {"linear", "spherical"}, default="linear"
            Straight, or along the great circle that keeps the norm of a code.

        Returns
        -------
        rows : ndarray or DataFrame of shape (n_steps, n_features)
            Decoded rows.

        Raises
        ------
        ValueError
            If both rows have discrete latents, and differ in them.
        """
        codes = self.infer(X)[0]
        if len(codes) != 2 or method not in INTERPOLATIONS:
            raise ValueError(
                f"{type(self).__name__}.interpolate expects two rows and a method among "
                f"{sorted(INTERPOLATIONS)}, got {len(codes)} rows and method={method!r}."
            )
        if self.vae_.posterior.is_discrete and np.ptp(self.categories(X), axis=0).any():
            raise ValueError(
                f"{type(self).__name__}.interpolate: the rows differ in discrete latents of "
                f"{self.vae_.posterior!r}, and between two categories lies nothing. Give rows "
                "of the same categories, or use posterior='normal'."
            )
        share = np.linspace(0.0, 1.0, n_steps)[:, None]
        path = INTERPOLATIONS[method](codes[0], codes[1], share)
        classes = self._classes_of(X)
        y = None if classes is None else classes[0]
        return self.inverse_transform(path, self._conditions_of(X, first=True), y)

    def traverse(self, X, component, values=None):
        """Rows that follow from moving one latent of a row and keeping the others.

        Parameters
        ----------
        X : array-like or DataFrame of shape (1, n_features)
            The row.
        component : int
            Which latent.
        values : array-like of shape (n_steps,), default=None
            Where to move it; None goes from -3 to 3 standard deviations of the prior in seven
            steps.

        Returns
        -------
        rows : ndarray or DataFrame of shape (n_steps, n_features)
            Decoded rows.

        Raises
        ------
        ValueError
            If the latent is discrete.
        """
        codes = self.infer(X)[0]
        n_components = codes.shape[1]
        whole = isinstance(component, Integral)
        if len(codes) != 1 or not whole or not 0 <= component < n_components:
            raise ValueError(
                f"{type(self).__name__}.traverse expects one row and a component from 0 to "
                f"{n_components - 1}, got {len(codes)} rows and component={component!r}."
            )
        numbers = self.vae_.posterior.continuous(codes)
        if numbers is None or component >= numbers.shape[1]:
            raise ValueError(
                f"{type(self).__name__}.traverse: component {component} belongs to discrete "
                f"latents of {self.vae_.posterior!r}, which have no values in between. Decode "
                "the codes of rows of other categories by inverse_transform instead."
            )
        if values is None:
            values = np.linspace(-3.0, 3.0, 7) * np.abs(self._axes.unit[component])
        values = np.atleast_1d(values)
        path = np.repeat(codes, len(values), axis=0)
        path[:, component] = values
        return self.inverse_transform(path, self._conditions_of(X), self._classes_of(X))

    def _conditions_of(self, X, first: bool = False):
        """The rows as their own conditions, or None where the model has none."""
        if self.condition is None:
            return None
        X = check_table(self, X, reset=False)
        return X[:1] if first else X

    def _given(self, condition, method: str, n_rows: int, y=None) -> Given | None:
        """Conditions of so many rows, classes too, or None where the model has none."""
        given = self._given_columns(condition, method, n_rows)
        return self._with_classes(given, y, n_rows, f"{type(self).__name__}.{method}")

    def _given_columns(self, condition, method: str, n_rows: int) -> Given | None:
        asker = f"{type(self).__name__}.{method}"
        if self.condition is None:
            if condition is None:
                return None
            raise ValueError(
                f"{asker} got conditions, and the model has none. Leave out condition, or fit "
                "with condition=[...], the columns that are to be given."
            )
        if condition is None:
            raise ValueError(
                f"{asker} needs the conditions of the rows, as this model is of the other columns "
                f"given {list(self.codec_.condition)!r}. Pass condition={{column: value, ...}}, "
                "or a table with one condition per row."
            )
        given = self.codec_.given(condition, asker).repeated(n_rows)
        if len(given.inputs) != n_rows:
            raise ValueError(
                f"{asker} got {len(given.inputs)} conditions for {n_rows} rows. Pass one "
                "condition for all rows, or one per row."
            )
        return given

    def _decode(self, Z: np.ndarray, given: Given | None = None):
        """Table of the best rows for codes."""
        conditions = None if given is None else given.inputs
        with self._arithmetic():
            values = inference.decode(self._coder(), Z, self._device(), conditions)
            return self._table(within_reach(self.codec_, values), given=given)

    def _draw(
        self, n_samples: int, random_state, given: Given | None = None, temperature: float = 1.0
    ):
        """Table of drawn rows."""
        conditions = None if given is None else given.inputs
        generator = generator_of(self, random_state)
        noise = Noise([generator.randint(np.iinfo(np.int32).max)], self._device())
        with self._arithmetic():
            coder = self._coder()

            def drawn(n: int):
                values = inference.sample(coder, n, noise, conditions, temperature)
                return self._table(values, generator, given)

            if not self._draws_sparse:
                return drawn(n_samples)
            at_once = max(DENSE_CELLS // self.n_features_in_, 1)
            starts = range(0, n_samples, at_once)
            sizes = [min(at_once, n_samples - start) for start in starts]
            return vstack([csr_array(drawn(n)) for n in sizes], format="csr")

    @property
    def _container(self) -> str | None:
        """What tables are given in; None for that of ``fit``."""
        chosen = getattr(self, "_sklearn_output_config", {}).get("transform")
        return chosen if chosen in CONTAINERS else None

    @property
    def _draws_sparse(self) -> bool:
        """Whether drawn rows are sparse, as those of ``fit`` were."""
        return self.codec_.is_sparse_ and self._container is None

    def _table(
        self, values: np.ndarray, generator: np.random.RandomState | None = None,
        given: Given | None = None,
    ):  # fmt: skip
        """Table of values; a generator draws among the cells that share one."""
        container, uniform = self._container, None
        if generator is not None and self.codec_.draws_cells_:
            uniform = generator.random_sample(values.shape)
        if given is None:
            return self.codec_.decode(values, container, uniform)
        values = np.hstack([values, given.values])
        return given.put_into(self.codec_.decode(values, container, uniform))


def _linear(start, stop, share):
    return (1.0 - share) * start + share * stop


def _spherical(start, stop, share):
    norms = np.linalg.norm(start) * np.linalg.norm(stop)
    angle = np.arccos(np.clip(start @ stop / max(norms, 1e-12), -1.0, 1.0))
    if np.sin(angle) < 1e-6:
        return _linear(start, stop, share)
    weights = np.sin((1.0 - share) * angle), np.sin(share * angle)
    return (weights[0] * start + weights[1] * stop) / np.sin(angle)


INTERPOLATIONS = {"linear": _linear, "spherical": _spherical}
