"""Estimators as ONNX models."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import onnx
from onnx import helper
from sklearn.utils.validation import check_is_fitted

from .._files import replacing
from .._version import __version__
from ..exceptions import ExportError
from . import imputation, scores
from .graph import DEFAULT_OPSET, ML, ML_OPSET, NEWEST_OPSET, OLDEST_OPSET, Graph
from .methods import METHODS, Export
from .table import missing_text

# Each of these adds methods to ``METHODS``.
ADDED = imputation, scores


def to_onnx(
    estimator: Any,
    methods: str | Sequence[str] | None = None,
    path: str | os.PathLike | None = None,
    *,
    target_opset: int = DEFAULT_OPSET,
) -> onnx.ModelProto:
    """A fitted estimator as a graph that needs neither Python nor torch.

    A table of numbers comes in as ``X (n_rows, n_features)``, any other by one input
    ``(n_rows, 1)`` for each column, under its name: numbers and booleans as floats, NaN where a
    cell is missing; categories as strings, ``""`` where missing; dates as seconds since 1970 in
    UTC. Each method is an output of its name. ``inverse_transform`` reads ``codes`` instead, and
    gives a table, as ``reconstruct`` and ``impute`` do: one output for an array, and for a frame
    ``"inverse_transform.<column>"`` for each column. The number of rows is free.

    Where the estimator would raise an error (an infinite number, a negative count, an unknown
    category with ``unknown="error"``) the graph gives NaN for that row, and -1 for a label.

    Parameters
    ----------
    estimator : VAETransformer or VAEOutlierDetector
        Fitted.
    methods : str or sequence of str, default=None
        What to export. Of a transformer ``"transform"`` (if None), ``"score_samples"`` with
        ``n_draws`` of the estimator, ``"inverse_transform"``, ``"reconstruct"``, ``"impute"``
        (best values by ``method="miwae"``), ``"predict"`` and ``"predict_proba"``; of a detector
        ``"decision_function"`` (if None), ``"predict"`` and ``"score_samples"``, whatever its
        score function.
    path : path, default=None
        File to write, whole or not at all.
    target_opset : int, default=18
        Version of ONNX's operators, from 13 to 22.

    Returns
    -------
    model : onnx.ModelProto
        The graph.

    Raises
    ------
    ExportError
        If a part of the model, or a method, has no counterpart in ONNX; it says which have.
    ValueError
        If ``target_opset`` is out of range.

    Examples
    --------
    >>> import onnxruntime
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer
    >>> from skvae.export import feeds, to_onnx
    >>> X, _ = load_wine(return_X_y=True)
    >>> vae = VAETransformer(2, max_iter=9, random_state=0).fit(X)
    >>> model = to_onnx(vae, ["transform", "score_samples"])
    >>> session = onnxruntime.InferenceSession(model.SerializeToString())
    >>> codes, scores = session.run(None, feeds(session, X))
    >>> bool(abs(codes - vae.transform(X)).max() < 1e-5)
    True
    """
    check_is_fitted(estimator)
    if not OLDEST_OPSET <= target_opset <= NEWEST_OPSET:
        raise ValueError(
            f"to_onnx expects target_opset from {OLDEST_OPSET} to {NEWEST_OPSET}, got "
            f"{target_opset!r}."
        )
    known = METHODS(estimator)
    # Columns may have any name but one like these.
    graph = Graph(target_opset, "skvae/")
    export = Export(graph, estimator)
    for name in _names(methods, known, estimator):
        known[name](export, name)
    model = _model(graph, estimator)
    onnx.checker.check_model(model)
    if path is not None:
        with replacing(path) as file:
            file.write(model.SerializeToString())
    return model


def _names(methods: str | Sequence[str] | None, known: dict, estimator: Any) -> list[str]:
    if methods is None:
        return [next(iter(known))]
    names = [methods] if isinstance(methods, str) else list(dict.fromkeys(methods))
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ExportError(
            f"to_onnx expects methods of {type(estimator).__name__} that can be exported, "
            f"{', '.join(map(repr, known))}; got {methods!r}."
        )
    return names


def _model(graph: Graph, estimator: Any) -> onnx.ModelProto:
    whole = helper.make_graph(
        graph.nodes, type(estimator).__name__, graph.inputs, graph.outputs, graph.used_constants()
    )
    opsets = [helper.make_opsetid("", graph.opset)]
    if any(node.domain == ML for node in graph.nodes):
        opsets.append(helper.make_opsetid(ML, ML_OPSET))
    model = helper.make_model(
        whole,
        opset_imports=opsets,
        producer_name="skvae",
        producer_version=__version__,
        ir_version=helper.find_min_ir_version_for(opsets),
    )
    missing = {str(c.name): missing_text(c) for c in estimator.codec_.columns_}
    properties = {"skvae_version": __version__, "missing_text": json.dumps(missing)}
    helper.set_model_props(model, properties)
    return model
