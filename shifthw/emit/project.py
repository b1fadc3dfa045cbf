"""The Vivado project and the open flow's: files under boards/, complete as they are, and a file of settings each."""

import re
from collections.abc import Sequence

from shifthw.boards.board import FOLDER, Board
from shifthw.errors import ShifthwError
from shifthw.registers import ADDRESS_BITS

CONTROL_BYTES = 1 << ADDRESS_BITS
"""Size of the register space."""

DEFAULT_WIDTH = "parameter AXI_DATA_BITS = 64\n"
"""The line of shifthw_top.v that holds the width of m_axi."""

OPEN_FLOW = ("open_flow.mk", "open_top.v", "axi3_lite.v")
"""What the open flow takes as it is, for any engine; its constraints are the board's."""

_ENGINE_FILE = re.compile(r"[A-Za-z0-9_.+-][A-Za-z0-9_./+-]*\.v")
"""What neither Tcl nor make reads anything into."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:+-]+")
_SPECIAL = '\\"$[]{}; '


def tcl_quote(text: str) -> str:
    """`text` as one Tcl word, the same text for Tcl 8.5 and 8.6 in any system encoding.

    ShifthwError for characters beyond U+FFFF, which Tcl 8 cannot write.
    """
    if _PLAIN.fullmatch(text):
        return text
    quoted = ""
    for character in text:
        code = ord(character)
        if code > 0xFFFF or 0xD800 <= code < 0xE000:
            raise ShifthwError(f"Tcl: {text!r} holds the character U+{code:04X}; use characters up to U+FFFF")
        if character in _SPECIAL:
            quoted += "\\" + character
        else:
            quoted += character if 0x20 <= code < 0x7F else f"\\u{code:04x}"
    return f'"{quoted}"'


def _settings(board: Board, clock_mhz: float, engine_files: Sequence[str], name: str) -> str:
    """settings.tcl; engine_files relative to the build folder, the script's folder being vivado/ in it."""
    values: dict[str, str] = {
        "project_name": name,
        "part": board.part,
        "family": board.family,
        "ps_preset": board.ps_preset,
        "clock_mhz": f"{clock_mhz:.6f}",
        "axi_data_bits": str(board.axi_data_bits),
        "control_base": f"0x{board.control_base:08X}",
        "control_bytes": f"0x{CONTROL_BYTES:08X}",
        "ddr_base": f"0x{board.ddr_base:08X}",
        "ddr_bytes": f"0x{board.ddr_bytes:08X}",
        "constraints": f"{board.name}.xdc" if board.led_pin else "",
    }
    lines = ["# Written by shifthw; the scripts beside this file read it."]
    lines += [f"set {key} {tcl_quote(value)}" for key, value in values.items()]
    words = " ".join(tcl_quote(f"../{file}") for file in engine_files)
    return "\n".join([*lines, f"set engine_files [list {words}]", ""])


def _wrapper(board: Board) -> str:
    """shifthw_top.v with the board's width of m_axi."""
    text = (FOLDER / "shifthw_top.v").read_text(encoding="utf-8")
    before, found, after = text.partition(DEFAULT_WIDTH)
    assert found and DEFAULT_WIDTH not in after, "shifthw_top.v must hold its width once"
    return f"{before}{DEFAULT_WIDTH.replace('64', str(board.axi_data_bits))}{after}"


def _open_flow(board: Board, engine_files: Sequence[str]) -> dict[str, str | bytes]:
    """The files under openflow/ of a board whose processor the open tools know; they use shifthw_top.v of vivado/."""
    files: dict[str, str | bytes] = {f"openflow/{file}": (FOLDER / file).read_text(encoding="utf-8")
                                     for file in (*OPEN_FLOW, f"open_{board.name}.xdc")}
    words = " ".join(f"../{file}" for file in engine_files)
    files["openflow/settings.mk"] = (
        f"# Written by shifthw; open_flow.mk reads it.\nPART = {board.part}\nENGINE = {words}\n")
    return files


def project_files(
    board: Board, *, clock_mhz: float | None = None, engine_files: Sequence[str], name: str = "shifthw"
) -> dict[str, str | bytes]:
    """Path -> content of a Vivado project under vivado/ in the build folder, and for family xc7 of an open flow's
    under openflow/; paths sorted.

    `clock_mhz`: one of board.clocks_mhz, or near enough (Board.achievable_clock); None: the board's default.
    `engine_files`: the Verilog of module shifthw_engine and all below it, relative to the build folder, with `/`.
    `name`: of the project and its results, out/<name>.bit.
    ShifthwError if the clock, the name or a file name is none.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ShifthwError(f"project name must be a letter, then letters, digits and _, not {name!r}")
    if not engine_files or not all(_ENGINE_FILE.fullmatch(file) for file in engine_files):
        raise ShifthwError(f"engine files must be relative paths to .v files, plainly named, not {list(engine_files)}")
    clock = board.clock_mhz if clock_mhz is None else board.achievable_clock(clock_mhz)

    copied = ["Makefile", "create_project.tcl", "block_design.tcl", f"block_design_{board.family}.tcl",
              "implement.tcl", "program.tcl", "results.tcl"]
    if (FOLDER / board.ps_preset).is_file():
        copied.append(board.ps_preset)
    if board.led_pin:
        copied.append(f"{board.name}.xdc")
    files: dict[str, str | bytes] = {f"vivado/{file}": (FOLDER / file).read_text(encoding="utf-8") for file in copied}
    files["vivado/shifthw_top.v"] = _wrapper(board)
    files["vivado/settings.tcl"] = _settings(board, clock, sorted(engine_files), name)
    if board.family == "xc7":
        files |= _open_flow(board, sorted(engine_files))
    return dict(sorted(files.items()))
