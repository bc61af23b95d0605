"""Best values of missing cells in a graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..conditioning import METHODS, SharedNoise
from ..conditioning.tables import POINT_SEED
from ..exceptions import ExportError
from .arrays import array_of
from .codec import decoded, put_out
from .graph import ML, Value
from .methods import TRANSFORMER, Export
from .table import cell_type, missing_texts


def impute(export: Export, name: str) -> None:
    """Tables whose missing cells have their best values, by ``method="miwae"``."""
    estimator = export.estimator
    estimator._check_density("impute")
    estimator._check_no_classes("impute")
    if estimator.vae_.missingness is not None:
        raise ExportError(
            f"impute with missingness={estimator.vae_.missingness!r} draws cells, which cannot be "
            "exported. Use missingness=None."
        )
    cells = decoded(estimator.codec_, _best(export), export.cells)
    put_out(export.graph, estimator.codec_, _filled(export, cells), name)


TRANSFORMER["impute"] = impute


def _best(export: Export) -> Value:
    """Means of numbers and likeliest categories ``(rows, columns)``, given the observed cells.

    Half of the draws are from the prior and the same for all rows, half from the posterior of
    each.
    """
    graph, rows, model = export.graph, export.rows, export.best
    vae, half = model.vae, METHODS["miwae"].n_draws // 2
    noise = SharedNoise([POINT_SEED])
    x = rows.inputs.expanded(0, 1)
    guide = model.posterior(rows.inputs)
    from_prior = array_of(vae.codes().sample(noise.apart, half)).transpose(0, 2, 1, 3)
    near, _ = guide.drawn(array_of(noise.normal(half, 1, vae.n_latents)))
    z = graph.joined([x.zeros() + from_prior, near], 1)
    log_prior = model.log_prior(z)
    pair = graph.joined([log_prior.expanded(0), guide.log_prob(z).expanded(0)], 0)
    log_start = pair.log_sum_exp(0) - math.log(2.0)
    cells = model.decoded(z, model.conditions(x))
    log_weight = model.log_likelihood(cells, rows) + log_prior - log_start
    share = log_weight.apply("Softmax", axis=1).expanded(-1)
    return graph.joined([_expected(part.expectation, share, part) for part in cells])


def _expected(each: Value, share: Value, part: Any) -> Value:
    """Weighted mean over draws ``(rows, columns)``, or the likeliest category."""
    if part.has_categories:
        mean = (each * share.expanded(-1)).sum(1).squeezed(0)
        return mean.argmax().cast(np.float32)
    return (each * share).sum(1).squeezed(0)


def _filled(export: Export, best: list[Value]) -> list[Value]:
    cells, graph = export.cells, export.graph
    found = []
    for position, (column, guess) in enumerate(zip(cells.columns, best)):
        if cell_type(column) is str:
            given, texts = cells.text(position), missing_texts(column)
            missing = graph.op(
                "LabelEncoder",
                given,
                dtype=np.int64,
                domain=ML,
                keys_strings=texts,
                values_int64s=[1] * len(texts),
                default_int64=0,
            ).equals(1)
        else:
            given = cells.numbers([position])
            missing = given.apply("IsNaN", bool)
            guess = guess.cast(np.float64)
        filled = graph.where(missing, guess, given)
        if filled.dtype is not str:
            filled = export.checked(filled).cast(cell_type(column))
        found.append(filled)
    return found
