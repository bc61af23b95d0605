"""Scores of detectors in a graph."""

from __future__ import annotations

import functools
import itertools
import operator
from typing import Any

import numpy as np

from .. import VAEOutlierDetector
from ..exceptions import ExportError
from ..inference import LARGEST_CODE, ROUNDS_OF_COMPLETION
from ..scores import (
    BlendedScore,
    BoundScore,
    ConditionalScore,
    LikelihoodScore,
    LocalScore,
    ModelScore,
)
from ..scores.gaps import owners
from ..scores.statistics import N_BINS, CellSurprise, Margins, Unlikelihood
from ..scores.surprise import Surprise
from .blocks import blocks
from .codec import shown
from .conditional import log_prob_of_cells
from .gaps import filled
from .graph import Value
from .methods import METHODS, Export
from .neighborhood import Described, Reference, averaged, statistics
from .registry import Exporters
from .searching import interpolated

# The outermost rows of the table are no farther out where another machine rounds otherwise.
SAME_BIN = 1e-5
SCORES = Exporters("score function")
STATISTICS = Exporters("statistic")


@SCORES.of(LikelihoodScore)
def likelihood(score: Any, export: Export) -> Value:
    """Log p(x) of each row, ``(rows, 1)``."""
    return export.log_marginal(export.estimator.n_draws)


@SCORES.of(BoundScore)
def bound(score: Any, export: Export) -> Value:
    """Lower bound on it."""
    return export.bound(export.estimator.n_draws)


@SCORES.of(ConditionalScore)
def conditional(score: Any, export: Export) -> Value:
    """Sum over cells, each given the others."""
    cells = log_prob_of_cells(score.cells_, export.rows)
    return export.checked(cells.sum(-1, keep=True))


@SCORES.of(BlendedScore, LocalScore, ModelScore)
def blended(score: Any, export: Export) -> Value:
    """Minus the surprise of each row."""
    if export.estimator.codec_.n_conditions_:
        raise ExportError(
            f"{score!r} of a detector with condition={export.estimator.condition!r} compares rows "
            "by draws under their conditions, and cannot be exported. Use score_function="
            "'conditional', 'likelihood' or 'elbo', or condition=None."
        )
    rows = describe(export, score.gaps_)
    odd = {name: STATISTICS(s)(s, export, rows) for name, s in score.statistics_.items()}
    reference = itself = None
    if score.reference_ is not None:
        reference = Reference(export.graph, score.reference_)
        itself = reference.place_of(rows)
    ways = [_way(way, rows, odd, reference, itself) for way in score.ways_]
    if score.keys_ is None:
        return export.checked(-ways[0])
    if itself is None:
        held = export.graph.filled(rows.inputs, False, bool)
    else:
        held = itself >= np.int64(0)
    as_member, as_novelty = ways
    return export.checked(-export.graph.where(held, as_member, as_novelty))


def _way(way: Any, rows: Described, odd: dict, reference: Any, itself: Any) -> Value:
    found = [s for part in way.neighborhoods for s in statistics(part, rows, reference, itself)]
    found += [odd[name] for name in way.counted]
    nats = [surprised(s, x) for s, x in zip(way.surprises, found)]
    summed = nats
    if way.company is not None:
        plain = functools.reduce(operator.add, itertools.compress(nats, way.plain))
        others = itertools.compress(nats, ~way.plain)
        summed = [averaged(way.company, rows, reference, itself, plain), *others]
    mean = functools.reduce(operator.add, summed) / float(len(nats))
    return surprised(way.surprise, mean)


def surprised(surprise: Surprise, statistic: Value) -> Value:
    """Nats of surprise of a statistic ``(rows, 1)``."""
    low, high = surprise.knots_[0], surprise.knots_[-1]
    nats = interpolated(statistic, surprise.knots_, surprise.nats_)
    below = (statistic - low).at_most(0.0) / surprise.scale_
    above = (statistic - high).at_least(0.0) / surprise.scale_
    return nats + above + below * 0.01


def describe(export: Export, gaps: Any) -> Described:
    """Rows as the detector sees them."""
    model, rows = export.whole, export.rows
    inputs = _without_gaps(export, gaps)
    loc = model.posterior(inputs).mean
    x, likelihood, found = inputs.expanded(0, 1), model.vae.likelihood, []
    cells = blocks(likelihood, model.parameters(loc, model.conditions(x)).cast(np.float64))
    parts = rows.values.cast(np.float64).parts(likelihood.widths)
    for kind, part, values in zip(likelihood.kinds, cells, parts):
        left = values - part.point if kind == "continuous" else -part.log_prob(values)
        found.append(left)
    apart = export.graph.joined(found).reduce("Mean", 0).squeezed(0)
    return Described(inputs, (apart * rows.mask.cast(np.float64)).cast(np.float32))


def _without_gaps(export: Export, gaps: Any) -> Value:
    """What the encoder sees of rows whose missing cells hold what the model puts there."""
    rows, codec = export.rows, export.estimator.codec_
    inputs = filled(gaps, owners(codec), rows)
    for _ in range(ROUNDS_OF_COMPLETION):
        best = export.best.reconstructed(inputs).clipped(-LARGEST_CODE, LARGEST_CODE)
        inputs = shown(codec, export.graph.where(rows.mask, rows.values, best))
    return inputs


@STATISTICS.of(Margins)
def margins(statistic: Any, export: Export, rows: Described) -> Value:
    """How rare the values of a row are in their columns."""
    graph = export.graph
    bins = (rows.inputs - statistic.low_) / statistic.width_
    beyond = (rows.inputs - statistic.high_) / statistic.width_
    place = bins.apply("Floor").clipped(0.0, N_BINS - 1.0)
    below, above = bins < -SAME_BIN, beyond > SAME_BIN
    place = graph.where(below, -1.0, graph.where(above, float(N_BINS), place)) + 1.0
    n_columns, n_bins = statistic.nats_.shape
    flat = place.cast(np.int64) + np.arange(n_columns) * n_bins
    nats = graph.constant(statistic.nats_.ravel()).take(flat, 0)
    return nats.reduce("Mean", -1, keep=True)


@STATISTICS.of(CellSurprise)
def cell_surprise(statistic: Any, export: Export, rows: Described) -> Value:
    """How unlikely cells are given the others."""
    cells = -log_prob_of_cells(statistic.conditional_.cells_, export.rows)
    observed = ~cells.equals(0.0)
    parts = cells.parts([1] * len(statistic.surprises_))
    nats = [surprised(s, x) for s, x in zip(statistic.surprises_, parts)]
    total = export.graph.where(observed, export.graph.joined(nats), 0.0).sum(-1, keep=True)
    return total / float(len(nats))


@STATISTICS.of(Unlikelihood)
def unlikelihood(statistic: Any, export: Export, rows: Described) -> Value:
    """Minus log p(x)."""
    return -export.log_marginal(export.estimator.n_draws)


def score(export: Export) -> Value:
    """Score of each row ``(rows, 1)``, by the detector's own function."""
    fitted, constants = export.estimator.score_, export.estimator.constants_
    found = SCORES(fitted)(fitted, export)
    if not len(constants.places):
        return found
    cells = export.cells.numbers(constants.places.tolist())
    # What is missing is equal to nothing, not even to itself.
    departed = cells.equals(cells) & ~_same(cells, constants.values)
    return found - departed.cast(np.float64).sum(-1, keep=True) * constants.nats


def _same(cells: Value, values: np.ndarray) -> Value:
    """Where numbers are those values, but for rounding."""
    return (cells - values).apply("Abs") <= 16 * np.finfo(np.float64).eps * np.abs(values)


def decision(export: Export) -> Value:
    """Score above the threshold ``(rows, 1)``."""
    return score(export) - float(export.estimator.offset_)


def label(export: Export, above: Value) -> Value:
    """+1 for inliers, -1 for outliers and rows that have no score, ``(rows, 1)``."""
    return export.graph.where(above >= 0.0, np.int64(1), np.int64(-1), np.int64)


def _score_samples(export: Export, name: str) -> None:
    export.graph.output(name, score(export).squeezed(-1))


def _decision_function(export: Export, name: str) -> None:
    export.graph.output(name, decision(export).squeezed(-1))


def _predict(export: Export, name: str) -> None:
    export.graph.output(name, label(export, decision(export)).squeezed(-1))


METHODS.of(VAEOutlierDetector)(
    {
        "decision_function": _decision_function,
        "predict": _predict,
        "score_samples": _score_samples,
    }
)
