"""Moves by whole and real displacements against loops over pixels, and their gradients."""

import math

import pytest
import torch

from shifthw.nn import moving
from shifthw.nn.moving import bilinear, bilinear_for_training, moved, rounded_with_bilinear_gradient

SIZES = [(5, 6), (1, 1), (1, 7), (4, 1)]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(5)


def pixel(x: torch.Tensor, row: int, column: int) -> torch.Tensor:
    """x[:, row, column] of one channel [N, H, W], 0 outside."""
    if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
        return x[:, row, column]
    return torch.zeros_like(x[:, 0, 0])


def point(x: torch.Tensor, row: float, column: float) -> torch.Tensor:
    """Between the pixels of one channel, as the bilinear formula is printed."""
    top, left = math.floor(row), math.floor(column)
    down, right = row - top, column - left
    return (pixel(x, top, left) * (1 - down) * (1 - right) + pixel(x, top, left + 1) * (1 - down) * right
            + pixel(x, top + 1, left) * down * (1 - right) + pixel(x, top + 1, left + 1) * down * right)


def by_loops(x: torch.Tensor, displacement: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
    rows, columns = range(0, x.shape[2], stride[0]), range(0, x.shape[3], stride[1])
    return torch.stack([torch.stack([torch.stack([point(x[:, channel], row + dy, column + dx) for column in columns], 1)
                                     for row in rows], 1)
                        for channel, (dy, dx) in enumerate(displacement.tolist())], 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
def test_whole_displacements(size: tuple[int, int], stride: tuple[int, int]) -> None:
    displacement = torch.tensor([[0, 0], [1, -2], [-5, 6], [4, 0], [-1, 5], [100, -100]])
    x = torch.randint(-9, 9, (2, 6, *size))
    assert torch.equal(moved(x, displacement, stride), by_loops(x, displacement, stride))


def test_nothing_comes_in_from_far_outside() -> None:
    x = torch.full((1, 2, 3, 3), torch.inf)
    assert torch.equal(moved(x, torch.tensor([[2**31, 0], [0, -(2**31)]])), torch.zeros(1, 2, 3, 3))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [(1, 1), (3, 2)])
@pytest.mark.parametrize("largest", [0.9, 2.7, 12.0])
def test_real_displacements(size: tuple[int, int], stride: tuple[int, int], largest: float) -> None:
    displacement = (torch.rand(7, 2, dtype=torch.float64) * 2 - 1) * largest
    displacement[:2] = torch.tensor([[-0.5, 1.0], [0.0, -2.0]])
    x = torch.randn(2, 7, *size, dtype=torch.float64)
    expected = by_loops(x, displacement, stride)
    assert torch.allclose(bilinear(x, displacement, stride), expected, rtol=0, atol=1e-14)
    assert torch.allclose(bilinear_for_training(x, displacement, stride), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("function", [bilinear, bilinear_for_training])
@pytest.mark.parametrize("largest", [0.9, 3.9])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
def test_gradients_between_whole_displacements(function: object, largest: float, stride: tuple[int, int]) -> None:
    """Where the function is smooth: a tenth of a pixel away from whole displacements at least."""
    displacement = torch.tensor([[0.3, -0.4], [-0.9, 0.1], [0.55, 0.8]], dtype=torch.float64) * largest / 0.9
    assert ((displacement - displacement.round()).abs() > 0.01).all()
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x, d: function(x, d, stride),
                                    (x.requires_grad_(), displacement.requires_grad_()))


@pytest.mark.parametrize("function", [bilinear, bilinear_for_training])
def test_gradient_at_whole_displacements_is_to_the_neighbour_behind(function: object) -> None:
    x = torch.tensor([[[[1.0, 10.0, 200.0]]]], dtype=torch.float64)
    displacement = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    function(x, displacement)[0, 0, 0, 1].backward()
    assert displacement.grad is not None
    assert displacement.grad.tolist() == [[-10.0, 190.0]]


@pytest.mark.parametrize("limit", [0, 9])
@pytest.mark.parametrize("size", [*SIZES, (3, 8)])
@pytest.mark.parametrize("largest", [0.49, 1.0, 2.6, 11.0])
def test_rounded_moves_have_the_real_ones_gradient(limit: int, size: tuple[int, int], largest: float,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "MOST_RADIUS", limit)
    displacement = (torch.rand(5, 2, dtype=torch.float64) * 2 - 1) * largest
    displacement[0] = torch.tensor([0.5, -1.5]).clamp(-largest, largest)
    x, slopes = torch.randn(2, 5, *size, dtype=torch.float64), torch.randn(2, 5, *size, dtype=torch.float64)
    d, inputs = displacement.clone().requires_grad_(), x.clone().requires_grad_()
    y = rounded_with_bilinear_gradient(inputs, d)
    assert torch.equal(y, moved(x, displacement.round().to(torch.int64)))
    y.backward(slopes)
    real = displacement.clone().requires_grad_()
    bilinear(x, real).backward(slopes)
    whole = x.clone().requires_grad_()
    moved(whole, displacement.round().to(torch.int64)).backward(slopes)
    assert d.grad is not None
    assert real.grad is not None
    assert torch.allclose(d.grad, real.grad, rtol=0, atol=1e-12)
    assert inputs.grad is not None
    assert whole.grad is not None
    assert torch.equal(inputs.grad, whole.grad)


def test_rounded_move_of_what_needs_no_gradient() -> None:
    displacement = torch.zeros(2, 2, requires_grad=True)
    x = torch.arange(18.0).reshape(1, 2, 3, 3)
    rounded_with_bilinear_gradient(x, displacement)[:, :, :2, :2].sum().backward()
    assert displacement.grad is not None
    assert displacement.grad.tolist() == [[12.0, 4.0], [12.0, 4.0]]


def test_types_under_autocast() -> None:
    """A rounded move keeps the type of x, as moved does; interpolation has the wider one."""
    displacement = torch.tensor([[0.4, 0.2], [1.0, -0.8]], requires_grad=True)
    x = torch.randn(1, 2, 4, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = rounded_with_bilinear_gradient(x, displacement)
        assert bilinear_for_training(x, displacement).dtype == torch.float32
    assert torch.equal(y, moved(x, displacement.detach().round().to(torch.int64)))
    y.sum().backward()
    assert displacement.grad is not None
    assert displacement.grad.dtype == torch.float32
