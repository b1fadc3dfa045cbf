"""Wire formats, the program image and its files."""

import struct
from pathlib import Path

import numpy as np
import pytest

from shifthw.errors import BadImages, BadModelFile
from shifthw.ir.graph import Lookup
from shifthw.ir.types import IntType
from shifthw.isa import InstructionLayout, Section
from shifthw.lower import compile_graph
from shifthw.program import Program, checksum

from .lower.graphs import GraphBuilder
from .lower.networks import NetworkBuilder

S8 = IntType(8, True)


def make(bits: int = 8, channels: int = 3, **array: int) -> tuple[Program, GraphBuilder]:
    build = GraphBuilder(np.random.default_rng(1), (channels, 5, 6), IntType(bits, True))
    build.requantize(build.conv("images", 20, stride=(2, 1)), IntType(bits, True))
    return compile_graph(build.graph(), **{"images": 2, "pixels": 4, "simd": 16, "pe": 8, **array}), build


@pytest.mark.parametrize("axi_data_bits", [32, 64, 128])
@pytest.mark.parametrize(("bits", "channels"), [(8, 3), (12, 3), (5, 20), (18, 9)])
def test_input_rows_are_images_rows_pixels_channels(axi_data_bits: int, bits: int, channels: int) -> None:
    program, build = make(bits, channels, axi_data_bits=axi_data_bits)
    images = build.images(3)
    data = program.pack_inputs(images)
    assert len(data) == 2 * program.input_batch_bytes
    assert program.input_row_bytes % (axi_data_bits // 8) == 0
    size = program.config.wire_bits // 8
    lanes = channels if channels <= 8 else 16
    for n, c, y, x in [(0, 0, 0, 0), (1, channels - 1, 4, 5), (2, 1, 3, 2)]:
        plane, index = y % 2, (y // 2) * program.source.pitch + x
        row = (c // lanes * 2 + plane) * program.source.plane_rows + index // 4
        start = (n * program.source.rows + row) * program.input_row_bytes + (index % 4 * lanes + c % lanes) * size
        assert int.from_bytes(data[start:start + size], "little", signed=True) == images[n, c, y, x]


@pytest.mark.parametrize("axi_data_bits", [32, 64, 128])
def test_results_are_rows_images_pixels_channels(axi_data_bits: int) -> None:
    program, _ = make(axi_data_bits=axi_data_bits)
    data = np.random.default_rng(2).integers(0, 256, 2 * program.output_batch_bytes, np.uint8)
    outputs = program.unpack_outputs(data.tobytes(), 3)
    assert outputs.shape == (3, 20, 3, 6)
    for n, c, y, x in [(0, 0, 0, 0), (1, 19, 2, 5), (2, 3, 1, 4)]:
        index = y * program.result.pitch + x
        row = c // 16 * program.result.plane_rows + index // 4
        record = (n // 2 * program.result.rows + row) * 2 + n % 2
        byte = data[record * program.output_row_bytes + index % 4 * 16 + c % 16]
        assert outputs[n, c, y, x] == np.int8(byte)
    assert program.output_row_bytes & (program.output_row_bytes - 1) == 0


def test_narrow_arrays_pad_results_to_a_beat() -> None:
    build = GraphBuilder(np.random.default_rng(3), (2, 1, 1), S8)
    build.requantize(build.conv("images", 2, (1, 1), padding=(0, 0, 0, 0)), S8)
    program = compile_graph(build.graph(), images=1, pixels=2, simd=2, pe=2, axi_data_bits=128)
    assert program.output_row_bytes == 16
    assert program.unpack_outputs(bytes([7, 255]) + bytes(14), 1).ravel().tolist() == [7, -1]


@pytest.mark.parametrize(("images", "message"), [
    (np.zeros((1, 3, 5, 6)), "must be integers"),
    (np.zeros((1, 3, 6, 5), int), r"must be \(n, 3, 5, 6\)"),
    (np.zeros((0, 3, 5, 6), int), "n >= 1"),
    (np.full((1, 3, 5, 6), 128), r"must be within -128\.\.127"),
])
def test_images_that_do_not_suit(images: np.ndarray, message: str) -> None:
    with pytest.raises(BadImages, match=message):
        make()[0].pack_inputs(images)


def test_results_of_the_wrong_length() -> None:
    with pytest.raises(BadImages, match="bytes of results"):
        make()[0].unpack_outputs(b"123", 1)


@pytest.mark.parametrize("axi_data_bits", [32, 64, 128])
def test_image_is_records_and_checksum(axi_data_bits: int) -> None:
    program, _ = make(axi_data_bits=axi_data_bits)
    image, beat = program.image(), axi_data_bits // 8
    header = max(8, beat)
    sections, offset, size = [], 0, -(-InstructionLayout(program.config).width // 8)
    words = [size, program.step_words.shape[1], program.weight_words.shape[1], program.start_words.shape[1],
             program.scale_words.shape[1]]
    while True:
        section, count = image[offset], struct.unpack_from("<I", image, offset + 4)[0]
        assert image[offset + 1:offset + 4] == b"\0\0\0"
        offset += header
        if section == 255:
            assert count == 0
            break
        sections.append((section, count))
        if section == 0:
            assert int.from_bytes(image[offset:offset + size], "little") == program.instructions[0]
        offset += count * -(-words[section] // beat) * beat
    assert [section for section, _ in sections] == [0, 1, 2, 3, 4]
    assert sections[2][1] == len(program.weight_words)
    a = b = 0
    for word in struct.unpack(f"<{offset // 4}I", image[:offset]):
        a = (a + word) % 2**32
        b = (b + a) % 2**32
    assert struct.unpack_from("<II", image, offset) == (a, b) == checksum(image[:offset])
    assert len(image) == offset + header


def test_save_and_load(tmp_path: Path) -> None:
    program, build = make()
    program.save(tmp_path)
    again = Program.load(tmp_path)
    assert again.files() == program.files() == make()[0].files()
    assert again.config == program.config and again.instructions == program.instructions
    assert again.pack_inputs(build.images(2)) != b"" and again.tensors == program.tensors


def with_tables(**array: int) -> tuple[Program, list[np.ndarray]]:
    """A program of two tables of signed 7-bit numbers, and the tables, least number first."""
    build = NetworkBuilder(np.random.default_rng(4), (3, 4, 4), IntType(7, True))
    for _ in range(2):
        build.lookup(build.requantize(build.conv(build.nodes[-1].name, 4), IntType(7, True)), IntType(7, True))
    program = compile_graph(build.graph(), **{"images": 1, "pixels": 4, "simd": 8, "pe": 8, **array})
    return program, [node.op.table for node in build.nodes if isinstance(node.op, Lookup)]


@pytest.mark.parametrize("axi_data_bits", [32, 64, 128])
def test_tables_are_the_last_record(axi_data_bits: int) -> None:
    """Word j of a table holds what is behind the codes k * 32 + j, k = 0..3, the first lowest."""
    program, tables = with_tables(axi_data_bits=axi_data_bits)
    image, beat = program.image(), axi_data_bits // 8
    header = max(8, beat)
    start = len(image) - 2 * header - 64 * beat     # END and checksum follow
    assert struct.unpack_from("<II", image, start - header) == (Section.TABLE, 64)
    for n in range(64):
        word = int.from_bytes(image[start + n * beat:start + (n + 1) * beat], "little")
        codes = np.arange(4) * 32 + n % 32
        assert [word >> 7 * k & 127 for k in range(4)] == (tables[n // 32][(codes + 64) % 128] & 127).tolist()
        assert word >> 28 == 0


def test_tables_are_saved_and_loaded(tmp_path: Path) -> None:
    program, _ = with_tables()
    program.save(tmp_path)
    again = Program.load(tmp_path)
    assert np.array_equal(again.table_words, program.table_words) and again.files() == program.files()


def test_damaged_files(tmp_path: Path) -> None:
    make()[0].save(tmp_path)
    image = bytearray((tmp_path / "program.bin").read_bytes())
    image[100] ^= 1
    (tmp_path / "program.bin").write_bytes(image)
    with pytest.raises(BadModelFile, match="does not belong"):
        Program.load(tmp_path)
    (tmp_path / "program.json").write_text("{")
    with pytest.raises(BadModelFile, match="not a compiled program"):
        Program.load(tmp_path)


def test_listing_names_targets() -> None:
    lines = make()[0].listing().splitlines()
    assert "LOAD" in lines[0] and "; images" in lines[0]
    assert "CONV" in lines[1] and "; requantize2" in lines[1]
    assert "LOOP" in lines[-1]
