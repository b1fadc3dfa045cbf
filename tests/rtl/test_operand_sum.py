"""OperandSum against its model."""

import numpy as np
import pytest

from shifthw.arch import ArrayConfig
from shifthw.rtl.operand_sum import OperandSum

from .harness import check_members, check_pipeline, later, pack


@pytest.mark.parametrize(("activation_bits", "simd"), [(8, 16), (2, 2), (32, 4), (3, 8), (4, 128)])
def test_operand_sum(activation_bits: int, simd: int) -> None:
    dut = OperandSum(activation_bits=activation_bits, simd=simd)
    check_members(dut)
    assert dut.latency == ArrayConfig(simd=simd, pe=1, input_channels=1, adder=True).dot_latency
    rng = np.random.default_rng(3)
    u = rng.integers(0, 1 << activation_bits, (30, simd))
    u[:2], u[2] = (1 << activation_bits) - 1, 0
    enable = rng.integers(0, 2, 30)
    enable[:3] = 1, 0, 1
    inputs = [{"u": pack(each, activation_bits), "enable": int(on)} for each, on in zip(u, enable, strict=True)]
    expected = [{"o": int(dut.model(each, bool(on)))} for each, on in zip(u, enable, strict=True)]
    moved = later(inputs, {"enable": dut.enable_stage})
    check_pipeline(dut, moved, expected + [{}] * dut.enable_stage)
