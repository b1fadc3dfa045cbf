"""Networks as Brevitas exports them, against QONNX's own execution, integer for integer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8Bias,
    Int8BiasPerTensorFixedPointInternalScaling,
    Int8WeightPerChannelFloat,
    Int16Bias,
    Int24Bias,
    Int32Bias,
)
from torch import nn

from shifthw.flow import build_folder, simulate_folder
from shifthw.frontend import write_graph
from shifthw.frontend.qonnx import import_qonnx
from shifthw.ir import Requantize, Rounding, ShiftConv2d, SumPool2d, interpret
from shifthw.sim.build import Engine

from .brevitas_models import (
    SIGNED,
    UNSIGNED,
    Net,
    PerChannel,
    PerChannelNarrow,
    PerTensor,
    PerTensorNarrow,
    act,
    conv,
    export,
    qnn,
)
from .qonnx_models import agree, executed, extreme_images


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(3)


@pytest.mark.parametrize(("bits", "weight", "first", "bias"), [
    ((2, 3, 4, 5), PerTensorNarrow, SIGNED, None), ((3, 4, 2, 8), PerChannel, UNSIGNED, Int8Bias),
    ((6, 7, 8, 2), PerTensor, SIGNED, Int32Bias), ((8, 5, 3, 6), PerChannelNarrow, UNSIGNED, Int24Bias),
    ((7, 6, 5, 4), PerChannel, SIGNED, Int8BiasPerTensorFixedPointInternalScaling),
    ((8, 8, 8, 8), PerTensorNarrow, UNSIGNED, "float"),
])
def test_conv_nets(bits: tuple[int, ...], weight: type, first: type, bias: Any, tmp_path: Path) -> None:
    """Widths and ranges of weights, scales per tensor and channel, kinds of bias, pools, a linear head."""
    options = dict(bias=bias is not None, bias_quant=None if bias == "float" else bias)
    model = nn.Sequential(
        act(first, 8), conv(3, 8, 3, weight, bits[0], **options), act(UNSIGNED, 4), nn.MaxPool2d(2),
        conv(8, 8, 3, weight, bits[1], stride=2, **options), act(SIGNED, 6), conv(8, 6, 1, weight, bits[2]),
        act(UNSIGNED, 8), nn.AvgPool2d(2), act(UNSIGNED, 8), nn.Flatten(),
        qnn.QuantLinear(6, 5, bias=False, weight_quant=weight, weight_bit_width=bits[3]))
    graph = agree(export(model, tmp_path / "net.onnx", 6, 3, 8, 8))
    convs = [node.op for node in graph.nodes if isinstance(node.op, ShiftConv2d)]
    assert [op.weight.terms <= (width + 1) // 2 for op, width in zip(convs, bits, strict=True)] == [True] * 4
    assert graph.metadata["qonnx"]["notes"] != []  # type: ignore[index]


def test_grouped_depthwise_and_dilated(tmp_path: Path) -> None:
    model = nn.Sequential(
        act(), conv(4, 8, 3, PerChannelNarrow, 4, groups=4), act(UNSIGNED),
        conv(8, 8, 3, PerChannel, 8, groups=8, stride=2), act(UNSIGNED, 5),
        conv(8, 6, 3, PerTensor, 3, groups=2, dilation=2, padding=2), act(SIGNED, 7, last=True))
    agree(export(model, tmp_path / "net.onnx", 6, 4, 9, 9))


def test_residual_blocks(tmp_path: Path) -> None:
    def forward(net: Net, x: Any) -> Any:
        x = net.relu1(net.conv1(net.first(x)))
        y = net.relu2(net.conv2(x))
        x = net.relu3(net.add1(net.conv3(y), x))
        x = net.add2(net.conv5(net.relu4(net.conv4(x))), net.down(x))
        return net.head(torch.flatten(net.pool(net.relu5(x)), 1))

    def add() -> nn.Module:
        return qnn.QuantEltwiseAdd(input_quant=SIGNED, output_quant=SIGNED, return_quant_tensor=True)

    model = Net(forward, first=act(), conv1=conv(3, 4, 3), relu1=act(UNSIGNED), conv2=conv(4, 4, 3, PerChannel, 4),
                relu2=act(UNSIGNED), conv3=conv(4, 4, 3, PerTensor, 4), add1=add(), relu3=act(UNSIGNED),
                conv4=conv(4, 8, 3, PerTensor, 3, stride=2), relu4=act(UNSIGNED), conv5=conv(8, 8, 3),
                down=conv(4, 8, 1, PerChannelNarrow, 5, stride=2), add2=add(), relu5=act(UNSIGNED, 6),
                pool=qnn.TruncAvgPool2d(4, bit_width=8, return_quant_tensor=True),
                head=qnn.QuantLinear(8, 5, bias=True, bias_quant=Int32Bias, weight_quant=PerTensorNarrow,
                                     weight_bit_width=4))
    graph = agree(export(model, tmp_path / "net.onnx", 6, 3, 8, 8))
    assert sum(len(node.inputs) == 2 for node in graph.nodes) == 2
    assert {node.name for node in graph.nodes if isinstance(node.op, ShiftConv2d | SumPool2d)} == {
        "conv1", "conv2", "conv3", "conv4", "conv5", "down", "pool", "head"}


def test_torchs_newer_exporter_gives_the_same_graph(tmp_path: Path) -> None:
    """Other nodes, other names, weights in a file of their own."""
    block = nn.Sequential(conv(3, 16, 3, PerTensor, 4, bias=True, bias_quant=Int32Bias), act(UNSIGNED))
    model = Net(lambda net, x: torch.flatten(net.pool(net.layer1(net.first(x))), 1), first=act(), layer1=block,
                pool=nn.AdaptiveAvgPool2d(1))
    older = agree(export(model, tmp_path / "older.onnx", 6, 3, 16, 16))
    newer = agree(export(model, tmp_path / "newer.onnx", 6, 3, 16, 16, dynamo=True, external_data=True))
    assert [node.name for node in older.nodes][1:3] == ["layer1.0", "layer1.1.act_quant"]
    assert [node.name for node in newer.nodes] == [node.name for node in older.nodes]
    assert (newer.name, older.name) == ("newer", "older")
    for first, second in zip(older.nodes, newer.nodes, strict=True):
        assert (first.inputs, first.output) == (second.inputs, second.output)


def test_dynamic_batch_and_module_paths(tmp_path: Path) -> None:
    def forward(net: Net, x: Any) -> Any:
        x = net.features(x)
        return net.head(x.view(x.shape[0], -1))

    features = nn.Sequential(act(), nn.Sequential(conv(3, 4, 3), act(UNSIGNED)))
    model = Net(forward, features=features, head=qnn.QuantLinear(64, 5, bias=False, weight_quant=PerTensorNarrow))
    file = export(model, tmp_path / "net.onnx", 2, 3, 4, 4, input_names=["image"], dynamic_axes={"image": {0: "batch"}})
    graph = import_qonnx(file, "named")
    assert graph.name == "named"
    assert [node.name for node in graph.nodes] == ["features.0.act_quant", "features.1.0", "features.1.1.act_quant",
                                                   "Reshape", "head", "output"]


def test_batch_norm_and_float_scales_stay_within_what_the_graph_says(tmp_path: Path) -> None:
    model = nn.Sequential(
        qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, return_quant_tensor=True),
        conv(3, 8, 3, Int8WeightPerChannelFloat, 4), nn.BatchNorm2d(8),
        qnn.QuantReLU(bit_width=6))
    file = export(model, tmp_path / "net.onnx", 6, 3, 8, 8)
    graph = import_qonnx(file)
    about: Any = graph.metadata["qonnx"]
    assert about["exact"] is False
    (name, steps), = about["within"].items()
    assert name == graph.outputs[0]
    assert 0 < steps < 0.25
    images = extreme_images(graph, 6)
    (expected,) = executed(file, images * graph.nodes[0].output.scale)
    difference = np.abs(interpret(graph, images)[name] - np.rint(expected.astype(float) / graph.nodes[-1].output.scale))
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.02


def test_from_brevitas_to_the_simulated_engine(tmp_path: Path, simulator_cache: Path) -> None:
    def forward(net: Net, x: Any) -> Any:
        x = net.relu1(net.conv1(net.first(x)))
        x = net.pool(net.relu2(net.conv2(x) + x))
        return net.last(net.head(torch.flatten(x, 1)))

    model = Net(forward, first=act(UNSIGNED, 6), conv1=conv(3, 4, 3, PerTensor, 4, bias=True, bias_quant=Int16Bias),
                relu1=act(UNSIGNED, 6), conv2=conv(4, 4, 3, PerChannel, 3), relu2=act(UNSIGNED, 6),
                pool=nn.MaxPool2d(2), last=act(SIGNED, 8, last=True),
                head=qnn.QuantLinear(16, 5, bias=False, weight_quant=PerTensorNarrow, weight_bit_width=8))
    file = export(model, tmp_path / "net.onnx", 6, 3, 4, 4)
    graph = agree(file)  # on the images below
    assert any(node.op.rounding is Rounding.HALF_EVEN for node in graph.nodes if isinstance(node.op, Requantize))
    write_graph(import_qonnx(file), tmp_path / "model.pt")
    build_folder(tmp_path / "model.pt", "zc706", tmp_path / "build", pins=dict(images=1, pixels=2, simd=4, pe=2))
    result = simulate_folder(tmp_path / "build", extreme_images(graph, 6), engine=Engine.FAST, cache=simulator_cache)
    assert result["bit_exact"] is True
