"""Methods of estimators in a graph."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any

import numpy as np

from .. import VAETransformer
from ..code_axes import LARGEST
from ..exceptions import ExportError
from .codec import CODECS, Rows, decoded, put_out
from .graph import Graph, Value
from .model import MODELS, head_of
from .registry import Exporters
from .table import Cells

METHODS = Exporters("estimator")


class Export:
    """An estimator on its way into a graph.

    Parameters
    ----------
    graph : Graph
    estimator : BaseVAE
        Fitted.
    cells : Cells or None
        Where the table comes from; None makes inputs for it when a method reads one.
    """

    def __init__(self, graph: Graph, estimator: Any, cells: Cells | None = None):
        self.graph, self.estimator, self._cells = graph, estimator, cells
        self._rows: Rows | None = None
        view = estimator.vae_.view
        if view is not None and view.explains_others:
            raise ExportError(
                f"The view {view!r} explains later rows by earlier ones, and rows of a graph are "
                "independent. Fit with a lag of 0."
            )

    @property
    def rows(self) -> Rows:
        """The encoded table."""
        if self._rows is None:
            codec = self.estimator.codec_
            if self._cells is None:
                self._cells = Cells.inputs(self.graph, codec.columns_)
            self._rows = CODECS(codec)(codec, self._cells)
        return self._rows

    @property
    def cells(self) -> Cells:
        """The table as it comes in."""
        assert self.rows is not None and self._cells is not None
        return self._cells

    @cached_property
    def best(self) -> Any:
        """The model of the member that gives the codes."""
        return self._model(self.estimator._coder())

    @cached_property
    def whole(self) -> Any:
        """The model of all members."""
        return self._model(self.estimator.vae_)

    def _model(self, vae: Any) -> Any:
        # A copy, as the estimator's own must stay where it is.
        return MODELS(vae)(self.graph, copy.deepcopy(vae).cpu())

    def checked(self, found: Value) -> Value:
        """What was found of rows ``(rows, width)``, NaN for those that skvae refuses."""
        refused = self.rows.refused
        return found if refused is None else self.graph.where(refused, np.nan, found)

    def in_units(self, by_member: Value) -> Value:
        """Means over members of scores ``(members, rows)``, in the units of the columns."""
        rows = self.rows
        unit = (rows.mask.cast(np.float64) * self.estimator._log_unit).sum(-1)
        scores = by_member.cast(np.float64).reduce("Mean", 0) - unit
        if rows.log_jacobian is not None:
            scores = scores - rows.log_jacobian.sum(-1)
        return self.checked(scores.expanded(-1))

    def log_marginal(self, n_draws: int) -> Value:
        """Importance-weighted log p(x) ``(rows, 1)``."""
        self.estimator._check_has_scores()
        return self.in_units(self.whole.log_marginal(self.rows, n_draws))

    def bound(self, n_draws: int) -> Value:
        """Lower bound on it."""
        self.estimator._check_has_scores()
        return self.in_units(self.whole.bound(self.rows, n_draws))


def transform(export: Export) -> Value:
    """Posterior means on the axes of the transformer, ``(rows, n_components)``."""
    axes = export.estimator._axes
    loc = export.best.posterior(export.rows.inputs).mean.squeezed(0, 1)
    if axes.directions is not None:
        return export.checked(
            loc @ (axes.directions.astype(np.float32) * axes.unit).astype(np.float32)
        )
    return export.checked(loc.take(axes.order) * axes.unit.astype(np.float32))


def _transform(export: Export, name: str) -> None:
    export.graph.output(name, transform(export), export.estimator.vae_.n_latents)


def _score_samples(export: Export, name: str) -> None:
    scores = export.log_marginal(export.estimator.n_draws)
    export.graph.output(name, scores.squeezed(-1))


def _inverse_transform(export: Export, name: str) -> None:
    vae, axes = export.estimator.vae_, export.estimator._axes
    z = export.graph.input("codes", np.float32, vae.n_latents)
    values = export.best.point(_inward(axes, z))
    put_out(export.graph, export.estimator.codec_, decoded(export.estimator.codec_, values), name)


def _inward(axes: Any, codes: Value) -> Value:
    plain = (codes / axes.unit.astype(np.float32)).clipped(-LARGEST, LARGEST)
    if axes.directions is not None:
        return plain @ np.linalg.inv(axes.directions).astype(np.float32)
    return plain.take(np.argsort(axes.order))


def _reconstruct(export: Export, name: str) -> None:
    codec, values = export.estimator.codec_, export.best.reconstructed(export.rows.inputs)
    put_out(export.graph, codec, decoded(codec, values, export.cells), name)


def _predict_proba(export: Export, name: str) -> None:
    export.graph.output(name, _probabilities(export), len(export.estimator.classes_))


def _probabilities(export: Export) -> Value:
    model = export.best
    if not hasattr(model, "log_classes"):
        raise ExportError(
            f"predict_proba is of models with supervision='classes', and this "
            f"{type(export.estimator).__name__} has supervision="
            f"{export.estimator.supervision!r}."
        )
    log_classes = model.log_classes(export.rows.inputs.expanded(0, 1))
    return export.checked(log_classes.exp().squeezed(0, 1).cast(np.float64))


def _predict(export: Export, name: str) -> None:
    supervision = export.estimator.vae_.supervision
    if supervision is None:
        raise ExportError(
            f"predict is of models that have learned of targets, and this "
            f"{type(export.estimator).__name__} has supervision=None."
        )
    if supervision.of_classes:
        labels = export.graph.constant(export.estimator.classes_)
        export.graph.output(name, labels.take(_probabilities(export).argmax(), 0))
        return
    model, x = export.best, export.rows.inputs.expanded(0, 1)
    codes = model.whole(model.posterior(export.rows.inputs).mean, model.conditions(x))
    scaled = head_of(model.vae.supervision.head, codes).squeezed(0, 1).cast(np.float64)
    found = export.checked(scaled * supervision.unit + supervision.loc)
    if export.estimator._one_property:
        export.graph.output(name, found.squeezed(-1))
        return
    export.graph.output(name, found, len(supervision.loc))


TRANSFORMER = {
    "transform": _transform,
    "score_samples": _score_samples,
    "inverse_transform": _inverse_transform,
    "reconstruct": _reconstruct,
    "predict": _predict,
    "predict_proba": _predict_proba,
}
METHODS.of(VAETransformer)(TRANSFORMER)
