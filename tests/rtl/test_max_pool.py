"""MaxPool against its model."""

import numpy as np
import pytest

from shifthw.rtl.max_pool import MaxPool

from .harness import check_members, pack, simulate, unpack


@pytest.mark.parametrize(("lanes", "activation_bits"), [(16, 8), (1, 2), (3, 32), (128, 4)])
def test_windows_with_gaps(lanes: int, activation_bits: int) -> None:
    dut = MaxPool(lanes=lanes, activation_bits=activation_bits)
    check_members(dut)
    rng = np.random.default_rng(7)
    u = rng.integers(0, 1 << activation_bits, (60, lanes))
    u[::7], u[3::7] = 0, (1 << activation_bits) - 1
    first = np.arange(60) % 5 == 0
    enable = first | (rng.integers(0, 3, 60) > 0)
    inputs = [{"u": pack(u[n], activation_bits), "first": first[n], "enable": enable[n]} for n in range(60)]
    records = simulate(dut, inputs, flush=dut.latency)[dut.latency:]
    maximum = np.zeros(lanes, np.int64)
    for n, record in enumerate(records):
        maximum = dut.model(maximum, u[n], first=bool(first[n]), enable=bool(enable[n]))
        assert np.array_equal(unpack(record["maximum"], activation_bits, lanes), maximum)
