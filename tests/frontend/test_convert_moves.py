"""Conversion of what moves pixels and channels: the integer graph against the module's own forward."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from shifthw.errors import UnsupportedModel
from shifthw.frontend import convert
from shifthw.ir import AddressShift2d as AddressOp
from shifthw.ir import Concat, IntType, Requantize, SelectChannels, SpatialShift2d, Upsample2d, interpret
from shifthw.ir.graph import BilinearUpsample2d
from shifthw.nn import (
    ActiveShift2d,
    AddressShift2d,
    ChannelShift,
    GroupedShift2d,
    PadShortcut,
    QuantAct,
    ShiftConv2d,
    ShiftConvTranspose2d,
    ShiftLinear,
    ShortcutShift,
    SparseShift2d,
)

from .agreement import Net, agree, images, power


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(3)


def spread(layer: ActiveShift2d | SparseShift2d, reach: float) -> nn.Module:
    """The layer with displacements up to `reach` pixels."""
    with torch.no_grad():
        layer.displacement.uniform_(-reach, reach)
    return layer


class Backwards(ShortcutShift):
    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.cat([second, first], dim=1)


SHIFTS: dict[str, Callable[[int], nn.Module]] = {
    "grouped": GroupedShift2d, "grouped 5x5": lambda channels: GroupedShift2d(channels, 5),
    "dilated": lambda channels: GroupedShift2d(channels, 3, 2),
    "sparse": lambda channels: spread(SparseShift2d(channels), 3),
    "active": lambda channels: spread(ActiveShift2d(channels), 2),
    "active stride": lambda channels: spread(ActiveShift2d(channels, (2, 1)), 2),
    "beyond the map": lambda channels: spread(ActiveShift2d(channels, 2), 40),
    "half": lambda channels: spread(ActiveShift2d(channels, resolution=2), 2),
    "half stride": lambda channels: spread(ActiveShift2d(channels, 2, 2), 9),
}


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("shape", [(9, 5, 7), (27, 4, 4), (5, 1, 3), (30, 2, 1)], ids=str)
def test_spatial_shifts_between_convolutions(name: str, shape: tuple[int, ...]) -> None:
    far = SHIFTS[name](1).__class__ is not GroupedShift2d or shape[1] < 4     # a map may be moved out of sight
    for signed in (False, True):
        model = nn.Sequential(power(signed=signed), SHIFTS[name](shape[0]), ShiftConv2d(shape[0], 12, 1), nn.ReLU(),
                              power(), SHIFTS[name](12), power(5, scale=2.0**-2))
        graph = agree(model, images(*shape, count=4), least=1 if far else 4)
        assert sum(isinstance(node.op, SpatialShift2d) for node in graph.nodes) == 2


def test_half_pixels_are_quarters_of_a_step() -> None:
    layer = ActiveShift2d(4, resolution=2)
    with torch.no_grad():
        layer.displacement.copy_(torch.tensor([[0.0, 0.0], [0.5, 0.0], [-1.0, 1.5], [0.5, -0.5]]))
    graph = agree(nn.Sequential(power(signed=True, scale=0.5), layer), 4 * images(4, 6, 5))
    assert (graph["1"].output.dtype, graph["1"].output.scale) == (IntType(10, True), 0.125)
    op = graph["1"].op
    assert isinstance(op, SpatialShift2d)
    assert (op.per_pixel, op.displacement.tolist()) == (2, [[0, 0], [1, 0], [-2, 3], [1, -1]])


def test_half_pixel_layer_of_whole_displacements_adds_no_bits() -> None:
    layer = ActiveShift2d(4, 2, 2)
    with torch.no_grad():
        layer.displacement.copy_(torch.tensor([[0.1, -0.2], [1.2, 0.9], [-1.0, 2.1], [0.0, 0.0]]))
    graph = agree(nn.Sequential(power(signed=True), layer), images(4, 6, 5))
    op = graph["1"].op
    assert isinstance(op, SpatialShift2d)
    assert (op.per_pixel, op.stride, op.displacement.tolist()) == (1, (2, 2), [[0, 0], [1, 1], [-1, 2], [0, 0]])


@pytest.mark.parametrize("channels", [4, 9])
@pytest.mark.parametrize("step", [1, 3])
def test_address_shifts(channels: int, step: int) -> None:
    for zero_padded, kind in ((False, AddressOp), (True, SpatialShift2d)):
        model = nn.Sequential(power(signed=True), AddressShift2d(channels, step, zero_padded),
                              ShiftConv2d(channels, 6, 1), power(signed=True))
        assert isinstance(agree(model, images(channels, 5, 4)).nodes[1].op, kind)


def shuffled(x: torch.Tensor, groups: int) -> torch.Tensor:
    return functional.channel_shuffle(x, groups)


CHANNELS: dict[str, Callable[[Net, torch.Tensor], torch.Tensor]] = {
    "shift": lambda net, x: net.right(x), "shift left": lambda net, x: net.left(x),
    "shuffle": lambda net, x: net.shuffle(x), "functional shuffle": lambda net, x: shuffled(x, 2),
    "slice": lambda net, x: x[:, 2:7], "head": lambda net, x: x[:, :5], "tail": lambda net, x: x[:, -3:],
    "slice with rows": lambda net, x: x[:, 2:7, :, :], "slice and all": lambda net, x: x[:, 1:5, ...],
    "chunk": lambda net, x: torch.chunk(x, 2, dim=1)[1], "method chunk": lambda net, x: x.chunk(3, 1)[-1],
    "uneven chunk": lambda net, x: x.chunk(5, dim=1)[3], "split": lambda net, x: x.split(4, 1)[2],
    "split by sizes": lambda net, x: torch.split(x, [3, 8, 1], dim=1)[1],
    "tensor_split": lambda net, x: torch.tensor_split(x, 5, dim=1)[2], "all": lambda net, x: x[:, 0:12],
    "shuffled half": lambda net, x: shuffled(x, 3)[:, :6],
}


@pytest.mark.parametrize("name", CHANNELS)
def test_selected_channels(name: str) -> None:
    model = Net(lambda net, x: CHANNELS[name](net, net.q(x)), q=power(signed=True), right=ChannelShift(12, 5),
                left=ChannelShift(12, -1), shuffle=nn.ChannelShuffle(4))
    graph = agree(model, images(12, 4, 3))
    assert all(isinstance(node.op, SelectChannels) for node in graph.nodes[1:])
    assert len(graph.nodes) == {"all": 1, "shuffled half": 3}.get(name, 2)


def test_unpacked_parts_are_looked_up_once_each() -> None:
    def forward(net: Net, x: torch.Tensor) -> torch.Tensor:
        left, right = net.q(x).chunk(2, dim=1)
        return shuffled(torch.cat([left, net.r(net.conv(right))], dim=1), 2)

    model = Net(forward, q=power(signed=True), conv=ShiftConv2d(4, 4, 3, padding=1), r=power(signed=True))
    graph = agree(model, images(8, 5, 5))
    assert [type(node.op).__name__ for node in graph.nodes] == [
        "Input", "SelectChannels", "SelectChannels", "ShiftConv2d", "Requantize", "Concat", "SelectChannels"]


def joins() -> dict[str, Callable[[Net, torch.Tensor], torch.Tensor]]:
    def both(net: Net, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return net.a(x), net.b(x)

    return {
        "one grid": lambda net, x: torch.cat([net.q(part) for part in both(net, x)], 1),
        "sums": lambda net, x: net.q(torch.cat(both(net, x), dim=1)),
        "clamped sums": lambda net, x: net.q(functional.relu6(torch.cat(both(net, x), 1))),
        "clamped before": lambda net, x: net.q(torch.cat([net.a(x).relu(), net.b(x)], 1)),
        "a sum and a map": lambda net, x: net.q(torch.cat([x, net.a(x)], dim=-3)),
        "two grids": lambda net, x: net.q(torch.cat([net.p(net.a(x)), net.b(x)], 1)),
        "on the grid already": lambda net, x: net.q(torch.cat([net.q(net.a(x)), net.b(x)], 1)),
        "table and sum": lambda net, x: net.q(torch.cat([torch.tanh(x), net.b(x)], 1)),
        "joined twice": lambda net, x: net.q(torch.cat([torch.cat(both(net, x), 1), net.a(x)], 1)),
        "added before": lambda net, x: net.q(torch.cat([net.a(x) + x, x], 1)),
        "one": lambda net, x: net.q(torch.cat([net.a(x)], 1)),
        "concat": lambda net, x: net.q(torch.concat(both(net, x), dim=1)),
        "shortcut": lambda net, x: net.cat(x, net.i(net.a(x))),
    }


@pytest.mark.parametrize("name", joins())
def test_joined_maps(name: str) -> None:
    model = Net(lambda net, x: joins()[name](net, net.i(x)), i=power(signed=True), a=ShiftConv2d(3, 3, 1),
                b=ShiftConv2d(3, 5, 3, padding=1), p=power(6, signed=True, scale=2.0**-2),
                q=power(signed=True, scale=2.0**-3), cat=ShortcutShift())
    graph = agree(model, images(3, 6, 5))
    assert sum(isinstance(node.op, Concat) for node in graph.nodes) == (name != "one")
    requantized = [node.name for node in graph.nodes if isinstance(node.op, Requantize)]
    assert len(requantized) == {"joined twice": 3, "two grids": 3, "one": 1, "shortcut": 1, "table and sum": 1}.get(
        name, 2)


def test_joined_maps_are_named_after_their_quantizer() -> None:
    model = Net(lambda net, x: net.q(torch.cat([net.a(net.i(x)), net.a(net.i(x))], 1)), i=power(signed=True),
                a=ShiftConv2d(3, 3, 1), q=power(signed=True))
    graph = agree(model, images(3, 6, 5))
    assert graph.outputs == ("q",)
    assert graph["q"].inputs == ("q.0", "q.1")


FEATURES: dict[str, Callable[[Net, torch.Tensor], torch.Tensor]] = {
    "joined": lambda net, x: torch.cat([x, net.p(net.a(x))], dim=-1),
    "joined sums": lambda net, x: net.p(torch.cat([net.a(x), x], dim=1)),
    "parts": lambda net, x: x[:, 2:7], "chunk": lambda net, x: x.chunk(2, -1)[1],
    "product": lambda net, x: net.p(x * net.p(net.a(x))), "rolled": lambda net, x: net.roll(x),
    "function": lambda net, x: net.p(torch.sigmoid(x)),
}


@pytest.mark.parametrize("name", FEATURES)
def test_features_without_a_map(name: str) -> None:
    model = Net(lambda net, x: FEATURES[name](net, net.q(x)), q=power(signed=True), a=ShiftLinear(8, 8),
                p=power(signed=True), roll=ChannelShift(8, 3))
    agree(model, images(8))


@pytest.mark.parametrize("late", [False, True])
def test_pooled_maps_are_joined_and_flattened(late: bool) -> None:
    """The quantizer before or behind the reshape."""
    def forward(net: Net, x: torch.Tensor) -> torch.Tensor:
        x = net.q(x)
        y = torch.cat([functional.adaptive_avg_pool2d(x, 1), net.pool(net.a(x))], dim=1)
        return net.fc(net.p(y.flatten(1)) if late else net.p(y).flatten(1))

    model = Net(forward, q=power(signed=True), a=nn.MaxPool2d(2), pool=nn.AvgPool2d(2), p=power(signed=True),
                fc=ShiftLinear(10, 4))
    graph = agree(nn.Sequential(model, power(signed=True)), images(5, 4, 4))
    assert sum(isinstance(node.op, Concat) for node in graph.nodes) == 1


def torchvision_shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    images, channels, height, width = x.size()
    x = x.view(images, groups, channels // groups, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(images, channels, height, width)


MOVED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "shuffle": lambda x: torchvision_shuffle(x, 2), "reshape": lambda x: x.reshape(-1, 3, 2, 5, 4).permute(
        0, 2, 1, 3, 4).reshape(-1, 6, 5, 4),
    "roll": lambda x: torch.roll(x, 2, 1), "flip": lambda x: x.flip(1), "every other": lambda x: x[:, ::2],
    "list": lambda x: x[:, [1, 0, 3, 3]], "narrow": lambda x: x.narrow(1, 2, 3), "index": lambda x: x.index_select(
        1, torch.tensor([5, 0])), "there and back": lambda x: x.flatten(2).unflatten(2, (5, 4)).flip(1).flip((1,)),
    "unpacked": lambda x: torch.cat([part.flip(1) for part in x.chunk(3, 1)], 1),
    "sizes": lambda x: torch.cat([part.flip(1) for part in x.split([1, 3, 2], dim=1)], 1),
}


@pytest.mark.parametrize("name", MOVED)
def test_moves_of_channels_as_torch_has_them(name: str) -> None:
    model = Net(lambda net, x: net.p(net.c(MOVED[name](net.q(x)))), q=power(signed=True), p=power(signed=True),
                c=ShiftConv2d(MOVED[name](images(6, 5, 4)).shape[1], 3, 1))
    graph = agree(model, images(6, 5, 4))
    assert {type(node.op).__name__ for node in graph.nodes} <= {"Input", "SelectChannels", "Concat", "ShiftConv2d",
                                                                "Requantize"}


@pytest.mark.parametrize("expand", [lambda y, x: y.expand_as(x), lambda y, x: y.expand(-1, -1, 5, 4)])
def test_an_excitation_that_is_expanded_first(expand: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    def forward(net: Net, x: torch.Tensor) -> torch.Tensor:
        x = net.q(x)
        gate = net.p(torch.sigmoid(net.m(net.c(net.n(x.mean((2, 3))).view(-1, 6, 1, 1)))))
        return net.o(x * expand(gate.view(-1, 6, 1, 1), x))

    graph = agree(Net(forward, q=power(signed=True), p=power(), m=power(signed=True), c=ShiftConv2d(6, 6, 1),
                      n=power(signed=True, scale=2.0**-6),
                      o=power(signed=True)), images(6, 5, 4))
    assert not any(isinstance(node.op, Upsample2d) for node in graph.nodes)


def test_an_expanded_map_is_enlarged_for_other_layers() -> None:
    model = Net(lambda net, x: net.o(net.c(net.p(net.g(net.q(x))).expand(-1, -1, 5, 4))), q=power(signed=True),
                g=nn.AdaptiveAvgPool2d(1), p=power(signed=True), c=ShiftConv2d(6, 3, 3), o=power(signed=True))
    agree(model, images(6, 5, 4))


def test_a_shortcut_by_keywords() -> None:
    model = Net(lambda net, x: net.s(second=net.q(x), first=net.p(net.c(net.q(x)))), q=power(signed=True),
                p=power(signed=True), c=ShiftConv2d(6, 2, 1), s=ShortcutShift())
    agree(model, images(6, 5, 4))


def test_displacements_beyond_all_bounds_are_those_beyond_the_map() -> None:
    layer = SparseShift2d(6)
    with torch.no_grad():
        layer.displacement.copy_(torch.tensor([[70000, 0], [0, -70000], [1, 0], [0, 0], [-70000, 70000], [0, 5]]))
    graph = agree(Net(lambda net, x: net.o(net.c(net.s(net.q(x)))), q=power(signed=True), s=layer,
                      c=ShiftConv2d(6, 3, 1), o=power(signed=True)), images(6, 5, 4))
    assert abs(graph["s"].op.displacement).max() == 5


ENLARGED: dict[str, nn.Module] = {
    "module": nn.Upsample(scale_factor=2), "by 3": nn.Upsample(scale_factor=3.0), "size": nn.Upsample((8, 18)),
    "rows": nn.Upsample(scale_factor=(2, 1)), "exact": nn.Upsample(scale_factor=2, mode="nearest-exact"),
    "function": Net(lambda net, x: functional.interpolate(x, scale_factor=2)),
    "computed size": Net(lambda net, x: functional.interpolate(x, size=(x.shape[2] * 2, x.shape[3]))),
    "size of another": Net(lambda net, x: functional.interpolate(net.pool(x), x.shape[2:]), pool=nn.MaxPool2d(2)),
}


@pytest.mark.parametrize("name", ENLARGED)
def test_repeated_pixels(name: str) -> None:
    model = nn.Sequential(power(signed=True), ENLARGED[name], ShiftConv2d(3, 4, 3, padding=1), power(signed=True))
    graph = agree(model, images(3, 4, 6))
    assert sum(isinstance(node.op, Upsample2d) for node in graph.nodes) == 1


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 1, 1), (2, 1, 6)], ids=str)
@pytest.mark.parametrize("enlarge", [
    nn.Upsample(scale_factor=2, mode="bilinear"),
    Net(lambda net, x: functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))])
def test_bilinear_enlargement(enlarge: nn.Module, shape: tuple[int, ...]) -> None:
    graph = agree(nn.Sequential(power(signed=True), enlarge, nn.ReLU(), power(scale=2.0**-5)), images(*shape))
    assert isinstance(graph.nodes[1].op, BilinearUpsample2d)
    assert graph.nodes[2].output.shape == (shape[0], 2 * shape[1], 2 * shape[2])


TRANSPOSED = {
    "4x4 stride 2": dict(kernel_size=4, stride=2, padding=1), "2x2 stride 2": dict(kernel_size=2, stride=2),
    "3x3 stride 2": dict(kernel_size=3, stride=2, padding=1, output_padding=1), "stride 1": dict(kernel_size=3),
    "groups": dict(kernel_size=3, stride=(2, 3), groups=2, padding=(1, 0)),
    "dilation": dict(kernel_size=2, stride=2, dilation=(3, 2), output_padding=(2, 1)),
    "depthwise": dict(kernel_size=4, stride=2, padding=1, groups=4),
}


@pytest.mark.parametrize("options", TRANSPOSED.values(), ids=TRANSPOSED)
def test_transposed_convolutions(options: dict[str, object]) -> None:
    layer = ShiftConvTranspose2d(4, 8, **options)  # type: ignore[arg-type]
    norm = nn.BatchNorm2d(8, eps=0.0)
    with torch.no_grad():
        norm.weight.copy_(2.0 ** torch.randint(-2, 2, (8,)))
        norm.bias.uniform_(-1, 1)
    agree(nn.Sequential(power(signed=True), layer, norm, nn.ReLU(), power()), images(4, 5, 3))


@pytest.mark.parametrize("shape", [(6, 7, 9), (4, 2, 2), (4, 1, 4)], ids=str)
def test_pools_of_any_window(shape: tuple[int, ...]) -> None:
    for kernel in ((1, 2), (2, 1), (1, 1), (2, 2)):
        if kernel[0] > shape[1]:
            continue
        for pool in (nn.MaxPool2d(kernel), nn.AvgPool2d(kernel, (1, 2)), nn.AvgPool2d((1, 2), kernel)):
            agree(nn.Sequential(power(signed=True), pool, power(signed=True, scale=2.0**-5)), images(*shape))


def test_moves_carry_the_grid_of_scales_that_are_no_powers_of_two() -> None:
    """Their scales are the quantizer's, bit for bit, so that maps may be joined again."""
    def forward(net: Net, x: torch.Tensor) -> torch.Tensor:
        x = net.q(x)
        return torch.cat([net.shift(x), x, net.wide(x)[:, 4:], net.address(x), net.up(net.pool(x))], dim=1)

    model = Net(forward, q=QuantAct(8, True, scale=0.0371), shift=GroupedShift2d(9), wide=PadShortcut(9, 13, 1, 4),
                address=AddressShift2d(9), pool=nn.MaxPool2d(2), up=nn.Upsample(scale_factor=2))
    graph = convert(model, images(9, 4, 6).float())
    assert isinstance(graph.nodes[-1].op, Concat)
    assert graph.nodes[-1].output.scale == 0.0371
    integers = np.random.default_rng(1).integers(-128, 128, (2, 9, 4, 6))
    assert np.array_equal(interpret(graph, integers)[graph.outputs[0]][:, 9:18], integers)


def unmoved(displacement: float) -> nn.Module:
    layer = SparseShift2d(4)
    nn.init.constant_(layer.displacement, displacement)
    return layer


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "shift of sums": (lambda: nn.Sequential(power(), ShiftConv2d(4, 4, 1), GroupedShift2d(4)),
                      r"^2 \(GroupedShift2d\): its input is not quantized; put"),
    "no displacement": (lambda: nn.Sequential(power(), unmoved(float("nan"))),
                        "^1: SparseShift2d: displacement has values up to nan pixels, must be finite"),
    "slice of sums": (lambda: Net(lambda net, x: net.q(net.a(net.q(x))[:, :2]), q=power(), a=ShiftConv2d(4, 4, 1)),
                      r"^getitem \(getitem\): its input is not quantized"),
    "chunk of rows": (lambda: Net(lambda net, x: net.q(x).chunk(2, 2)[0], q=power()),
                      r"^getitem: splits dimension 2, must be the channels"),
    "chunk of images": (lambda: Net(lambda net, x: net.q(x).chunk(2)[0], q=power()), "splits dimension 0"),
    "one channel taken away": (lambda: Net(lambda net, x: net.q(x)[:, 1], q=power()),
                               r"rearranges q to \[6, 6\], which output reads"),
    "images taken": (lambda: Net(lambda net, x: net.q(x)[1:], q=power()), "moves values from one image to another"),
    "no channels": (lambda: Net(lambda net, x: net.q(x)[:, 2:2], q=power()),
                    r"^getitem \(getitem\): leaves nothing of a map of \[\d, 6, 6\]; it must keep some channels"),
    "pixels shuffled": (lambda: Net(lambda net, x: net.c(net.q(x).flip(3)), q=power(), c=ShiftConv2d(4, 4, 1)),
                        r"^flip \(flip\): rearranges q to \[4, 6, 6\], which c reads"),
    "transposed, twice wrong": (lambda: Net(lambda net, x: net.c(net.q(x).transpose(2, 3).transpose(1, 2)), q=power(),
                                            c=ShiftConv2d(6, 4, 1)), "which c reads; values can only move"),
    "a map expanded": (lambda: Net(lambda net, x: net.q(x)[:, :1].expand(-1, 4, 6, 6), q=power()),
                       r"^expand: expands \[1, 6, 6\] to \[4, 6, 6\]; only 1x1 maps can"),
    "times a constant": (lambda: Net(lambda net, x: net.q(x * 0.5), q=power()), "constants are shifthw.nn.Affine's"),
    "no number": (lambda: Net(lambda net, x: net.p(net.f(net.q(x))), q=power(signed=True), p=power(),
                              f=nn.LeakyReLU(float("inf"))),
                  r"^p: reads leaky_relu inf, which gives no number at 0; it must give one"),
    "a shortcut redefined": (lambda: Net(lambda net, x: net.s(net.q(x), net.q(x)), q=power(), s=Backwards()),
                             r"^s \(Backwards\): redefines forward of ShortcutShift"),
    "cat of sums into a layer": (lambda: Net(lambda net, x: net.b(torch.cat([net.a(net.q(x)), net.q(x)], 1)),
                                             q=power(), a=ShiftConv2d(4, 4, 1), b=ShiftConv2d(8, 4, 1)),
                                 r"^b \(ShiftConv2d\): its input is not quantized"),
    "cat of raw images": (lambda: Net(lambda net, x: net.q(torch.cat([x, x], 1)), q=power()),
                          r"^cat \(cat\): reads the network's input"),
    "norm behind a cat": (lambda: Net(lambda net, x: net.q(net.n(torch.cat([net.a(net.q(x)), net.q(x)], 1))),
                                      q=power(), a=ShiftConv2d(4, 4, 1), n=nn.BatchNorm2d(8)),
                          "^n: reads a concatenation that is not quantized"),
    "cat of two grids": (lambda: Net(lambda net, x: net.a(torch.cat([net.q(x), net.p(net.q(x))], 1)), q=power(),
                                     p=power(6), a=ShiftConv2d(8, 4, 1)),
                         r"^a \(ShiftConv2d\): its input is not quantized"),
    "bilinear by 3": (lambda: nn.Sequential(power(), nn.Upsample(scale_factor=3, mode="bilinear"), power()),
                      r"^1 \(Upsample\): has mode 'bilinear', must be 'nearest', or 'bilinear' by 2"),
    "corners": (lambda: nn.Sequential(power(), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
                "with align_corners=False"),
    "groups of a shuffle": (lambda: nn.Sequential(power(), nn.ChannelShuffle(3)), "forward fails on the example"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_mapping_is_named(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message) as caught:
        convert(make().double(), images(4, 6, 6))
    assert "\n" not in str(caught.value)
