"""Real-valued networks of moves, products and tables: as the module computes them, and kept in model files."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from shifthw.errors import BadModelFile, UnsupportedModel
from shifthw.frontend.activations import function, name_of
from shifthw.frontend.convert import capture_float, convert_model
from shifthw.frontend.model_file import load_model, model_bytes, write_model
from shifthw.frontend.reference import Model, evaluate, verify_reference
from shifthw.ir import Lookup, interpret
from shifthw.nn import (
    ActiveShift2d,
    AddressShift2d,
    GroupedShift2d,
    QuantAct,
    Quantizer,
    ShiftConv2d,
    ShiftConvTranspose2d,
)


def power(bits: int = 8, *, signed: bool = True, scale: float = 2.0**-4) -> QuantAct:
    return QuantAct(bits, signed, scale=scale)


class Moving(nn.Module):
    """A bit of everything: shifts, parts, a table, a gate, joined maps, three kinds of enlargement."""

    def __init__(self) -> None:
        super().__init__()
        self.input = power()
        self.grouped, self.halves = GroupedShift2d(9), ActiveShift2d(9, resolution=2)
        self.conv, self.act = ShiftConv2d(9, 8, 1), power()
        self.address, self.mix, self.mixed = AddressShift2d(4), ShiftConv2d(4, 4, 1, bias=False), power(scale=2.0**-3)
        self.activation, self.table = nn.Hardswish(), power()
        self.pool, self.mean = nn.AdaptiveAvgPool2d(1), power()
        self.gate, self.factor = nn.Hardsigmoid(), power(signed=False, scale=2.0**-8)
        self.product, self.shuffle, self.join = power(), nn.ChannelShuffle(2), power(scale=2.0**-3)
        self.large, self.up = power(), nn.Upsample(scale_factor=2, mode="bilinear")
        self.turned, self.result = ShiftConvTranspose2d(12, 3, 4, 2, 1), power(scale=2.0**-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.conv(self.halves(self.grouped(self.input(x)))))
        left, right = x.chunk(2, dim=1)
        right = self.mixed(self.mix(self.address(right)))
        right = self.table(self.activation(right))
        x = self.product(torch.cat([left, right], dim=1) * self.factor(self.gate(self.mean(self.pool(x)))))
        x = self.join(torch.cat([self.shuffle(x), functional.relu(self.mix(x[:, 2:6]))], dim=1))
        return self.result(self.turned(x)), self.large(self.up(x))


def images(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 9, 5, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def network() -> Moving:
    torch.manual_seed(9)
    model = Moving().double().eval()
    with torch.no_grad():
        model.halves.displacement.uniform_(-2, 2)
    return model


def float_of(model: nn.Module) -> nn.Module:
    """`model` with its latent weights and without quantizers."""
    plain = copy.deepcopy(model)
    for module in plain.modules():
        if isinstance(module, Quantizer):
            module.register_forward_hook(lambda module, inputs, output: inputs[0])
        if isinstance(module, ShiftConv2d | ShiftConvTranspose2d):
            module.rounded_weight, module.rounded_bias = module.latent_weight, lambda bias=module.bias: bias
    return plain


def test_fake_is_the_modules_own_forward() -> None:
    model = network()
    converted = convert_model(model, images())
    graph, fake = converted.graph, converted.fake_reference
    assert fake is not None
    expected: dict[str, torch.Tensor] = {}
    for path, module in model.named_modules():
        if isinstance(module, Quantizer):
            module.register_forward_hook(lambda module, inputs, output, path=path: expected.update({path: output}))
    with torch.no_grad():
        model(images())
    values = evaluate(graph, fake, expected["input"], quantized=True, keep=[node.name for node in graph.nodes])
    results = interpret(graph, model.input.integers(images()).numpy(), keep="all")
    for path, value in expected.items():
        assert torch.equal(values[path], value), path
        assert np.array_equal(results[path] * graph[path].output.scale, value.numpy()), path
        assert len(value.unique()) > 2, path
    for node in graph.nodes:    # accumulators and moves too
        assert np.array_equal(values[node.name].numpy(), results[node.name] * node.output.scale), node.name


def test_float_is_the_module_with_latent_weights_and_no_quantizer() -> None:
    model = network()
    reference = capture_float(model, images())
    graph = convert_model(model, images()).graph
    verify_reference(graph, reference)
    results = evaluate(graph, reference, images(), quantized=False)
    with torch.no_grad():
        expected, rounded = float_of(model)(images()), model(images())
    for name, value, coarse in zip(graph.outputs, expected, rounded, strict=True):
        assert torch.allclose(results[name], value, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(coarse, value, rtol=1e-2, atol=1e-2)


def test_model_file_keeps_both(tmp_path: Path) -> None:
    model = network()
    model.float_reference = capture_float(model, images())
    converted = convert_model(model, images())
    write_model(converted, tmp_path / "moves.pt")
    again = load_model(tmp_path / "moves.pt")
    assert model_bytes(again) == model_bytes(converted)
    x = images()
    for mine, other in ((converted.fake_reference, again.fake_reference),
                        (converted.float_reference, again.float_reference)):
        assert mine is not None and other is not None
        found, expected = (evaluate(each.graph, reference, x, quantized=mine is converted.fake_reference)
                           for each, reference in ((again, other), (converted, mine)))
        assert all(torch.equal(found[name], expected[name]) for name in converted.graph.outputs)


@pytest.mark.parametrize("name", ["", "relu", "leaky_relu", "leaky_relu x", "sigmoid 1"])
def test_table_of_an_unknown_function_has_no_real_values(name: str, tmp_path: Path) -> None:
    converted = convert_model(network(), images())
    nodes = tuple(replace(node, op=replace(node.op, function=name)) if isinstance(node.op, Lookup) else node
                  for node in converted.graph.nodes)
    unknown = replace(converted, graph=replace(converted.graph, nodes=nodes))
    with pytest.raises(UnsupportedModel, match=f"table: the function of its table, '{name}' must be one of hards"):
        verify_reference(unknown.graph, unknown.fake_reference)  # type: ignore[arg-type]
    write_model(unknown, tmp_path / "unknown.pt")
    with pytest.raises(BadModelFile, match="table: the function of its table"):
        load_model(tmp_path / "unknown.pt")
    write_model(Model(unknown.graph), tmp_path / "alone.pt")    # integers need no name
    assert load_model(tmp_path / "alone.pt").fake_reference is None


@pytest.mark.parametrize("module", [nn.Hardsigmoid(), nn.Hardswish(), nn.Sigmoid(), nn.SiLU(), nn.Tanh(), nn.Mish(),
                                    nn.LeakyReLU(), nn.LeakyReLU(0.125), nn.LeakyReLU(1e-7)], ids=str)
def test_functions_have_names(module: nn.Module) -> None:
    x = torch.linspace(-7, 7, 1001, dtype=torch.float64)
    assert torch.equal(function(name_of(module))(x), module(x))
