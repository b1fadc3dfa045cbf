"""Conversion of adder layers: the integer graph against the module's own forward, and lines for missing steps."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shifthw.errors import UnsupportedModel
from shifthw.frontend import convert, load, round_adders, save
from shifthw.frontend.convert import capture_float, convert_model
from shifthw.frontend.reference import evaluate
from shifthw.ir import AdderConv2d as AdderOp
from shifthw.ir import Graph, Requantize, interpret
from shifthw.nn import AdderConv2d, AdderLinear, FixedPoint, QuantAct, Quantizer, ShiftAdd, ShiftConv2d


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(3)


def norm(channels: int, fan_in: int) -> nn.BatchNorm2d:
    """Statistics of sums of distances: far below 0."""
    layer = nn.BatchNorm2d(channels)
    with torch.no_grad():
        layer.running_mean.fill_(-1.5 * fan_in)
        layer.running_var.uniform_(0.3 * fan_in, 0.6 * fan_in)
        layer.bias.uniform_(-0.5, 0.5)
    return layer


def act(scale: float = 2.0**-4, signed: bool = True) -> QuantAct:
    return QuantAct(8, signed, scale=scale)


LAYERS: dict[str, dict[str, Any]] = {
    "3x3": dict(kernel_size=3, padding=1), "stride 2, bias": dict(kernel_size=3, stride=2, padding=1, bias=True),
    "1x1, stride": dict(kernel_size=1, stride=2), "one side": dict(kernel_size=(2, 3), padding=(1, 0, 0, 2)),
    "dilation": dict(kernel_size=3, dilation=(2, 1), padding=2), "groups": dict(kernel_size=3, padding=1, groups=2),
    "depthwise": dict(kernel_size=3, padding=1, groups=4), "narrow": dict(kernel_size=3, padding=1, weight_bits=4),
}


@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("scale", [2.0**-4, 2.0**-9, 2.0])
def test_a_layer_is_exact_on_a_grid_of_powers_of_two(options: dict[str, Any], scale: float) -> None:
    """Weights within the activations' range, far beyond it (2**-9), and of few steps (2)."""
    model = nn.Sequential(act(scale), AdderConv2d(4, 8, **options), Quantizer(act().dtype, -128, 127,
                          FixedPoint(2, 0).rounding, 2.0)).double()
    x = 4 * torch.randn(5, 4, 9, 8, dtype=torch.float64)
    assert round_adders(model, x) == {"1": scale}
    graph = convert(model, x)
    op = graph["1"].op
    assert isinstance(op, AdderOp)
    assert graph["1"].output.scale == scale
    integers = interpret(graph, model[0].integers(x).numpy())["2"]
    with torch.no_grad():
        assert np.array_equal(integers, (model(x) / 2).numpy())
    assert len(np.unique(integers)) > 3


class Residual(nn.Module):
    """AdderNet's block between ordinary layers, as shift layers; a linear adder layer at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.q0, self.conv, self.q1 = act(), ShiftConv2d(3, 8, 3, 1, 1, bias=False), act(0.11, False)
        self.add1, self.bn1, self.q2 = AdderConv2d(8, 8, 3, 2, 1), norm(8, 72), act(0.03, False)
        self.add2, self.bn2 = AdderConv2d(8, 8, 3, 1, 1), norm(8, 72)
        self.down, self.bn3, self.q3, self.q4 = AdderConv2d(8, 8, 1, 2), norm(8, 8), act(0.07), act(0.05, False)
        self.pool, self.q5, self.fc = nn.AdaptiveAvgPool2d(1), act(0.05, False), AdderLinear(8, 5, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.q1(torch.relu(self.conv(self.q0(x))))
        y = self.bn2(self.add2(self.q2(torch.relu(self.bn1(self.add1(x))))))
        x = self.q4(torch.relu(y + self.q3(self.bn3(self.down(x)))))
        return self.fc(self.q5(self.pool(x)).flatten(1))


def close(graph: Graph, model: nn.Module, x: torch.Tensor) -> None:
    """Most results equal the module's, all are within a few steps: scales are no powers of two."""
    found = interpret(graph, model.q0.integers(x).numpy())[graph.outputs[0]].reshape(len(x), -1)
    with torch.no_grad():
        steps = (model(x) / graph[graph.outputs[0]].output.scale).numpy()
    assert np.abs(found - steps).max() <= 3
    assert len(np.unique(found)) > 3


def test_network_of_both_kinds_converts_and_round_trips(tmp_path: Path) -> None:
    model = Residual().eval()
    x = torch.randn(4, 3, 8, 8)
    with pytest.raises(UnsupportedModel, match=r"^add1 \(AdderConv2d\): its weights have no step; call .*round_adders"):
        convert(model, x)
    floats = copy.deepcopy(model)
    assert round_adders(model, x) == {"add1": 0.11, "add2": 0.03, "down": 0.11, "fc": 0.05}
    model.float_reference = capture_float(model, x)
    close(convert(model, x), model, x)
    graph = save(model, tmp_path / "model.pt", x)
    again = load(tmp_path / "model.pt")
    images = model.q0.integers(x).numpy()
    for name, values in interpret(graph, images, keep="all").items():
        assert np.array_equal(interpret(again, images, keep="all")[name], values)
    float_reference = convert_model(model, x).float_reference
    assert float_reference is not None
    assert np.array_equal(float_reference.weight["add1"], floats.add1.adder.detach().numpy())


def test_real_valued_networks_are_those_of_torch() -> None:
    model = Residual().double().eval()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    latent = copy.deepcopy(model)
    round_adders(model, x)
    model.float_reference = capture_float(model, x)
    converted = convert_model(model, x)
    assert converted.fake_reference is not None and converted.float_reference is not None
    name = converted.graph.outputs[0]
    scale = converted.graph[name].output.scale
    integers = model.q0.integers(x)
    with torch.no_grad():
        expected = model(x)
    fake = evaluate(converted.graph, converted.fake_reference, integers * float(model.q0.scale), quantized=True)[name]
    assert float((fake.reshape(4, -1) - expected).abs().max()) <= 0.5 * scale + 1e-9      # the output is quantized
    for path, module in list(latent.named_modules()):
        if isinstance(module, Quantizer):
            latent.set_submodule(path, nn.Identity())
    latent.conv.weight = nn.Parameter(latent.conv.weight.detach())
    real = evaluate(converted.graph, converted.float_reference, x, quantized=False)[name]
    latent.conv.rounded_weight = latent.conv.latent_weight
    with torch.no_grad():
        assert float((real.reshape(4, -1) - latent(x)).abs().max()) < 1e-4      # its weights are stored as float32


def test_shift_add_blocks_convert() -> None:
    model = nn.Sequential(act(), ShiftAdd(3, 8, stride=2, quantizer=act(0.04)), norm(8, 72), nn.ReLU(), act(0.1, False))
    x = torch.randn(4, 3, 8, 8)
    assert round_adders(model.eval(), x) == {"1.add": 0.04}
    graph = convert(model, x)
    assert [type(node.op).__name__ for node in graph.nodes] == [
        "Input", "ShiftConv2d", "Requantize", "AdderConv2d", "Requantize"]
    found = interpret(graph, model[0].integers(x).numpy())["4"]
    with torch.no_grad():
        steps = (model(x) / 0.1).round().numpy()
    assert np.abs(found - steps).max() <= 1
    assert (found == steps).mean() > 0.97


def test_bias_folds_into_the_requantize_behind() -> None:
    model = nn.Sequential(act(), AdderConv2d(2, 3, 1, bias=True), act(0.5))
    with torch.no_grad():
        model[1].b.copy_(torch.tensor([1.0, -2.5, 0.25]))
    x = torch.randn(2, 2, 4, 4)
    round_adders(model, x)
    op = convert(model, x)["2"].op
    assert isinstance(op, Requantize)
    assert (op.bias / 2.0**op.shift).tolist() == [2.0, -5.0, 0.5]


def test_a_step_that_is_not_the_inputs_is_named() -> None:
    model = nn.Sequential(act(0.5), AdderConv2d(1, 2, 3), act())
    model[1].set_step(0.25)
    with pytest.raises(UnsupportedModel, match=r"^1 \(AdderConv2d\): its weights are multiples of 0\.25, must be of "
                                               r"its input's step 0\.5; call .*round_adders"):
        convert(model, torch.randn(1, 1, 5, 5))


def test_a_layer_behind_two_quantizers_is_named() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q0, self.q1, self.add = act(0.5), act(0.25), AdderConv2d(2, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.add(self.q1(self.add(self.q0(x))))

    with pytest.raises(UnsupportedModel, match=r"^add \(AdderConv2d\): is fed by quantizers of steps 0\.5 and 0\.25"):
        round_adders(Twice(), torch.randn(1, 2, 4, 4))


@pytest.mark.parametrize("convertible", [convert, round_adders])
@pytest.mark.parametrize(("model", "message"), [
    (nn.Sequential(act(), ShiftConv2d(1, 2, 3), AdderConv2d(2, 2, 3)), r"^2 \(AdderConv2d\): its input is not quant"),
    (nn.Sequential(AdderConv2d(1, 2, 3)), r"^0 \(AdderConv2d\): reads the network's input, which must pass"),
    (nn.Sequential(act(), nn.Flatten(), AdderLinear(24, 2)), r"forward fails on the example input"),
])
def test_layers_without_a_mapping_are_named(model: nn.Module, message: str, convertible: Callable[..., Any]) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        convertible(model, torch.randn(1, 1, 5, 5))


def test_weights_of_too_many_steps_are_named() -> None:
    with pytest.raises(UnsupportedModel, match=r"^1 \(AdderConv2d\): has weights up to .* steps of its input"):
        round_adders(nn.Sequential(act(1e-30), AdderConv2d(1, 2, 3)), torch.randn(1, 1, 5, 5))
