"""The layers of a plain network: their places in it, and how they are arranged for the engine."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from shifthw.errors import UnsupportedModel
from shifthw.frontend.export_program import checked_copy
from shifthw.frontend.exported import Step, Stored, export
from shifthw.frontend.plain_layers import Layer, PlainNetwork
from shifthw.frontend.plain_network import plain_network

from .plain_models import Net, conv, features, images, norm


def network(model: nn.Module) -> PlainNetwork:
    return plain_network("net", export(checked_copy(model), images()[:2]))


def kinds(found: PlainNetwork) -> list[str]:
    """Of the layers, which are in an order in which each reads earlier ones."""
    known = {found.input}
    for layer in found.layers:
        assert set(layer.inputs) <= known
        known.add(layer.name)
    return [layer.kind for layer in found.layers]


def layer(kind: str, path: str = "", *, is_module: bool = False, **options: object) -> Layer:
    step = Step("y", "view" if kind == "flatten" else kind, path, is_module, "", (2, 4), ("x",), (), {})
    return Layer("y", kind, step, ("x",), (2, 4), options)


def test_paths_are_those_of_modules_or_of_who_calls() -> None:
    weight = Stored("stem.conv.weight", torch.zeros(1))
    assert layer("conv", "stem.conv", is_module=True, weight=weight).path == "stem.conv"
    assert layer("conv", "stem", weight=weight).path == "stem.conv"
    assert layer("conv", "other", is_module=True, weight=weight).path == "other"
    assert layer("batch_norm", "stem", weight=None, running_mean=Stored("stem.n.running_mean", weight.value)).path == \
        "stem.n"
    assert layer("conv", "", is_module=True, weight=Stored("weight", weight.value)).path == "conv"
    assert layer("clamp", "block").path == "block.clamp"
    assert layer("flatten").path == "flatten"


def test_readers_and_shapes() -> None:
    found = network(Net(lambda m, x: m.b(features(m, x)) + features(m, x), a=conv(), b=conv(4)))
    first, relu = found.layers[:2]
    assert found.readers[found.input] == (first, found.layers[3])
    assert [reader.kind for reader in found.readers[relu.name]] == ["conv"]
    assert found.shape_of(found.input) == (2, 3, 8, 8) and found.shape_of(relu.name) == (2, 4, 8, 8)
    assert found.weighted == ("a", "b")
    assert relu.is_spatial


def test_padding_joins_convolutions() -> None:
    (found,) = network(nn.Sequential(nn.ZeroPad2d(1), nn.ZeroPad2d((2, 0, 3, 0)), nn.Conv2d(3, 4, 3, padding=1))).layers
    assert found.options["padding"] == (5, 4, 2, 2)


def test_slices_and_zero_channels_are_one_shortcut() -> None:
    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        x = features(m, x)[:, :, ::2][:, :, :, ::2]
        x = functional.pad(x, (0, 0, 0, 0, 1, 2))
        return m.b(functional.pad(x, (0, 0, 0, 0, 0, 1)))
    found = network(Net(forward, a=conv(), b=conv(8)))
    assert kinds(found) == ["conv", "clamp", "subsample", "conv"]
    assert found.layers[2].options == {"stride": (2, 2), "channels": (1, 3)}


def test_channels_and_borders_of_zeros_at_once() -> None:
    pad = Net(lambda m, x: m.b(functional.pad(features(m, x), (1, 0, 0, 2, 1, 1))), a=conv(), b=nn.Conv2d(6, 2, 3))
    found = network(pad)
    assert kinds(found) == ["conv", "clamp", "subsample", "conv"]
    assert found.layers[3].options["padding"] == (0, 1, 2, 0)


@pytest.mark.parametrize(("model", "expected"), [
    (nn.Sequential(conv(), nn.MaxPool2d(2), nn.ReLU(), conv(4)), ["conv", "clamp", "max_pool", "conv"]),
    (nn.Sequential(conv(), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Flatten(), nn.ReLU6(), nn.Linear(16, 2)),
     ["conv", "clamp", "max_pool", "max_pool", "flatten", "linear"]),
    (nn.Sequential(conv(), nn.MaxPool2d(2), norm(), nn.ReLU()), ["conv", "max_pool", "batch_norm", "clamp"]),
    (Net(lambda m, x: (lambda y: (m.b(functional.relu(y)), y))(functional.max_pool2d(m.a(x), 2)), a=conv(), b=conv(4)),
     ["conv", "max_pool", "clamp", "conv"]),
    (nn.Sequential(nn.MaxPool2d(2), nn.ReLU(), conv()), ["max_pool", "clamp", "conv"]),
], ids=["pool", "pools and flatten", "batch norm between", "pool is an output", "pool of the input"])
def test_clamps_go_before_pools_and_flattening(model: nn.Module, expected: list[str]) -> None:
    found = network(model)
    assert kinds(found) == expected
    assert [layer.shape for layer in found.layers if layer.kind == "clamp"] == \
        [found.shape_of(layer.inputs[0]) for layer in found.layers if layer.kind == "clamp"]


def test_means_over_rows_then_columns_are_one() -> None:
    assert kinds(network(Net(lambda m, x: m.fc(features(m, x).mean(3).mean(2)), a=conv(), fc=nn.Linear(4, 2)))) == \
        ["conv", "clamp", "global_pool", "linear"]
    assert kinds(network(Net(lambda m, x: m.a(x).mean(2, keepdim=True).mean(3, keepdim=True), a=conv()))) == \
        ["conv", "global_pool"]
    assert kinds(network(Net(lambda m, x: m.fc(features(m, x).flatten(2).mean(2)), a=conv(), fc=nn.Linear(4, 2)))) == \
        ["conv", "clamp", "global_pool", "linear"]


def test_what_no_output_needs_is_not_looked_at() -> None:
    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        functional.pad(m.b(x), (1, 1))
        return m.a(x)
    assert kinds(network(Net(forward, a=conv(), b=conv()))) == ["conv"]


@pytest.mark.parametrize("end", [nn.Softmax(dim=1), nn.LogSoftmax(dim=-1)])
def test_a_softmax_at_the_end_is_left_out(end: nn.Module) -> None:
    found = network(nn.Sequential(conv(), nn.Flatten(), nn.Linear(256, 3), nn.Dropout(), end))
    assert kinds(found) == ["conv", "flatten", "linear"]
    assert found.dropped == ("log_softmax" if isinstance(end, nn.LogSoftmax) else "softmax",)
    assert found.outputs == (found.layers[-1].name,)


def test_moves_in_a_row_are_one_choice_of_channels() -> None:
    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(m.a(x))
        x = x.view(2, 2, 2, 8, 8).transpose(1, 2).contiguous().view(2, 4, 8, 8)
        return m.b(x.chunk(2, 1)[1] * x[:, 2:])
    found = network(Net(forward, a=conv(), b=conv(2)))
    assert kinds(found) == ["conv", "clamp", "select", "select", "multiply", "conv"]
    assert [layer.options["channels"].tolist() for layer in found.layers[2:4]] == [[1, 3], [1, 3]]
    assert all(layer.inputs == (found.layers[1].name,) for layer in found.layers[2:4])


def test_moves_that_change_nothing_are_no_layers() -> None:
    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        x = m.a(x).flatten(2).view(2, 4, 8, 8)
        return x.view(2, 2, 2, 64).view(2, 4, 8, 8)[:, :4]
    assert kinds(network(Net(forward, a=conv()))) == ["conv"]
    assert kinds(network(Net(lambda m, x: functional.channel_shuffle(functional.channel_shuffle(m.a(x), 2), 2),
                             a=conv()))) == ["conv"]


def test_factors_of_pixels_are_not_spread_for_a_product() -> None:
    found = network(Net(lambda m, x: m.a(x) * x.mean((2, 3), keepdim=True).expand_as(x), a=conv(3, 3)))
    assert kinds(found) == ["conv", "global_pool", "multiply"]


def test_clamps_go_into_what_is_joined() -> None:
    found = network(Net(lambda m, x: m.c(functional.relu(torch.cat([m.a(x), m.b(x)], 1))), a=conv(), b=conv(),
                        c=conv(8)))
    assert kinds(found) == ["conv", "conv", "clamp", "clamp", "concat", "conv"]
    assert [layer.inputs for layer in found.layers[2:4]] == [(layer.name,) for layer in found.layers[:2]]


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "pad before pool": (lambda: nn.Sequential(conv(), nn.ZeroPad2d(1), nn.MaxPool2d(2)),
                        r"1 \(pad\): adds zeros around a map; they can only be added right before a convolution"),
    "pad at the end": (lambda: nn.Sequential(conv(), nn.ZeroPad2d(1)), r"1 \(pad\): adds zeros"),
    "one mean": (lambda: Net(lambda m, x: m.a(x).mean(3), a=conv()), "is over rows or columns only, and gives 2x4x8"),
    "joined rows": (lambda: Net(lambda m, x: m.a(x).flatten(2), a=conv()), r"forward \(view\) .* shape 2x4x64; must"),
    "rows": (lambda: Net(lambda m, x: m.b(m.a(x)[:, :, ::2]), a=conv(), b=conv(4)), "every n-th row or column only"),
    "flat sum": (lambda: Net(lambda m, x: m.a(x).flatten(1) + m.b(x).flatten(1), a=conv(), b=conv()),
                 r"forward \(add\) at plain_models.py:\d+: works on a flattened map; only a linear layer or"),
    "flat norm": (lambda: nn.Sequential(conv(), nn.Flatten(), nn.BatchNorm1d(256)), "works on a flattened map"),
    "joined flat": (lambda: Net(lambda m, x: torch.cat([m.b(x).mean((2, 3)), m.a(x).flatten(1)], 1), a=conv(),
                                b=conv()), "works on a flattened map"),
    "reshape": (lambda: Net(lambda m, x: m.a(x).view(4, 128), a=conv()), r"forward \(view\) .* makes 4x128 of 2x4x8"),
    "one row": (lambda: Net(lambda m, x: m.a(x)[:, :, 0], a=conv()), "makes 2x4x8 of 2x4x8x8 by moving values between"),
    "order": (lambda: Net(lambda m, x: m.a(x).permute(0, 2, 3, 1), a=conv()), "makes 2x8x8x4 of 2x4x8x8 by moving"),
    "turned": (lambda: Net(lambda m, x: m.a(x).transpose(2, 3), a=conv()), r"\(transpose\) .* makes 2x4x8x8 of 2x4x8x"),
    "cut": (lambda: Net(lambda m, x: m.a(x)[:, :, 1:-1, 1:-1], a=conv()), "makes 2x4x6x6 of 2x4x8x8 by moving values"),
    "odd rows": (lambda: Net(lambda m, x: m.a(x)[:, :, 1::2], a=conv()), "makes 2x4x4x8 of 2x4x8x8 by moving values"),
    "images": (lambda: Net(lambda m, x: m.a(x).flip(0), a=conv()), "any choice and order of whole channels"),
    "mean of groups": (lambda: Net(lambda m, x: m.a(x).view(2, 2, 2, 8, 8).mean(1), a=conv()), "is over dimensions"),
    "softmax inside": (lambda: nn.Sequential(conv(), nn.Softmax(dim=1), conv(4)), "is not the last step of a network"),
    "softmax of two": (lambda: Net(lambda m, x: (m.a(x), m.a(x).softmax(1)), a=conv()), "with one output"),
    "softmax of rows": (lambda: nn.Sequential(conv(), nn.Softmax(dim=-1)), "is over dimension 3, must be over the"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(UnsupportedModel, match=message) as error:
        network(make())
    assert "\n" not in str(error.value)
