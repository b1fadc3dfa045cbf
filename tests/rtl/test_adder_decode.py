"""AdderDecode against its model."""

import numpy as np
import pytest

from shifthw.arch import ArrayConfig
from shifthw.rtl.adder_decode import AdderDecode

from .harness import check_members, model_only, pack, simulate


@pytest.mark.parametrize("zero_weights", [False, True])
@pytest.mark.parametrize(("activation_bits", "levels"), [(2, 2), (2, 16), (8, 8), (5, 16), (16, 7), (32, 16), (8, 0),
                                                         (32, 0)])
def test_modes_that_change_every_cycle(activation_bits: int, levels: int, zero_weights: bool) -> None:
    dut = AdderDecode(lanes=3, activation_bits=activation_bits, exponent_levels=levels, zero_weights=zero_weights)
    check_members(dut)
    config = ArrayConfig(activation_bits=activation_bits, exponent_levels=levels, zero_weights=zero_weights, adder=True)
    assert (dut.exponent_bits, dut.code_bits) == (config.exponent_bits, config.code_bits)
    rng = np.random.default_rng(2)
    exponents = np.arange(levels + zero_weights)
    shifts = np.concatenate([exponents, exponents | 1 << dut.exponent_bits]) if levels else exponents
    top = (1 << activation_bits) - 1
    operands = np.array([0, 1, top, top >> 1, (top >> 1) + 1, *rng.integers(0, top + 1, 8)])
    adder = rng.integers(0, 2, 60) if levels else np.ones(60, np.int64)
    words = np.where(adder[:, None], rng.choice(operands, (60, 3)), rng.choice(shifts, (60, 3)) if levels else 0)
    words[:len(operands), 0] = np.where(adder[:len(operands)], operands, words[:len(operands), 0])
    inputs = [{"codes": pack(word, dut.code_bits), **({"adder": int(mode)} if levels else {})}
              for word, mode in zip(words, adder, strict=True)]
    records = simulate(dut, inputs, flush=2)
    for n, (word, mode) in enumerate(zip(words, adder, strict=True)):
        k, e, sign, zero = dut.model(word, bool(mode))
        assert records[n + dut.latency]["k"] == pack(k, activation_bits)
        if levels:
            later = records[n + dut.latency + 1]
            assert (later["e"], later["sign"], later["zero"]) == (
                pack(e, dut.exponent_bits), pack(sign, 1), pack(zero, 1))


def test_fields_of_a_code() -> None:
    dut = model_only(AdderDecode(lanes=1, activation_bits=8, exponent_levels=8, zero_weights=True))
    codes = np.array([0b0000_0000, 0b0001_0111, 0b0000_1000, 0xFF])
    assert [a.tolist() for a in dut.model(codes, adder=False)] == [
        [255] * 4, [0, 7, 8, 15], [0, 1, 0, 1], [0, 0, 1, 0]]
    assert [a.tolist() for a in dut.model(codes, adder=True)] == [codes.tolist(), [1] * 4, [0] * 4, [0] * 4]
