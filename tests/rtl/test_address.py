"""Address generation against its model, and the model against reading pixel by pixel."""

import numpy as np
import pytest

from shifthw.arch import ArrayConfig
from shifthw.rtl.address import AddressGenerator, LaneAddress, step_lane_layout

from .harness import check_members, later, pack, simulate

SEED = 11


def random_step(rng: np.random.Generator, config: ArrayConfig) -> dict[str, int]:
    top = (1 << config.coordinate_bits) - 1
    low, high = sorted(rng.integers(0, top + 1, 2)), sorted(rng.integers(0, top + 1, 2))
    return {"row": int(rng.integers(0, 1 << config.row_bits)), "rotation": int(rng.integers(0, config.pixels)),
            "x_lo": int(low[0]), "x_hi": int(low[1]), "y_lo": int(high[0]), "y_hi": int(high[1])}


def pack_step(step: dict[str, int], config: ArrayConfig) -> int:
    return sum(value << step_lane_layout(config)[name].offset for name, value in step.items())


@pytest.mark.parametrize("pixels", [2, 8, 16])
@pytest.mark.parametrize(("row_bits", "coordinate_bits"), [(4, 3), (9, 7)])
def test_lane_address(pixels: int, row_bits: int, coordinate_bits: int) -> None:
    rng = np.random.default_rng(SEED)
    config = ArrayConfig(pixels=pixels, simd=4, pe=4, feature_rows=1 << row_bits, coordinate_bits=coordinate_bits)
    dut = LaneAddress(config=config)
    check_members(dut)
    inputs, expected = [], []
    for n in range(300):
        step = random_step(rng, config)
        if n % 7 == 0:
            step |= {"x_lo": 0, "x_hi": 0}                       # a lane that is off
        row, direct = int(rng.integers(0, 1 << row_bits)), n % 5 == 0
        x, y = (rng.integers(0, 1 << coordinate_bits, pixels).tolist() for _ in range(2))
        inputs.append({"step": pack_step(step, config), "row": row, "direct": direct,
                       "x": pack(x, coordinate_bits), "y": pack(y, coordinate_bits)})
        expected.append(dut.model(step, row, direct, x, y))
    records = simulate(dut, inputs, flush=2)
    for n, want in enumerate(expected):
        assert records[n + 1]["rotation"] == want["rotation"][0]
        assert records[n + 1]["mask"] == pack(want["mask"], 1)
        assert records[n + 2]["address"] == pack(want["address"], row_bits)


def test_generator_feeds_each_channel_lane_its_own_step() -> None:
    rng = np.random.default_rng(SEED)
    config = ArrayConfig(pixels=4, simd=8, pe=4, feature_rows=64, coordinate_bits=5)
    dut = AddressGenerator(config=config)
    check_members(dut)
    assert dut.latency == config.address_latency
    lane = LaneAddress(config=config)
    inputs, expected = [], []
    for _ in range(50):
        steps = [random_step(rng, config) for _ in range(config.simd)]
        row = int(rng.integers(0, 64))
        x, y = (rng.integers(0, 32, 4).tolist() for _ in range(2))
        inputs.append({"row": row, "direct": 0, "x": pack(x, 5), "y": pack(y, 5),
                       "step_word": pack([pack_step(step, config) for step in steps], config.step_lane_bits)})
        expected.append([lane.model(step, row, False, x, y) for step in steps])
    records = simulate(dut, later(inputs, {"step_word": 1}), flush=3)
    for n, wants in enumerate(expected):
        assert records[n + 3]["address"] == pack([want["address"] for want in wants], config.row_bits)
        assert records[n + 2]["mask"] == pack([want["mask"] for want in wants], 1)
        assert records[n + 2]["rotation"] == pack([want["rotation"] for want in wants], config.pixel_bits)


@pytest.mark.parametrize("pixels", [2, 4, 8])
def test_address_and_rotation_find_the_offset_pixel(pixels: int) -> None:
    """Bank (p + rotation) mod P at its address holds pixel n + d for pixel lane p, any d."""
    config = ArrayConfig(pixels=pixels, simd=4, pe=4, feature_rows=256, coordinate_bits=7)
    lane = LaneAddress(config=config)
    for d in range(-3 * pixels, 3 * pixels + 1):
        step = {"row": d // pixels % 256, "rotation": d % pixels, "x_lo": 0, "x_hi": 127, "y_lo": 0, "y_hi": 127}
        got = lane.model(step, 20, False, [1] * pixels, [1] * pixels)
        for p in range(pixels):
            bank = (p + step["rotation"]) % pixels
            assert got["address"][bank] * pixels + bank == 20 * pixels + p + d
