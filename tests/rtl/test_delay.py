"""Delay against its model."""

import numpy as np
import pytest

from shifthw.rtl.delay import Delay

from .harness import check_members, check_pipeline


@pytest.mark.parametrize("cycles", [0, 1, 2, 17])
@pytest.mark.parametrize("width", [1, 33])
def test_delay(width: int, cycles: int) -> None:
    dut = Delay(width=width, cycles=cycles)
    rng = np.random.default_rng(1)
    values = [int(value) for value in rng.integers(0, 1 << width, 60)]
    check_members(dut)
    check_pipeline(dut, [{"i": value} for value in values], [{"o": value} for value in values])
    assert dut.model([*values, *[0] * cycles])[cycles:] == values
