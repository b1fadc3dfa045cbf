"""QONNX operators one by one: hand-made models against QONNX's own execution, integer for integer."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from shifthw.frontend.qonnx import import_qonnx, import_qonnx_model
from shifthw.frontend.reference import evaluate, verify_reference
from shifthw.ir import Flatten, Input, IntType, MaxPool2d, Requantize, Rounding, ShiftConv2d, SumPool2d, interpret

from .qonnx_models import Qonnx, agree, executed, extreme_images


def latent(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(scale=0.4, size=shape)


def start(*shape: int, opset: int = 13, scale: float = 2.0**-5, **options: Any) -> tuple[Qonnx, str]:
    model = Qonnx(*(shape or (6, 3, 6, 7)), opset=opset)
    return model, model.quant("x", scale, **options)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("narrow", [0, 1])
def test_weights_of_every_width(bits: int, narrow: int, tmp_path: Path) -> None:
    model, x = start()
    top = 2.0 ** (bits - 1)
    w = np.clip(latent(4, 3, 3, 3), -1, 1) * 1.5
    w.flat[:2] = -2, 2  # both ends of the range
    y = model.op("Conv", x, model.weights(w, 1 / top, bits, narrow=narrow), pads=[1, 1, 1, 1])
    graph = agree(model.write(tmp_path, model.quant(y, 2.0**-3)))
    conv = graph["Conv_2"].op
    assert isinstance(conv, ShiftConv2d)
    assert conv.weight.integer.min() == -top + narrow
    assert conv.weight.integer.max() == top - 1
    assert conv.weight.terms <= (bits + 1) // 2


def test_scale_per_output_channel(tmp_path: Path) -> None:
    model, x = start()
    scales = 2.0 ** -np.array([3, 7, 5, 3]).reshape(4, 1, 1, 1)
    w = latent(4, 3, 3, 3)
    w[2] = 0  # a channel without weights
    y = model.op("Conv", x, model.weights(w, scales, 5), model.const([0.5, 0.25, -0.125, 3.0]))
    y = model.quant(model.op("Relu", y), 2.0**-4, signed=0)
    graph = agree(model.write(tmp_path, y))
    multiplier = graph.nodes[-1].op.multiplier[0]  # type: ignore[union-attr]
    assert multiplier[0] == 16 * multiplier[1] == multiplier[2] == multiplier[3]


@pytest.mark.parametrize(("bits", "signed", "narrow", "dtype"), [
    (8, 1, 0, IntType(8, True)), (8, 1, 1, IntType(8, True)), (8, 0, 1, IntType(8, False)),
    (3, 0, 0, IntType(3, False)), (1, 0, 0, IntType(2, False)), (16, 1, 0, IntType(16, True)),
    (12, 0, 0, IntType(12, False)),
])
@pytest.mark.parametrize("mode", ["ROUND", "half_even", "FLOOR"])
def test_activations(bits: int, signed: int, narrow: int, dtype: IntType, mode: str, tmp_path: Path) -> None:
    model, x = start(bits=4)
    y = model.op("Conv", x, model.weights(latent(4, 3, 2, 2), 2.0**-4, 4), model.const([0.0, 1.03125, -0.5, 0.25]))
    y = model.quant(y, 2.0 ** (1 - bits), bits, signed=signed, narrow=narrow, mode=mode)
    graph = agree(model.write(tmp_path, y))
    last = graph.nodes[-1]
    assert last.output.dtype == dtype
    assert isinstance(last.op, Requantize)
    assert last.op.lo == (0 if not signed else -(1 << (bits - 1)) + narrow)
    assert last.op.hi == ((1 << bits) - 1 - narrow if not signed else (1 << (bits - 1)) - 1)
    assert last.op.rounding is (Rounding.FLOOR if mode == "FLOOR" else Rounding.HALF_EVEN)


@pytest.mark.parametrize("mode", ["HALF_UP", "DOWN"])
def test_roundings_that_are_ours_where_nothing_is_negative(mode: str, tmp_path: Path) -> None:
    model, x = start()
    y = model.op("Conv", x, model.weights(latent(4, 3, 2, 2), 2.0**-4, 4))
    agree(model.write(tmp_path, model.quant(y, 2.0**-2, signed=0, mode=mode)))


@pytest.mark.parametrize("offset", [0.3, 0.5, 0.03125, -0.015625, 1e-4])
def test_ties_go_to_the_even_number_whatever_the_bias(offset: float, tmp_path: Path) -> None:
    """Also a bias between two steps of the accumulator: a sum just above a tie is none."""
    model = Qonnx(1, 1, 1, 64)
    x = model.quant("x", 1.0, 8)
    y = model.op("Conv", x, model.weights(np.ones((3, 1, 1, 1))), model.const([offset, 0.0, -offset]))
    file = model.write(tmp_path, model.quant(y, 4.0, 6))
    images = np.arange(-32, 32).reshape(1, 1, 1, 64)
    graph = agree(file, images=images)
    exact = np.rint((images + np.array([offset, 0.0, -offset], np.float32).reshape(1, 3, 1, 1).astype(float)) / 4)
    assert np.array_equal(interpret(graph, images)[graph.outputs[0]], exact)


@pytest.mark.parametrize(("attributes", "groups"), [
    (dict(strides=[2, 1], pads=[0, 1, 2, 0]), 1), (dict(dilations=[2, 2], pads=[2, 2, 2, 2]), 2),
    (dict(auto_pad="SAME_UPPER", strides=[2, 2]), 1), (dict(auto_pad="SAME_LOWER", strides=[2, 2]), 1),
    (dict(auto_pad="VALID"), 4), (dict(auto_pad="SAME_UPPER", strides=[3, 2]), 4),
])
def test_windows_of_convolutions(attributes: dict[str, Any], groups: int, tmp_path: Path) -> None:
    model, x = start(6, 4, 8, 7)
    y = model.op("Conv", x, model.weights(latent(8, 4 // groups, 3, 3), 2.0**-6), group=groups, **attributes)
    agree(model.write(tmp_path, model.quant(y, 2.0**-4)))


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int, tmp_path: Path) -> None:
    model, x = start(6, 20)
    w = latent(7, 20) if transposed else latent(20, 7)
    scales = 2.0 ** -np.arange(3, 10.0).reshape(7, 1)
    y = model.op("Gemm", x, model.weights(w, scales if transposed else scales.T, 6), model.const(latent(7).round(2)),
                 transB=transposed, alpha=0.5, beta=2.0)
    agree(model.write(tmp_path, model.quant(y, 2.0**-6, 10), flat=True))


def test_matmul_of_transposed_weights_with_bias_behind(tmp_path: Path) -> None:
    model, x = start(6, 2, 3, 4)
    x = model.op("Flatten", x)
    w = model.op("Transpose", model.weights(latent(5, 24), 2.0**-5, 4, narrow=1), perm=[1, 0])
    y = model.op("Add", model.op("MatMul", x, w), model.weights(latent(5), 2.0**-10, 16))
    graph = agree(model.write(tmp_path, model.quant(y, 2.0**-6), flat=True))
    assert [type(node.op) for node in graph.nodes] == [Input, Flatten, ShiftConv2d, Requantize]


def test_flatten_and_scaling_before_the_first_quantizer(tmp_path: Path) -> None:
    model = Qonnx(6, 2, 3, 4)
    x = model.op("Reshape", "x", model.const([6, -1], np.int64))
    x = model.quant(model.op("Mul", x, model.const(4.0)), 2.0**-5)
    graph = agree(model.write(tmp_path, model.op("Gemm", x, model.weights(latent(24, 5), 2.0**-5, 4)), flat=True))
    assert graph.nodes[0].output.shape == (2, 3, 4)
    assert graph.nodes[0].output.scale == 2.0**-7  # of the model's own input


def test_normalization_before_the_first_quantizer_is_told(tmp_path: Path) -> None:
    model = Qonnx(6, 2, 3, 4)
    x = model.op("Div", model.op("Sub", "x", model.const([[[0.5]], [[0.25]]])), model.const([[[0.5]], [[2.0]]]))
    x = model.quant(model.op("Clip", x, model.const(-1.0), model.const(2.0)), 2.0**-5)
    file = model.write(tmp_path, model.quant(model.op("Conv", x, model.weights(latent(3, 2, 2, 2), 2.0**-4)), 2.0**-3))
    graph = import_qonnx(file)
    assert graph.metadata["input"] == {"rounding": "half_even", "lo": -32, "hi": 64}
    (note,) = graph.metadata["qonnx"]["notes"]  # type: ignore[index]
    assert "x * (2, 0.5) + (-1, -0.125) per channel, which the model computes before Quant_" in note
    images = extreme_images(graph, 6)
    real = (images * 2.0**-5 + np.array([1.0, 0.125]).reshape(2, 1, 1)) / np.array([2.0, 0.5]).reshape(2, 1, 1)
    (expected,) = executed(file, real)
    assert np.array_equal(interpret(graph, images)[graph.outputs[0]], expected * 8)


@pytest.mark.parametrize("kind", ["Add", "Sub"])
def test_residuals(kind: str, tmp_path: Path) -> None:
    model, x = start(6, 4, 5, 5)
    y = model.op("Conv", x, model.weights(latent(4, 4, 3, 3), 2.0**-7), pads=[1, 1, 1, 1])
    y = model.quant(model.op("Relu", model.op(kind, y, x)), 2.0**-4, signed=0)
    z = model.quant(model.op("Conv", y, model.weights(latent(4, 4, 1, 1), 2.0**-7)), 2.0**-3)
    graph = agree(model.write(tmp_path, model.quant(model.op(kind, y, z), 2.0**-2)))
    assert [len(node.inputs) for node in graph.nodes] == [0, 1, 2, 1, 1, 2]


def test_constants_join_the_factors(tmp_path: Path) -> None:
    """Per tensor and per channel, before and behind layers and activation functions."""
    model, x = start(6, 3, 5, 5)
    x = model.op("Mul", x, model.const(0.5))
    y = model.op("Conv", x, model.op("Mul", model.weights(latent(4, 3, 3, 3), 1.0 / 16, 5), model.const([[[[2.0]]]])))
    y = model.op("Mul", y, model.const(np.array([2.0, -1.0, 0.5, 1.0]).reshape(1, 4, 1, 1)))
    y = model.op("Div", y, model.const(0.25))
    y = model.op("Sub", y, model.const(np.array([1.0, 0.0, -0.5, 2]).reshape(4, 1, 1)))
    y = model.op("Relu", model.op("Add", model.const(-0.25), y))
    y = model.op("Add", model.op("Mul", y, model.const(2.0)), model.const(0.5))
    y = model.op("Sub", model.const(1.0), model.quant(y, 2.0**-3, 10, signed=0))
    agree(model.write(tmp_path, model.quant(y, 2.0**-2, 9)))


def test_batch_norm_with_exact_gains(tmp_path: Path) -> None:
    model, x = start()
    y = model.op("Conv", x, model.weights(latent(4, 3, 3, 3), 2.0**-5, 4))
    parameters = ([1.0, -1.0, 3.0, 0.0], [0.125, -0.25, 0.5, 0.75], [0.5, -1.25, 0.25, 2.0], [1.0, 4.0, 16.0, 0.25])
    y = model.op("BatchNormalization", y, *(model.const(values) for values in parameters), epsilon=0.0)
    y = model.op("Clip", y, model.const(-0.75), model.const(1.5))
    graph = agree(model.write(tmp_path, model.quant(y, 2.0**-4)))
    assert (graph.nodes[-1].op.lo, graph.nodes[-1].op.hi) == (-12, 24)  # type: ignore[union-attr]


@pytest.mark.parametrize(("kind", "attributes"), [
    ("MaxPool", dict(kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])),
    ("MaxPool", dict(kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)),
    ("MaxPool", dict(kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")),
    ("AveragePool", dict(kernel_shape=[2, 2], strides=[2, 2])),
    ("AveragePool", dict(kernel_shape=[4, 2], pads=[1, 1, 2, 0], count_include_pad=1)),
    ("GlobalAveragePool", {}),
    ("ReduceMean", dict(axes=[2, 3], keepdims=0)),
    ("ReduceMean", dict(axes=[-1, 2])),
])
@pytest.mark.parametrize("signed", [0, 1])
def test_pools(kind: str, attributes: dict[str, Any], signed: int, tmp_path: Path) -> None:
    model, x = start(6, 3, 8, 8, signed=signed)
    y = model.op(kind, x, **attributes)
    graph = agree(model.write(tmp_path, model.quant(y, 2.0**-4, 9, mode="FLOOR")))
    assert sum(isinstance(node.op, MaxPool2d if kind == "MaxPool" else SumPool2d) for node in graph.nodes) == 1


def test_pad_joins_what_reads_it(tmp_path: Path) -> None:
    model, x = start(6, 3, 6, 5, signed=0)
    zeros = model.const([0, 0, 2, 1, 0, 0, 0, 1], np.int64)
    padded = model.op("Pad", x, zeros, model.const(0.0))
    y = model.quant(model.op("Conv", padded, model.weights(latent(3, 3, 3, 3), 2.0**-6), auto_pad="SAME_UPPER",
                             strides=[2, 2]), 2.0**-3)
    coarse = model.quant(padded, 2.0**-3, 6, signed=0)
    z = model.op("MaxPool", coarse, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
    mean = model.quant(model.op("AveragePool", padded, kernel_shape=[4, 2]), 2.0**-3)
    graph = agree(model.write(tmp_path, y, model.quant(z, 2.0**-3), mean))
    assert {type(node.op): node.op.padding for node in graph.nodes if hasattr(node.op, "padding")} == {
        ShiftConv2d: (2, 2, 1, 2), MaxPool2d: (2, 1, 1, 2), SumPool2d: (2, 1, 0, 1)}


def test_limits_on_the_grid_of_an_activation_need_no_quantizer(tmp_path: Path) -> None:
    model, x = start(6, 3, 6, 6)
    y = model.op("Conv", model.op("Relu", x), model.weights(latent(4, 3, 3, 3), 2.0**-6))
    y = model.quant(y, 2.0**-4)
    limited = model.op("Clip", y, model.const(-1.0), model.const(2.0))
    mean = model.quant(model.op("GlobalAveragePool", limited), 2.0**-6)
    total = model.quant(model.op("Add", model.op("Relu", y), limited), 2.0**-2)
    graph = agree(model.write(tmp_path, mean, total))
    assert sorted((node.op.lo, node.op.hi) for node in graph.nodes if isinstance(node.op, Requantize)) == [
        *[(-128, 127)] * 3, (-16, 32), (0, 127), (0, 127)]


def test_quantizers_that_change_nothing_leave_no_trace(tmp_path: Path) -> None:
    model, x = start(6, 3, 4, 4)
    x = model.op("MaxPool", model.quant(x, 2.0**-5), kernel_shape=[2, 2])
    x = model.op("Relu", model.op("Identity", model.quant(model.quant(x, 2.0**-5), 2.0**-4, signed=0)))
    x = model.op("Dropout", model.quant(x, 2.0**-4, signed=0))
    graph = agree(model.write(tmp_path, x))
    assert [type(node.op) for node in graph.nodes] == [Input, MaxPool2d, Requantize]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("mode", ["FLOOR", "ROUND"])
def test_trunc(version: int, mode: str, tmp_path: Path) -> None:
    model, x = start(6, 3, 8, 8)
    y = model.op("Mul", model.op("AveragePool", x, kernel_shape=[4, 4], strides=[4, 4]), model.const(16.0))
    narrower = [model.const(2.0**-2)] if version == 2 else []
    y = model.op("Trunc", y, model.const(2.0**-5), model.const(0.0), model.const(12.0), *narrower, model.const(7.0),
                 domain="qonnx.custom_op.general", rounding_mode=mode, **(dict(signed=1, narrow=0) if narrower else {}))
    file = model.write(tmp_path, y)
    if version == 1:  # QONNX takes the class by the version of the domain
        proto = onnx.load(file)
        proto.opset_import[1].version = 1
        onnx.save(proto, file)
    graph = agree(file)
    assert graph.nodes[-1].output.scale == (2.0**-2 if version == 2 else 2.0**-5)


def test_bipolar_weights(tmp_path: Path) -> None:
    model, x = start()
    w = model.op("BipolarQuant", model.const(latent(4, 3, 3, 3)), model.const(0.25), domain="qonnx.custom_op.general")
    y = model.op("Conv", x, w)
    z = model.op("Conv", x, model.weights(latent(4, 3, 3, 3), 0.25, 1))
    graph = agree(model.write(tmp_path, model.quant(y, 2.0**-3), model.quant(z, 2.0**-3)))
    assert all(set(np.unique(node.op.weight.integer)) == {-1, 1} for node in graph.nodes
               if isinstance(node.op, ShiftConv2d))


def test_annotated_input_and_weights(tmp_path: Path) -> None:
    model = Qonnx(6, 3, 5, 5)
    w = model.const(np.random.default_rng(1).integers(-8, 8, (4, 3, 3, 3)))
    proto = model.proto(model.op("Conv", "x", w))
    for tensor, kind in (("x", "UINT8"), (w, "INT4")):
        entry = proto.graph.quantization_annotation.add(tensor_name=tensor)
        entry.quant_parameter_tensor_names.add(key="finn_datatype", value=kind)
    onnx.save(proto, tmp_path / "a.onnx")
    graph = agree(tmp_path / "a.onnx")
    assert graph.nodes[0].name == "x"
    assert graph.nodes[0].output.dtype == IntType(8, False)
    assert graph.nodes[-1].output.scale == 1.0


def test_constant_outputs_are_left_out(tmp_path: Path) -> None:
    """Brevitas exports the scale of an output beside it."""
    model, x = start(6, 3, 4, 4)
    graph = import_qonnx(model.write(tmp_path, model.quant(x, 0.25), model.const(np.ones((1, 1, 1, 1)))))
    assert graph.outputs == ("Quant_1",)
    assert graph.metadata["qonnx"]["notes"] == [  # type: ignore[index]
        "output: 1 of the model's outputs are constant and left out"]


def test_output_without_quantizer_is_exact_where_32_bits_hold_it(tmp_path: Path) -> None:
    model, x = start(6, 3, 4, 4, bits=8)
    y = model.op("Conv", x, model.weights(latent(5, 3, 4, 4), 2.0 ** -np.arange(5.0, 10).reshape(5, 1, 1, 1), 8),
                 model.const([0.5, -1.0, 0.25, 0.0, 2.0]))
    y = model.op("Softmax", model.op("Flatten", y), axis=1)
    file = model.write(tmp_path, y, flat=True)
    graph = import_qonnx(file)
    about = graph.metadata["qonnx"]
    assert about["exact"] is True  # type: ignore[index]
    softmax, output = about["notes"]  # type: ignore[index]
    assert "Softmax is left out" in softmax
    assert "kept in 22 bits, in steps of 6.10352e-05; the whole engine becomes as wide: a Quant of 8 bits" in output
    assert graph.nodes[-1].output.scale == 2.0**-14
    model.nodes.pop()
    agree(model.write(tmp_path, "t3", flat=True))


@pytest.mark.parametrize(("hi", "within"), [(2.0, 0.0), (1.25, 0.5), (100.25, 0.0)])
def test_limits_of_an_output_without_quantizer(hi: float, within: float, tmp_path: Path) -> None:
    """One between two steps is rounded, and that is told; one that nothing reaches does not matter."""
    model, x = start(6, 3, 4, 4, scale=0.5, bits=5)
    file = model.write(tmp_path, model.op("Clip", x, model.const(-1.0), model.const(hi)))
    graph = import_qonnx(file)
    about: Any = graph.metadata["qonnx"]
    assert about["exact"] is (within == 0)
    assert about["within"] == ({} if within == 0 else {graph.outputs[0]: within})
    images = extreme_images(graph, 6)
    (expected,) = executed(file, images * 0.5)
    steps = interpret(graph, images)[graph.outputs[0]] - expected / graph[graph.outputs[0]].output.scale
    assert np.abs(steps).max() == within


def test_real_scales_are_within_what_the_graph_says(tmp_path: Path) -> None:
    model, x = start(6, 3, 6, 7, scale=0.0173)
    w = latent(4, 3, 3, 3)
    y = model.op("Conv", x, model.weights(w, np.array([0.011, 0.02, 0.013, 0.017]).reshape(4, 1, 1, 1), 6),
                 model.const(latent(4)))
    y = model.op("BatchNormalization", y, *(model.const(np.abs(latent(4)) + k) for k in range(4)))
    y = model.quant(y, 0.021)
    mean = model.quant(model.op("GlobalAveragePool", y), 0.02)
    last = model.op("Conv", mean, model.weights(latent(5, 4, 1, 1), 0.013))
    file = model.write(tmp_path, y, last)
    graph = import_qonnx(file)
    about: Any = graph.metadata["qonnx"]
    first = graph.outputs[0]
    assert about["exact"] is False
    assert 0 < about["within"][first] < 0.1
    images = extreme_images(graph, 6)
    expected, result = executed(file, images * graph.nodes[0].output.scale), interpret(graph, images)
    steps = np.rint(expected[0].astype(float) / graph[first].output.scale)
    difference = np.abs(result[first] - steps)
    assert 0 <= difference.max() <= 1
    assert np.mean(difference > 0) < 0.1
    assert graph.nodes[-1].output.dtype == IntType(16, True)
    assert about["within"][graph.outputs[1]] >= 0.5


@pytest.mark.parametrize("domain", ["", "onnx.brevitas", "finn.custom_op.general"])
def test_older_domains_and_dynamic_batch(domain: str, tmp_path: Path) -> None:
    model = Qonnx("N", 3, 5, 5)
    x = model.quant("x", 2.0**-5, domain=domain)
    w = model.weights(latent(4, 3, 3, 3), 2.0**-5, domain=domain)
    y = model.op("Conv", x, w, domain="ai.onnx" if domain else "")
    shape = model.op("Shape", y)
    first = model.op("Unsqueeze", model.op("Gather", shape, model.const(0, np.int64)), model.const([0], np.int64))
    y = model.op("Reshape", model.quant(y, 2.0**-4, domain=domain),
                 model.op("Concat", first, model.const([-1], np.int64), axis=0))
    file = model.write(tmp_path, model.op("Gemm", y, model.weights(latent(36, 5), 2.0**-5)), flat=True)
    graph = import_qonnx(file)
    model.shape = (4, 3, 5, 5)
    for node in model.nodes:
        node.domain = "qonnx.custom_op.general" if node.op_type == "Quant" else ""
    onnx.save(model.proto(model.nodes[-1].output[0], flat=True), tmp_path / "fixed.onnx")
    assert [node.name for node in agree(tmp_path / "fixed.onnx").nodes] == [node.name for node in graph.nodes]


def test_the_real_network_comes_along(tmp_path: Path) -> None:
    """With the scale of an activation changed by a factor, and scales per channel."""
    model, x = start(6, 3, 6, 6)
    y = model.op("Conv", model.op("Mul", x, model.const(0.5)), model.weights(latent(4, 3, 3, 3), 2.0 ** -np.arange(
        3.0, 7).reshape(4, 1, 1, 1), 5), model.const([0.5, -0.25, 0.125, 0.0]))
    mean = model.op("GlobalAveragePool", model.quant(model.op("Relu", y), 2.0**-4, signed=0))
    found = import_qonnx_model(model.write(tmp_path, model.quant(mean, 2.0**-6)))
    assert found.fake_reference is not None
    verify_reference(found.graph, found.fake_reference)
    images = extreme_images(found.graph, 20)
    real = evaluate(found.graph, found.fake_reference, torch.from_numpy(images * found.graph.nodes[0].output.scale),
                    quantized=True)
    (name,) = found.graph.outputs
    assert np.array_equal(real[name].numpy(), interpret(found.graph, images)[name] * 2.0**-6)
