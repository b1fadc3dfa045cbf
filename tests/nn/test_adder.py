"""The adder layers against their definition, term by term: values, AdderNet's gradients, rounding of weights."""

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from shifthw.errors import UnsupportedModel
from shifthw.ir import distances as ir_distances
from shifthw.ir import windows
from shifthw.nn import AdderConv2d, AdderLinear, FixedPoint, ShiftAdd, distances

LAYERS: dict[str, dict[str, Any]] = {
    "3x3": dict(kernel_size=3, padding=1),
    "stride, bias": dict(kernel_size=3, stride=2, padding=1, bias=True),
    "1x1, stride": dict(kernel_size=1, stride=2),
    "5x2": dict(kernel_size=(5, 2), stride=(1, 3), padding=(2, 0), bias=True),
    "padding beyond the kernel": dict(kernel_size=3, padding=3),
    "one side padded": dict(kernel_size=3, stride=2, padding=(0, 1, 1, 0)),
    "dilation": dict(kernel_size=(3, 2), dilation=(2, 3), padding=2),
    "groups": dict(kernel_size=3, padding=1, groups=2, stride=(2, 1)),
    "depthwise": dict(kernel_size=3, padding=1, groups=4, dilation=2),
}


def patches(x: torch.Tensor, layer: AdderConv2d) -> torch.Tensor:
    """Windows [N, groups, in/groups * kh * kw, H', W'] by slicing, zeros written around the images."""
    top, left, bottom, right = layer.padding
    padded = functional.pad(x, (left, right, top, bottom))
    rows, columns = ((padded.shape[2 + axis] - layer.dilation[axis] * (layer.kernel_size[axis] - 1) - 1)
                     // layer.stride[axis] + 1 for axis in (0, 1))
    taps = []
    for ky, kx in itertools.product(*map(range, layer.kernel_size)):
        y, z = ky * layer.dilation[0], kx * layer.dilation[1]
        taps.append(padded[:, :, y:y + (rows - 1) * layer.stride[0] + 1:layer.stride[0],
                           z:z + (columns - 1) * layer.stride[1] + 1:layer.stride[1]])
    return torch.stack(taps, 2).reshape(len(x), layer.groups, -1, rows, columns)


def differences(x: torch.Tensor, layer: AdderConv2d) -> torch.Tensor:
    """x - w in float64, [N, groups, out/groups, in/groups * kh * kw, H', W']."""
    weight = layer.adder.detach().double().reshape(1, layer.groups, layer.out_channels // layer.groups, -1, 1, 1)
    return patches(x.double(), layer)[:, :, None] - weight


def defined(x: torch.Tensor, layer: AdderConv2d) -> torch.Tensor:
    """-sum |x - w| in float64."""
    y = -differences(x, layer).abs().sum(3).flatten(1, 2)
    return y if layer.b is None else y + layer.b.detach().double()[:, None, None]


def integers(*shape: int) -> torch.Tensor:
    return torch.randint(-60, 60, shape).float()


@pytest.fixture(params=[None, 1], ids=["one block", "smallest blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(windows, "ELEMENTS_PER_MATRIX", request.param)
        monkeypatch.setattr(ir_distances, "ELEMENTS_PER_BLOCK", request.param)
        monkeypatch.setattr(distances, "ELEMENTS_PER_BLOCK", request.param)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS)
def test_equals_the_definition(options: dict[str, Any]) -> None:
    torch.manual_seed(3)
    layer = AdderConv2d(4, 8, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(integers(*parameter.shape))
        x = integers(3, 4, 9, 8)
        assert torch.equal(layer(x).double(), defined(x, layer))


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS)
def test_gradients_are_those_of_addernet(options: dict[str, Any]) -> None:
    """dL/dw = sum (x - w) g, then of length eta * sqrt(k); dL/dx = sum hardtanh(w - x) g; both in float64 here."""
    torch.manual_seed(4)
    layer = AdderConv2d(4, 8, **options).double()
    x = torch.randn(3, 4, 9, 8, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    g = torch.randn_like(y)
    y.backward(g)
    apart, slope = differences(x.detach(), layer), g.unflatten(1, (layer.groups, -1))[:, :, :, None]
    weight = (apart * slope).sum((0, 4, 5)).reshape(layer.adder.shape)
    weight *= 0.2 * math.sqrt(weight.numel()) / weight.norm()
    again = x.detach().clone().requires_grad_()
    patches(again, layer).backward((functional.hardtanh(-apart) * slope).sum(2))
    assert layer.adder.grad is not None and x.grad is not None and again.grad is not None
    torch.testing.assert_close(layer.adder.grad, weight)
    torch.testing.assert_close(x.grad, again.grad)


def test_without_eta_the_gradient_of_the_weights_is_not_scaled() -> None:
    layer = AdderConv2d(1, 1, 1, eta=None)
    layer(torch.full((1, 1, 1, 2), 5.0)).backward(torch.tensor([[[[1.0, -3.0]]]]))
    assert layer.adder.grad is not None
    assert layer.adder.grad.item() == pytest.approx(-2.0 * (5.0 - layer.adder.item()))


def test_zero_gradients_stay_zero() -> None:
    layer, x = AdderConv2d(2, 3, 3), torch.ones(1, 2, 4, 4, requires_grad=True)
    layer(x).backward(torch.zeros(1, 3, 2, 2))
    assert layer.adder.grad is not None and not layer.adder.grad.any()
    assert x.grad is not None and not x.grad.any()


@pytest.mark.parametrize(("count", "channels", "size", "options"), [
    (3, 16, 9, dict(kernel_size=3, stride=2, padding=1)), (5, 33, 7, dict(kernel_size=3, padding=1)),
    (70, 64, 5, dict(kernel_size=1)), (1, 64, 8, dict(kernel_size=3, padding=1))])
def test_float32_bits_are_those_of_addernets_sum(count: int, channels: int, size: int,
                                                 options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its torch code adds up all windows, as columns of one matrix with the images innermost; here in blocks."""
    monkeypatch.setattr(ir_distances, "ELEMENTS_PER_BLOCK", 1 << 12)
    monkeypatch.setattr(windows, "ELEMENTS_PER_MATRIX", 1 << 13)
    torch.manual_seed(5)
    layer, x = AdderConv2d(channels, 6, **options), torch.randn(count, channels, size, size)
    columns = functional.unfold(x, layer.kernel_size, padding=layer.padding[0], stride=layer.stride)
    matrix = columns.permute(1, 2, 0).flatten(1)
    y = -(layer.adder.flatten(1)[:, :, None] - matrix).abs().sum(1)
    y = y.reshape(6, -1, count).permute(2, 0, 1)
    assert torch.equal(layer(x).flatten(2), y)


def test_linear_layer_is_a_convolution_of_one_pixel() -> None:
    torch.manual_seed(6)
    layer = AdderLinear(5, 3, bias=True)
    conv = AdderConv2d(5, 3, 1, bias=True)
    conv.load_state_dict({name: value.reshape(conv.state_dict()[name].shape)
                          for name, value in layer.state_dict().items()})
    x, again = (torch.randn(4, 5, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    y = layer(x)
    assert torch.equal(y, conv(again[:, :, None, None]).flatten(1))
    y.sum().backward()
    conv(again[:, :, None, None]).sum().backward()
    assert layer.adder.grad is not None and conv.adder.grad is not None and x.grad is not None
    assert torch.equal(layer.adder.grad, conv.adder.grad.flatten(1))
    assert torch.equal(x.grad, again.grad)


def test_no_images_give_no_results_and_no_gradients() -> None:
    for layer, shape, expected in ((AdderConv2d(4, 6, 3, padding=1), (0, 4, 5, 5), (0, 6, 5, 5)),
                                   (AdderLinear(4, 3), (0, 4), (0, 3))):
        x = torch.zeros(shape, requires_grad=True)
        y = layer(x)
        assert y.shape == expected
        y.sum().backward()
        assert x.grad is not None and x.grad.shape == shape
        assert layer.adder.grad is not None and not layer.adder.grad.any()


def test_autocast_does_not_reach_the_sums() -> None:
    layer, x = AdderConv2d(2, 3, 3), integers(2, 2, 5, 5)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x.bfloat16()), layer(x))
        assert layer(x.bfloat16()).dtype is torch.float32


def test_positions_in_the_padding_count_the_weight() -> None:
    layer = AdderConv2d(1, 1, 3, padding=1)
    with torch.no_grad():
        layer.adder.copy_(torch.arange(-4.0, 5.0).reshape(1, 1, 3, 3))
        assert layer(torch.zeros(1, 1, 1, 1)).item() == -20.0


# -- rounded weights ---------------------------------------------------------------------------
def test_weights_are_rounded_to_the_step_with_straight_gradients() -> None:
    layer = AdderConv2d(1, 1, (1, 6), weight_bits=4, eta=None)
    with torch.no_grad():
        layer.adder.copy_(torch.tensor([0.24, -0.26, 0.75, 1.25, 9.0, -9.0]).reshape(1, 1, 1, 6))
    x = torch.zeros(1, 1, 1, 6)
    layer.set_step(0.5)
    assert layer.integer_weight().flatten().tolist() == [0, -1, 2, 2, 7, -8]
    y = layer(x)
    assert y.item() == -(0.0 + 0.5 + 1.0 + 1.0 + 3.5 + 4.0)
    y.sum().backward()
    assert layer.adder.grad is not None
    assert layer.adder.grad.flatten().tolist() == [0.0, 0.5, -1.0, -1.0, -3.5, 4.0]     # sum (x - rounded w) g
    layer.weight_bits = None
    assert layer.integer_weight().flatten().tolist() == [0, -1, 2, 2, 18, -18]
    layer.set_step(0.0)
    assert layer(x).item() == pytest.approx(-float(layer.adder.detach().abs().sum()))


def test_a_step_is_saved_and_loaded_and_no_step_is_not() -> None:
    layer, other = AdderConv2d(2, 3, 3), AdderConv2d(2, 3, 3)
    layer.set_step(0.125)
    assert set(layer.state_dict()) == {"adder", "step"}
    other.load_state_dict(layer.state_dict())
    assert float(other.step) == 0.125
    assert torch.equal(other.rounded_weight(), layer.rounded_weight())
    assert float(copy.deepcopy(other).step) == 0.125
    other.load_state_dict(AdderConv2d(2, 3, 3).state_dict())
    assert not other.is_rounded
    assert set(other.state_dict()) == {"adder"}


def test_keys_are_those_of_addernet() -> None:
    assert {key: list(value.shape) for key, value in AdderConv2d(3, 4, 5, bias=True).state_dict().items()} == {
        "adder": [4, 3, 5, 5], "b": [4]}
    assert list(AdderConv2d(3, 4, 5).state_dict()) == ["adder"]


def test_weights_without_integers_are_named() -> None:
    layer = AdderConv2d(1, 1, 1)
    with pytest.raises(UnsupportedModel, match=r"^body\.2: its weights have no step; call .*round_adders"):
        layer.integer_weight("body.2")
    bad = AdderConv2d(1, 1, 1)
    bad.set_step(1.0)
    nn.init.constant_(bad.adder, math.nan)
    with pytest.raises(UnsupportedModel, match=r"^body\.2: holds NaN or infinite weights"):
        bad.integer_weight("body.2")
    layer.set_step(1e-30)
    with pytest.raises(UnsupportedModel, match=r"^body\.2: has weights up to .* steps of its input"):
        layer.integer_weight("body.2")


@pytest.mark.parametrize(("layer", "shape"), [
    (AdderConv2d(1, 4, 1), (1, 3, 2, 2)), (AdderConv2d(3, 4, 1), (1, 1, 2, 2)), (AdderLinear(1, 4), (2, 3)),
    (AdderConv2d(4, 4, 3, groups=4), (1, 1, 3, 3))])
def test_no_channel_is_broadcast(layer: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"Adder\w+: x must have . channels, not {shape[1]}"):
        layer(torch.zeros(shape))


def test_padding_may_be_a_list() -> None:
    layer = AdderConv2d(3, 4, [3, 1], padding=[1, 2, 3, 4])     # type: ignore[arg-type]
    assert (layer.kernel_size, layer.padding) == ((3, 1), (1, 2, 3, 4))
    assert AdderConv2d(3, 4, 3, padding=(1, 2)).padding == (1, 2, 1, 2)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: AdderConv2d(3, 4, 3, groups=2), "groups must divide"),
    (lambda: AdderConv2d(3, 4, 3, weight_bits=3), r"weight_bits must be 4\.\.16 or None, not 3"),
    (lambda: AdderLinear(3, 4, weight_bits=17), r"AdderLinear: weight_bits must be 4\.\.16"),
    (lambda: AdderConv2d(3, 4, 3, weight_bits=8.5), r"weight_bits must be 4\.\.16 or None, not 8.5"),
    (lambda: AdderConv2d(3, 0, 3), "in_channels=3 and out_channels=0 must be 1 or more"),
    (lambda: AdderConv2d(3, 4, (3, 3, 3)), "kernel_size must be an int of 1 or more, or two of them, not"),
    (lambda: AdderConv2d(3, 4, 0), "kernel_size must be an int of 1 or more, or two of them, not 0"),
    (lambda: AdderConv2d(3, 4, 3, stride=0), "stride must be an int of 1 or more"),
    (lambda: AdderConv2d(3, 4, 3, dilation=(1, 0)), r"dilation must be an int of 1 or more, or two of them, not \(1,"),
    (lambda: AdderConv2d(3, 4, 3, padding="same"), r"padding must be an int of 0 or more, .* not 'same'"),
    (lambda: AdderConv2d(3, 4, 3, padding=-1), "padding must be an int of 0 or more"),
    (lambda: AdderConv2d(3, 4, 3, padding=(1, 2, 3)), "padding must be an int of 0 or more"),
    (lambda: AdderConv2d(3, 4, 9)(torch.zeros(1, 3, 8, 8)), "x has maps of 8x8, with their padding they must be at"),
    (lambda: AdderLinear(3, 4)(torch.zeros(1, 3, 1, 1)), "AdderLinear: x must have 2 dimensions, not 4"),
    (lambda: AdderLinear(3, 4).set_step(-1.0), "step must be 0 or positive"),
    (lambda: AdderLinear(3, 4).set_step(math.nan), "step must be 0 or positive"),
])
def test_bad_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# -- shift and add -----------------------------------------------------------------------------
def test_shift_add_is_a_shift_layer_a_quantizer_and_an_adder_layer() -> None:
    torch.manual_seed(7)
    block = ShiftAdd(3, 5, stride=2, quantizer=FixedPoint(6, 4))
    x = torch.randn(2, 3, 8, 8)
    y = block(x)
    assert y.shape == (2, 5, 4, 4)
    assert torch.equal(y, block.add(block.quant(block.shift(x))))
    assert (block.shift.stride, block.shift.padding, block.add.stride, block.add.padding) == (
        (2, 2), (1, 1, 1, 1), (1, 1), (1, 1, 1, 1))
    y.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in block.parameters())
