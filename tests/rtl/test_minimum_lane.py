"""MinimumLane against its model."""

import numpy as np
import pytest

from shifthw.rtl.minimum_lane import MinimumLane

from .harness import check_members, check_pipeline


@pytest.mark.parametrize("activation_bits", [2, 3, 8, 16, 31, 32])
def test_corners_of_both(activation_bits: int) -> None:
    dut = MinimumLane(activation_bits=activation_bits)
    check_members(dut)
    top = (1 << activation_bits) - 1
    corners = [0, 1, top, top - 1, top >> 1, (top >> 1) + 1,
               *np.random.default_rng(1).integers(0, top + 1, 4).tolist()]
    u, k = (a.ravel() for a in np.meshgrid(corners, corners))
    expected = [{"o": int(o)} for o in dut.model(u, k)]
    check_pipeline(dut, [{"u": x, "k": y} for x, y in zip(u.tolist(), k.tolist(), strict=True)], expected)


def test_twice_the_minimum_is_the_sum_less_the_distance() -> None:
    u, k = (a.ravel() for a in np.meshgrid(np.arange(16), np.arange(16)))
    minimum = MinimumLane(activation_bits=4).model(u, k)
    assert np.array_equal(2 * minimum - k - u, -np.abs(u - k))
