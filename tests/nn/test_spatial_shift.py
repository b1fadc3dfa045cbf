"""The modules of spatial shifts: formulas, signs, rounding, losses, bad arguments."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from shifthw.errors import UnsupportedModel
from shifthw.nn import ActiveShift2d, GroupedShift2d, SparseShift2d, total_shift_loss
from shifthw.nn.moving import bilinear, moved


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(7)


def with_displacement(layer: nn.Module, values: list[list[float]]) -> nn.Module:
    with torch.no_grad():
        layer.displacement.copy_(torch.tensor(values))
    return layer


# -- GroupedShift2d ----------------------------------------------------------------------------

def test_grouped_shift_of_nine_channels() -> None:
    """A pixel of 1 in the middle: out[h, w] = in[h + dy, w + dx] has it at (2 - dy, 2 - dx)."""
    x = torch.zeros(1, 9, 5, 5)
    x[:, :, 2, 2] = 1
    y = GroupedShift2d(9)(x)
    places = [tuple(torch.nonzero(channel)[0].tolist()) for channel in y[0]]
    assert places == [(3, 3), (3, 2), (3, 1), (2, 3), (2, 2), (2, 1), (1, 3), (1, 2), (1, 1)]


@pytest.mark.parametrize(("channels", "kernel", "dilation"), [(9, 3, 1), (20, 3, 1), (18, 3, 2), (30, 5, 1), (8, 3, 1),
                                                              (1, 1, 1), (7, 1, 4)])
def test_grouped_shift_formula(channels: int, kernel: int, dilation: int) -> None:
    layer = GroupedShift2d(channels, kernel, dilation)
    expected = []
    for channel in range(channels):
        moves = channel < channels // kernel**2 * kernel**2
        expected.append([moves * dilation * ((channel // kernel) % kernel - kernel // 2),
                         moves * dilation * (channel % kernel - kernel // 2)])
    displacement, per_pixel = layer.integer_displacement()
    assert (displacement.tolist(), per_pixel, displacement.dtype) == (expected, 1, np.int64)
    x = torch.randn(2, channels, 3, 4)
    assert torch.equal(layer(x), moved(x, torch.tensor(expected)))
    assert not list(layer.parameters())
    assert not layer.state_dict()


def test_grouped_shift_is_the_same_in_other_types() -> None:
    layer, x = GroupedShift2d(10), torch.randn(1, 10, 4, 3)
    expected = layer(x)
    assert torch.equal(layer.double()(x.double()), expected.double())
    assert torch.equal(layer.bfloat16()(x.bfloat16()), expected.bfloat16())


# -- ActiveShift2d -----------------------------------------------------------------------------

@pytest.mark.parametrize("stride", [1, 2, (1, 3)])
@pytest.mark.parametrize("size", [(5, 7), (1, 1)])
def test_active_shift(stride: int, size: tuple[int, int]) -> None:
    layer = ActiveShift2d(6, stride)
    x = torch.randn(2, 6, *size)
    steps = layer.stride
    learned = layer(x)
    assert learned.shape[2:] == (-(-size[0] // steps[0]), -(-size[1] // steps[1]))
    assert torch.allclose(learned, bilinear(x, layer.displacement, steps), atol=1e-6)
    with torch.no_grad():
        assert torch.equal(layer(x), bilinear(x, layer.displacement, steps))
    layer.eval()
    assert torch.equal(layer(x), moved(x, layer.displacement.detach().round().to(torch.int64), steps))


def test_active_shift_learns() -> None:
    layer = ActiveShift2d(3, 2)
    x = torch.randn(2, 3, 6, 5, requires_grad=True)
    layer(x).square().sum().backward()
    assert layer.displacement.grad is not None
    assert x.grad is not None
    assert (layer.displacement.grad != 0).all()


def test_half_pixels_are_means_of_neighbours() -> None:
    values = [[0.0, 0.5], [-0.5, 1.0], [0.5, -1.5], [-2.0, 2.0]]
    layer = with_displacement(ActiveShift2d(4, resolution=2), values).eval()
    x = torch.randint(-8, 8, (1, 4, 4, 5)).double()
    y = layer.double()(x)
    padded = nn.functional.pad(x, (3, 3, 3, 3))[0]
    assert torch.equal(y[0, 0], (padded[0, 3:7, 3:8] + padded[0, 3:7, 4:9]) / 2)
    assert torch.equal(y[0, 1], (padded[1, 2:6, 4:9] + padded[1, 3:7, 4:9]) / 2)
    corners = [padded[2, row:row + 4, column:column + 5] for row in (3, 4) for column in (1, 2)]
    assert torch.equal(y[0, 2], sum(corners) / 4)
    assert torch.equal(y[0, 3], padded[3, 1:5, 5:10])
    displacement, per_pixel = layer.integer_displacement()
    assert (displacement.tolist(), per_pixel) == ([[0, 1], [-1, 2], [1, -3], [-4, 4]], 2)


@pytest.mark.parametrize(("resolution", "values", "expected"), [
    (1, [[0.5, 1.5], [-0.5, -1.5], [2.5, 0.51]], [[0, 2], [0, -2], [2, 1]]),
    (2, [[0.25, 0.75], [-0.25, -0.75], [1.25, 0.26]], [[0, 2], [0, -2], [2, 1]]),
])
def test_halves_round_to_the_even_displacement(resolution: int, values: list[list[float]],
                                               expected: list[list[int]]) -> None:
    layer = with_displacement(ActiveShift2d(3, resolution=resolution), values).eval()
    displacement, per_pixel = layer.integer_displacement()
    assert (displacement.tolist(), per_pixel) == (expected, resolution)
    x = torch.randn(1, 3, 5, 5)
    assert torch.equal(layer(x), bilinear(x, torch.tensor(expected) / resolution))


# -- SparseShift2d -----------------------------------------------------------------------------

@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(5, 5), (1, 1), (2, 7)])
def test_sparse_shift_always_moves_whole_pixels(training: bool, size: tuple[int, int]) -> None:
    layer = with_displacement(SparseShift2d(5), [[0.5, -0.5], [1.5, 0.6], [-2.4, 0.2], [0.0, 30.0], [-1.0, 1.0]])
    layer.train(training)
    expected = [[0, 0], [2, 1], [-2, 0], [0, 30], [-1, 1]]
    x = torch.randn(2, 5, *size)
    assert torch.equal(layer(x), moved(x, torch.tensor(expected)))
    with torch.no_grad():
        assert torch.equal(layer(x), moved(x, torch.tensor(expected)))
    displacement, per_pixel = layer.integer_displacement()
    assert (displacement.tolist(), per_pixel, displacement.dtype) == (expected, 1, np.int64)
    assert layer.sparsity == 0.2


def test_sparse_shift_finds_a_displacement() -> None:
    layer = with_displacement(SparseShift2d(1, strength=0.0), [[0.1, -0.2]])
    axis = torch.linspace(-2, 2, 24)
    x = torch.exp(-axis[:, None] ** 2 - axis**2)[None, None]
    target = moved(x, torch.tensor([[1, -2]]))
    optimizer = torch.optim.SGD([layer.displacement], 0.05)
    for _ in range(200):
        optimizer.zero_grad()
        (layer(x) - target).square().sum().backward()
        optimizer.step()
    assert layer.integer_displacement()[0].tolist() == [[1, -2]]


def test_losses() -> None:
    values = [[0.5, -1.0], [0.0, 2.0]]
    absolute = with_displacement(SparseShift2d(2, "l1", 0.5), values)
    squared = with_displacement(SparseShift2d(2, "l2", 0.25), values)
    assert absolute.shift_loss().item() == 0.5 * 3.5
    assert squared.shift_loss().item() == 0.25 * 5.25
    total = total_shift_loss(nn.Sequential(absolute, nn.Conv2d(2, 2, 1), nn.Sequential(squared)))
    assert total.item() == 0.5 * 3.5 + 0.25 * 5.25
    total.backward()
    assert absolute.displacement.grad is not None
    assert squared.displacement.grad is not None
    assert absolute.displacement.grad.tolist() == [[0.5, -0.5], [0.0, 0.5]]
    assert squared.displacement.grad.tolist() == [[0.25, -0.5], [0.0, 1.0]]
    assert total_shift_loss(nn.Conv2d(2, 2, 1)).item() == 0


def test_torchshifts_move_the_other_way() -> None:
    """Upstream: out[i, j] = in[i - round(w_h), j - round(w_w)], halves to even."""
    weight = torch.tensor([[0.5, -1.5], [-2.4, 1.0], [2.5, 0.4]])
    layer = SparseShift2d.from_torchshifts(weight, norm="l2", strength=0.125)
    assert (layer.channels, layer.norm, layer.strength) == (3, "l2", 0.125)
    assert layer.integer_displacement()[0].tolist() == [[0, 2], [2, -1], [-2, 0]]
    x = torch.zeros(1, 3, 7, 7)
    x[:, :, 3, 3] = 1
    y = layer(x)
    assert [tuple(torch.nonzero(channel)[0].tolist()) for channel in y[0]] == [(3, 1), (1, 4), (5, 3)]


def test_displacements_begin_within_a_pixel_and_are_saved() -> None:
    layer, other = SparseShift2d(500), SparseShift2d(500)
    assert 0.9 < layer.displacement.abs().max() <= 1
    assert 0.1 < layer.sparsity < 0.4
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.displacement, layer.displacement)
    assert set(layer.state_dict()) == {"displacement"}


@pytest.mark.parametrize("layer", [SparseShift2d(3), ActiveShift2d(3, 2, 2), GroupedShift2d(3)])
def test_layers_can_be_exported(layer: nn.Module) -> None:
    x = torch.randn(2, 3, 5, 4)
    program = torch.export.export(layer.eval(), (x,))
    assert torch.equal(program.module()(x), layer(x))


# -- bad arguments -----------------------------------------------------------------------------

@pytest.mark.parametrize(("make", "message"), [
    (lambda: GroupedShift2d(0), "GroupedShift2d: channels must be 1 or more, not 0"),
    (lambda: GroupedShift2d(9, 2), "GroupedShift2d: kernel_size must be odd, not 2"),
    (lambda: GroupedShift2d(9, -1), "GroupedShift2d: kernel_size must be odd, not -1"),
    (lambda: GroupedShift2d(9, 3, 0), "GroupedShift2d: dilation must be 1 or more, not 0"),
    (lambda: ActiveShift2d(-1), "ActiveShift2d: channels must be 1 or more, not -1"),
    (lambda: ActiveShift2d(3, 0), "ActiveShift2d: stride must be an int of 1 or more, or two of them, not 0"),
    (lambda: ActiveShift2d(3, resolution=4), "ActiveShift2d: resolution must be 1 or 2, not 4"),
    (lambda: SparseShift2d(0), "SparseShift2d: channels must be 1 or more, not 0"),
    (lambda: SparseShift2d(3, "l0"), "SparseShift2d: norm must be 'l1' or 'l2', not 'l0'"),
    (lambda: SparseShift2d(3, strength=-1.0), "strength must be 0 or positive and finite, not -1.0"),
    (lambda: SparseShift2d(3, strength=math.nan), "strength must be 0 or positive and finite, not nan"),
    (lambda: SparseShift2d.from_torchshifts(torch.zeros(4)), r"weight of torchshifts must be \[C, 2\], not \[4\]"),
    (lambda: SparseShift2d.from_torchshifts(torch.zeros(4, 3)), r"torchshifts must be \[C, 2\], not \[4, 3\]"),
    (lambda: GroupedShift2d(3)(torch.zeros(1, 2, 4, 4)), r"x must be \[N, 3, H, W\], not \[1, 2, 4, 4\]"),
    (lambda: ActiveShift2d(3)(torch.zeros(3, 4, 4)), r"ActiveShift2d: x must be \[N, 3, H, W\], not \[3, 4, 4\]"),
    (lambda: SparseShift2d(3)(torch.zeros(1, 1, 4, 4)), r"SparseShift2d: x must be \[N, 3, H, W\], not \[1, 1, 4, 4\]"),
])
def test_bad_arguments(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e7])
@pytest.mark.parametrize("kind", [SparseShift2d, ActiveShift2d])
def test_displacements_that_are_no_numbers(kind: type[nn.Module], value: float) -> None:
    layer = with_displacement(kind(2), [[0.0, 0.0], [0.0, value]])
    with pytest.raises(UnsupportedModel, match=f"{kind.__name__}: displacement has values up to .* pixels, must be "
                                               f"finite and at most 1048576; train it again"):
        layer.integer_displacement()
