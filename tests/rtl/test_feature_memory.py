"""The feature memory against an array."""

import numpy as np
import pytest

from shifthw.arch import ArrayConfig
from shifthw.rtl.feature_memory import FeatureBank, FeatureMemory

from .harness import check_members, pack, simulate


@pytest.mark.parametrize(("width", "images", "depth"), [(8, 1, 16), (8, 3, 5), (5, 2, 64)])
def test_bank(width: int, images: int, depth: int) -> None:
    rng = np.random.default_rng(13)
    dut = FeatureBank(width=width, images=images, depth=depth)
    check_members(dut)
    memory = np.zeros((depth, images), np.int64)
    inputs, expected = [], []
    for _ in range(300):
        read, write = (int(n) for n in rng.integers(0, depth, 2))
        enable, data = rng.integers(0, 2, images), rng.integers(0, 1 << width, images)
        inputs.append({"read_address": read, "write_address": write, "write_data": pack(data, width),
                       "write_enable": pack(enable, 1)})
        expected.append(pack(memory[read], width))               # the write of this cycle is not seen
        memory[write] = np.where(enable, data, memory[write])
    records = simulate(dut, inputs, flush=dut.latency)[dut.latency:]
    assert [record["read_data"] for record in records] == expected


def test_every_bank_is_its_own() -> None:
    config = ArrayConfig(images=2, pixels=2, simd=4, pe=2, feature_rows=8, activation_bits=4)
    dut = FeatureMemory(config=config)
    check_members(dut)
    rng = np.random.default_rng(14)
    data = rng.integers(0, 16, (8, 4, 2, 2))                     # row, channel lane, bank, image
    inputs = [{"write_address": pack([row, row], 3), "write_data": pack(data[row], 4), "write_enable": 0xFF,
               "write_images": 3} for row in range(8)]
    inputs.append({"write_address": pack([5, 6], 3), "write_data": 0, "write_enable": 0b00000110, "write_images": 2})
    data[6, 0, 1, 1] = data[5, 1, 0, 1] = 0                      # lane 0 bank 1, lane 1 bank 0; image 1 only
    rows = rng.integers(0, 8, (8, 4, 2))
    inputs += [{"write_enable": 0, "read_address": pack(row, 3)} for row in rows]
    records = simulate(dut, inputs, flush=dut.latency)[9 + dut.latency:]
    for row, record in zip(rows, records, strict=True):
        want = [data[row[i, p], i, p] for i in range(4) for p in range(2)]
        assert record["read_data"] == pack(want, 4)
