"""The yardstick of bench.lanes multiplies, and a row of its table can be made."""

from pathlib import Path

import numpy as np
import pytest

from bench.lanes import Cost, Lane, lanes_of, measure, passes
from bench.multiplier_lane import MultiplierDot, MultiplierLane
from shifthw.rtl.module_library import emit_module
from shifthw.sim.primitive_models import primitive_models

from .rtl.harness import check_members, check_pipeline, model_only, pack
from .rtl.test_dot_primitive import prove_equal


@pytest.mark.parametrize("bits", [8, 32])
def test_plain_lane(bits: int) -> None:
    dut = MultiplierLane(bits=bits, family="")
    check_members(dut)
    half = 1 << bits - 1
    corners = [-half, half - 1, 0, -1, 1, *np.random.default_rng(4).integers(-half, half, 5).tolist()]
    pairs = [(x, w) for x in corners for w in corners]
    check_pipeline(dut, [{"x": pack(x, bits), "w": pack(w, bits)} for x, w in pairs],
                   [{"o": x * w + 2 * half * half} for x, w in pairs])


@pytest.mark.parametrize("family", ["xc7", "xcup"])
def test_booth_lane_is_proven_equal(family: str, tmp_path: Path) -> None:
    prove_equal([(MultiplierLane(bits=bits, family=""), MultiplierLane(bits=bits, family=family))
                 for bits in (2, 4, 6)], 1, tmp_path)


def test_luts_of_a_booth_lane() -> None:
    text = emit_module(MultiplierLane(bits=8, family="xc7"), "lane")
    assert text.count("LUT6_2 ") == 4 * 10
    assert sorted(primitive_models({"lane.v": text})) == ["CARRY4.v", "LUT6_2.v"]


def test_dots_add_up_the_same_lanes() -> None:
    for family in ("", "xc7"):
        check_members(model_only(MultiplierDot(bits=4, simd=4, family=family)))
    dut = MultiplierDot(bits=4, simd=4, family="")
    x, w = np.random.default_rng(5).integers(-8, 8, (2, 20, 4))
    records = [{"o": int(each)} for each in (x * w + 128).sum(axis=1)]
    check_pipeline(dut, [{"x": pack(a, 4), "w": pack(b, 4)} for a, b in zip(x, w, strict=True)], records)


def test_rows() -> None:
    assert [(lane.kind, lane.primitives) for lane in lanes_of(8)] == [
        (kind, primitives) for kind in ("shift", "adder", "dual", "multiplier") for primitives in (True, False)]
    assert [(lane.kind, lane.primitives) for lane in lanes_of(16)] == [
        ("shift", False), ("adder", True), ("adder", False), ("dual", False), ("multiplier", True),
        ("multiplier", False)]
    assert {lane.kind for lane in lanes_of(32)} == {"shift", "adder", "dual"}
    assert [cycles for _, cycles, _ in passes(32)] == [1, 4, 4]


def test_cost_of_an_adder_lane() -> None:
    cost = measure(Lane("adder", 2, True), "xc7")
    assert isinstance(cost, Cost)
    assert 2 < cost.lut < 8 and cost.array_lut > cost.lut and cost.array_ff > cost.ff
