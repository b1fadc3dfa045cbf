"""The networks of the field: sizes against those that were published, seeding, and what their graphs consist of.

Sources that say "recalled" are published figures which could not be looked up when this was written.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from shifthw import ir, zoo
from shifthw.emulator import Emulator
from shifthw.lower import compile_graph
from shifthw.nn import (
    ActiveShift2d,
    QuantAct,
    ShiftConv2d,
    ShiftConvTranspose2d,
    ShiftLinear,
    SparseShift2d,
    SqueezeExcite,
)
from shifthw.zoo.address_net import address_net
from shifthw.zoo.architectures import ARCHITECTURES
from shifthw.zoo.as_resnet import as_resnet
from shifthw.zoo.blocks import ImageNetwork, Unit, rounded_channels
from shifthw.zoo.cost import Cost, cost
from shifthw.zoo.efficientnet import efficientnet_b0, efficientnet_b4
from shifthw.zoo.effnet import effnet
from shifthw.zoo.fe_net import FEBlock, fe_net
from shifthw.zoo.ghostnet import ghostnet
from shifthw.zoo.mobilenet import mobilenet_v1, mobilenet_v2, mobilenet_v3_small, mobilenet_vww
from shifthw.zoo.resnet import resnet8
from shifthw.zoo.seeded import calibrate, seed_weights, seeded_network, synthetic_images
from shifthw.zoo.shiftnet import shift_resnet, shiftnet_a, shiftnet_b, shiftnet_c
from shifthw.zoo.shufflenet import shufflenet_v1, shufflenet_v2
from shifthw.zoo.squeezenet import squeezenet
from shifthw.zoo.tiny_yolo import tiny_yolov3

MILLION = 1e6
TORCHVISION = "torchvision.models, num_params of its weights"
MEGVII = "READMEs of github.com/megvii-model/ShuffleNet-Series"
SHIFTRESNET = "README of github.com/alvinwan/shiftresnet-cifar, CIFAR-10"
SURVEY = "Liu et al., Lightweight Deep Learning for Resource-Constrained Environments: A Survey, 2024, table 1"
ASL = "test_model/Readme.md of github.com/jyh2986/Active-Shift"


@dataclass(frozen=True)
class Figure:
    """A published figure. within: half of its last digit, or what the note explains."""

    value: float
    within: float
    source: str
    note: str = ""


@dataclass(frozen=True)
class Published:
    """Of one network. None: no figure was found."""

    network: Callable[[], ImageNetwork]
    parameters: tuple[Figure, ...] = ()
    macs: tuple[Figure, ...] = ()


def millions(value: float, within: float, source: str, note: str = "") -> tuple[Figure, ...]:
    return (Figure(value * MILLION, within * MILLION, source, note),)


def exactly(value: int, source: str) -> tuple[Figure, ...]:
    return (Figure(value, 0, source),)


def shift_resnet_of(depth: int, expansion: int, parameters: float) -> Published:
    """Multiply-accumulates: no figure of the authors found."""
    return Published(lambda: shift_resnet(depth, expansion), millions(parameters, 0.005, SHIFTRESNET))


CUT = "cut off after this digit, not rounded"
PUBLISHED = {
    "shift_resnet20, 1": shift_resnet_of(20, 1, 0.03),
    "shift_resnet20, 3": shift_resnet_of(20, 3, 0.10),
    "shift_resnet20, 6": shift_resnet_of(20, 6, 0.19),
    "shift_resnet20, 9": shift_resnet_of(20, 9, 0.28),
    "shift_resnet56, 1": shift_resnet_of(56, 1, 0.10),
    "shift_resnet56, 3": shift_resnet_of(56, 3, 0.29),
    "shift_resnet56, 6": shift_resnet_of(56, 6, 0.58),
    "shift_resnet56, 9": shift_resnet_of(56, 9, 0.87),
    "shiftnet_a": Published(shiftnet_a, millions(4.1, 0.1, SURVEY, CUT), millions(1400, 50, SURVEY)),
    "shiftnet_b": Published(shiftnet_b, millions(1.1, 0.1, SURVEY, CUT), millions(371, 0.5, SURVEY)),
    "shiftnet_c": Published(shiftnet_c, millions(0.78, 0.01, "Wu et al., Shift, CVPR 2018, of ShiftNet-C", CUT)),
    "as_resnet_w32": Published(as_resnet, exactly(901_256, "all numbers in the released network's file")
                               + millions(0.9, 0.05, ASL)),
    "as_resnet_w50": Published(lambda: as_resnet(50), millions(1.96, 0.005, ASL)),
    "as_resnet_w68": Published(lambda: as_resnet(68), millions(3.42, 0.005, ASL)),
    "fe_net": Published(
        fe_net, millions(3.7, 0.17, SURVEY, "the last convolution has 1380 channels, as in the released log; some 1530 "
                         "would give both figures"), millions(301, 1.5, SURVEY, "likewise")),
    "fe_net_wide": Published(lambda: fe_net(width=1.375), millions(5.9, 0.11, SURVEY, f"{CUT}; with displacements"),
                             millions(563, 1, SURVEY, CUT)),
    "address_net20": Published(address_net, millions(0.1, 0.05, SURVEY), millions(22, 0.5, SURVEY)),
    "address_net44": Published(
        lambda: address_net(44), macs=millions(53, 1.6, SURVEY, "the width is assumed; 0.2 million parameters would "
                                               "take another layout: here they are 0.35 million")),
    "shufflenet_v1": Published(shufflenet_v1, millions(1.9, 0.05, MEGVII), millions(138, 0.6, MEGVII)),
    "shufflenet_v2": Published(
        shufflenet_v2, exactly(2_278_604, TORCHVISION),
        millions(145, 0.5, "torchvision.models, _ops")
        + millions(146, 1.2, MEGVII, "the paper's count too; 0.8 % higher than torchvision's of the same layers")),
    "mobilenet_v1": Published(
        mobilenet_v1, exactly(4_253_864 - 21_888, "keras.applications.MobileNet less running statistics, recalled"),
        millions(569, 0.5, MEGVII)),
    "mobilenet_v2": Published(mobilenet_v2, exactly(3_504_872, f"{TORCHVISION}, recalled"),
                              millions(300, 1, MEGVII, CUT)),
    "mobilenet_v3_small": Published(mobilenet_v3_small, exactly(2_542_856, f"{TORCHVISION}, recalled"),
                                    millions(56, 1, SURVEY, CUT)),
    "squeezenet": Published(squeezenet, exactly(1_235_496, TORCHVISION),
                            millions(350, 5, "torchvision.models, GFLOPS in its table of weights, recalled")),
    "ghostnet": Published(ghostnet, millions(5.2, 0.05, "Han et al., GhostNet, recalled"),
                          millions(142, 1, "ghostnet_pytorch of github.com/huawei-noah/Efficient-AI-Backbones",
                                   "the paper says 141")),
    "effnet": Published(effnet, macs=millions(11.4 / 2, 0.07, "Freeman et al., EffNet, 11.4 million FLOPs, recalled",
                                              "two FLOPs are one multiply-accumulate; the rest is batch norms")),
    "efficientnet_b0": Published(efficientnet_b0, exactly(5_288_548, TORCHVISION),
                                 millions(390, 5, "Tan and Le, EfficientNet, table 2, recalled")),
    "efficientnet_b4": Published(
        efficientnet_b4, exactly(19_341_616, TORCHVISION),
        millions(4400, 50, "torchvision.models, _ops")
        + millions(4200, 200, "Tan and Le, EfficientNet, table 2, recalled",
                   "torchvision counts 5 % more for layers of the same sizes")),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_those_that_were_published(name: str) -> None:
    network = PUBLISHED[name].network()
    found = cost(network, network.shape)
    for figure in PUBLISHED[name].parameters:
        assert abs(found.parameters - figure.value) <= figure.within, f"parameters: {figure.source} {figure.note}"
    for figure in PUBLISHED[name].macs:
        assert abs(found.macs - figure.value) <= figure.within, f"macs: {figure.source} {figure.note}"


def test_fe_net_with_squeeze_and_excitation() -> None:
    """No published figure found: it is FE-Net and two 1x1 layers in each unit."""
    plain, squeezing = fe_net(), fe_net(squeeze=True)
    units = [module for module in squeezing.modules() if isinstance(module, SqueezeExcite)]
    added = sum(unit.squeeze.in_channels * unit.squeeze.out_channels * 2 for unit in units)
    assert len(units) == 16
    difference = cost(squeezing, squeezing.shape).macs - cost(plain, plain.shape).macs
    assert difference == added


def test_enhanced_address_net_is_smaller() -> None:
    """No published figure found: each module makes half of its channels."""
    plain, enhanced = address_net(), address_net(20, True)
    assert cost(enhanced, enhanced.shape).macs < cost(plain, plain.shape).macs


@pytest.mark.parametrize(("network", "total", "macs"), [(mobilenet_vww, 221_794, 7.5), (resnet8, 78_666, 12.5)])
def test_sizes_of_mlperf_tiny(network: Callable[[], nn.Module], total: int, macs: float) -> None:
    """Totals are of all numbers in the benchmark's files: convolutions have biases, batch norms running statistics.

    Other than the benchmark's ResNet-8, ours has a batch norm behind each shortcut's convolution.
    """
    model = network()
    found = cost(model, getattr(model, "shape", (3, 32, 32)))
    convolutions = sum(module.out_channels for module in model.modules() if isinstance(module, ShiftConv2d))
    norms = sum(module.num_features for path, module in model.named_modules()
                if isinstance(module, nn.BatchNorm2d) and "shortcut" not in path)
    extra = 2 * (convolutions - norms)
    assert found.parameters - extra + convolutions + 2 * norms == total
    assert found.macs / MILLION == pytest.approx(macs, rel=0.002)


def test_size_of_tiny_yolo() -> None:
    """The original's coarser head, which is left out here, makes up the difference.

    8,852,366: Ultralytics' model summary of yolov3-tiny with 80 classes. 5.571 billion operations, two for each
    multiply-accumulate: darknet's count at 416x416.
    """
    found = cost(tiny_yolov3(), (3, 416, 416))
    convolution, head = 256 * 512 * 9, 512 * 255
    assert found.parameters + convolution + 2 * 512 + head + 255 == 8_852_366
    assert 2 * (found.macs + 13 * 13 * (convolution + head)) == pytest.approx(5.571e9, rel=0.002)


def test_cost_of_layers() -> None:
    model = nn.Sequential(ShiftConv2d(4, 6, 3, 2, 1, groups=2, terms=2, form="PS", weight_bits=4),
                          nn.BatchNorm2d(6), SparseShift2d(6), ShiftConvTranspose2d(6, 2, 2, 2, bias=False),
                          nn.Conv2d(2, 2, (1, 3)), nn.Flatten(), ShiftLinear(8 * 6 * 2, 5, bias=False))
    model[1].eval()
    found = cost(model, (4, 8, 8))
    assert found == Cost(6 * 2 * 9 + 6 + 12 + 12 + 6 * 2 * 4 + 2 * 2 * 3 + 2 + 96 * 5,
                         6 * 4 * 4 * 2 * 9 + 6 * 4 * 4 * 2 * 4 + 2 * 8 * 6 * 2 * 3 + 96 * 5)
    assert model.training
    assert not model[1].training
    assert not any(module._forward_hooks for module in model)


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
    **dict.fromkeys(("shiftnet_a", "shiftnet_b", "shiftnet_c"), {ir.SpatialShift2d, ir.Concat}),
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


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_reduced_networks_convert(name: str) -> None:
    """convert compares the graph with the module on an image."""
    build = zoo.NAMES[name].reduced
    assert build is not None
    graph = build().graph
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
    build = zoo.NAMES[name].reduced
    assert build is not None
    graph = build().graph
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
