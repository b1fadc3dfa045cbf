"""ComputeArray: instructions of both kinds back to back against sums of products and distances."""

from dataclasses import dataclass

import numpy as np
import pytest

from shifthw.arch import ArrayConfig
from shifthw.rtl.compute_array import ComputeArray

from .harness import check_members, later, pack, simulate, unpack


@dataclass(frozen=True)
class Step:
    """One cycle: u [simd, pixels, images], codes [pe, simd], start [pe]."""

    u: np.ndarray
    codes: np.ndarray
    start: np.ndarray
    adder: int = 0
    first: int = 0
    reduce: int = 0
    enable: int = 1


def config_of(activation_bits: int, levels: int, accumulator_bits: int, adder: bool = True) -> ArrayConfig:
    return ArrayConfig(images=2, pixels=2, simd=4, pe=2, activation_bits=activation_bits, exponent_levels=levels,
                       adder=adder, accumulator_bits=accumulator_bits, lane_sum=True, input_channels=4)


def tile(c: ArrayConfig, rng: np.random.Generator, adder: int, reduce: bool) -> list[Step]:
    """Steps with operands and codes of which many are extreme, sometimes a gap, and the reduce steps."""
    top = (1 << c.activation_bits) - 1

    def numbers(shape: tuple[int, ...]) -> np.ndarray:
        kind = rng.integers(0, 4, shape)
        return np.where(kind == 0, 0, np.where(kind == 1, top, rng.integers(0, top + 1, shape)))

    shape = (c.simd, c.pixels, c.images)
    half = 1 << c.accumulator_bits - 1
    start = rng.choice([0, half - 1, half, 2 * half - 1], c.pe)
    steps = []
    for n in range(int(rng.integers(1, 5))):
        codes = numbers((c.pe, c.simd)) if adder or not c.exponent_levels else (
            rng.integers(0, c.exponent_levels + 1, (c.pe, c.simd)))
        if not adder and c.exponent_levels:
            codes |= np.where(codes < c.exponent_levels, rng.integers(0, 2, codes.shape), 0) << c.exponent_bits
        steps.append(Step(numbers(shape), codes, start, adder, int(n == 0)))
        if rng.integers(0, 3) == 0:
            steps.append(Step(numbers(shape), codes, start, int(rng.integers(0, 2)), enable=0))
    nothing = np.full((c.pe, c.simd), c.exponent_levels)
    return steps + [Step(numbers(shape), nothing, start, reduce=1)] * (reduce * (c.pixels - 1))


def reference(c: ArrayConfig, steps: list[Step]) -> list[tuple[np.ndarray, np.ndarray]]:
    """After each step the accumulators [pe, images, pixels] and the operands' sums [images, pixels], unsigned."""
    acc, osum = np.zeros((c.pe, c.images, c.pixels), object), np.zeros((c.images, c.pixels), object)
    result = []
    for s in steps:
        u = s.u.transpose(2, 1, 0).astype(object)[None]                     # [1, images, pixels, simd]
        code = s.codes[:, None, None, :].astype(object)
        if s.adder or not c.exponent_levels:
            k = code % (1 << c.activation_bits)
            lane = 2 * np.where(u < k, u, k)
        else:
            e, sign = s.codes % (1 << c.exponent_bits), s.codes >> c.exponent_bits
            shifted = u << e[:, None, None, :]
            lane = np.where(sign[:, None, None, :], (1 << c.lane_bits) - 1 - shifted, shifted)
            lane = np.where((e == c.exponent_levels)[:, None, None, :], 0, lane)
        if s.enable and s.reduce:
            acc, osum = (np.concatenate([(a[..., :1] + a[..., 1:2]), a[..., 2:], 0 * a[..., :1]], -1)
                         for a in (acc, osum))
        elif s.enable:
            acc = np.where(s.first, s.start.astype(object)[:, None, None], acc) + lane.sum(-1)
            osum = osum * (not s.first) + u[0].sum(-1) * s.adder
        acc, osum = acc % (1 << c.accumulator_bits), osum % (1 << c.accumulator_bits)
        result.append((acc, osum))
    return result


@pytest.mark.parametrize(("activation_bits", "levels", "accumulator_bits"), [
    (8, 8, 20), (8, 0, 13), (2, 16, 12), (16, 2, 40), (32, 16, 56), (32, 0, 34), (5, 7, 9),
])
def test_layers_of_both_kinds_back_to_back(activation_bits: int, levels: int, accumulator_bits: int) -> None:
    c = config_of(activation_bits, levels, accumulator_bits)
    dut = ComputeArray(config=c)
    check_members(dut)
    rng = np.random.default_rng(activation_bits)
    steps: list[Step] = []
    for n in range(24):
        steps += tile(c, rng, int(rng.integers(0, 2)), reduce=n % 3 == 0)
    inputs = [{"codes": pack(s.codes, c.code_bits), "adder": s.adder, "u": pack(s.u, c.activation_bits),
               "start": pack(s.start, c.accumulator_bits), "enable": s.enable, "first": s.first, "reduce": s.reduce}
              for s in steps]
    control = 1 + c.dot_latency
    records = simulate(dut, later(inputs, {"u": 1, "start": control, "enable": control, "first": control,
                                           "reduce": control}), flush=2)
    for n, (step, (acc, osum)) in enumerate(zip(steps, reference(c, steps), strict=True)):
        record = records[n + 1 + dut.latency]
        got = unpack(record["acc"], c.accumulator_bits, acc.size).reshape(acc.shape)
        sums = unpack(record["osum"], c.accumulator_bits, osum.size).reshape(osum.shape)
        lanes = slice(0, 1 if step.reduce else c.pixels)             # the others are then undefined
        assert np.array_equal(got[..., lanes], acc[..., lanes]), f"step {n}"
        assert np.array_equal(sums[:, lanes], osum[:, lanes]), f"step {n}"


def test_without_adder_layers_there_is_no_sum() -> None:
    assert {"adder", "osum"}.isdisjoint(ComputeArray(config=config_of(8, 8, 20, adder=False)).signature.members)
