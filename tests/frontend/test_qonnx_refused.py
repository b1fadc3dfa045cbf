"""What the QONNX import does not take: one line each, naming the node; and files that would do harm."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from shifthw.errors import BadModelFile, ShifthwError, ToolMissing, UnsupportedModel
from shifthw.frontend.qonnx import import_qonnx

from .qonnx_models import Qonnx

Make = Callable[[Qonnx, str], str]
ONES = np.ones((4, 3, 3, 3))


def conv(model: Qonnx, x: str, **options: object) -> str:
    return model.op("Conv", x, model.weights(ONES, 0.125, **options))  # type: ignore[arg-type]


def refused(file: Path, error: type[ShifthwError], message: str) -> None:
    with pytest.raises(error, match=message) as found:
        import_qonnx(file)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 600


def second_result(model: Qonnx, first: str) -> str:
    """What reads the mask of the dropout that made `first`."""
    model.nodes[-1].output.append("second")
    return model.op("Identity", "second")


UNSUPPORTED: dict[str, tuple[Make, str]] = {
    "operator": (lambda m, x: m.op("Sigmoid", conv(m, x)),
                 r"Sigmoid_3 \(Sigmoid\): is an operator that is not supported; supported are Quant, IntQuant"),
    "operator of a foreign domain": (lambda m, x: m.op("Quant", x, domain="os"), r"is an operator of 'os' that is not"),
    "operator for constants": (lambda m, x: m.op("Neg", x), r"Neg_1 \(Neg\): works on values that are not constant"),
    "channels last": (lambda m, x: m.op("Conv", x, domain="qonnx.custom_op.channels_last"), r"channels last \(NHWC\)"),
    "transpose": (lambda m, x: m.op("Transpose", x, perm=[0, 2, 3, 1]), r"order of dimensions to \[0, 2, 3, 1\].*NHWC"),
    "zero point": (lambda m, x: m.quant(conv(m, x), 0.5, zero=3.0), r"Quant_3 \(Quant\): has zero point 3, must be 0"),
    "zero point of weights": (lambda m, x: conv(m, x, zero=-1.0), r"has zero point -1, must be 0"),
    "scale 0": (lambda m, x: m.quant(conv(m, x), 0.0), r"has scale 0, must be finite and above 0"),
    "negative scale": (lambda m, x: m.op("Conv", x, m.weights(ONES, np.full((4, 1, 1, 1), -0.5))), r"has scale -0.5"),
    "scale NaN": (lambda m, x: m.quant(conv(m, x), np.nan), r"has scale nan"),
    "scale Inf": (lambda m, x: m.quant(conv(m, x), np.inf), r"has scale inf"),
    "computed scale": (lambda m, x: m.op("Quant", x, x, m.const(0.0), m.const(8.0), domain="qonnx.custom_op.general",
                                         signed=1, narrow=0), r"its scale is not a constant"),
    "scales of an activation": (lambda m, x: m.quant(conv(m, x), 2.0 ** np.arange(4).reshape(1, 4, 1, 1)),
                                r"has 4 scales for an activation, must have one"),
    "wide activation": (lambda m, x: m.quant(conv(m, x), 0.5, 17), r"makes activations of 17 bits, must be at most 16"),
    "half a bit": (lambda m, x: m.quant(conv(m, x), 0.5, 4.5), r"has bit width 4.5, must be one whole number"),
    "no bits": (lambda m, x: m.quant(conv(m, x), 0.5, 0), r"has bit width 0, must be"),
    "ceil": (lambda m, x: m.quant(conv(m, x), 0.5, mode="CEIL"), r"rounding_mode 'CEIL', must be ROUND, HALF_EVEN"),
    "toward zero": (lambda m, x: m.quant(conv(m, x), 0.5, mode="DOWN"), r"rounding_mode 'DOWN', must be"),
    "bipolar activation": (lambda m, x: m.op("BipolarQuant", conv(m, x), m.const(1.0)), r"-1 and 1 without 0"),
    "one bit activation": (lambda m, x: m.quant(conv(m, x), 1.0, 1), r"-1 and 1 without 0"),
    "16-bit weights": (lambda m, x: conv(m, x, bits=16), r"has weights of 16 bits, must be at most 8"),
    "weights of too many terms": (lambda m, x: m.op("Conv", x, m.weights(ONES * 171, signed=0)),
                                  r"its weight 171 needs 5 signed powers of two"),
    "float weights": (lambda m, x: m.op("Conv", x, m.const(ONES)),
                      r"Conv_1 \(Conv\): its weights are not quantized; put a Quant of 2..8 bits"),
    "computed weights": (lambda m, x: m.op("Conv", x, x), r"its weights are computed, must be constant"),
    "NaN in weights": (lambda m, x: m.op("Conv", x, m.weights(ONES * np.nan)), r"holds NaN or infinite numbers"),
    "Inf in weights": (lambda m, x: m.op("Conv", x, m.weights(ONES * np.inf)), r"holds NaN or infinite numbers"),
    "NaN in a bias": (lambda m, x: m.op("Conv", x, m.weights(ONES), m.const([0, 1, np.nan, 0])), r"must hold finite"),
    "scale along the kernel": (lambda m, x: m.op("Conv", x, m.weights(ONES, 2.0 ** np.arange(3))),
                               r"the scale of its weights changes inside an output channel"),
    "scales of another shape": (lambda m, x: m.op("Conv", x, m.weights(ONES, np.ones(5))), r"has scales \[5\] for"),
    "no quantizer between": (lambda m, x: m.op("Conv", conv(m, x), m.weights(np.ones((2, 4, 1, 1)))),
                             r"Conv_4 \(Conv\): its input is not quantized; put a Quant before it"),
    "no quantizer at the input": (lambda m, x: conv(m, "x"), r"reads the network's input, which must pass a Quant"),
    "a second quantizer of the input": (lambda m, x: m.op("Add", x, m.quant("x", 0.5)), r"input a second way"),
    "pool of a sum": (lambda m, x: m.op("MaxPool", conv(m, x), kernel_shape=[2, 2]), r"MaxPool_3.*not quantized"),
    "add of two sums": (lambda m, x: m.op("Add", conv(m, x), conv(m, x)), r"at most one operand may be unquantized"),
    "add behind Relu": (lambda m, x: m.op("Add", x, m.op("Relu", conv(m, x))), r"is an activation function's result"),
    "product": (lambda m, x: m.op("Mul", x, x), r"multiplies two activations"),
    "division by 0": (lambda m, x: m.op("Div", x, m.const(0.0)), r"must divide by a constant other than 0"),
    "constant per pixel": (lambda m, x: m.op("Add", x, m.const(np.arange(6.0))), r"must be one number, or one per"),
    "constant that enlarges": (lambda m, x: m.op("Add", x, m.const(np.ones((2, 1, 1, 1)))), r"must be one number, or"),
    "batch norm behind Relu": (lambda m, x: m.op("BatchNormalization", m.op("Relu", conv(m, x)), *[m.const(np.arange(
        4.0))] * 4), r"follows an activation function; put a Quant between"),
    "batch norm with a negative variance": (lambda m, x: m.op("BatchNormalization", x, *[m.const(-np.ones(3))] * 4),
                                            r"has variance -1"),
    "average without padding": (lambda m, x: m.op("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
                                r"leaves the padding out of the mean"),
    "ceil mode": (lambda m, x: m.op("MaxPool", x, kernel_shape=[4, 4], strides=[4, 4], ceil_mode=1),
                  r"makes a map of shape \(3, 2, 2\); only \(3, 1, 1\)"),
    "dilated pool": (lambda m, x: m.op("MaxPool", x, kernel_shape=[2, 2], dilations=[2, 2]), r"has dilations \[2, 2\]"),
    "mean over channels": (lambda m, x: m.op("ReduceMean", x, axes=[1]), r"must be the mean over axes 2 and 3"),
    "padding with ones": (lambda m, x: m.op("Pad", x, m.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64), m.const(1.0)),
                          r"must pad with a constant 0"),
    "padded channels": (lambda m, x: m.op("Pad", x, m.const([0, 1, 0, 0, 0, 0, 0, 0], np.int64)), r"rows and columns"),
    "cropping": (lambda m, x: m.op("Pad", x, m.const([0, 0, -1, 0, 0, 0, 0, 0], np.int64)), r"rows and columns"),
    "add behind Pad": (lambda m, x: m.op("Add", m.op("Pad", x, m.const([0, 0, 1, 0, 0, 0, 0, 0], np.int64)),
                                         m.const(1.0)), r"reads the result of a Pad"),
    "reshape to a map": (lambda m, x: m.op("Reshape", x, m.const([1, 3, 9, 4], np.int64)), r"only flattening"),
    "reshape of a sum": (lambda m, x: m.op("Flatten", conv(m, x)), r"Flatten_3.*not quantized"),
    "softmax in between": (lambda m, x: m.op("Relu", m.op("Softmax", x, axis=1)), r"must be the last step"),
    "softmax over columns": (lambda m, x: m.op("Softmax", x), r"must be the last step, over the channels"),
    "linear layer on a map": (lambda m, x: m.op("MatMul", x, m.weights(np.ones((6, 6)))), r"for a flattened input"),
    "trunc that rounds twice": (lambda m, x: m.op("Trunc", conv(m, x), m.const(1.0), m.const(0.0), m.const(8.0),
                                                  m.const(2.0), m.const(8.0), domain="qonnx.custom_op.general",
                                                  signed=1, narrow=0, rounding_mode="FLOOR"), r"that it rounds twice"),
    "trunc by three": (lambda m, x: m.op("Trunc", x, m.const(2.0**-5), m.const(0.0), m.const(8.0), m.const(3 * 2.0**-5),
                                         m.const(8.0), domain="qonnx.custom_op.general", signed=1, narrow=0,
                                         rounding_mode="FLOOR"), r"whose ratio must be a power of two"),
    "dropout in training": (lambda m, x: m.op("Dropout", x, m.const(0.5), m.const(True, bool)), r"is in training mode"),
    "limits the wrong way round": (lambda m, x: m.op("Clip", conv(m, x), m.const(1.0), m.const(-0.5)),
                                   r"has limits 1..-0.5, which must ascend"),
    "limits of an activation": (lambda m, x: m.op("Clip", x, m.const(1.0), m.const(-0.5)), r"must ascend"),
    "bias of one number": (lambda m, x: m.op("Conv", x, m.weights(ONES), m.const([0.5])),
                           r"has a bias of shape \[1\], must be \[4\], one number per output channel"),
    "bias per image": (lambda m, x: m.op("Gemm", m.op("Flatten", x), m.weights(np.ones((108, 1))), m.const(np.ones((
        2, 1)))), r"has a bias of shape \[2, 1\], must be \[1\]"),
    "second result": (lambda m, x: second_result(m, m.op("Dropout", x)), r"reads second, a second result of a step"),
    "computed limit": (lambda m, x: m.op("Clip", x, m.op("ReduceMean", x, keepdims=0)), r"must be"),
    "attribute of another type": (lambda m, x: m.op("Quant", x, m.const(1.0), m.const(0.0), m.const(8.0),
                                                    domain="qonnx.custom_op.general", signed=[1, 2], narrow="x",
                                                    rounding_mode=[0.5]), r"rounding_mode"),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_no_mapping(case: str, tmp_path: Path) -> None:
    make, message = UNSUPPORTED[case]
    model = Qonnx(1, 3, 6, 6)
    refused(model.write(tmp_path, make(model, model.quant("x", 2.0**-5))), UnsupportedModel, message)


@pytest.mark.parametrize(("shape", "message"), [
    (("N", 3, "height", 6), r"x: its dimension 2 is dynamic \('height'\), only the batch may be"),
    ((1, 3, 6), r"x: is an input of 3 dimensions, must have 4"),
])
def test_shapes_of_the_input(shape: tuple[int | str, ...], message: str, tmp_path: Path) -> None:
    model = Qonnx(*shape)
    refused(model.write(tmp_path, model.quant("x", 0.5)), UnsupportedModel, message)


def test_annotated_weights_off_their_grid(tmp_path: Path) -> None:
    for values, message in ((ONES * 0.5, r"annotated as s4 but are not all integers"), (ONES * 9, r"but hold 9..9")):
        model = Qonnx(1, 3, 6, 6)
        proto = model.proto(model.op("Conv", model.quant("x", 0.5), model.const(values)))
        entry = proto.graph.quantization_annotation.add(tensor_name="c3")
        entry.quant_parameter_tensor_names.add(key="finn_datatype", value="INT4")
        onnx.save(proto, tmp_path / "a.onnx")
        refused(tmp_path / "a.onnx", UnsupportedModel, message)


def proto(model: Qonnx) -> onnx.ModelProto:
    return model.proto(conv(model, model.quant("x", 2.0**-5)))


def test_two_inputs(tmp_path: Path) -> None:
    changed = proto(Qonnx(1, 3, 6, 6))
    changed.graph.input.append(helper.make_tensor_value_info("other", 1, [1]))
    onnx.save(changed, tmp_path / "a.onnx")
    refused(tmp_path / "a.onnx", UnsupportedModel, r"graph: has 2 inputs \(x, other\), must have one")


def test_integer_input(tmp_path: Path) -> None:
    changed = proto(Qonnx(1, 3, 6, 6))
    changed.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    onnx.save(changed, tmp_path / "a.onnx")
    refused(tmp_path / "a.onnx", UnsupportedModel, r"x: is an input of type uint8, must be float32")


def test_no_version_of_the_operators(tmp_path: Path) -> None:
    changed = proto(Qonnx(1, 3, 6, 6))
    del changed.opset_import[0]
    onnx.save(changed, tmp_path / "a.onnx")
    refused(tmp_path / "a.onnx", UnsupportedModel, r"does not say which version of ONNX's operators it uses")


def test_bias_for_each_image_of_a_batch(tmp_path: Path) -> None:
    """As many numbers as there are channels, but not one per channel."""
    model = Qonnx(6, 20)
    y = model.op("Gemm", model.quant("x", 0.5), model.weights(np.ones((20, 6))), model.const(np.ones((6, 1))))
    refused(model.write(tmp_path, y, flat=True), UnsupportedModel, r"has a bias of shape \[6, 1\], must be \[6\]")


def test_a_second_result_as_output(tmp_path: Path) -> None:
    """It is not constant, so it is not left out."""
    model = Qonnx(1, 3, 6, 6)
    first = model.op("Dropout", model.quant("x", 0.5))
    model.nodes[-1].output.append("mask")
    changed = model.proto(first, "mask")
    changed.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.BOOL
    onnx.save(changed, tmp_path / "a.onnx")
    refused(tmp_path / "a.onnx", UnsupportedModel, r"reads mask, a second result of a step")


def test_long_names_of_inputs(tmp_path: Path) -> None:
    changed = proto(Qonnx(1, 3, "height", 6))
    changed.graph.input[0].name = changed.graph.node[0].input[0] = "x\n" * 5000
    onnx.save(changed, tmp_path / "a.onnx")
    refused(tmp_path / "a.onnx", UnsupportedModel, r"its dimension 2 is dynamic")


def test_functions_in_the_file(tmp_path: Path) -> None:
    changed = proto(Qonnx(1, 3, 6, 6))
    changed.functions.append(helper.make_function("", "Conv", ["X", "W"], ["Y"], [helper.make_node("Add", ["X", "W"], [
        "Y"])], [helper.make_opsetid("", 13)]))
    onnx.save(changed, tmp_path / "a.onnx")
    refused(tmp_path / "a.onnx", UnsupportedModel, r"'Conv': is a function inside the file")


def test_files_that_are_no_model(tmp_path: Path) -> None:
    good = tmp_path / "good.onnx"
    onnx.save(proto(Qonnx(1, 3, 6, 6)), good)
    content = good.read_bytes()
    others = {"empty": b"", "text": b"not a model\n", "zeros": bytes(64), "zip": b"PK\3\4" + bytes(40)}
    for name, data in others.items():
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, BadModelFile, r"is not an ONNX model")
    for length in range(1, len(content), 7):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(ShifthwError):
            import_qonnx(tmp_path / "cut")
    refused(tmp_path / "missing.onnx", BadModelFile, r"missing.onnx: cannot be read \(No such file")
    refused(tmp_path, BadModelFile, r"not a regular file")


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    good = tmp_path / "good.onnx"
    onnx.save(proto(Qonnx(1, 3, 6, 6)), good)
    content, rng = bytearray(good.read_bytes()), np.random.default_rng(8)
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(256)
        (tmp_path / "damaged.onnx").write_bytes(damaged)
        try:
            import_qonnx(tmp_path / "damaged.onnx")
        except ShifthwError as error:
            assert "\n" not in str(error)


def test_inconsistent_model(tmp_path: Path) -> None:
    changed = proto(Qonnx(1, 3, 6, 6))
    changed.graph.node[2].input[0] = "nowhere"
    onnx.save(changed, tmp_path / "a.onnx")
    refused(tmp_path / "a.onnx", BadModelFile, r"is not a consistent ONNX model")


def test_what_a_small_file_asks_to_be_computed_is_limited(tmp_path: Path) -> None:
    model = Qonnx(1, 3, 6, 6)
    many = model.op("Mul", model.const(np.ones((30000, 1))), model.const(np.ones((1, 30000))))
    file = model.write(tmp_path, model.op("Add", model.quant("x", 0.5), many))
    refused(file, UnsupportedModel, r"t0: has shape \[30000, 30000\], must have at most")


def test_what_a_folded_constant_asks_for_is_limited(tmp_path: Path) -> None:
    """No shape in the file is large: the padding is computed."""
    model = Qonnx(1, 3, 6, 6)
    half = model.const([0, 0, 1 << 14, 1 << 14], np.int64)
    many = model.op("Pad", model.const(np.ones((1, 1))), model.op("Add", half, half))
    file = model.write(tmp_path, model.op("Add", model.quant("x", 0.5), many))
    refused(file, UnsupportedModel, r"t1: has shape \[32769, 32769\], must have at most")


def external(tmp_path: Path, location: str) -> Path:
    """A model whose weights are the first bytes of the file at `location`."""
    changed = proto(Qonnx(1, 3, 6, 6))
    tensor = changed.graph.initializer[-4]
    assert tensor.dims == [4, 3, 3, 3]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value=str(ONES.size * 4))
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    (folder / "a.onnx").write_bytes(changed.SerializeToString())
    return folder / "a.onnx"


def test_external_data_comes_from_the_models_folder_only(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(ONES.astype(np.float32).tobytes())
    file = external(tmp_path, "weights.bin")
    (file.parent / "weights.bin").write_bytes(secret.read_bytes())
    assert import_qonnx(file).nodes[-1].output.shape == (4, 4, 4)
    (file.parent / "link.bin").symlink_to(secret)
    (file.parent / "short.bin").write_bytes(b"1234")
    for location in ("../secret.bin", str(secret), "link.bin", "short.bin", "missing.bin", ".", ""):
        refused(external(tmp_path, location), BadModelFile, r"its external data cannot be read")


def test_no_module_that_a_domain_names_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "harmful_module.py").write_text("raise SystemExit('was run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for op in ("Quant", "Conv", "Trunc"):
        model = Qonnx(1, 3, 6, 6)
        y = model.op(op, model.quant("x", 0.5), model.weights(ONES), domain="harmful_module")
        refused(model.write(tmp_path, y), UnsupportedModel, r"is an operator of 'harmful_module' that is not supported")
    assert "harmful_module" not in sys.modules


@pytest.mark.parametrize("key", ["tensor_layout", "tensor_sparsity", "finn_datatype"])
def test_no_annotation_is_evaluated(key: str, tmp_path: Path) -> None:
    changed = proto(Qonnx(1, 3, 6, 6))
    for tensor in ("x", "t0", "c3", "t1", "t2"):
        entry = changed.graph.quantization_annotation.add(tensor_name=tensor)
        entry.quant_parameter_tensor_names.add(key=key, value=f"open({str(tmp_path / 'was_run')!r}, 'w')")
    onnx.save(changed, tmp_path / "a.onnx")
    import_qonnx(tmp_path / "a.onnx")
    assert not (tmp_path / "was_run").exists()


def test_names_from_the_file_stay_readable(tmp_path: Path) -> None:
    model = Qonnx(1, 3, 6, 6)
    model.op("Quant", "x", model.const(0.5), model.const(0.0), model.const(8.0), domain="qonnx.custom_op.general",
             name="line\nbreak", signed=1, narrow=0)
    y = model.op("Conv", "t0", model.weights(ONES), name="n" * 1000)
    graph = import_qonnx(model.write(tmp_path, y))
    assert [node.name for node in graph.nodes] == ["Quant_0", "Conv_2", "output"]


def test_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("shifthw.frontend.qonnx.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    refused(tmp_path / "a.onnx", ToolMissing, r"qonnx: the Python package onnx is not installed; pip install "
                                              r"'shifthw\[qonnx\]'")
