import dataclasses
import re

import pytest

from shifthw import boards
from shifthw.boards.board import FOLDER
from shifthw.errors import ShifthwError

BOARDS = boards.names()


def test_names() -> None:
    assert BOARDS == ("ultra96v1", "ultra96v2", "zc706")


def test_unknown_board_names_the_known_ones() -> None:
    with pytest.raises(ShifthwError, match="'zc702' is not known; use one of ultra96v1, ultra96v2, zc706"):
        boards.load("zc702")


@pytest.mark.parametrize("path", ["../boards/zc706", "", "zc706.toml"])
def test_a_path_is_no_board(path: str) -> None:
    with pytest.raises(ShifthwError, match="is not known"):
        boards.load(path)


def test_zc706() -> None:
    board = boards.load("zc706")
    assert (board.part, board.family) == ("xc7z045ffg900-2", "xc7")
    assert (board.lut, board.ff, board.bram36, board.dsp) == (218600, 437200, 545, 900)
    assert (board.axi_data_bits, board.clock_mhz, board.ddr_bytes) == (64, 200.0, 1 << 30)


@pytest.mark.parametrize(("name", "grade"), [("ultra96v1", "e"), ("ultra96v2", "i")])
def test_ultra96(name: str, grade: str) -> None:
    board = boards.load(name)
    assert (board.part, board.family) == (f"xczu3eg-sbva484-1-{grade}", "xcup")
    assert (board.lut, board.ff, board.bram36, board.dsp) == (70560, 141120, 216, 360)
    assert (board.axi_data_bits, board.clock_mhz, board.ddr_bytes) == (128, 250.0, 1 << 31)


def test_boards_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        boards.load("zc706").lut = 0  # type: ignore[misc]


@pytest.mark.parametrize("name", BOARDS)
def test_clocks(name: str) -> None:
    board = boards.load(name)
    assert board.clock_mhz in board.clocks_mhz
    assert list(board.clock_dividers) == sorted(set(board.clock_dividers))
    for clock in board.clocks_mhz:
        assert board.achievable_clock(clock) == clock
        assert board.achievable_clock(round(clock, 1)) == clock


@pytest.mark.parametrize("clock", [0.0, -1.0, 190.0, 1e9, float("nan"), float("inf")])
def test_clock_that_no_divider_gives(clock: float) -> None:
    with pytest.raises(ShifthwError, match="board zc706: the clock must be one of 250, 200, 166.667,"):
        boards.load("zc706").achievable_clock(clock)


@pytest.mark.parametrize("name", BOARDS)
def test_constraints_and_led_agree(name: str) -> None:
    board = boards.load(name)
    path = FOLDER / f"{name}.xdc"
    assert path.is_file() == (board.led_pin is not None) == (board.led_standard is not None)
    if board.led_pin:
        text = path.read_text()
        assert re.findall(r"PACKAGE_PIN (\w+)", text) == [board.led_pin]
        assert re.findall(r"IOSTANDARD (\w+)", text) == [board.led_standard]


@pytest.mark.parametrize("name", ["ultra96v1", "ultra96v2"])
def test_preset_has_one_value_per_name(name: str) -> None:
    lines = (FOLDER / boards.load(name).ps_preset).read_text().splitlines()
    pairs = [line.split("\t") for line in lines if not line.startswith("#")]
    assert all(len(pair) == 2 and pair[1] for pair in pairs)
    names = [pair[0] for pair in pairs]
    assert names == sorted(set(names))
    assert all(re.fullmatch(r"PSU_[A-Z0-9_]+", key) for key in names)


def test_ultra96_revisions_differ_in_their_dram_only() -> None:
    first, second = (dict(line.split("\t") for line in (FOLDER / boards.load(name).ps_preset).read_text().splitlines()
                          if not line.startswith("#")) for name in ("ultra96v1", "ultra96v2"))
    differing = {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}
    assert differing == {f"PSU__DDRC__{key}" for key in (
        "ADDR_MIRROR", "DEVICE_CAPACITY", "LPDDR4_T_REF_RANGE", "RANK_ADDR_COUNT", "ROW_ADDR_COUNT")}
