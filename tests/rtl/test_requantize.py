"""Requantize against its model, and the model against Python's integers."""

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from shifthw.rtl.requantize import Requantize

from .harness import check_members, later, model_only, simulate

SHAPES: dict[str, tuple[int, int, int, int, tuple[int, ...], int | None]] = {
    # bits of activation, accumulator, multiplier, bias; shifts; residual shift or no residual
    "plain": (8, 22, 18, 40, (16,), None),
    "full": (8, 24, 18, 40, (9, 16, 22), 0),
    "shifted residual": (8, 22, 18, 30, (20, 21), 8),
    "no multiplier": (8, 22, 0, 24, (0, 7), None),
    "residual without multiplier": (4, 10, 0, 3, (3,), 2),
    "smallest": (2, 4, 2, 2, (0, 1), 1),
    "shift beyond the sum": (8, 9, 3, 4, (4, 30), None),
    "sum narrower than the code": (16, 6, 0, 6, (0,), None),
    "wide": (32, 56, 25, 70, (1, 40), 7),
}
MULTIPLYING = [name for name, (*_, residual) in SHAPES.items() if residual is not None and SHAPES[name][2]]
"""Shapes that products are possible with."""


def create(shape: str, ties_to_even: bool = False, operand_sum: bool = False, product: bool = False) -> Requantize:
    """The component of one of SHAPES."""
    activation, accumulator, multiplier, bias, shifts, residual = SHAPES[shape]
    return Requantize(activation_bits=activation, accumulator_bits=accumulator, multiplier_bits=multiplier,
                      bias_bits=bias, shifts=shifts, residual=residual is not None, residual_shift=residual or 0,
                      ties_to_even=ties_to_even, operand_sum=operand_sum, product=product)


def extremes(bits: int) -> list[int]:
    """Corners of a signed number."""
    top = 1 << (bits - 1)
    return [-top, top - 1, -1, 0]


def operand_sets(dut: Requantize, count: int, seed: int) -> list[dict[str, int]]:
    """All combinations of the operands' extremes, then random ones; clamps and shifts random.

    With product, half of the random ones multiply, and all combinations that do come first; none of them are in order.
    With ties_to_even, half of the random ones have a bias that makes the sum a tie, or a tie but for its highest
    fraction bit, if there is one in range.
    """
    rng = np.random.default_rng(seed)

    def number(bits: int) -> int:
        return int.from_bytes(rng.bytes(12), "little", signed=True) >> int(96 - rng.integers(1, bits + 1))

    a = dut.activation_bits
    m_bits = dut.multiplier_bits
    r_corners = [0, (1 << a) - 1] if dut.residual else [0]
    m_corners = extremes(m_bits)[:3] if m_bits else [1]
    mr_corners = m_corners if dut.residual else [1]
    sets = [dict(zip(("acc", "m", "b", "r", "mr"), values, strict=True)) for values in itertools.product(
        extremes(dut.accumulator_bits), m_corners, extremes(dut.bias_bits)[:2], r_corners, mr_corners)]
    for _ in range(count):
        sets.append({"acc": number(dut.accumulator_bits), "m": number(m_bits) if m_bits else 1,
                     "b": number(dut.bias_bits), "r": number(a) % (1 << a) if dut.residual else 0,
                     "mr": number(m_bits) if m_bits and dut.residual else 1})
    if dut.product:
        sets = with_products(dut, sets, count, rng)
    clamps = [(-1 << a, (1 << a) - 1), (0, (1 << a) - 1), (-1 << (a - 1), (1 << (a - 1)) - 1), (0, 0), (-1, 2)]
    for n, values in enumerate(sets):
        if dut.operand_sum:
            values["less"] = extremes(dut.accumulator_bits)[n % 4] if n % 5 else number(dut.accumulator_bits)
        values["lo"], values["hi"] = clamps[int(rng.integers(len(clamps)))]
        values["shift_select"] = int(rng.integers(len(dut.shifts)))
    if dut.ties_to_even:
        for n, values in enumerate(sets[-count::2]):
            step = 1 << dut.shifts[values["shift_select"]]
            tie = values["b"] - total_of(dut, values) % step + n % 2 * (step >> 1)
            values["b"] = tie if -1 << (dut.bias_bits - 1) <= tie < 1 << (dut.bias_bits - 1) else values["b"]
        for values in sets:
            values["even"] = int(rng.integers(4) > 0)
    return sets


def with_products(dut: Requantize, sets: list[dict[str, int]], count: int,
                  rng: np.random.Generator) -> list[dict[str, int]]:
    """The sets, the last `count` of them last, and those that multiply: multipliers are cut to what their factor holds.

    A sign that nothing multiplies with is noise.
    """
    top = 1 << (dut.activation_bits - 1)
    corners = [dict(zip(("acc", "m", "b", "r", "mr", "multiply", "r_signed"), values, strict=True))
               for values in itertools.product(
                   extremes(dut.accumulator_bits), [1], extremes(dut.bias_bits)[:2], [0, 1, top - 1, top, 2 * top - 1],
                   extremes(dut.multiplier_bits)[:3], [1], [0, 1])]
    plain = [{**values, "multiply": 0, "r_signed": int(rng.integers(2))} for values in sets[:-count]]
    mixed = [{**values, "multiply": int(rng.integers(2)), "r_signed": int(rng.integers(2))} for values in sets[-count:]]
    everything = [*corners, *plain]
    everything = [everything[n] for n in rng.permutation(len(everything))] + mixed
    for values in everything:
        if values["multiply"]:
            values["mr"] = fitting(dut, value_of(dut, values), values["mr"])
    return everything


def fitting(dut: Requantize, v: int, mr: int) -> int:
    """The multiplier next to mr whose product with v is within multiplier_bits."""
    limit = 1 << (dut.multiplier_bits - 1)
    if v < 0:
        return max(-((limit - 1) // -v), min(mr, limit // -v, limit - 1))
    return max(-(limit // v), min(mr, (limit - 1) // v)) if v else mr


def value_of(dut: Requantize, v: dict[str, int]) -> int:
    """The number that r's bits are."""
    return v["r"] - ((v["r"] >> (dut.activation_bits - 1)) << dut.activation_bits) * v["r_signed"]


def total_of(dut: Requantize, v: dict[str, int]) -> int:
    """The sum, in Python's integers."""
    half = 1 << (dut.accumulator_bits - 1)
    operand = (v["acc"] - v.get("less", 0) + half) % (2 * half) - half
    if v.get("multiply"):
        return operand * value_of(dut, v) * v["mr"] + v["b"]
    return operand * v["m"] + (v["r"] << dut.residual_shift) * v["mr"] + v["b"]


def reference(dut: Requantize, v: dict[str, int]) -> int:
    """The equation, in Python's integers; the bias brings the half of a step that a nearest number needs."""
    total, shift = total_of(dut, v), dut.shifts[v["shift_select"]]
    value = total >> shift
    if v.get("even") and shift:
        value = round(Fraction(total - (1 << (shift - 1)), 1 << shift))
    return max(v["lo"], min(v["hi"], value)) % (1 << dut.activation_bits)


@pytest.mark.parametrize(("ties_to_even", "operand_sum"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(("shape", "product"), [*((shape, False) for shape in SHAPES),
                                                *((shape, True) for shape in MULTIPLYING)])
def test_hardware_and_model(shape: str, product: bool, ties_to_even: bool, operand_sum: bool) -> None:
    dut = create(shape, ties_to_even, operand_sum, product)
    check_members(dut)
    sets = operand_sets(dut, 400, seed=12)
    inputs = [{name: value for name, value in values.items() if name in dut.signature.members} for values in sets]
    moved = later(inputs, {"shift_select": dut.shift_stage, "even": dut.shift_stage,
                           "lo": dut.clamp_stage, "hi": dut.clamp_stage})
    records = simulate(dut, moved, flush=1)[dut.latency:]
    for values, record in zip(sets, records, strict=True):
        model = dut.model(np.array([values["acc"]], object), values["m"], values["b"], r=values["r"], mr=values["mr"],
                          shift=dut.shifts[values["shift_select"]], lo=values["lo"], hi=values["hi"],
                          even=bool(values.get("even")), less=values.get("less", 0),
                          multiply=bool(values.get("multiply")), r_signed=bool(values.get("r_signed")))
        assert record["y"] == reference(dut, values) == int(model[0]), values


@pytest.mark.parametrize("shape", SHAPES)
def test_the_sweep_has_ties_that_change_the_result(shape: str) -> None:
    dut = model_only(create(shape, ties_to_even=True))
    changed = [v for v in operand_sets(dut, 400, seed=12) if reference(dut, v) != reference(dut, v | {"even": 0})]
    assert len(changed) >= (3 if any(dut.shifts) else 0)


@pytest.mark.parametrize("shape", MULTIPLYING)
def test_the_sweep_has_the_extremes_of_factors(shape: str) -> None:
    dut = model_only(create(shape, product=True))
    sets = [v for v in operand_sets(dut, 400, seed=12) if v["multiply"]]
    factors = [value_of(dut, v) * v["mr"] for v in sets]
    limit = 1 << (dut.multiplier_bits - 1)
    assert min(factors) == -limit and max(factors) == limit - 1
    sums = [total_of(dut, v) for v in sets]
    assert -1 << (dut.sum_bits - 1) <= min(sums) and max(sums) < 1 << (dut.sum_bits - 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_sum_width_is_exact(shape: str) -> None:
    dut = model_only(create(shape))
    sums = [v["acc"] * v["m"] + v["r"] * v["mr"] + v["b"] for v in operand_sets(dut, 0, seed=13)]
    bits = dut.sum_bits
    assert -1 << (bits - 1) <= min(sums) and max(sums) < 1 << (bits - 1)
    assert min(sums) < -1 << (bits - 2) or max(sums) >= 1 << (bits - 2)


def test_int64_and_wide_models_agree() -> None:
    narrow = model_only(create("full"))
    acc = np.random.default_rng(14).integers(-1 << 23, 1 << 23, (3, 50))
    arguments: dict[str, Any] = {"m": -131072, "b": 123456789, "r": 200, "mr": -77, "shift": 16, "lo": -128, "hi": 127}
    assert narrow.sum_bits <= 64
    for products in ({}, {"multiply": True}, {"multiply": True, "r_signed": True}):
        both = [narrow.model(each, **arguments, **products) for each in (acc, acc.astype(object))]
        assert np.array_equal(*both)
