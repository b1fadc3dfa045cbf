"""Rotate against its model."""

import numpy as np
import pytest

from shifthw.rtl.rotate import Rotate

from .harness import check_members, check_pipeline, model_only, pack

SIZES = [(2, 8), (8, 8), (8, 3), (64, 2), (16, 32)]


@pytest.mark.parametrize("latency", [0, 1])
@pytest.mark.parametrize(("lanes", "lane_bits"), SIZES)
def test_rotate_by_every_amount(lanes: int, lane_bits: int, latency: int) -> None:
    dut = Rotate(lanes=lanes, lane_bits=lane_bits, latency=latency)
    check_members(dut)
    words = np.random.default_rng(8).integers(0, 1 << lane_bits, (lanes, lanes))
    inputs = [{"i": pack(words[k], lane_bits), "k": k} for k in range(lanes)]
    check_pipeline(dut, inputs, [{"o": pack(dut.model(words[k], k), lane_bits)} for k in range(lanes)])


def test_rotation_direction() -> None:
    dut = model_only(Rotate(lanes=4, lane_bits=8))
    assert dut.model(np.array([10, 11, 12, 13]), 1).tolist() == [11, 12, 13, 10]
