"""OperandLane against its model."""

import numpy as np
import pytest

from shifthw.rtl.operand_lane import OperandLane

from .harness import check_members, check_pipeline, pack


@pytest.mark.parametrize(("pixels", "images", "width"), [(2, 1, 2), (8, 1, 8), (4, 3, 8), (16, 2, 5), (8, 1, 16)])
def test_against_model(pixels: int, images: int, width: int) -> None:
    rng = np.random.default_rng(12)
    dut = OperandLane(pixels=pixels, images=images, width=width)
    check_members(dut)
    inputs, expected = [], []
    for n in range(200):
        codes = rng.integers(0, 1 << width, (pixels, images))
        rotation = n % pixels
        mask = rng.integers(0, 2, pixels) if n % 3 else np.full(pixels, n % 2)
        flip, high = (int(bit) for bit in rng.integers(0, 2, 2))
        inputs.append({"i": pack(codes, width), "rotation": rotation, "mask": pack(mask, 1), "flip": flip,
                       "mask_high": high})
        expected.append({"o": pack(dut.model(codes.tolist(), rotation, mask.tolist(), flip, high), width)})
    check_pipeline(dut, inputs, expected)
