"""LookupTable against its model."""

import numpy as np
import pytest

from shifthw.rtl.lookup_table import LookupTable

from .harness import check_members, model_only, pack, simulate


def filling(table: np.ndarray, bits: int) -> list[dict[str, int]]:
    """Writes of a whole table, a word a cycle."""
    quarters = table.reshape(4, -1)
    return [{"write_enable": 1, "write_address": j, "write_data": pack(quarters[:, j], bits)}
            for j in range(quarters.shape[1])]


@pytest.mark.parametrize("bits", range(3, 9))
def test_every_code_of_two_tables_and_past_them(bits: int) -> None:
    dut = LookupTable(activation_bits=bits)
    check_members(dut)
    rng = np.random.default_rng(16)
    codes = [{"write_enable": 0, "code": code, "lookup": lookup} for code in range(1 << bits) for lookup in (1, 0)]
    inputs, expected = [], []
    for _ in range(2):
        table = rng.integers(0, 1 << bits, 1 << bits)
        inputs += filling(table, bits) + codes
        expected += [-1] * (1 << (bits - 2))
        expected += [int(dut.model(np.array(c["code"]), table, lookup=bool(c["lookup"]))) for c in codes]
    records = simulate(dut, inputs, flush=dut.latency)[dut.latency:]
    for cycle, (record, want) in enumerate(zip(records, expected, strict=True)):
        assert record["o"] == want or want < 0, f"cycle {cycle}: {inputs[cycle]}"


@pytest.mark.parametrize("bits", [3, 8])
def test_entries_change_one_cycle_after_their_write(bits: int) -> None:
    """Codes and writes in any order, most of them on two words."""
    dut = LookupTable(activation_bits=bits)
    rng = np.random.default_rng(17)
    words = 1 << (bits - 2)
    quarters = rng.integers(0, 1 << bits, (4, words))
    inputs, expected = filling(quarters, bits), [-1] * words
    for _ in range(600):
        code, address = int(rng.integers(4)) * words + int(rng.integers(2)), int(rng.integers(2))
        fresh, enable = rng.integers(0, 1 << bits, 4), int(rng.integers(2))
        inputs.append({"code": code, "lookup": 1, "write_enable": enable, "write_address": address,
                       "write_data": pack(fresh, bits)})
        expected.append(int(dut.model(np.array(code), quarters.reshape(-1))))
        if enable:
            quarters[:, address] = fresh
    records = simulate(dut, inputs, flush=dut.latency)[dut.latency:]
    assert [r["o"] for r, want in zip(records, expected, strict=True) if want >= 0] == expected[words:]


def test_codes_of_other_layers_stay_as_they_are() -> None:
    dut = model_only(LookupTable(activation_bits=4))
    codes = np.arange(16).reshape(2, 8)
    assert np.array_equal(dut.model(codes, 15 - np.arange(16), lookup=False), codes)
    assert np.array_equal(dut.model(codes, 15 - np.arange(16)), 15 - codes)
