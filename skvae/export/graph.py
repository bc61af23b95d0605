"""An ONNX graph that is written as arithmetic: values with operators, constants from arrays."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..exceptions import ExportError

ML = "ai.onnx.ml"
# From here on all reductions take their axes as an input.
AXES_AS_INPUT = 18
OLDEST_OPSET, NEWEST_OPSET, DEFAULT_OPSET = 13, 22, 18
ML_OPSET = 3

ArrayLike = Any


def element_type(dtype: Any) -> int:
    """Number of ONNX's type of the elements of an array; ``str`` stands for strings."""
    if dtype is str:
        return onnx.TensorProto.STRING
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


class Value:
    """A tensor in a graph; its operators add nodes.

    Parameters
    ----------
    graph : Graph
    name : str
    dtype : type
        NumPy's type of its elements, or ``str``.
    """

    # NumPy must leave ``array + value`` to this class.
    __array_ufunc__ = None

    def __init__(self, graph: Graph, name: str, dtype: Any):
        self.graph, self.name, self.dtype = graph, name, dtype

    def _with(self, kind: str, other: ArrayLike, dtype=None, swapped=False) -> Value:
        other = self.graph.value(other, self.dtype)
        first, second = (other, self) if swapped else (self, other)
        return self.graph.op(kind, first, second, dtype=dtype or self.dtype)

    def __add__(self, other):
        return self._with("Add", other)

    def __radd__(self, other):
        return self._with("Add", other, swapped=True)

    def __sub__(self, other):
        return self._with("Sub", other)

    def __rsub__(self, other):
        return self._with("Sub", other, swapped=True)

    def __mul__(self, other):
        return self._with("Mul", other)

    def __rmul__(self, other):
        return self._with("Mul", other, swapped=True)

    def __truediv__(self, other):
        return self._with("Div", other)

    def __rtruediv__(self, other):
        return self._with("Div", other, swapped=True)

    def __matmul__(self, other):
        return self._with("MatMul", other)

    def __neg__(self):
        return self.graph.op("Neg", self)

    def __gt__(self, other):
        return self._with("Greater", other, bool)

    def __lt__(self, other):
        return self._with("Less", other, bool)

    def __ge__(self, other):
        return self._with("GreaterOrEqual", other, bool)

    def __le__(self, other):
        return self._with("LessOrEqual", other, bool)

    def __and__(self, other):
        return self._with("And", other)

    def __or__(self, other):
        return self._with("Or", other)

    def __invert__(self):
        return self.graph.op("Not", self)

    def equals(self, other) -> Value:
        """Where two tensors hold the same."""
        return self._with("Equal", other, bool)

    def at_least(self, other) -> Value:
        """The larger of two numbers."""
        return self._with("Max", other)

    def at_most(self, other) -> Value:
        """The smaller of two numbers."""
        return self._with("Min", other)

    def clipped(self, low: float, high: float) -> Value:
        """Numbers no smaller and no larger than these."""
        ends = (self.graph.value(end, self.dtype) for end in (low, high))
        return self.graph.op("Clip", self, *ends)

    def apply(self, kind: str, dtype=None, **attributes) -> Value:
        """An operator of one input, as ``"Exp"``."""
        return self.graph.op(kind, self, dtype=dtype, **attributes)

    def exp(self) -> Value:
        """Exponential."""
        return self.apply("Exp")

    def log(self) -> Value:
        """Natural logarithm."""
        return self.apply("Log")

    def cast(self, dtype) -> Value:
        """The same numbers as another type."""
        if dtype == self.dtype:
            return self
        return self.apply("Cast", dtype, to=element_type(dtype))

    def shaped(self, *shape: int) -> Value:
        """The same elements in another shape; 0 stands for the length at hand."""
        return self.graph.op("Reshape", self, self.graph.integers(shape))

    def expanded(self, *axes: int) -> Value:
        """With new axes of length 1."""
        return self.graph.op("Unsqueeze", self, self.graph.integers(axes))

    def squeezed(self, *axes: int) -> Value:
        """Without these axes of length 1."""
        return self.graph.op("Squeeze", self, self.graph.integers(axes))

    def transposed(self, *order: int) -> Value:
        """With its axes in this order."""
        return self.apply("Transpose", perm=list(order))

    def take(self, places: ArrayLike, axis: int = -1) -> Value:
        """What stands at these places along an axis."""
        if not isinstance(places, Value):
            places = self.graph.constant(np.asarray(places, dtype=np.int64))
        return self.graph.op("Gather", self, places, axis=axis)

    def parts(self, widths: Sequence[int], axis: int = -1) -> list[Value]:
        """Consecutive pieces along an axis."""
        if len(widths) == 1:
            return [self]
        sizes = self.graph.integers(widths)
        return self.graph.ops("Split", self, sizes, n_outputs=len(widths), axis=axis)

    def reduce(self, kind: str, axis: int, keep: bool = False) -> Value:
        """Sum, mean or maximum along an axis, by ``"Sum"``, ``"Mean"``, ``"Max"``, ``"Min"``."""
        name = f"Reduce{kind}"
        if kind == "Sum" or self.graph.opset >= AXES_AS_INPUT:
            return self.graph.op(name, self, self.graph.integers([axis]), keepdims=int(keep))
        return self.graph.op(name, self, axes=[axis], keepdims=int(keep))

    def sum(self, axis: int, keep: bool = False) -> Value:
        """Sum along an axis."""
        return self.reduce("Sum", axis, keep)

    def log_sum_exp(self, axis: int) -> Value:
        """Logarithm of the sum of exponentials along an axis; of nothing but -inf it is -inf."""
        lowest = float(np.finfo(self.dtype).min)
        top = self.reduce("Max", axis, keep=True).at_least(lowest)
        return (self - top).exp().sum(axis).log() + top.squeezed(axis)

    def argmax(self, axis: int = -1) -> Value:
        """Place of the largest along an axis."""
        return self.apply("ArgMax", np.int64, axis=axis, keepdims=0)

    def one_hot(self, n: int) -> Value:
        """Indicators of whole numbers below ``n``, along a new last axis."""
        return self.expanded(-1).equals(np.arange(n)).cast(np.float32)

    def any(self) -> Value:
        """Whether a condition holds anywhere along the last axis, ``(..., 1)``."""
        return self.cast(np.float32).reduce("Max", -1, keep=True) > 0.0

    def zeros(self) -> Value:
        """A column of zeros ``(..., 1)``; what is added to it has as many rows."""
        return self.reduce("Sum", -1, keep=True) * 0.0


class Graph:
    """Nodes and constants in the order in which they are written, equal ones once.

    Parameters
    ----------
    opset : int
        Version of ONNX's operators.
    prefix : str, default=""
        What names begin with, so that several graphs can stand in one.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.export.graph import Graph
    >>> graph = Graph(opset=18)
    >>> x = graph.input("x", np.float32, 2)
    >>> y = 2.0 * x + np.array([1.0, 3.0])
    >>> [node.op_type for node in graph.nodes]
    ['Mul', 'Add']
    """

    def __init__(self, opset: int, prefix: str = ""):
        self.opset, self.prefix = opset, prefix
        self.nodes: list = []
        self.inputs: list = []
        self.outputs: list = []
        self.initializers: list = []
        self._constants: dict[tuple, Value] = {}
        self._found: dict[tuple, list[Value]] = {}

    def input(self, name: str, dtype: Any, n_columns: int) -> Value:
        """A table of any number of rows."""
        self._check_new(name)
        shape: list[Any] = ["n_rows", n_columns]
        self.inputs.append(helper.make_tensor_value_info(name, element_type(dtype), shape))
        return Value(self, name, dtype)

    def output(self, name: str, value: Value, *widths: int) -> None:
        """Give a value out under this name; its first axis are the rows."""
        self._check_new(name)
        self.pass_on(name, value)
        shape: list[Any] = ["n_rows", *widths]
        kind = element_type(value.dtype)
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def _check_new(self, name: str) -> None:
        if name in {part.name for part in (*self.inputs, *self.outputs)}:
            raise ExportError(
                f"Two inputs or outputs of the graph would be called {name!r}. Inputs have the "
                "names of columns, outputs those of methods, and inverse_transform reads "
                "'codes': rename the column, or export the method alone."
            )

    def pass_on(self, name: str, value: Value) -> None:
        """Let a value have this very name, too."""
        self.nodes.append(helper.make_node("Identity", [value.name], [name], name=f"{name}_"))

    def used_constants(self) -> list:
        """Constants that some node reads."""
        used = {name for node in self.nodes for name in node.input}
        return [tensor for tensor in self.initializers if tensor.name in used]

    def op(self, kind: str, *inputs: Value, dtype: Any = None, domain="", **attributes) -> Value:
        """A node of one output, whose type is that of the first input unless given."""
        dtypes = [dtype or inputs[0].dtype]
        return self._node(kind, inputs, dtypes, domain, attributes)[0]

    def ops(self, kind: str, *inputs: Value, n_outputs: int, **attributes) -> list[Value]:
        """A node of several outputs of one type."""
        return self._node(kind, inputs, [inputs[0].dtype] * n_outputs, "", attributes)

    def top(self, x: Value, n: int) -> tuple[Value, Value]:
        """The ``n`` smallest of each row, in rising order, and their places."""
        dtypes = [x.dtype, np.int64]
        inputs = x, self.integers([n])
        found = self._node("TopK", inputs, dtypes, "", {"axis": -1, "largest": 0, "sorted": 1})
        return found[0], found[1]

    def value(self, x: ArrayLike, dtype: Any) -> Value:
        """A value as it is, anything else as a constant of this type."""
        return x if isinstance(x, Value) else self.constant(np.asarray(x, dtype=dtype))

    def constant(self, array: ArrayLike) -> Value:
        """An array."""
        array = np.ascontiguousarray(array) if np.ndim(array) else np.asarray(array)
        text = array.dtype.kind in "OUS"
        content = tuple(array.ravel()) if text else array.tobytes()
        key = str(array.dtype), array.shape, content
        if key not in self._constants:
            name = f"{self.prefix}constant_{len(self.initializers)}"
            tensor = numpy_helper.from_array(array.astype(object) if text else array, name)
            self.initializers.append(tensor)
            self._constants[key] = Value(self, name, str if text else array.dtype.type)
        return self._constants[key]

    def integers(self, numbers: Sequence[int]) -> Value:
        """A list of whole numbers, as of axes or lengths."""
        return self.constant(np.asarray(numbers, dtype=np.int64))

    def joined(self, values: Sequence[Value], axis: int = -1) -> Value:
        """Values side by side."""
        return values[0] if len(values) == 1 else self.op("Concat", *values, axis=axis)

    def where(self, condition: Value, yes: ArrayLike, no: ArrayLike, dtype=None) -> Value:
        """One or the other, element by element; one of them is a value, or ``dtype`` is given."""
        for x in (yes, no):
            dtype = x.dtype if isinstance(x, Value) else dtype
        yes, no = (self.value(x, dtype) for x in (yes, no))
        return self.op("Where", condition, yes, no, dtype=dtype)

    def either(self, *conditions: Value | None) -> Value | None:
        """Where one of the conditions holds; None where there are none."""
        known = [condition for condition in conditions if condition is not None]
        return functools.reduce(operator.or_, known) if known else None

    def filled(self, like: Value, cell: ArrayLike, dtype: Any) -> Value:
        """A column of one cell with as many rows as ``like (rows, ...)``."""
        shape = self.op("Shape", like, dtype=np.int64)
        rows = self.joined([shape.take([0], 0), self.integers([1])], 0)
        cell = self.constant(np.array([[cell]], dtype=object if dtype is str else dtype))
        return self.op("Expand", cell, rows)

    def _node(self, kind, inputs, dtypes, domain, attributes) -> list[Value]:
        inputs = [value.name for value in inputs]
        key = kind, domain, *inputs, repr(attributes)
        if key not in self._found:
            name = f"{self.prefix}{kind}_{len(self.nodes)}"
            names = [name if i == 0 else f"{name}_{i}" for i in range(len(dtypes))]
            node = helper.make_node(kind, inputs, names, name=name, domain=domain, **attributes)
            self.nodes.append(node)
            self._found[key] = [Value(self, n, dtype) for n, dtype in zip(names, dtypes)]
        return self._found[key]
