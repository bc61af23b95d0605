"""Estimators as steps of pipelines that skl2onnx converts."""

from __future__ import annotations

from typing import Any

import numpy as np
from skl2onnx import _parse, update_registered_converter
from skl2onnx.common import data_types

from .. import VAEOutlierDetector, VAETransformer
from ..exceptions import ExportError
from .graph import ML, ML_OPSET, NEWEST_OPSET, OLDEST_OPSET, Graph, Value
from .methods import Export, transform
from .scores import decision, label
from .table import Cells

TYPES = {
    data_types.FloatTensorType: np.float32,
    data_types.DoubleTensorType: np.float64,
    data_types.Int32TensorType: np.int32,
    data_types.Int64TensorType: np.int64,
    data_types.BooleanTensorType: np.bool_,
    data_types.StringTensorType: str,
}


def register_onnx_converters() -> None:
    """Let skl2onnx convert ``VAETransformer`` and ``VAEOutlierDetector`` in pipelines.

    A transformer gives its codes, a detector the labels and what ``decision_function`` gives, as
    skl2onnx has it of scikit-learn's detectors. Importing ``skvae`` registers nothing.

    Examples
    --------
    >>> import onnxruntime
    >>> from skl2onnx import to_onnx
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skvae import VAETransformer
    >>> from skvae.export import register_onnx_converters
    >>> register_onnx_converters()
    >>> X, y = load_wine(return_X_y=True)
    >>> vae = VAETransformer(2, max_iter=9, random_state=0)
    >>> model = make_pipeline(StandardScaler(), vae, LogisticRegression()).fit(X, y)
    >>> graph = to_onnx(model, X[:1], options={"zipmap": False})
    >>> session = onnxruntime.InferenceSession(graph.SerializeToString())
    >>> labels, shares = session.run(None, {"X": X})
    >>> bool((labels == model.predict(X)).all())
    True
    """
    for kind, shapes, convert in (
        (VAETransformer, _shapes_of_codes, _convert_transformer),
        (VAEOutlierDetector, _shapes_of_scores, _convert_detector),
    ):
        update_registered_converter(kind, f"Skvae{kind.__name__}", shapes, convert)
    # Columns of a frame that come as they are stay apart: some are strings.
    apart = getattr(_parse, "do_not_merge_columns", ())
    ours = tuple(kind for kind in (VAETransformer, VAEOutlierDetector) if kind not in apart)
    _parse.do_not_merge_columns = apart + ours


def _shapes_of_codes(operator: Any) -> None:
    n_rows = operator.inputs[0].get_first_dimension()
    n_latents = operator.raw_operator.vae_.n_latents
    # What comes behind was told to expect doubles where the table has some.
    kind = data_types.guess_tensor_type(operator.inputs[0].type)
    operator.outputs[0].type = type(kind)([n_rows, n_latents])


def _shapes_of_scores(operator: Any) -> None:
    n_rows = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = data_types.Int64TensorType([n_rows])
    kind = data_types.guess_tensor_type(operator.inputs[0].type)
    operator.outputs[1].type = type(kind)([n_rows, 1])


def _convert_transformer(scope: Any, operator: Any, container: Any) -> None:
    export = _opened(scope, operator, container)
    _close(container, export.graph, operator, [transform(export)])


def _convert_detector(scope: Any, operator: Any, container: Any) -> None:
    export = _opened(scope, operator, container)
    above = decision(export)
    found = [label(export, above).squeezed(-1), above]
    _close(container, export.graph, operator, found)


def _opened(scope: Any, operator: Any, container: Any) -> Export:
    """The estimator of a step, with what comes before it as its table."""
    opset, estimator = container.target_opset_any_domain(""), operator.raw_operator
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise ExportError(
            f"{type(estimator).__name__} is exported for operators of version {OLDEST_OPSET} to "
            f"{NEWEST_OPSET}, got target_opset={opset}."
        )
    graph = Graph(opset, scope.get_unique_operator_name("skvae") + "_")
    values, widths = [], []
    for variable in operator.inputs:
        if type(variable.type) not in TYPES:
            raise ExportError(
                f"The input {variable.raw_name!r} of {type(estimator).__name__} is of the type "
                f"{type(variable.type).__name__}; expected numbers, booleans or strings."
            )
        dtype = TYPES[type(variable.type)]
        values.append(Value(graph, variable.full_name, dtype))
        widths.append(variable.type.shape[1])
    columns = estimator.codec_.columns_
    if len(widths) == 1 and widths[0] is None:
        widths = [len(columns)]
    return Export(graph, estimator, Cells(values, widths, columns))


def _close(container: Any, graph: Graph, operator: Any, found: list[Value]) -> None:
    for variable, value in zip(operator.outputs, found):
        graph.pass_on(variable.full_name, value.cast(TYPES[type(variable.type)]))
    container.initializers.extend(graph.used_constants())
    container.nodes.extend(graph.nodes)
    for domain in {node.domain for node in graph.nodes}:
        version = ML_OPSET if domain == ML else graph.opset
        container.node_domain_version_pair_sets.add((domain, version))
