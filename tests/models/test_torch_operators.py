"""Every operator of the torch runner against onnxruntime, on graphs of one node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="the torch runner needs the extra `lab`")
onnx = pytest.importorskip("onnx", reason="the torch runner needs the extra `lab`")

from oculard_models.runners.torch_attributes import GraphWrong  # noqa: E402  # after the skips
from oculard_models.runners.torch_graph import Graph  # noqa: E402
from oculard_models.runners.torch_operators import OPERATORS  # noqa: E402

Arrays = tuple[npt.NDArray[Any] | None, ...]

CHANCE = np.random.default_rng(1)


def floats(*shape: int) -> npt.NDArray[np.float32]:
    """Make some numbers on both sides of 0."""
    return CHANCE.normal(size=shape).astype(np.float32)


def whole(*values: int) -> npt.NDArray[np.int64]:
    """Make sizes or axes."""
    return np.array(values, dtype=np.int64)


X = floats(2, 3, 7, 8)
P = np.abs(X) + 0.1
ONE = np.float32(1.0)
CONV = {"kernel_shape": [3, 3]}

# operator, inputs after which attributes; opset 17 unless one is given in the attributes as `opset`
CASES: list[tuple[str, Arrays, Mapping[str, Any]]] = [
    *((name, (X,), {}) for name in ("Abs", "Ceil", "Erf", "Exp", "Floor", "HardSwish", "Identity", "Neg", "Relu")),
    *((name, (X,), {}) for name in ("Round", "Sigmoid", "Softplus", "Tanh", "Elu", "Selu", "LeakyRelu", "HardSigmoid")),
    *((name, (P,), {}) for name in ("Log", "Reciprocal", "Sqrt")),
    ("Elu", (X,), {"alpha": 0.5}),
    ("Gelu", (X,), {"opset": 20}),
    ("Gelu", (X,), {"opset": 20, "approximate": "tanh"}),
    ("Mish", (X,), {"opset": 18}),
    ("PRelu", (X, floats(3, 1, 1)), {}),
    ("Not", (X > 0,), {}),
    ("Clip", (X, np.float32(-0.5), np.float32(0.5)), {}),
    ("Clip", (X, None, np.float32(0.5)), {}),
    ("Clip", (X,), {"opset": 10, "min": -0.5, "max": 0.25}),
    *((name, (X, floats(3, 1, 8)), {}) for name in ("Add", "Sub", "Mul", "Div", "Less", "Greater", "Equal")),
    *((name, (X, floats(8)), {}) for name in ("LessOrEqual", "GreaterOrEqual", "Max", "Min", "Sum", "Mean")),
    *((name, (X > 0, X > 1), {}) for name in ("And", "Or")),
    ("Div", (whole(-7, 7), whole(2, -2)), {}),
    ("Mod", (whole(-7, 7), whole(3, 3)), {}),
    ("Mod", (X, P), {"fmod": 1}),
    ("Pow", (P, np.float32(1.7)), {}),
    ("Where", (X > 0, X, P), {}),
    ("Cast", (X,), {"to": 7}),
    ("Cast", (X,), {"to": 10}),
    ("Softmax", (X,), {}),
    ("Softmax", (X,), {"axis": 1}),
    ("Softmax", (X,), {"opset": 11, "axis": 2}),
    ("LogSoftmax", (X,), {"axis": 1}),
    ("Gemm", (floats(2, 5), floats(4, 5), floats(4)), {"transB": 1}),
    ("Gemm", (floats(5, 2), floats(5, 4), floats(2, 4)), {"transA": 1, "alpha": 0.5, "beta": 2.0}),
    ("MatMul", (X, floats(8, 4)), {}),
    ("Einsum", (floats(2, 3, 4), floats(2, 4, 5)), {"equation": "bij,bjk->bik"}),
    ("Conv", (X, floats(4, 3, 3, 3), floats(4)), CONV),
    ("Conv", (X, floats(4, 3, 3, 3)), CONV | {"strides": [2, 2], "pads": [0, 1, 2, 1]}),
    ("Conv", (X, floats(6, 1, 3, 3)), CONV | {"group": 3, "pads": [1, 1, 1, 1], "dilations": [2, 1]}),
    ("Conv", (X, floats(4, 3, 3, 3)), CONV | {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("Conv", (X, floats(4, 3, 4, 4)), {"kernel_shape": [4, 4], "strides": [3, 2], "auto_pad": "SAME_LOWER"}),
    ("Conv", (X, floats(4, 3, 3, 3)), CONV | {"auto_pad": "VALID"}),
    ("Conv", (floats(2, 3, 9), floats(4, 3, 3)), {"kernel_shape": [3], "pads": [1, 1]}),
    ("ConvTranspose", (X, floats(3, 4, 2, 2), floats(4)), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    (
        "ConvTranspose",
        (X, floats(3, 2, 3, 3)),
        CONV | {"strides": [2, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 1]},
    ),
    ("MaxPool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("MaxPool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0]}),
    ("MaxPool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", (X,), {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1, "pads": [1, 1, 1, 1]}),
    ("MaxPool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("AveragePool", (X,), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", (X,), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("AveragePool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0]}),
    ("AveragePool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0], "count_include_pad": 1}),
    ("AveragePool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", (X,), {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("GlobalAveragePool", (X,), {}),
    ("GlobalMaxPool", (X,), {}),
    ("BatchNormalization", (X, floats(3), floats(3), floats(3), np.abs(floats(3))), {"epsilon": 1e-3}),
    ("InstanceNormalization", (X, floats(3), floats(3)), {}),
    ("LayerNormalization", (X, floats(8), floats(8)), {}),
    ("LayerNormalization", (X, floats(7, 8)), {"axis": 2}),
    ("Pad", (X, whole(0, 0, 1, 2, 0, 0, 3, 0), np.float32(0.5)), {}),
    ("Pad", (X, whole(0, 0, 1, 2, 0, 0, 3, 4)), {"mode": "reflect"}),
    ("Pad", (X, whole(0, 0, 1, 2, 0, 0, 3, 0)), {"mode": "edge"}),
    ("Pad", (X, whole(1, 2), np.float32(0.0), whole(3)), {"opset": 18}),
    ("Pad", (X,), {"opset": 10, "pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": 1.5}),
    ("Resize", (X, None, np.array([1, 1, 2, 2], dtype=np.float32)), {"mode": "nearest"}),
    ("Resize", (X, None, np.array([1, 1, 1.7, 0.6], dtype=np.float32)), {"mode": "linear"}),
    ("Resize", (X, None, None, whole(2, 3, 5, 12)), {"mode": "linear"}),
    *(
        (
            "Resize",
            (X, None, None, whole(2, 3, 11, 5)),
            {"mode": mode, "coordinate_transformation_mode": place, "nearest_mode": nearest},
        )
        for mode in ("nearest", "linear")
        for place in ("asymmetric", "align_corners", "pytorch_half_pixel")
        for nearest in ("floor", "round_prefer_ceil")
    ),
    ("Upsample", (X, np.array([1, 1, 2, 3], dtype=np.float32)), {"opset": 9, "mode": "nearest"}),
    ("ConstantOfShape", (whole(2, 3),), {"value": onnx.numpy_helper.from_array(np.array([1.5], dtype=np.float32))}),
    ("DepthToSpace", (floats(1, 8, 2, 3),), {"blocksize": 2}),
    ("DepthToSpace", (floats(1, 8, 2, 3),), {"blocksize": 2, "mode": "CRD"}),
    ("SpaceToDepth", (floats(1, 2, 4, 6),), {"blocksize": 2}),
    ("Dropout", (X,), {}),
    ("Expand", (floats(3, 1), whole(2, 1, 4)), {}),
    ("Flatten", (X,), {}),
    ("Flatten", (X,), {"axis": 2}),
    ("Flatten", (X,), {"axis": 0}),
    ("Flatten", (X,), {"axis": -1}),
    ("Gather", (X, whole(2, -1)), {"axis": 1}),
    ("Gather", (X, np.array([[0, 1], [1, 0]], dtype=np.int64)), {"axis": 3}),
    ("Gather", (whole(2, 3, 7), np.array(1, dtype=np.int64)), {}),
    ("ArgMax", (X,), {"axis": 1}),
    ("ArgMin", (X,), {"axis": -1, "keepdims": 0}),
    ("Range", (np.array(1, dtype=np.int64), np.array(9, dtype=np.int64), np.array(3, dtype=np.int64)), {}),
    *((name, (X,), {"axes": [2, 3]}) for name in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1")),
    *((name, (X,), {"axes": [1], "keepdims": 0}) for name in ("ReduceL2", "ReduceSumSquare", "ReduceLogSumExp")),
    ("ReduceMean", (X,), {}),
    ("ReduceMean", (X, whole(-1)), {"opset": 18}),
    ("ReduceSum", (X, whole(1, 3)), {"keepdims": 0}),
    ("ReduceSum", (X,), {"noop_with_empty_axes": 1}),
    ("Reshape", (X, whole(0, -1, 8)), {}),
    ("Shape", (X,), {}),
    ("Shape", (X,), {"start": 1, "end": -1}),
    ("Size", (X,), {}),
    ("Slice", (X, whole(1, -3), whole(9, -1), whole(2, 3)), {}),
    ("Slice", (X, whole(-1, 0), whole(-99, 7), whole(3, 2), whole(-2, 3)), {}),
    ("Slice", (X, whole(2, 0), whole(0, 3)), {}),
    ("Slice", (X,), {"opset": 9, "starts": [1], "ends": [3], "axes": [1]}),
    ("Split", (X, whole(3, 5)), {"axis": 3, "outputs": 2}),
    ("Split", (X,), {"axis": 3, "outputs": 2}),
    ("Split", (X,), {"axis": 2, "outputs": 2, "num_outputs": 2, "opset": 18}),
    ("Squeeze", (floats(1, 3, 1),), {}),
    ("Squeeze", (floats(1, 3, 1), whole(-1)), {}),
    ("Squeeze", (floats(1, 3, 1),), {"opset": 11, "axes": [0]}),
    ("Tile", (floats(2, 3), whole(2, 1)), {}),
    ("Transpose", (X,), {}),
    ("Transpose", (X,), {"perm": [0, 2, 3, 1]}),
    ("Unsqueeze", (floats(3, 2), whole(0, -1)), {}),
    ("Concat", (X, floats(2, 1, 7, 8)), {"axis": 1}),
    ("QuantizeLinear", (X, np.float32(0.05), np.int8(3)), {}),
    ("QuantizeLinear", (X, np.array([0.05, 0.01, 0.2], np.float32), np.array([0, 9, 200], np.uint8)), {"axis": 1}),
    ("DequantizeLinear", ((X * 20).astype(np.int8), np.float32(0.05), np.int8(-3)), {}),
    ("DequantizeLinear", ((X * 20).astype(np.int32), np.array([0.05, 0.01, 0.2], np.float32)), {"axis": 1}),
]
ELSEWHERE = {"Constant"}  # has no input: the shipped bundles are full of it


def one_node(kind: str, inputs: Arrays, settings: Mapping[str, Any]) -> tuple[bytes, dict[str, Any], list[str]]:
    """Build a model of one node; return its bytes, its feeds and the names of its outputs."""
    attributes = dict(settings)
    opset, count = attributes.pop("opset", 17), attributes.pop("outputs", 1)
    names = [f"in{k}" if value is not None else "" for k, value in enumerate(inputs)]
    feeds = {name: np.asarray(value) for name, value in zip(names, inputs, strict=True) if value is not None}
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    outputs = [f"out{k}" for k in range(count)]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, names, outputs, **attributes)],
        "one",
        values,
        [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    return model.SerializeToString(), feeds, outputs


@pytest.mark.parametrize(("kind", "inputs", "settings"), CASES, ids=[f"{c[0]}-{k}" for k, c in enumerate(CASES)])
def test_operator_gives_what_onnxruntime_gives(kind: str, inputs: Arrays, settings: Mapping[str, Any]):
    """The same numbers, of the same type and shape."""
    import onnxruntime

    content, feeds, outputs = one_node(kind, inputs, settings)
    theirs = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(outputs, feeds)
    graph = Graph(content, outputs, "kept as it is")  # on "cpu" halves would be widened, and a type compared in vain
    ours = graph.run({name: torch.from_numpy(v.copy()) for name, v in feeds.items()})

    for name, expected in zip(outputs, theirs, strict=True):
        got = ours[name].numpy()
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6)


def test_every_operator_has_a_case():
    """A new operator comes with its comparison."""
    assert set(OPERATORS) - ELSEWHERE == {kind for kind, *_ in CASES}


@pytest.mark.parametrize(
    ("kind", "inputs", "settings", "said"),
    [
        ("Conv", (X, floats(4, 3, 3, 3)), {"auto_pad": "SAME"}, "auto_pad `SAME` is not supported"),
        ("Relu", (X,), {"consumed_inputs": 1}, "attribute `consumed_inputs` is not supported"),
        ("MaxPool", (X,), {"kernel_shape": [2, 2], "outputs": 2}, "a second output is not supported"),
        ("Resize", (X, None, np.ones(4, np.float32)), {"mode": "cubic"}, "mode `cubic` is not supported"),
        ("Cast", (X,), {"to": 16}, "type 16 is not supported"),
        ("TopK", (X, whole(1)), {}, "there is no operator TopK `out0`"),
        ("Gelu", (X,), {"domain": "com.microsoft"}, "there is no operator Gelu `out0` of com.microsoft"),
        ("Relu", (X,), {"opset": 7}, "opset 7 is not supported"),
    ],
)
def test_what_is_not_known_is_refused_by_name(kind: str, inputs: Arrays, settings: Mapping[str, Any], said: str):
    """Nothing is ever left out or guessed: the node is named."""
    content, _, outputs = one_node(kind, inputs, settings)

    with pytest.raises(GraphWrong, match=said):
        Graph(content, outputs, "cpu")
