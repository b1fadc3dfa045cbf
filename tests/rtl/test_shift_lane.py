"""WeightDecode and ShiftLane against their models."""

import numpy as np
import pytest

from shifthw.rtl.shift_lane import ShiftLane, WeightDecode

from .harness import check_members, check_pipeline, model_only, pack


@pytest.mark.parametrize("zero_weights", [False, True])
@pytest.mark.parametrize("levels", range(1, 17))
def test_decode_of_every_code(levels: int, zero_weights: bool) -> None:
    dut = WeightDecode(lanes=3, exponent_levels=levels, zero_weights=zero_weights)
    check_members(dut)
    exponents = np.arange(levels + zero_weights)
    every = np.concatenate([exponents, exponents | 1 << dut.exponent_bits])
    words = np.stack([every, np.roll(every, 1), every[::-1]], axis=-1)
    expected = []
    for word in words:
        e, sign, zero = dut.model(word)
        expected.append({"e": pack(e, dut.exponent_bits), "sign": pack(sign, 1), "zero": pack(zero, 1)})
    check_pipeline(dut, [{"codes": pack(word, dut.exponent_bits + 1)} for word in words], expected)


def test_decode_keeps_sign_and_exponent_apart() -> None:
    dut = model_only(WeightDecode(lanes=1, exponent_levels=8, zero_weights=True))
    e, sign, zero = dut.model(np.array([0b0_0000, 0b1_0111, 0b0_1000]))
    assert (e.tolist(), sign.tolist(), zero.tolist()) == ([0, 7, 8], [0, 1, 0], [0, 0, 1])


def test_lane_of_worked_values() -> None:
    dut = model_only(ShiftLane(activation_bits=8, exponent_levels=8, exponent_bits=4))
    u, e, sign, zero = (np.array(column) for column in zip(
        (255, 7, 0, 0), (255, 7, 1, 0), (1, 3, 1, 0), (0, 5, 1, 0), (99, 8, 0, 1), strict=True))
    assert dut.model(u, e, sign, zero).tolist() == [255 << 7, 32767 - (255 << 7), 32767 - 8, 32767, 0]


@pytest.mark.parametrize("levels", range(1, 17))
@pytest.mark.parametrize("activation_bits", [2, 3, 8, 9, 16, 32])
def test_lane(activation_bits: int, levels: int) -> None:
    exponent_bits = max(1, levels.bit_length())
    dut = ShiftLane(activation_bits=activation_bits, exponent_levels=levels, exponent_bits=exponent_bits)
    check_members(dut)
    rng = np.random.default_rng(2)
    top = (1 << activation_bits) - 1
    corners = np.array([0, 1, top, top >> 1, (top >> 1) + 1, *rng.integers(0, top + 1, 3)])
    u, e, sign = (a.ravel() for a in np.meshgrid(corners, np.arange(levels), [0, 1], indexing="ij"))
    zero = rng.integers(0, 8, u.size) == 0
    expected = [{"o": int(o)} for o in dut.model(u, e, sign, zero)]
    inputs = [{"u": int(u[n]), "e": int(e[n]), "sign": int(sign[n]), "zero": int(zero[n])} for n in range(u.size)]
    check_pipeline(dut, inputs, expected)


def test_lane_of_every_operand() -> None:
    dut = ShiftLane(activation_bits=4, exponent_levels=5, exponent_bits=3)
    u, e, sign = (a.ravel() for a in np.meshgrid(np.arange(16), np.arange(5), [0, 1], indexing="ij"))
    expected = [{"o": int(o)} for o in dut.model(u, e, sign, np.zeros_like(u))]
    check_pipeline(dut, [{"u": x, "e": y, "sign": z} for x, y, z in zip(u, e, sign, strict=True)], expected)
