"""Ram and ColumnMemory against a list of words."""

import numpy as np
import pytest

from shifthw.rtl.column_memory import ColumnMemory, Ram
from shifthw.rtl.module_library import ModuleLibrary, emit_module

from .harness import check_members, check_pipeline


@pytest.mark.parametrize("latency", [1, 2])
@pytest.mark.parametrize(("width", "depth"), [(8, 16), (1, 2), (33, 5), (72, 1)])
def test_ram_reads_and_writes_in_every_cycle(width: int, depth: int, latency: int) -> None:
    dut = Ram(width=width, depth=depth, latency=latency)
    check_members(dut)
    rng = np.random.default_rng(10)
    words = [0] * depth
    inputs, expected = [], []
    for _ in range(80):
        write, read, enable = int(rng.integers(depth)), int(rng.integers(depth)), int(rng.integers(2))
        value = int.from_bytes(rng.bytes(16), "little") & ((1 << width) - 1)
        inputs.append({"write_enable": enable, "write_address": write, "write_data": value, "read_address": read})
        expected.append({"read_data": words[read]})
        if enable:
            words[write] = value
    check_pipeline(dut, inputs, expected)


@pytest.mark.parametrize("latency", [1, 2])
@pytest.mark.parametrize(("width", "depth", "column_bits"), [(128, 8, 64), (100, 4, 32), (20, 3, 64), (3, 2, 1)])
def test_columns(width: int, depth: int, column_bits: int, latency: int) -> None:
    dut = ColumnMemory(width=width, depth=depth, column_bits=column_bits, latency=latency)
    check_members(dut)
    rng = np.random.default_rng(11)
    words = [0] * depth
    inputs, expected = [], []
    for _ in range(120):
        enable, column = int(rng.integers(2)), int(rng.integers(dut.columns))
        write, read = int(rng.integers(depth)), int(rng.integers(depth))
        value = int.from_bytes(rng.bytes(8), "little") & ((1 << column_bits) - 1)
        inputs.append({"write_enable": enable, "write_column": column, "write_address": write, "write_data": value,
                       "read_address": read})
        expected.append({"read_data": words[read]})
        if enable:
            field = ((1 << column_bits) - 1) << (column * column_bits)
            words[write] = (words[write] & ~field | value << (column * column_bits)) & ((1 << width) - 1)
    check_pipeline(dut, inputs, expected)


def test_columns_are_shared_modules() -> None:
    library = ModuleLibrary()
    memory = ColumnMemory(width=200, depth=512, column_bits=64, style="block", library=library)
    text = emit_module(memory, "weights")
    assert list(library.emit()) == ["ram_w64_d512_r2_block", "ram_w8_d512_r2_block"]
    assert text.count("ram_w64_d512_r2_block ") == 3
    assert 'ram_style = "block"' in library.emit()["ram_w64_d512_r2_block"]
