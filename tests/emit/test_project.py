import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shifthw import boards
from shifthw.emit.project import CONTROL_BYTES, project_files, tcl_quote
from shifthw.errors import ShifthwError

from ..boards.vivado import tclsh

ENGINE = ["rtl/engine.v", "rtl/array.v"]

NASTY = [
    "", " ", "plain", "-force", "#", "a b", "$HOME", "[exit 3]", "{", "}", "{a", "a}", "a{b}c", '"', "\\", "a\\", "\\n",
    "\n", "\t", "\r", "a;b", "; exit 3", "$x(1)", "${x}", "[", "]", "'", "`", "~", "~/x", "*", "?", "%s", "a\nb",
    "\x00", "\x7f", "ü", "€", "\uffff", "*/", "C:\\new\\table", "../a b/c.v", 'say "hi"', "\\u0041", "a\\\nb",
    "{*}x", "(", ")",
]


def evaluate(words: list[str]) -> list[str]:
    """What Tcl makes of quoted words, each in a `set` of its own, and all in one list."""
    script = "".join(f"set x {word}\nputs [binary encode hex [encoding convertto unicode $x]]\n" for word in words)
    script += f"foreach x [list {' '.join(words)}] {{puts [binary encode hex [encoding convertto unicode $x]]}}\n"
    # A proc's body, since unbalanced braces in it would end it early.
    script += f"proc f {{}} {{return [list {' '.join(words)}]}}\n"
    script += "foreach x [f] {puts [binary encode hex [encoding convertto unicode $x]]}\n"
    done = subprocess.run([tclsh()], input=script, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return [bytes.fromhex(line).decode("utf-16-le") for line in done.stdout.split("\n")[:-1]]


def test_tcl_reads_nasty_strings_back() -> None:
    assert evaluate([tcl_quote(text) for text in NASTY]) == NASTY * 3


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])), min_size=1, max_size=20))
def test_tcl_reads_any_string_back(texts: list[str]) -> None:
    assert evaluate([tcl_quote(text) for text in texts]) == texts * 3


@pytest.mark.parametrize("text", NASTY)
def test_quoted_is_one_line_of_ascii(text: str) -> None:
    assert re.fullmatch(r"[ -~]+", tcl_quote(text))


@pytest.mark.parametrize("text", ["\U0001f600", "\ud800"])
def test_quote_refuses_what_tcl_cannot_write(text: str) -> None:
    with pytest.raises(ShifthwError, match=r"holds the character U\+"):
        tcl_quote(text)


COMMON = {"Makefile", "block_design.tcl", "create_project.tcl", "implement.tcl", "program.tcl", "results.tcl",
          "settings.tcl", "shifthw_top.v"}
OPEN = {"axi3_lite.v", "open_flow.mk", "open_top.v", "open_zc706.xdc", "settings.mk"}


@pytest.mark.parametrize(("name", "own"), [
    ("zc706", {"block_design_xc7.tcl", "zc706.xdc"}),
    ("ultra96v1", {"block_design_xcup.tcl", "ultra96v1_psu_preset.tsv"}),
    ("ultra96v2", {"block_design_xcup.tcl", "ultra96v2_psu_preset.tsv", "ultra96v2.xdc"}),
])
def test_files(name: str, own: set[str]) -> None:
    files = project_files(boards.load(name), engine_files=ENGINE)
    opened = {f"openflow/{file}" for file in OPEN} if name == "zc706" else set()
    assert set(files) == {f"vivado/{file}" for file in COMMON | own} | opened
    assert list(files) == sorted(files)
    assert files == project_files(boards.load(name), engine_files=ENGINE[::-1])


def variables(files: dict[str, str | bytes], tmp_path: Path) -> dict[str, str]:
    """settings.tcl as Tcl reads it."""
    path = tmp_path / "settings.tcl"
    path.write_text(str(files["vivado/settings.tcl"]))
    script = f"""
        set before [info globals]
        source {{{path}}}
        foreach v [info globals] {{if {{$v ni $before && $v ne "before"}} {{puts [list $v [set $v]]}}}}
    """
    done = subprocess.run([tclsh()], input=script, capture_output=True, text=True, check=True, timeout=60)
    pairs = (line.split(" ", 1) for line in done.stdout.splitlines())
    return {name: value.strip("{}") for name, value in pairs if name not in ("errorCode", "errorInfo")}


def test_settings(tmp_path: Path) -> None:
    files = project_files(boards.load("zc706"), clock_mhz=166.7, engine_files=ENGINE, name="resnet20")
    assert variables(files, tmp_path) == {
        "project_name": "resnet20", "part": "xc7z045ffg900-2", "family": "xc7", "ps_preset": "ZC706",
        "clock_mhz": "166.666667", "axi_data_bits": "64", "control_base": "0x43C00000", "control_bytes": "0x00001000",
        "ddr_base": "0x00000000", "ddr_bytes": "0x40000000", "constraints": "zc706.xdc",
        "engine_files": "../rtl/array.v ../rtl/engine.v",
    }


@pytest.mark.parametrize(("name", "bits"), [("zc706", 64), ("ultra96v1", 128), ("ultra96v2", 128)])
def test_wrapper_has_the_width_of_the_board(name: str, bits: int) -> None:
    text = str(project_files(boards.load(name), engine_files=ENGINE)["vivado/shifthw_top.v"])
    assert re.findall(r"parameter AXI_DATA_BITS = (\d+)", text) == [str(bits)]
    assert re.findall(r"\[(\d+):0\] s_axi_a[rw]addr", text) == [str(CONTROL_BYTES.bit_length() - 2)] * 2


def test_no_led_no_constraints() -> None:
    files = project_files(boards.load("ultra96v1"), engine_files=ENGINE)
    assert 'set constraints ""\n' in str(files["vivado/settings.tcl"])


@pytest.mark.parametrize("name", ["", "1net", "my net", "a/b", "net\n", "-x"])
def test_bad_project_name(name: str) -> None:
    with pytest.raises(ShifthwError, match="project name must be a letter"):
        project_files(boards.load("zc706"), engine_files=ENGINE, name=name)


def test_open_flow_settings() -> None:
    lines = str(project_files(boards.load("zc706"), engine_files=ENGINE)["openflow/settings.mk"]).splitlines()
    assert lines[1:] == ["PART = xc7z045ffg900-2", "ENGINE = ../rtl/array.v ../rtl/engine.v"]


@pytest.mark.parametrize("files", [[], ["engine.sv"], ["/rtl/engine.v"], ["rtl/engine.v", "rtl/image.mem"],
                                   ["rtl/$(shell exit).v"], ["my rtl/engine.v"], ["rtl/#.v"]])
def test_bad_engine_files(files: list[str]) -> None:
    with pytest.raises(ShifthwError, match="engine files must be relative paths"):
        project_files(boards.load("zc706"), engine_files=files)


def test_bad_clock() -> None:
    with pytest.raises(ShifthwError, match="board ultra96v2: the clock must be one of 375, 300, 250, .* not 260"):
        project_files(boards.load("ultra96v2"), clock_mhz=260, engine_files=ENGINE)
