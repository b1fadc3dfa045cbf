"""AddressNet's shifts: formulas on pixel numbers, order of the directions, bad arguments."""

import pytest
import torch

from shifthw.nn import AddressShift2d, ChannelShift, ShortcutShift
from shifthw.nn.moving import moved


def test_address_shift_by_hand() -> None:
    """A map of 2x3, pixels 1..6: across a line's end comes the next line's pixel."""
    x = torch.arange(1, 7).reshape(1, 1, 2, 3).expand(1, 5, 2, 3)
    y = AddressShift2d(5)(x)
    assert y[0].tolist() == [[[0, 1, 2], [3, 4, 5]], [[2, 3, 4], [5, 6, 0]], [[0, 0, 0], [1, 2, 3]],
                             [[4, 5, 6], [0, 0, 0]], [[1, 2, 3], [4, 5, 6]]]


def test_zero_padded_by_hand() -> None:
    x = torch.arange(1, 7).reshape(1, 1, 2, 3).expand(1, 5, 2, 3)
    y = AddressShift2d(5, zero_padded=True)(x)
    assert y[0].tolist() == [[[0, 1, 2], [0, 4, 5]], [[2, 3, 0], [5, 6, 0]], [[0, 0, 0], [1, 2, 3]],
                             [[4, 5, 6], [0, 0, 0]], [[1, 2, 3], [4, 5, 6]]]


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 8])
@pytest.mark.parametrize("step", [1, 2, 5])
@pytest.mark.parametrize("size", [(4, 5), (1, 1), (1, 6), (3, 1)])
def test_address_shift_formula(channels: int, step: int, size: tuple[int, int]) -> None:
    layer = AddressShift2d(channels, step)
    height, width = size
    quarter = channels // 4
    offsets = [-step] * quarter + [step] * quarter + [-step * width] * quarter + [step * width] * quarter
    offsets += [0] * (channels % 4)
    assert layer.offsets(width).tolist() == offsets
    assert layer.offsets(width).dtype == "int64"
    x = torch.randn(2, channels, *size)
    y = layer(x).flatten(2)
    pixels = x.flatten(2)
    for channel, offset in enumerate(offsets):
        for number in range(height * width):
            inside = 0 <= number + offset < height * width
            expected = pixels[:, channel, number + offset] if inside else torch.zeros(2)
            assert torch.equal(y[:, channel, number], expected)


@pytest.mark.parametrize("step", [1, 3])
def test_zero_padded_is_a_spatial_shift(step: int) -> None:
    layer = AddressShift2d(9, step, zero_padded=True)
    displacement, per_pixel = layer.integer_displacement()
    assert displacement.tolist() == [[0, -step]] * 2 + [[0, step]] * 2 + [[-step, 0]] * 2 + [[step, 0]] * 2 + [[0, 0]]
    assert per_pixel == 1
    x = torch.randn(2, 9, 5, 4)
    assert torch.equal(layer(x), moved(x, torch.from_numpy(displacement)))


def test_address_shift_has_gradients_and_no_state() -> None:
    layer, x = AddressShift2d(4), torch.randn(1, 4, 3, 3, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert x.grad.sum() == 36 - 1 - 1 - 3 - 3
    assert not layer.state_dict()


@pytest.mark.parametrize("zero_padded", [False, True])
def test_address_shift_can_be_exported(zero_padded: bool) -> None:
    layer, x = AddressShift2d(6, zero_padded=zero_padded), torch.randn(2, 6, 3, 4)
    assert torch.equal(torch.export.export(layer, (x,)).module()(x), layer(x))


@pytest.mark.parametrize("amount", [0, 1, 3, -2, 12])
def test_channel_shift(amount: int) -> None:
    layer, x = ChannelShift(5, amount), torch.randn(2, 5, 3, 2)
    y = layer(x)
    for channel in range(5):
        assert torch.equal(y[:, (channel + amount) % 5], x[:, channel])
    assert torch.equal(y, x[:, torch.from_numpy(layer.source())])
    assert torch.equal(layer(x[:, :, 0, 0]), y[:, :, 0, 0])


def test_shortcut_shift() -> None:
    first, second = torch.randn(2, 3, 4, 5), torch.randn(2, 1, 4, 5)
    y = ShortcutShift()(first, second)
    assert torch.equal(y[:, :3], first)
    assert torch.equal(y[:, 3:], second)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: AddressShift2d(0), "AddressShift2d: channels must be 1 or more, not 0"),
    (lambda: AddressShift2d(4, 0), "AddressShift2d: step must be 1 or more, not 0"),
    (lambda: AddressShift2d(4).offsets(0), "AddressShift2d: width must be 1 or more, not 0"),
    (lambda: AddressShift2d(4)(torch.zeros(1, 3, 2, 2)), r"x must be \[N, 4, H, W\], not \[1, 3, 2, 2\]"),
    (lambda: ChannelShift(0, 1), "ChannelShift: channels must be 1 or more, not 0"),
    (lambda: ChannelShift(3, 1)(torch.zeros(2, 4)), r"x must be \[N, 3\] or \[N, 3, H, W\], not \[2, 4\]"),
])
def test_bad_arguments(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
