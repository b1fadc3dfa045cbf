"""Activation quantizers: DeepShift's fixed point, calibrated scales, straight-through gradients."""

import numpy as np
import pytest
import torch

from shifthw.ir import IntType
from shifthw.nn import FixedPoint, QuantAct, Quantizer, Rounding


def test_fixed_point_floors() -> None:
    x = torch.tensor([0.49, 0.25, 0.26, -0.01, -0.25, -0.26])
    assert FixedPoint(4, 2)(x).tolist() == [0.25, 0.25, 0.25, -0.25, -0.25, -0.5]


def test_fixed_point_clamps_at_a_whole_number() -> None:
    quantizer = FixedPoint(3, 5)
    assert quantizer(torch.tensor([2.99, 3.0, 3.5, 3.99, 100.0])).tolist() == [2.96875, 3.0, 3.0, 3.0, 3.0]
    assert quantizer(torch.tensor([-4.0, -4.01, -100.0])).tolist() == [-4.0, -4.0, -4.0]
    assert (quantizer.dtype, quantizer.lo, quantizer.hi) == (IntType(8, True), -128, 96)


def test_fixed_point_default_of_deepshift() -> None:
    quantizer = FixedPoint(16, 16)
    assert quantizer.dtype == IntType(32, True)
    assert quantizer(torch.tensor([1e9, -1e9], dtype=torch.float64)).tolist() == [32767.0, -32768.0]


@pytest.mark.parametrize("bits", [(1, 4), (4, -1), (20, 13)])
def test_fixed_point_refuses(bits: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="FixedPoint: integer_bits must be 2 or more"):
        FixedPoint(*bits)


@pytest.mark.parametrize(("rounding", "steps"), [
    (Rounding.HALF_UP, [1, 1, 2, 0, -1, -2, -2]), (Rounding.FLOOR, [0, 1, 1, -1, -2, -2, -3]),
    (Rounding.HALF_EVEN, [0, 1, 2, 0, -2, -2, -2])])
def test_rounding_of_halves(rounding: Rounding, steps: list[int]) -> None:
    quantizer = QuantAct(8, signed=True, scale=0.5, rounding=rounding)
    x = torch.tensor([0.25, 0.5, 0.75, -0.25, -0.75, -1.0, -1.1])
    assert quantizer.integers(x).tolist() == steps
    assert (quantizer(x) / 0.5).tolist() == steps


def test_half_even_is_the_rounding_of_torch() -> None:
    """Also just below a tie, where adding 1/2 in floating point would round up to it."""
    below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    x = torch.tensor([-0.5, 0.5, 1.5, 2.5, below, -below, 8388607.0])
    quantizer = Quantizer(IntType(32, True), -(2**24), 2**24, Rounding.HALF_EVEN, 1.0)
    assert quantizer.integers(x).tolist() == [0, 0, 2, 2, 0, 0, 8388607]
    assert torch.equal(quantizer(x), torch.round(x))


def test_ranges_by_bits_and_sign() -> None:
    x = torch.tensor([-1e6, 1e6])
    assert QuantAct(8, scale=1.0).integers(x).tolist() == [0, 255]
    assert QuantAct(8, signed=True, scale=1.0).integers(x).tolist() == [-128, 127]
    assert QuantAct(16, scale=1.0).integers(x).tolist() == [0, 65535]
    assert QuantAct(2, signed=True, scale=1.0).integers(x).tolist() == [-2, 1]


def test_calibration_follows_the_maximum() -> None:
    quantizer = QuantAct(8, momentum=0.5)
    assert not quantizer.calibrated
    quantizer(torch.zeros(4))
    assert not quantizer.calibrated
    quantizer(torch.tensor([-9.0, 2.55]))
    assert float(quantizer.scale) == pytest.approx(0.01)
    quantizer(torch.tensor([5.1]))
    assert float(quantizer.scale) == pytest.approx(0.015)
    quantizer.eval()
    quantizer(torch.tensor([99.0]))
    assert float(quantizer.scale) == pytest.approx(0.015)


def test_signed_calibration_sees_both_sides_and_percentile_ignores_outliers() -> None:
    signed = QuantAct(8, signed=True)
    signed(torch.tensor([-12.7, 1.0]))
    assert float(signed.scale) == pytest.approx(0.1)
    cautious = QuantAct(8, percentile=0.99)
    cautious(torch.cat([torch.full((990,), 2.55), torch.full((10,), 1000.0)]))
    assert float(cautious.scale) == pytest.approx(0.01)


def test_power_of_two_scale_covers_the_limit() -> None:
    quantizer = QuantAct(8, power_of_two=True)
    quantizer(torch.tensor([2.0]))
    assert float(quantizer.scale) == 2.0**-6
    given = QuantAct(8, scale=0.125)
    given(torch.tensor([1000.0]))
    assert float(given.scale) == 0.125


def test_gradient_passes_inside_the_range_only() -> None:
    x = torch.tensor([-0.2, 0.3, 2.4, 300.0, 255.2], requires_grad=True)
    QuantAct(8, scale=1.0)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0, 1.0, 0.0, 1.0]


def test_scale_is_kept_in_the_state() -> None:
    first, second = QuantAct(8), QuantAct(8)
    first(torch.tensor([2.55]))
    second.load_state_dict(first.state_dict())
    assert second.calibrated
    assert float(second.scale) == float(first.scale)


@pytest.mark.parametrize(("arguments", "message"), [
    (dict(bits=1), "bits must be 2..16, not 1"), (dict(bits=17), "not 17"), (dict(scale=0.0), "scale must be positive"),
    (dict(percentile=0.0), "percentile and momentum")])
def test_arguments_out_of_range(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"QuantAct: .*{message}"):
        QuantAct(**arguments)


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("signed", [False, True])
def test_gradient_passes_where_nothing_is_clamped(rounding: Rounding, signed: bool) -> None:
    quantizer = QuantAct(3, signed, scale=0.3, rounding=rounding)
    x = torch.linspace(-4, 4, 1000, dtype=torch.float64, requires_grad=True)
    quantizer(x).sum().backward()
    wide = QuantAct(8, signed=True, scale=0.3, rounding=rounding).integers(x.detach())
    inside = (wide >= quantizer.lo) & (wide <= quantizer.hi)
    assert x.grad is not None
    assert torch.equal(x.grad, inside.double())
    assert 0 < int(inside.sum()) < 1000


def test_bfloat16_is_rounded_with_the_true_scale() -> None:
    """0.1 in bfloat16 is 0.10009766: step 200 would be off by a fifth of a step."""
    x = (torch.arange(256) * 0.1).to(torch.bfloat16).requires_grad_()
    quantizer = QuantAct(8, scale=0.1)
    assert torch.equal(quantizer.integers(x.detach()), quantizer.integers(x.detach().float()))
    assert not torch.equal(quantizer.integers(x.detach()), torch.floor(x.detach() / 0.1 + 0.5).long())
    y = quantizer(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, quantizer(x.detach().float()).to(torch.bfloat16))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0] * 256


def test_input_is_left_as_it_is() -> None:
    x = torch.tensor([0.3, 1.6, -2.0])
    QuantAct(8, scale=1.0)(x)
    QuantAct(8, scale=1.0).integers(x)
    assert x.tolist() == torch.tensor([0.3, 1.6, -2.0]).tolist()
