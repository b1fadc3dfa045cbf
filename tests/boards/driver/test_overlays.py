import shutil
import subprocess
from pathlib import Path

import pytest

from shifthw import boards
from shifthw.boards.board import FOLDER
from shifthw.emit.project import CONTROL_BYTES
from shifthw_driver import fpga_manager

pytestmark = pytest.mark.skipif(shutil.which("dtc") is None, reason="needs dtc: apt-get install device-tree-compiler")

BASES = {
    "xc7": """/dts-v1/; / { #address-cells = <1>; #size-cells = <1>;
        intc: intc { interrupt-controller; #address-cells = <0>; #interrupt-cells = <3>; };
        fpga_full: fpga-region { compatible = "fpga-region"; #address-cells = <1>; #size-cells = <1>; ranges; }; };""",
    "xcup": """/dts-v1/; / { #address-cells = <2>; #size-cells = <2>;
        gic: gic { interrupt-controller; #address-cells = <0>; #interrupt-cells = <3>; };
        fpga_full: fpga-region { compatible = "fpga-region"; #address-cells = <2>; #size-cells = <2>; ranges; }; };""",
}
"""What an overlay needs of the board's own tree: the labels and cells of zynq-7000.dtsi and zynqmp.dtsi."""


def run(*command: object) -> str:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout


@pytest.fixture(params=["zc706", "ultra96v1", "ultra96v2"])
def board(request: pytest.FixtureRequest) -> boards.Board:
    return boards.load(request.param)


@pytest.fixture
def tree(board: boards.Board, tmp_path: Path) -> Path:
    """The board's tree with the overlay applied."""
    (tmp_path / "base.dts").write_text(BASES[board.family])
    run("dtc", "-@", "-I", "dts", "-O", "dtb", "-o", tmp_path / "base.dtb", tmp_path / "base.dts")
    shutil.copy(FOLDER / f"overlay_{board.family}.dtso", tmp_path / "shifthw.dtso")
    run("dtc", "-@", "-I", "dts", "-O", "dtb", "-o", tmp_path / "shifthw.dtbo", tmp_path / "shifthw.dtso")
    run("fdtoverlay", "-i", tmp_path / "base.dtb", "-o", tmp_path / "tree.dtb", tmp_path / "shifthw.dtbo")
    return tmp_path / "tree.dtb"


def numbers(tree: Path, node: str, name: str) -> list[int]:
    return [int(word, 16) for word in run("fdtget", "-t", "x", tree, f"/fpga-region{node}", name).split()]


def text(tree: Path, node: str, name: str) -> str:
    return run("fdtget", tree, f"/fpga-region{node}", name).strip()


def test_bitstream_is_what_the_driver_writes(tree: Path) -> None:
    assert text(tree, "", "firmware-name") == fpga_manager.FIRMWARE


def test_registers(tree: Path, board: boards.Board) -> None:
    node = f"/shifthw@{board.control_base:x}"
    assert text(tree, node, "compatible") == "generic-uio"
    high = [0] if board.family == "xcup" else []
    assert numbers(tree, node, "reg") == [*high, board.control_base, *high, CONTROL_BYTES]


def test_interrupt(tree: Path, board: boards.Board) -> None:
    node = f"/shifthw@{board.control_base:x}"
    assert numbers(tree, node, "interrupts") == [0, {"xc7": 29, "xcup": 89}[board.family], 4]
    controller = {"xc7": "/intc", "xcup": "/gic"}[board.family]
    [phandle] = run("fdtget", "-t", "x", tree, controller, "phandle").split()
    assert numbers(tree, node, "interrupt-parent") == [int(phandle, 16)]


def test_buffers(tree: Path) -> None:
    assert text(tree, "/shifthw-buffers", "compatible") == "ikwzm,u-dma-buf"
    [size] = numbers(tree, "/shifthw-buffers", "size")
    assert size >= 1 << 24
    assert size % 4096 == 0


def test_ports(tree: Path, board: boards.Board) -> None:
    nodes = run("fdtget", "-l", tree, "/fpga-region").split()
    assert ("shifthw-ports" in nodes) == (board.family == "xcup")
    if board.family == "xcup":
        assert board.axi_data_bits == 128
        assert text(tree, "/shifthw-ports", "compatible") == "xlnx,afi-fpga"
        assert numbers(tree, "/shifthw-ports", "config-afi") == [4, 0, 5, 0, 14, 0xA00]
