"""Transposed shift convolutions: equal to torch's, and to the convolution that they say they are."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from shifthw.nn import ShiftConvTranspose2d
from shifthw.nn.transposed import turned

GEOMETRIES = [(3, 2, 1, 1, 1, 1), (4, 2, 1, 0, 1, 1), ((2, 3), (3, 2), (0, 1), (2, 0), 2, 1), (3, 1, 2, 0, 2, 2),
              (2, 2, 0, 0, 4, 1), (1, 3, 0, 2, 1, 1), (3, 2, 1, 1, 2, (2, 1))]
"""Kernel, stride, padding, output padding, groups, dilation."""


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(3)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("form", ["Q", "PS", "nearest"])
@pytest.mark.parametrize("size", [(5, 4), (1, 1)])
def test_equals_torchs_layer(geometry: tuple, form: str, size: tuple[int, int]) -> None:
    kernel, stride, padding, added, groups, dilation = geometry
    if size == (1, 1) and padding == 2:
        pytest.skip("nothing is left of the map")
    layer = ShiftConvTranspose2d(4, 8, kernel, stride, padding, added, groups, True, dilation, form=form, weight_bits=4)
    plain = nn.ConvTranspose2d(4, 8, kernel, stride, padding, added, groups, True, dilation)
    with torch.no_grad():
        plain.weight.copy_(turned(layer.rounded_weight(), groups))
        plain.bias.copy_(layer.bias)
    x = torch.randn(2, 4, *size)
    assert torch.equal(layer(x), plain(x))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_is_a_convolution_of_the_stretched_map(geometry: tuple) -> None:
    """Integers: the zeros behind each pixel, then a convolution of stride 1 with the integer weights."""
    kernel, stride, padding, added, groups, dilation = geometry
    layer = ShiftConvTranspose2d(4, 8, kernel, stride, padding, added, groups, False, dilation, weight_bits=4, terms=2)
    weight, unit = layer.integer_weight()
    assert weight.integer.shape == (8, 4 // groups, *layer.kernel_size)
    x = torch.randint(-128, 128, (2, 4, 5, 6)).double()
    stretched = torch.zeros(2, 4, 5 * layer.stride[0], 6 * layer.stride[1], dtype=torch.float64)
    stretched[:, :, ::layer.stride[0], ::layer.stride[1]] = x
    before = [d * (k - 1) - p for k, d, p in zip(layer.kernel_size, layer.dilation, layer.padding, strict=True)]
    behind = [b + a - (s - 1) for b, a, s in zip(before, layer.output_padding, layer.stride, strict=True)]
    padded = functional.pad(stretched, (before[1], behind[1], before[0], behind[0]))
    sums = functional.conv2d(padded, torch.from_numpy(weight.integer).double(), dilation=layer.dilation, groups=groups)
    expected = sums * torch.from_numpy(unit.copy())[:, None, None]
    assert torch.equal(layer.double()(x), expected)


def test_turned_undoes_itself() -> None:
    weight = torch.randn(6, 4, 2, 3)
    assert torch.equal(turned(turned(weight, 3), 3), weight)
    assert turned(weight, 3).shape == (12, 2, 2, 3)
    assert turned(weight, 3)[5, 1, 0, 2] == weight[3, 1, 1, 0]


def test_scale_per_output_channel_and_gradient() -> None:
    layer = ShiftConvTranspose2d(2, 4, 3, 2, groups=2, weight_scale=torch.tensor([1.0, 2.0, 0.5, 4.0]))
    _, unit = layer.integer_weight()
    assert (unit / unit[0]).tolist() == [1.0, 2.0, 0.5, 4.0]
    layer(torch.randn(1, 2, 3, 3)).square().sum().backward()
    assert layer.weight.grad is not None
    assert (layer.weight.grad != 0).all()


@pytest.mark.parametrize(("arguments", "message"), [
    ((0, 2, 3), "ShiftConvTranspose2d: in_channels=0 and out_channels=2 must be 1 or more"),
    ((4, 2, 3, 1, 0, 0, 3), "ShiftConvTranspose2d: groups must divide in_channels=4"),
    ((4, 2, 0), "ShiftConvTranspose2d: kernel_size must be an int of 1 or more"),
    ((4, 2, 3, 0), "ShiftConvTranspose2d: stride must be an int of 1 or more"),
    ((4, 2, 3, 1, -1), "ShiftConvTranspose2d: padding must be an int of 0 or more, or two of them, not -1"),
    ((4, 2, 3, 1, (1, 1, 1)), r"padding must be an int of 0 or more, or two of them, not \(1, 1, 1\)"),
    ((4, 2, 3, 2, 0, 1.0), "output_padding must be an int of 0 or more, or two of them, not 1.0"),
    ((4, 2, 3, (2, 1), 0, 1), r"output_padding must be less than stride \(2, 1\) or dilation \(1, 1\), not \(1, 1\)"),
])
def test_bad_arguments(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ShiftConvTranspose2d(*arguments)
