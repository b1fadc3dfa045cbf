"""The networks of the field: seeding, what graphs consist of, reduced forms, what constructors refuse."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from shifthw import ir, zoo
from shifthw.emulator import Emulator
from shifthw.errors import UnsupportedModel
from shifthw.frontend.model_file import load_model
from shifthw.lower import compile_graph
from shifthw.nn import (
    ActiveShift2d,
    QuantAct,
    ShiftConv2d,
    ShiftLinear,
    SparseShift2d,
)
from shifthw.zoo.address_net import address_net
from shifthw.zoo.architectures import ARCHITECTURES
from shifthw.zoo.blocks import ImageNetwork, Unit, rounded_channels
from shifthw.zoo.cost import cost
from shifthw.zoo.effnet import effnet
from shifthw.zoo.fe_net import FEBlock
from shifthw.zoo.mobilenet import mobilenet_v2
from shifthw.zoo.seeded import calibrate, seed_weights, seeded_network, synthetic_images
from shifthw.zoo.shiftnet import shift_resnet
from shifthw.zoo.shufflenet import shufflenet_v1
from shifthw.zoo.tiny_yolo import tiny_yolov3

MILLION = 1e6


# -- seeding -----------------------------------------------------------------------------------

@pytest.fixture(scope="module", params=ARCHITECTURES)
def reduced(request: pytest.FixtureRequest) -> tuple[str, ImageNetwork]:
    """Seeded and calibrated."""
    network = ARCHITECTURES[request.param].reduced()
    seeded_network(network, network.shape, 3)
    return request.param, network


def test_quantizers_are_calibrated_and_use_their_range(reduced: tuple[str, ImageNetwork]) -> None:
    name, network = reduced
    images = torch.rand(4, *network.shape, dtype=torch.float64)
    used: dict[str, float] = {}

    def record(path: str) -> Callable[[QuantAct, object, torch.Tensor], None]:
        def hook(module: QuantAct, inputs: object, output: torch.Tensor) -> None:
            used[path] = max(used.get(path, 0.0), float(output.abs().max() / module.scale) / module.hi)
        return hook

    quantizers = {path: module for path, module in network.named_modules() if isinstance(module, QuantAct)}
    hooks = [module.register_forward_hook(record(path)) for path, module in quantizers.items()]
    with torch.no_grad():
        output = network(images)
    for handle in hooks:
        handle.remove()
    assert all(module.calibrated for module in quantizers.values())
    assert not network.training
    assert set(used) == set(quantizers)
    assert min(share for path, share in used.items() if "squeeze" not in path) > 0.1
    assert len(torch.unique(output[0])) > 1
    size = (10,) if name != "tiny_yolov3" else (30, 4, 4)
    assert output.shape == (4, *(size if name != "mobilenet_vww" else (2,)))


def test_layers_read_quantized_values(reduced: tuple[str, ImageNetwork]) -> None:
    """At most 8 bits; two more behind a half-pixel shift."""
    _, network = reduced
    half_pixel = any(isinstance(module, ActiveShift2d) for module in network.modules())
    counts: list[int] = []

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        counts.append(len(torch.unique(inputs[0])))

    hooks = [module.register_forward_pre_hook(count) for module in network.modules()
             if isinstance(module, ShiftConv2d | ShiftLinear)]
    with torch.no_grad():
        network(torch.rand(2, *network.shape, dtype=torch.float64))
    for handle in hooks:
        handle.remove()
    assert max(counts) <= (1024 if half_pixel else 256)


def test_displacements_are_small_and_half_of_a_sparse_shift_stays() -> None:
    sparse, active, whole = SparseShift2d(64), ActiveShift2d(64, resolution=2), ActiveShift2d(64)
    seed_weights(nn.Sequential(sparse, active, whole), 2)
    for layer, per_pixel in ((sparse, 1), (active, 2), (whole, 1)):
        displacement, units = layer.integer_displacement()
        assert units == per_pixel
        assert (displacement.min(), displacement.max()) == (-2 * per_pixel, 2 * per_pixel)
        assert torch.equal(layer.displacement * per_pixel, torch.from_numpy(displacement).float())
    assert 0.5 <= sparse.sparsity < 0.6


def test_a_shared_quantizer_takes_the_widest() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = QuantAct(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.act(2 * x), self.act(5 * x), self.act(3 * x)])

    model = Twice()
    calibrate(model, torch.tensor([0.5, 1.0]))
    assert float(model.act.scale) == pytest.approx(5 / 255)
    calibrate(model, torch.tensor([0.25, 0.5]))
    assert float(model.act.scale) == pytest.approx(2.5 / 255)
    assert not model.act._forward_pre_hooks


def test_batch_norms_are_calibrated_layer_after_layer() -> None:
    """What a layer reads then is what it reads afterwards: each channel has mean 0 and variance 1 before its gain."""
    torch.manual_seed(1)
    model = nn.Sequential(Unit(3, 8, 3), Unit(8, 8, 3), Unit(8, 8, 3))
    images = torch.rand(4, 3, 9, 9, dtype=torch.float64)
    seed_weights(model.double(), 4)
    calibrate(model, images)
    for unit in model:
        before = unit.layer.conv(images)
        norm = unit.layer.bn
        assert torch.allclose(before.mean((0, 2, 3)), norm.running_mean)
        assert torch.allclose(before.var((0, 2, 3)), norm.running_var)
        images = unit(images)


def test_a_constant_channel_is_not_enlarged_without_bounds() -> None:
    model = nn.BatchNorm2d(2).double()
    images = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    images[:, 1] = 7
    calibrate(model, images)
    assert float(model.running_var[1]) == pytest.approx(float(model.running_var[0]) / 200, rel=0.01)


# -- the registry ------------------------------------------------------------------------------

OPERATIONS = {
    "shift_resnet20": {ir.SpatialShift2d}, "shift_resnet56": {ir.SpatialShift2d},
    **dict.fromkeys(("shiftnet_a", "shiftnet_b"), {ir.SpatialShift2d, ir.Concat}),
    "shiftnet_c": {ir.SpatialShift2d},
    **dict.fromkeys(("as_resnet_w32", "as_resnet_w50", "as_resnet_w68"), {ir.SpatialShift2d}),
    **dict.fromkeys(("fe_net", "fe_net_wide"), {ir.SpatialShift2d, ir.SelectChannels, ir.Concat}),
    "fe_net_se": {ir.SpatialShift2d, ir.SelectChannels, ir.Concat, ir.Multiply, ir.Lookup},
    **dict.fromkeys(("address_net20", "address_net44"), {ir.AddressShift2d, ir.SelectChannels, ir.Concat}),
    "enhanced_address_net20": {ir.AddressShift2d, ir.SelectChannels, ir.Concat},
    "shufflenet_v1": {ir.SelectChannels, ir.Concat, ir.MaxPool2d},
    "shufflenet_v2": {ir.SelectChannels, ir.Concat, ir.MaxPool2d},
    "mobilenet_v1": set(), "mobilenet_v2": set(), "mobilenet_vww": set(),
    "mobilenet_v3_small": {ir.Multiply, ir.Lookup}, "squeezenet": {ir.Concat, ir.MaxPool2d},
    "ghostnet": {ir.Concat, ir.Multiply, ir.Lookup}, "effnet": {ir.Lookup, ir.MaxPool2d, ir.Flatten},
    "efficientnet_b0": {ir.Multiply, ir.Lookup}, "efficientnet_b4": {ir.Multiply, ir.Lookup},
    "tiny_yolov3": {ir.Lookup, ir.MaxPool2d, ir.Concat, ir.Upsample2d},
}
"""What graphs consist of besides convolutions, sums of windows and requantizations."""


def kinds(network: nn.Module) -> set[tuple[object, ...]]:
    """Types of modules, and kernels and strides of convolutions."""
    return {(type(module), *((module.kernel_size, module.stride) if isinstance(module, ShiftConv2d) else ()))
            for module in network.modules()}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_reduced_networks_fit_on_chip_and_have_every_kind_of_layer(name: str) -> None:
    network, maps = ARCHITECTURES[name].reduced(), [0]
    for module in network.modules():
        if isinstance(module, QuantAct):
            module.register_forward_hook(lambda module, inputs, output: maps.append(output.numel()))
    cost(network, network.shape)
    weights = sum(module.latent_weight().numel() for module in network.modules()
                  if isinstance(module, ShiftConv2d | ShiftLinear))
    assert weights < 60_000
    assert max(maps) < 50_000
    assert max(network.shape) <= 64
    assert kinds(network) == kinds(ARCHITECTURES[name].full())


@pytest.mark.parametrize(("name", "least"), [
    ("shift_resnet56", {7, 21}), ("shiftnet_a", {15, 31, 61}), ("shiftnet_b", {7}), ("shiftnet_c", {19, 77}),
    ("as_resnet_w50", {9}), ("as_resnet_w68", {7}), ("fe_net", {1}), ("fe_net_se", {1})])
def test_reduced_networks_have_odd_channels(name: str, least: set[int]) -> None:
    """Behind convolutions or concatenations. 1: the part of a map that an FE block's first unit sees."""
    found: set[int] = set()
    network = ARCHITECTURES[name].reduced()
    for module in network.modules():
        if isinstance(module, QuantAct):
            module.register_forward_hook(lambda module, inputs, output: found.add(output.shape[1]))
    cost(network, network.shape)
    assert least <= found


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_reduced_networks_convert(name: str) -> None:
    """convert compares the graph with the module on an image."""
    graph = zoo.build(name, reduced=True)
    assert graph.name == f"{name}_reduced"
    assert graph.metadata["card"] == {"weights": "seeded", "seed": zoo.SEED}
    common = {ir.Input, ir.ShiftConv2d, ir.SumPool2d, ir.Requantize}
    assert {type(node.op) for node in graph.nodes} - common == OPERATIONS[name]


def test_names_and_descriptions() -> None:
    assert zoo.names(seeded=True) == tuple(ARCHITECTURES)
    assert not set(zoo.names()) & set(ARCHITECTURES)
    assert (*zoo.names(), *zoo.names(seeded=True)) == tuple(zoo.NAMES)
    assert all(zoo.NAMES[name].reduced is None for name in zoo.names())
    assert all(zoo.describe(name).startswith("seeded: ") for name in ARCHITECTURES)


def test_reduced_networks_are_written(tmp_path: Path) -> None:
    zoo.write("fe_net_wide", tmp_path / "model.pt", reduced=True)
    written, built = load_model(tmp_path / "model.pt").graph, zoo.build("fe_net_wide", reduced=True)
    images = synthetic_images(1, (3, 32, 32), 4)
    assert written.name == "fe_net_wide_reduced"
    assert np.array_equal(ir.interpret(written, images)[written.outputs[0]],
                          ir.interpret(built, images)[built.outputs[0]])


def test_networks_without_a_reduced_form() -> None:
    with pytest.raises(UnsupportedModel, match="'digits' has trained weights and no reduced form"):
        zoo.build("digits", reduced=True)
    with pytest.raises(UnsupportedModel, match="has no network 'shiftnet_d'"):
        zoo.build("shiftnet_d", reduced=True)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_descriptions_tell_the_size(name: str) -> None:
    network = ARCHITECTURES[name].full()
    found = re.search(r", (\d+)x(\d+)x3, ([\d.]+) M MACs, ", zoo.describe(name))
    assert found is not None
    assert network.shape == (3, int(found[1]), int(found[2]))
    assert f"{cost(network, network.shape).macs / MILLION:.1f}" == found[3]


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_full_size_networks_convert(name: str) -> None:
    graph = zoo.build(name)
    assert graph.nodes[0].output.shape == ARCHITECTURES[name].full().shape


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_reduced_networks_on_an_emulated_engine(name: str) -> None:
    graph = zoo.build(name, reduced=True)
    images = synthetic_images(2, graph.nodes[0].output.shape, 5)
    outputs = Emulator(compile_graph(graph, images=1, pixels=4, simd=16, pe=16)).run(images).outputs
    assert np.array_equal(outputs.reshape(-1), ir.interpret(graph, images)[graph.outputs[0]].reshape(-1))


# -- what constructors refuse ------------------------------------------------------------------

@pytest.mark.parametrize(("construct", "error"), [
    (lambda: shift_resnet(21), "shift_resnet: depth must be 6n \\+ 2, not 21"),
    (lambda: address_net(6), "address_net: depth must be 6n \\+ 2, not 6"),
    (lambda: shufflenet_v1(5), "shufflenet_v1: groups must be one of 1, 2, 3, 4, 8, not 5"),
    (lambda: effnet(resolution=12), "EffNet: resolution must be a multiple of 8, not 12"),
    (lambda: tiny_yolov3(resolution=48), "TinyYolo: resolution must be a multiple of 32, not 48"),
    (lambda: mobilenet_v2(resolution=0), "Classifier: resolution must be 1 or more, not 0"),
    (lambda: FEBlock(12, 12, 3, QuantAct(8), pool=False, squeeze=False), "inputs must be a multiple of 8, not 12"),
])
def test_errors(construct: Callable[[], object], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        construct()


def test_rounded_channels() -> None:
    assert [rounded_channels(c) for c in (1, 8, 11, 12, 19, 20, 100)] == [8, 8, 16, 16, 24, 24, 104]
    assert [rounded_channels(c, 4) for c in (1, 5, 6, 30)] == [4, 8, 8, 32]
    assert rounded_channels(72, 12) == 72
