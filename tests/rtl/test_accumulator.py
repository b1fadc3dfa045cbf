"""Accumulator against its model."""

import numpy as np
import pytest

from shifthw.rtl.accumulator import Accumulator

from .harness import check_members, pack, simulate, unpack


def run(dut: Accumulator, cycles: list[tuple[np.ndarray, int, bool, bool, bool]]) -> None:
    """Steps (dot, start, first, reduce, enable) through hardware and model; lanes the model leaves undefined are
    not compared. The first step must be an enabled `first`.
    """
    inputs = []
    for dot, start, first, reduce, enable in cycles:
        controls = {"dot": pack(dot, dut.dot_bits), "start": start, "first": first, "enable": enable}
        inputs.append(controls | ({"reduce": reduce} if dut.lane_sum else {}))
    records = simulate(dut, inputs, flush=dut.latency)[dut.latency:]
    acc, defined = np.zeros(dut.pixels, np.int64), np.ones(dut.pixels, bool)
    for record, (dot, start, first, reduce, enable) in zip(records, cycles, strict=True):
        acc = dut.model(acc, dot, start, first=first, reduce=reduce, enable=enable)
        if enable and reduce:
            defined = np.append(defined[1:], False)
        elif enable and first:
            defined[:] = True
        got = unpack(record["acc"], dut.accumulator_bits, dut.pixels)
        assert np.array_equal(got[defined], acc[defined])


@pytest.mark.parametrize("lane_sum", [False, True])
@pytest.mark.parametrize(("pixels", "dot_bits", "accumulator_bits"), [
    (8, 19, 24), (2, 19, 19), (4, 12, 9), (64, 5, 12), (2, 40, 48),
])
def test_steps_with_gaps(pixels: int, dot_bits: int, accumulator_bits: int, lane_sum: bool) -> None:
    dut = Accumulator(pixels=pixels, dot_bits=dot_bits, accumulator_bits=accumulator_bits, lane_sum=lane_sum)
    check_members(dut)
    rng = np.random.default_rng(5)
    cycles = []
    for tile in range(6):
        for step in range(5):
            dot = rng.integers(0, 1 << dot_bits, pixels) if tile else np.full(pixels, (1 << dot_bits) - 1)
            start = int(rng.integers(0, 1 << accumulator_bits)) if tile else (1 << accumulator_bits) - 1
            cycles.append((dot, start, step == 0, False, tile < 3 or step == 0 or bool(rng.integers(0, 2))))
    run(dut, cycles)


@pytest.mark.parametrize("pixels", [2, 4, 8, 64])
def test_reduce_adds_up_all_lanes(pixels: int) -> None:
    dut = Accumulator(pixels=pixels, dot_bits=19, accumulator_bits=24, lane_sum=True)
    rng = np.random.default_rng(6)
    dots = rng.integers(0, 1 << 19, (3, pixels))
    start = (1 << 24) - 5
    nothing = np.zeros(pixels, np.int64)
    cycles = [(dot, start, n == 0, False, True) for n, dot in enumerate(dots)]
    for n in range(pixels - 1):
        cycles.append((nothing, 0, False, True, True))
        if n % 3 == 0:
            cycles.append((nothing, 0, False, True, False))
    run(dut, [*cycles, *cycles])
    acc = nothing
    for dot, word, first, reduce, enable in cycles:
        acc = dut.model(acc, dot, word, first=first, reduce=reduce, enable=enable)
    assert acc[0] == (dots.sum() + pixels * start) % (1 << 24)
