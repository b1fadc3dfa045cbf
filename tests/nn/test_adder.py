"""The adder layer against its definition, term by term."""

import itertools

import pytest
import torch
from torch import nn

from shifthw.errors import UnsupportedModel
from shifthw.frontend import convert
from shifthw.nn import AdderConv2d, FixedPoint, adder


def defined(x: torch.Tensor, layer: AdderConv2d) -> torch.Tensor:
    """-sum |x - w| in float64, one output at a time, zeros written around the images."""
    (top, left), (rows, columns) = layer.padding, layer.kernel_size
    padded = nn.functional.pad(x.double(), (left, left, top, top))
    height, width = ((padded.shape[2 + axis] - layer.kernel_size[axis]) // layer.stride[axis] + 1 for axis in (0, 1))
    y = torch.empty(len(x), layer.out_channels, height, width, dtype=torch.float64)
    for n, o, h, w in itertools.product(*map(range, y.shape)):
        top, left = h * layer.stride[0], w * layer.stride[1]
        y[n, o, h, w] = -(padded[n, :, top:top + rows, left:left + columns] - layer.adder[o].double()).abs().sum()
    return y if layer.b is None else y + layer.b.double()[:, None, None]


def integers(*shape: int) -> torch.Tensor:
    return torch.randint(-60, 60, shape).float()


@pytest.mark.parametrize(("kernel", "stride", "padding", "bias"), [
    (3, 1, 1, False), (3, 2, 1, True), (1, 2, 0, False), ((5, 2), (1, 3), (2, 0), True), (3, 1, 3, False)])
def test_equals_the_definition(kernel: int | tuple[int, int], stride: int | tuple[int, int],
                               padding: int | tuple[int, int], bias: bool) -> None:
    torch.manual_seed(3)
    layer = AdderConv2d(3, 4, kernel, stride, padding, bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(integers(*parameter.shape))
        x = integers(2, 3, 8, 7)
        assert torch.equal(layer(x).double(), defined(x, layer))


def test_positions_in_the_padding_count_the_weight() -> None:
    layer = AdderConv2d(1, 1, 3, padding=1)
    with torch.no_grad():
        layer.adder.copy_(torch.arange(-4.0, 5.0).reshape(1, 1, 3, 3))
        assert layer(torch.zeros(1, 1, 1, 1)).item() == -20.0


def test_blocks_of_images_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(4)
    layer, x = AdderConv2d(2, 3, 3, padding=1), integers(7, 2, 5, 5)
    with torch.no_grad():
        layer.adder.copy_(integers(3, 2, 3, 3))
        whole = layer(x)
        monkeypatch.setattr(adder, "ELEMENTS_PER_BLOCK", 2 * 18 * 25)
        assert torch.equal(layer(x), whole)
        monkeypatch.setattr(adder, "ELEMENTS_PER_BLOCK", 1)
        assert torch.equal(layer(x), whole)


def test_keys_are_those_of_addernet() -> None:
    assert {key: list(value.shape) for key, value in AdderConv2d(3, 4, 5, bias=True).state_dict().items()} == {
        "adder": [4, 3, 5, 5], "b": [4]}
    assert list(AdderConv2d(3, 4, 5).state_dict()) == ["adder"]


def test_conversion_refuses_it_in_one_line() -> None:
    model = nn.Sequential(FixedPoint(4, 4), AdderConv2d(1, 2, 3))
    with pytest.raises(UnsupportedModel, match=r"^1 \(AdderConv2d\): is an adder layer, .* runs in torch only"):
        convert(model, torch.ones(1, 1, 5, 5))
