"""Dot against its model."""

import numpy as np
import pytest

from shifthw.arch import ArrayConfig
from shifthw.rtl.dot import Dot

from .harness import check_members, check_pipeline, later, model_only, pack


def operands(dut: Dot, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """u, e, sign, zero [count, simd]: random, the first five sets corners."""
    rng = np.random.default_rng(seed)
    shape, top = (count, dut.simd), (1 << dut.activation_bits) - 1
    u, e = rng.integers(0, top + 1, shape), rng.integers(0, dut.exponent_levels, shape)
    sign, zero = rng.integers(0, 2, shape), (rng.integers(0, 6, shape) == 0) & dut.zero_weights
    u[:3], u[3:5] = top, 0
    e[:2], e[2], e[3:5] = dut.exponent_levels - 1, 0, dut.exponent_levels - 1
    sign[:5] = np.array([0, 1, 0, 1, 0])[:, None]
    zero[:4], zero[4] = False, dut.zero_weights
    e[zero] = dut.exponent_levels
    return u, e, sign, zero.astype(np.int64)


@pytest.mark.parametrize("zero_weights", [False, True])
@pytest.mark.parametrize(("activation_bits", "levels", "simd"), [
    (8, 8, 16), (2, 1, 2), (2, 16, 4), (3, 7, 8), (16, 8, 2), (32, 16, 4), (5, 12, 32), (4, 4, 128),
])
def test_dot(activation_bits: int, levels: int, simd: int, zero_weights: bool) -> None:
    dut = Dot(activation_bits=activation_bits, exponent_levels=levels, zero_weights=zero_weights, simd=simd)
    check_members(dut)
    assert dut.latency == ArrayConfig(simd=simd, pe=1, input_channels=1).dot_latency
    u, e, sign, zero = operands(dut, 16 if simd > 32 else 40, seed=3)
    inputs = [{"u": pack(u[n], dut.activation_bits), "e": pack(e[n], dut.exponent_bits),
               "sign": pack(sign[n], 1), "zero": pack(zero[n], 1)} for n in range(len(u))]
    check_pipeline(dut, inputs, [{"o": int(o)} for o in dut.model(u, e, sign, zero)])


@pytest.mark.parametrize(("activation_bits", "levels", "simd"), [
    (8, 8, 16), (8, 0, 16), (2, 2, 2), (2, 0, 2), (3, 7, 8), (16, 8, 2), (32, 16, 4), (32, 0, 4), (4, 2, 128),
])
def test_dot_with_minima(activation_bits: int, levels: int, simd: int) -> None:
    dut = Dot(activation_bits=activation_bits, exponent_levels=levels, zero_weights=True, simd=simd, adder=True)
    check_members(dut)
    config = ArrayConfig(activation_bits=activation_bits, exponent_levels=levels, simd=simd, pe=1, input_channels=1,
                         adder=True)
    assert (dut.latency, dut.lane_bits) == (config.dot_latency, config.lane_bits)
    rng = np.random.default_rng(7)
    shape, top = (24, simd), (1 << activation_bits) - 1
    u = np.where(rng.integers(0, 3, shape) == 0, top * rng.integers(0, 2, shape), rng.integers(0, top + 1, shape))
    k = np.where(rng.integers(0, 3, shape) == 0, u ^ rng.integers(0, 2, shape), rng.integers(0, top + 1, shape))
    k[:4], u[:4] = np.array([top, 0, top, 0])[:, None], np.array([top, 0, 0, top])[:, None]
    inputs = [{"u": pack(u[n], activation_bits), "k": pack(k[n], activation_bits)} for n in range(24)]
    if not levels:
        check_pipeline(dut, inputs, [{"o": int(o)} for o in dut.model(u, k=k)])
        return
    zero = rng.integers(0, 6, shape) == 0
    sign = rng.integers(0, 2, shape)
    e = np.where(zero, levels, rng.integers(0, levels, shape))
    inputs = [each | {"e": pack(e[n], dut.exponent_bits), "sign": pack(sign[n], 1), "zero": pack(zero[n], 1)}
              for n, each in enumerate(inputs)]
    expected = [{"o": int(o)} for o in dut.model(u, e, sign, zero, k)]
    check_pipeline(dut, later(inputs, {"e": 1, "sign": 1, "zero": 1}), [*expected, {}])


def test_sum_minus_constants_is_the_product_with_signed_weights() -> None:
    dut = model_only(Dot(activation_bits=8, exponent_levels=8, zero_weights=True, simd=16))
    u, e, sign, zero = operands(dut, 50, seed=4)
    weights = np.where(zero, 0, np.where(sign, -1, 1) << np.minimum(e, 7))
    constants = np.where(zero, 0, sign * ((1 << dut.lane_bits) - 1)).sum(axis=-1)
    assert np.array_equal(dut.model(u, e, sign, zero) - constants, (u * weights).sum(axis=-1))


def test_names_differ_where_hardware_does() -> None:
    names = {model_only(Dot(activation_bits=a, exponent_levels=levels, zero_weights=z, simd=i)).module_name
             for a in (4, 8) for levels in (4, 8) for z in (False, True) for i in (8, 16)}
    names |= {model_only(Dot(activation_bits=8, exponent_levels=levels, zero_weights=True, simd=8,
                             adder=True)).module_name for levels in (0, 8)}
    assert len(names) == 18
