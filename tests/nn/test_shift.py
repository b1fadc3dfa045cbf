"""Shift layers: the weights they use, their gradients, their agreement with torch's own layers."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from shifthw.nn import PadShortcut, ShiftConv2d, ShiftLinear


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(11)


@pytest.mark.parametrize("form", ["Q", "PS"])
@pytest.mark.parametrize("terms", [1, 2, 4])
@pytest.mark.parametrize("weight_scale", [1.0, 0.25])
def test_forward_uses_the_integer_weights(form: str, terms: int, weight_scale: float) -> None:
    layer = ShiftConv2d(4, 6, 3, 2, (1, 0, 2, 1), (1, 2), 2, form=form, weight_bits=4, terms=terms,
                        weight_scale=weight_scale)
    weight, unit = layer.integer_weight()
    assert weight.sign.shape == (terms, 6, 2, 3, 3)
    real = torch.from_numpy(weight.integer * unit[:, None, None, None])
    assert torch.equal(layer.rounded_weight().detach().double(), real)
    x = torch.randn(2, 4, 9, 11)
    padded = functional.pad(x, (0, 1, 1, 2))
    expected = functional.conv2d(padded, real.float(), layer.bias, 2, 0, (1, 2), 2)
    assert torch.equal(layer(x), expected)


def test_q_layer_takes_an_ordinary_checkpoint() -> None:
    trained = nn.Conv2d(3, 5, 3)
    layer = ShiftConv2d(3, 5, 3)
    layer.load_state_dict(trained.state_dict())
    ratio = (layer.rounded_weight() / trained.weight).detach()
    assert ratio.min() > 2**-0.501
    assert ratio.max() < 2**0.501


def test_ps_layer_has_deepshifts_parameters() -> None:
    layer = ShiftConv2d(3, 5, 3, groups=1, form="PS", weight_bits=5)
    shapes = {name: tuple(value.shape) for name, value in layer.state_dict().items()}
    assert shapes == {"shift": (5, 3, 3, 3), "sign": (5, 3, 3, 3), "bias": (5,)}
    assert set(ShiftLinear(3, 5, form="PS").state_dict()) == {"shift", "sign", "bias"}
    assert ShiftLinear(3, 5, form="PS", terms=2).state_dict()["shift"].shape == (2, 5, 3)


def test_q_gradient_is_the_plain_convolutions() -> None:
    layer = ShiftLinear(4, 3, bias=False)
    x = torch.randn(5, 4)
    layer(x).square().sum().backward()
    plain = layer.rounded_weight().detach().requires_grad_()
    functional.linear(x, plain).square().sum().backward()
    assert layer.weight.grad is not None
    assert plain.grad is not None
    assert torch.equal(layer.weight.grad, plain.grad)


def test_ps_gradients() -> None:
    layer = ShiftLinear(3, 1, bias=False, form="PS")
    with torch.no_grad():
        layer.shift.copy_(torch.tensor([[-1.2, -3.0, -2.0]]))
        layer.sign.copy_(torch.tensor([[0.9, -0.8, 0.1]]))
    layer(torch.ones(1, 3)).sum().backward()
    assert layer.sign.grad is not None
    assert layer.shift.grad is not None
    assert layer.sign.grad.tolist() == [[0.5, 0.125, 0.25]]
    expected = [0.5 * math.log(2), -0.125 * math.log(2), 0.0]
    assert layer.shift.grad[0].tolist() == pytest.approx(expected)


def test_bias_on_deepshifts_grid() -> None:
    layer = ShiftLinear(2, 4, bias_format=(3, 2))
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.3, -0.3, 9.0, -9.0]))
    bias = layer.rounded_bias()
    assert bias is not None
    assert bias.tolist() == [0.25, -0.5, 3.0, -4.0]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_pad_shortcut(stride: int) -> None:
    x = torch.randn(2, 3, 7, 6)
    y = PadShortcut(3, 8, stride)(x)
    assert y.shape == (2, 8, -(-7 // stride), -(-6 // stride))
    assert torch.equal(y[:, 2:5], x[:, :, ::stride, ::stride])
    assert not y[:, :2].any()
    assert not y[:, 5:].any()
    assert torch.equal(PadShortcut(3, 8, stride, before=0)(x)[:, :3], x[:, :, ::stride, ::stride])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: ShiftConv2d(4, 4, 3, form="X"), "form must be 'Q', 'PS' or 'nearest', not 'X'"),
    (lambda: ShiftConv2d(4, 4, 3, weight_bits=9), "weight_bits must be 2..8 in form Q, not 9"),
    (lambda: ShiftConv2d(4, 4, 3, weight_bits=1), "weight_bits must be 2..8 in form Q, not 1"),
    (lambda: ShiftLinear(4, 4, terms=5), "ShiftLinear: terms must be 1..4, not 5"),
    (lambda: ShiftConv2d(4, 4, 3, weight_scale=0.3), "weight_scale must be a power of two, not 0.3"),
    (lambda: ShiftConv2d(4, 6, 3, groups=4), "groups must divide"),
    (lambda: ShiftConv2d(4, 6, 3, padding=(1, 2, 3)), "ShiftConv2d: padding must be an int of 0 or more"),
    (lambda: ShiftConv2d(4, 6, (3, 0)), "ShiftConv2d: kernel_size must be an int of 1 or more"),
    (lambda: PadShortcut(8, 4), "must have out_channels of at least in_channels=8"),
])
def test_arguments_out_of_range(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("terms", [1, 2, 4])
def test_nearest_with_a_scale_per_channel_uses_its_integer_weights(terms: int) -> None:
    torch.manual_seed(terms)
    scale = 2.0 ** torch.arange(-3, 3, dtype=torch.float64)
    layer = ShiftConv2d(4, 6, 3, padding=1, form="nearest", weight_bits=4, terms=terms, weight_scale=scale).double()
    weight, unit = layer.integer_weight()
    assert unit.shape == (6,)
    real = torch.from_numpy(weight.integer * unit[:, None, None, None])
    assert torch.equal(layer.rounded_weight(), real)
    x = torch.randint(-8, 8, (2, 4, 5, 5)).double()
    assert torch.equal(layer(x), functional.conv2d(x, real, layer.bias, padding=1))


def test_nearest_passes_the_gradient_to_the_latent_weight() -> None:
    layer = ShiftLinear(5, 3, form="nearest", weight_bits=4, weight_scale=0.5)
    layer(torch.ones(1, 5)).sum().backward()
    assert torch.equal(layer.weight.grad, torch.ones(3, 5))


def test_scales_that_are_no_powers_of_two_or_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="weight_scale must be a power of two"):
        ShiftLinear(5, 3, form="nearest", weight_bits=4, weight_scale=torch.tensor([1.0, 0.3, 1.0]))
    with pytest.raises(ValueError, match=r"one per output channel \(3\), not of shape \[2\]"):
        ShiftLinear(5, 3, form="nearest", weight_bits=4, weight_scale=torch.tensor([1.0, 0.5]))
    with pytest.raises(ValueError, match=r"weight_bits must be 2\.\.5 in form nearest, not 6"):
        ShiftLinear(5, 3, form="nearest", weight_bits=6)


def test_the_scale_of_nearest_is_saved_with_the_weights() -> None:
    layer = ShiftLinear(5, 3, form="nearest", weight_bits=4, weight_scale=0.5)
    assert set(layer.state_dict()) == {"weight", "bias", "weight_scale"}
    assert set(ShiftLinear(5, 3).state_dict()) == {"weight", "bias"}


# -- pruned and fixed weights ------------------------------------------------------------------
def make_layer(form: str) -> ShiftConv2d:
    torch.manual_seed(8)
    return ShiftConv2d(3, 4, 3, form=form, weight_bits=4, terms=2 if form == "nearest" else 1, bias=False)


@pytest.mark.parametrize("form", ["Q", "PS", "nearest"])
def test_pruned_weights_are_the_smallest_and_stay_zero_in_training(form: str) -> None:
    layer = make_layer(form)
    before = layer.rounded_weight().detach()
    layer.prune(0.75)
    mask = layer.mask
    assert mask is not None and int(mask.sum()) == 27
    assert float(before[~mask].abs().max()) <= float(before[mask].abs().min())
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.randn(2, 3, 6, 6)).square().sum().backward()
        optimizer.step()
        weight = layer.rounded_weight().detach()
        assert not weight[~mask].any()
    assert not torch.equal(weight, before * mask)
    integer, unit = layer.integer_weight()
    assert torch.equal(torch.from_numpy(integer.integer * unit[:, None, None, None]).float(), weight)
    assert not integer.exponent[integer.sign == 0].any()
    assert not layer.latent_weight()[~mask].any()


def test_a_mask_is_saved_and_loaded_and_no_mask_is_not() -> None:
    layer, other = make_layer("Q"), make_layer("Q")
    assert set(layer.state_dict()) == {"weight"}
    layer.prune(0.5)
    assert set(layer.state_dict()) == {"weight", "mask"}
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.rounded_weight(), layer.rounded_weight())
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.mask, layer.mask)
    with pytest.raises(ValueError, match=r"fraction must be in 0\.\.1, 1 excluded, not 1\.0"):
        layer.prune(1.0)


def test_fixed_weights_are_not_trained_and_a_bias_is() -> None:
    layer = ShiftLinear(5, 3, form="PS")
    layer.freeze()
    layer(torch.randn(2, 5)).sum().backward()
    assert layer.shift.grad is None and layer.sign.grad is None and layer.bias.grad is not None


def test_weights_that_were_saved_unpruned_are_unpruned_when_loaded() -> None:
    layer, other = ShiftConv2d(2, 3, 3), ShiftConv2d(2, 3, 3)
    layer.prune(0.5)
    pruned = {key: value.clone() for key, value in layer.state_dict().items()}
    layer.load_state_dict(other.state_dict())
    assert layer.mask is None
    assert torch.equal(layer.rounded_weight(), other.rounded_weight())
    layer.load_state_dict(pruned)
    assert layer.mask is not None and not layer.mask.all()
