"""The emitted Tcl under the stand-in for Vivado: right scripts pass, each wrong one is caught by name."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shifthw import boards
from shifthw.boards.board import FOLDER

from .vivado import STUB, emit, facts, run, tclsh

CHAINS = {"zc706": "arm_dap_0 xc7z045_1", "ultra96v1": "xczu3_0 arm_dap_1", "ultra96v2": "xczu3eg_0 arm_dap_1"}
"""What is on the JTAG chain of each board."""

RELEASES = ("2018.3", "2019.1", "2019.2", "2020.1", "2020.2", "2022.2", "2025.1")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def stale(folder: Path) -> Path:
    """A driver's folder beside vivado/ in `folder`, with its package and results of an earlier run."""
    (folder / "driver" / "shifthw_driver").mkdir(parents=True)
    for suffix in ("bit", "hwh", "bin"):
        (folder / "driver" / f"shifthw.{suffix}").write_text("of an earlier run")
    (folder / "driver" / "program.bin").write_text("of the build")
    return folder / "driver"


@pytest.mark.parametrize("board", boards.names())
@pytest.mark.parametrize("release", RELEASES)
def test_scripts_use_known_names_only(board: str, release: str, tmp_path: Path) -> None:
    vivado = emit(board, tmp_path)
    for script in ("create_project.tcl", "implement.tcl"):
        done = run(vivado / script, release=release)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    handoff = "xsa" if release >= "2019.2" else "hdf"
    assert {"shifthw.bit", "shifthw.hwh", f"shifthw.{handoff}", "timing.rpt", "utilization.rpt", "power.rpt"} <= names(
        vivado / "out")
    assert names(tmp_path / "driver") == {"shifthw.bit", "shifthw.hwh"}


@pytest.mark.parametrize(
    ("release", "version"), [("2018.3", "3.2"), ("2020.1", "3.3"), ("2022.2", "3.4"), ("2025.1", "3.5")])
def test_processor_in_the_version_of_the_release(release: str, version: str, tmp_path: Path) -> None:
    vivado = emit("ultra96v2", tmp_path)
    assert run(vivado / "create_project.tcl", release=release).returncode == 0
    assert f"cell /ps xilinx.com:ip:zynq_ultra_ps_e:{version}" in facts(vivado)


def test_zc706_design(tmp_path: Path) -> None:
    vivado = emit("zc706", tmp_path, clock_mhz=142.857)
    assert run(vivado / "create_project.tcl").returncode == 0
    assert {
        "config /ps preset ZC706",
        "config /ps PCW_FPGA0_PERIPHERAL_FREQMHZ 142.857143",
        "config /ps PCW_S_AXI_HP0_DATA_WIDTH 64",
        "cell /control_bus xilinx.com:ip:axi_interconnect:2.1",
        "net /engine/irq /ps/IRQ_F2P",
        "net /engine/heartbeat /heartbeat",
        "net /reset/peripheral_aresetn /engine/aresetn",
        "net /ps/FCLK_CLK0 /engine/aclk",
        "address /ps/Data/SEG_engine /engine/s_axi/reg0 0x43C00000 0x00001000",
        "address /engine/m_axi/SEG_memory /ps/S_AXI_HP0/HP0_DDR_LOWOCM 0x00000000 0x40000000",
    } <= facts(vivado)


@pytest.mark.parametrize(("board", "capacity"), [("ultra96v1", "8192 MBits"), ("ultra96v2", "16384 MBits")])
def test_ultra96_design(board: str, capacity: str, tmp_path: Path) -> None:
    vivado = emit(board, tmp_path)
    assert run(vivado / "create_project.tcl").returncode == 0
    found = facts(vivado)
    assert {
        f"config /ps PSU__DDRC__DEVICE_CAPACITY {capacity}",
        "config /ps PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ 250.000000",
        "config /ps PSU__OVERRIDE__BASIC_CLOCK 0",
        "config /ps PSU__USE__M_AXI_GP1 0",
        "config /ps PSU__SAXIGP2__DATA_WIDTH 128",
        "cell /memory_bus xilinx.com:ip:smartconnect:1.0",
        "net /engine/irq /ps/pl_ps_irq0",
        "address /ps/Data/SEG_engine /engine/s_axi/reg0 0xA0000000 0x00001000",
        "address /engine/m_axi/SEG_memory /ps/SAXIGP2/HP0_DDR_LOW 0x00000000 0x80000000",
    } <= found
    assert ("net /engine/heartbeat /heartbeat" in found) == (board == "ultra96v2")


# (file, what, its replacement, board, message); each must stop create_project.tcl or implement.tcl.
MUTANTS = {
    "wrong pin": ("block_design_xc7.tcl", "ps/S_AXI_HP0_ACLK", "ps/S_AXI_HP0_CLK", "zc706", "pin ps/S_AXI_HP0_CLK"),
    "wrong property": (
        "block_design_xc7.tcl", "PCW_USE_S_AXI_HP0 1", "PCW_USE_HP0 1", "zc706", "'PCW_USE_HP0' is not known"),
    "wrong psu property": ("block_design_xcup.tcl", "PSU__SAXIGP2__", "PSU__SAXI_GP2__", "ultra96v1", "is not known"),
    "property without CONFIG": (
        "block_design_xcup.tcl", "CONFIG.PSU__USE__IRQ0", "PSU__USE__IRQ0", "ultra96v2", "begin with"),
    "preset file mistyped": ("ultra96v2_psu_preset.tsv", "PSU__UART1__", "PSU__UART9__", "ultra96v2", "is not known"),
    "unknown preset": ("settings.tcl", "ps_preset ZC706", "ps_preset ZC702", "zc706", "no preset 'ZC702'"),
    "second control port left on": (
        "block_design_xcup.tcl", "M_AXI_GP1 0", "M_AXI_GP1 1", "ultra96v2", "clock pin /ps/maxihpm1_fpd_aclk"),
    "memory port left off": ("block_design_xcup.tcl", "S_AXI_GP2 1", "S_AXI_GP2 0", "ultra96v1", "saxihp0_fpd_aclk"),
    "interrupt left off": ("block_design_xc7.tcl", "CONFIG.PCW_IRQ_F2P_INTR 1", "", "zc706", "pin ps/IRQ_F2P"),
    "missing clock": (
        "block_design_xcup.tcl", " ps/saxihp0_fpd_aclk", "", "ultra96v2", "clock pin /ps/saxihp0_fpd_aclk"),
    "missing engine clock": ("block_design.tcl", " engine/aclk", "", "zc706", "clock pin /engine/aclk"),
    "missing interconnect clock": ("block_design_xc7.tcl", " $name/M00_ACLK", "", "zc706", "/control_bus/M00_ACLK"),
    "missing reset": (
        "block_design_xc7.tcl", " $name/S00_ARESETN", "", "zc706", "reset pin /control_bus/S00_ARESETN"),
    "reset missing at its source": (
        "block_design.tcl", "drive $ps(reset) reset/ext_reset_in", "", "ultra96v2", "ext_reset_in"),
    "clock as reset": (
        "block_design_xcup.tcl", "reset/interconnect_aresetn $name/aresetn", "$clock $name/aresetn", "ultra96v1",
        "reset pin /control_bus/aresetn: must be driven by a reset"),
    "two drivers": (
        "block_design.tcl", "drive engine/irq", "drive reset/mb_reset $ps(interrupt)\ndrive engine/irq", "zc706",
        "two drivers"),
    "output drives nothing": (
        "block_design.tcl", "drive engine/irq", "drive engine/aclk", "zc706", "one pin must drive"),
    "misspelled command": ("block_design.tcl", "validate_bd_design", "validate_bd", "zc706", 'name "validate_bd"'),
    "wrong option": (
        "block_design.tcl", "create_bd_addr_seg -range", "create_bd_addr_seg -size", "zc706", "-size is not known"),
    "option without value": (
        "create_project.tcl", "-part $part -force", "-force -part", "zc706", "-part needs a value"),
    "too few arguments": ("block_design.tcl", "[lindex $found 0] $name", "$name", "zc706", "takes 3 to 3 arguments"),
    "wrong part": (
        "settings.tcl", "xc7z045ffg900-2", "xc7z045ffg676-2", "zc706", "part xc7z045ffg676-2 is not in this Vivado"),
    "part not asked for": (
        "create_project.tcl", "get_parts -quiet $part", "get_part -quiet $part", "zc706", 'name "get_part"'),
    "missing control address": (
        "block_design.tcl", "map_segment ps/Data", "list", "zc706", "space /ps/Data: no segment"),
    "missing memory address": (
        "block_design.tcl", "map_segment engine/m_axi", "list", "ultra96v2", "/engine/m_axi: no segment"),
    "address outside the window": (
        "settings.tcl", "0xA0000000", "0x43C00000", "ultra96v2", "SEG_engine: offset 0x43C00000"),
    "range larger than the registers": (
        "settings.tcl", "0x00001000", "0x00010000", "zc706", "range 0x00010000 do not fit"),
    "more DRAM than there is": ("settings.tcl", "0x40000000", "0x80000000", "zc706", "SEG_memory"),
    "wrong VLNV": (
        "block_design.tcl", "[lindex [lsort $definitions] end]", "xilinx.com:ip:${ip}:1.9", "zc706",
        "'xilinx.com:ip:processing_system7:1.9' is not in the catalog"),
    "wrong IP": (
        "block_design_xcup.tcl", "add_ip smartconnect", "add_ip smart_connect", "ultra96v1", "IP smart_connect"),
    "wrong port VLNV": (
        "block_design_xc7.tcl", "interface:ddrx_rtl", "interface:ddr_rtl", "zc706", "ddr_rtl:1.0' is not known"),
    "bus not connected": (
        "block_design.tcl", "join_bus memory_bus/M00_AXI $ps(memory)", "", "ultra96v2",
        "bus /ps/S_AXI_HP0_FPD: not connected"),
    "slave to slave": (
        "block_design.tcl", "join_bus control_bus/M00_AXI", "join_bus control_bus/S00_AXI", "zc706",
        "connected already"),
    "buses crossed": (
        "block_design.tcl", "engine/m_axi memory_bus/S00_AXI", "engine/m_axi memory_bus/M00_AXI", "zc706",
        "a master and a slave"),
    "one interconnect port too many": (
        "block_design_xcup.tcl", "CONFIG.NUM_SI 1 ", "", "ultra96v1", "bus /control_bus/S01_AXI"),
    "LED on v1": (
        "settings.tcl", 'constraints ""', "constraints ultra96v2.xdc", "ultra96v1", "no LED of xczu3eg-sbva484-1-e"),
    "wrong LED pin": ("zc706.xdc", "A17", "A18", "zc706", "at 'A18', 'LVCMOS15' is no LED"),
    "wrong LED voltage": ("ultra96v2.xdc", "LVCMOS18", "LVCMOS33", "ultra96v2", "at 'A9', 'LVCMOS33' is no LED"),
    "constraints for no port": ("zc706.xdc", "get_ports heartbeat", "get_ports led", "zc706", "no port 'led'"),
    "constraints forgotten": ("create_project.tcl", "add_files -fileset", "list", "zc706", "port heartbeat at ''"),
    "missing source": ("settings.tcl", "../rtl/engine.v", "rtl/engine.v", "zc706", "there is no file"),
    "wrong module": ("block_design.tcl", "-reference shifthw_top", "-reference shifthw", "zc706", "module 'shifthw'"),
    "not validated": ("block_design.tcl", "    validate_bd_design\n", "", "zc706", "not validated"),
    "no top module": ("create_project.tcl", "set_property top system_wrapper", "list", "zc706", "top module must be"),
    "unknown strategy": (
        "create_project.tcl", "Flow_PerfOptimized_high", "Flow_Fast", "zc706", "'Flow_Fast' is not known"),
    "unknown run": ("implement.tcl", "finish synth_1", "finish synthesis", "zc706", "no run 'synthesis'"),
    "unknown step": (
        "implement.tcl", "-to_step write_bitstream", "-to_step bitstream", "zc706", "'bitstream' is not known"),
    "unknown statistic": ("implement.tcl", "WNS WHS", "WNS HOLD", "zc706", "'STATS.HOLD' is not known"),
    "reports before a run is open": ("implement.tcl", "open_run impl_1", "", "zc706", "no run is open"),
    "wrapper clock attribute": (
        "shifthw_top.v", "ASSOCIATED_BUSIF s_axi:m_axi", "ASSOCIATED_BUSIF s_axi", "zc706", "bus m_axi has no clock"),
    "wrapper direction": (
        "shifthw_top.v", "input  wire s_axi_rready", "output wire s_axi_rready", "zc706", "RREADY points"),
    "wrapper attribute": ("shifthw_top.v", "m_axi BVALID", "m_axi BVALIDS", "zc706", "there is no BVALID"),
    "wrapper bus name": ("shifthw_top.v", "aximm:1.0 s_axi", "aximm:1.0 control", "zc706", "has no clock"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name: str, tmp_path: Path) -> None:
    file, what, replacement, board, message = MUTANTS[name]
    vivado = emit(board, tmp_path)
    # For the board that has none.
    shutil.copy(FOLDER / "ultra96v2.xdc", vivado)
    text = (vivado / file).read_text()
    assert what in text
    (vivado / file).write_text(text.replace(what, replacement))
    done = run(vivado / "create_project.tcl")
    if done.returncode == 0:
        done = run(vivado / "implement.tcl")
    assert done.returncode == 1
    assert message in done.stderr
    assert not (vivado / "out" / "shifthw.bit").exists()


def test_negative_slack_stops(tmp_path: Path) -> None:
    vivado = emit("zc706", tmp_path)
    assert run(vivado / "create_project.tcl").returncode == 0
    driver = stale(tmp_path)
    done = run(vivado / "implement.tcl", slack="-0.017")
    assert done.returncode == 1
    assert "timing is not met: WNS is -0.017 ns at 200.000000 MHz; choose a slower clock" in done.stderr
    assert names(vivado / "out") == {"power.rpt", "timing.rpt", "utilization.rpt", "utilization_hierarchical.rpt"}
    assert names(driver) == {"program.bin", "shifthw_driver"}
    assert run(vivado / "implement.tcl", slack="0.000").returncode == 0
    assert names(driver) == {"program.bin", "shifthw_driver", "shifthw.bit", "shifthw.hwh"}
    assert (driver / "shifthw.bit").read_bytes() == (vivado / "out" / "shifthw.bit").read_bytes() != b""


@pytest.mark.parametrize("slack", ["", "NA"])
def test_no_slack_is_no_success(slack: str, tmp_path: Path) -> None:
    vivado = emit("zc706", tmp_path)
    assert run(vivado / "create_project.tcl").returncode == 0
    done = run(vivado / "implement.tcl", slack=slack)
    assert (done.returncode, f"no result for WNS but '{slack}'" in done.stderr) == (1, True)


@pytest.mark.parametrize("stop", ["synth_1", "impl_1"])
def test_failed_run_stops(stop: str, tmp_path: Path) -> None:
    vivado = emit("ultra96v1", tmp_path)
    assert run(vivado / "create_project.tcl").returncode == 0
    driver = stale(tmp_path)
    done = run(vivado / "implement.tcl", stop=stop)
    assert (done.returncode, f"shifthw: {stop} stopped at 40%" in done.stderr) == (1, True)
    assert f"see project/shifthw.runs/{stop}/runme.log" in done.stderr
    assert "a licence for xczu3eg-sbva484-1-e is missing" in done.stderr
    assert names(driver) == {"program.bin", "shifthw_driver"}
    # The next attempt succeeds.
    assert run(vivado / "implement.tcl").returncode == 0


def test_handoff_missing_stops(tmp_path: Path) -> None:
    vivado = emit("zc706", tmp_path)
    assert run(vivado / "create_project.tcl").returncode == 0
    driver = stale(tmp_path)
    (handoff,) = (vivado / "project").rglob("system.hwh")
    handoff.unlink()
    done = run(vivado / "implement.tcl")
    assert (done.returncode, "no system.hwh" in done.stderr) == (1, True)
    assert names(driver) == {"program.bin", "shifthw_driver"}


def test_new_project_removes_the_results_of_the_old_one(tmp_path: Path) -> None:
    vivado, driver = emit("zc706", tmp_path), stale(tmp_path)
    (vivado / "out").mkdir()
    (vivado / "out" / "shifthw.bit").write_text("of an earlier run")
    assert run(vivado / "create_project.tcl").returncode == 0
    assert not (vivado / "out").exists()
    assert names(driver) == {"program.bin", "shifthw_driver"}


@pytest.mark.parametrize(("board", "told"), [("zc706", True), ("ultra96v1", False)])
def test_note_on_the_licence(board: str, told: bool, tmp_path: Path) -> None:
    done = run(emit(board, tmp_path) / "create_project.tcl")
    assert done.returncode == 0
    assert ("xc7z045ffg900-2 is reported to need a licence" in done.stdout) == told


@pytest.mark.parametrize("board", boards.names())
def test_part_not_installed_stops_before_anything_is_lost(board: str, tmp_path: Path) -> None:
    vivado, driver = emit(board, tmp_path), stale(tmp_path)
    done = run(vivado / "create_project.tcl", parts="0")
    assert done.returncode == 1
    assert f"part {boards.load(board).part} is not in this Vivado: add its device family" in done.stderr
    assert "use an edition and a licence that cover it" in done.stderr
    assert not (vivado / "project").exists()
    assert "shifthw.bit" in names(driver)


@pytest.mark.parametrize("board", boards.names())
@pytest.mark.parametrize("release", ["2018.3", "2019.1", "2019.2", "2025.1"])
def test_program(board: str, release: str, tmp_path: Path) -> None:
    vivado = emit(board, tmp_path)
    (vivado / "out").mkdir()
    (vivado / "out" / "shifthw.bit").touch()
    done = run(vivado / "program.tcl", release=release, devices=CHAINS[board])
    assert done.returncode == 0, done.stderr
    (device,) = (name for name in CHAINS[board].split() if name.startswith("xc"))
    assert f"programmed {device} with {vivado}/out/shifthw.bit" in done.stdout
    assert "the processor must have been started" in done.stdout
    assert "under a running Linux leave this alone" in done.stdout
    assert not (vivado / "project").exists()


@pytest.mark.parametrize(("board", "chain"), [
    ("zc706", "xczu3_0 arm_dap_1"), ("zc706", "xc7z045_0 xc7z045_1"), ("zc706", "xc7z0450_1"),
    ("ultra96v2", "xczu39dr_0 arm_dap_1"), ("ultra96v2", "arm_dap_0"), ("ultra96v1", "xc7z045_1")])
def test_program_on_another_chain_stops(board: str, chain: str, tmp_path: Path) -> None:
    vivado = emit(board, tmp_path)
    (vivado / "out").mkdir()
    (vivado / "out" / "shifthw.bit").touch()
    done = run(vivado / "program.tcl", devices=chain)
    assert done.returncode == 1
    assert "there must be one xc" in done.stderr
    assert f"among '{chain}'" in done.stderr
    assert "programmed" not in done.stdout


def test_program_without_a_bitstream_stops(tmp_path: Path) -> None:
    done = run(emit("zc706", tmp_path) / "program.tcl", devices=CHAINS["zc706"])
    assert (done.returncode, "there is no out/shifthw.bit: make bitstream first" in done.stderr) == (1, True)


@pytest.mark.parametrize(("what", "replacement", "message"), [
    (">= 0", "< 0", 'invalid command name "open_hw"'),
    ("connect_hw_server\n", "", "the link is at 'manager'"),
    ("open_hw_target\n", "\n", "there must be one xc7z045 on the JTAG chain, not 0 among ''"),
    ("current_hw_device $device\n", "", "is not the current device"),
    ("PROGRAM.FILE", "PROGRAM_FILE", "'PROGRAM_FILE' is not known"),
    ("set_property", "list", "there is no file ''"),
    ("program_hw_devices", "program_hw_device", 'name "program_hw_device"'),
])
def test_mutant_of_program_is_caught(what: str, replacement: str, message: str, tmp_path: Path) -> None:
    vivado = emit("zc706", tmp_path)
    (vivado / "out").mkdir()
    (vivado / "out" / "shifthw.bit").touch()
    script = vivado / "program.tcl"
    assert what in script.read_text()
    script.write_text(script.read_text().replace(what, replacement))
    done = run(script, devices=CHAINS["zc706"])
    assert done.returncode == 1
    assert message in done.stderr


def test_buses_not_inferred_stop(tmp_path: Path) -> None:
    vivado = emit("zc706", tmp_path)
    done = run(vivado / "create_project.tcl", inference="0")
    assert (done.returncode, "did not infer the bus s_axi of module shifthw_top" in done.stderr) == (1, True)


def test_other_clock_stops(tmp_path: Path) -> None:
    vivado = emit("ultra96v2", tmp_path)
    done = run(vivado / "create_project.tcl", hertz="0.9")
    assert (done.returncode, "must be 250.000000 MHz, not 225.0" in done.stderr) == (1, True)


@pytest.mark.parametrize("board", boards.names())
def test_renamed_segments_are_found(board: str, tmp_path: Path) -> None:
    vivado = emit(board, tmp_path)
    done = run(vivado / "create_project.tcl", segments="new_")
    assert done.returncode == 0, done.stderr
    assert any("/new_HP0_DDR_LOW" in fact for fact in facts(vivado))


def test_unanswered_segment_query_lets_vivado_assign(tmp_path: Path) -> None:
    vivado = emit("zc706", tmp_path)
    script = vivado / "block_design.tcl"
    wrong = script.read_text().replace("engine/s_axi/reg0 * $::control", "engine/s_axi/r0 none $::control")
    script.write_text(wrong)
    done = run(vivado / "create_project.tcl")
    assert done.returncode == 0, done.stderr
    assert any(fact.endswith("/engine/s_axi/reg0 0x43C00000 0x00001000") for fact in facts(vivado))


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """An executable in place of vivado."""
    path = tmp_path / "vivado tool"
    path.write_text(f'#!/bin/sh\nexec {tclsh()} {STUB} devices "{CHAINS["zc706"]}" -- "$@"\n')
    path.chmod(0o755)
    return path


def make(vivado: Path, tool: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "-s", "-C", str(vivado), f"VIVADO='{tool}'", *targets],
                          capture_output=True, text=True, check=False, timeout=60)


def test_make_bitstream_then_nothing_to_do_then_clean(tool: Path, tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    vivado = emit("ultra96v2", tmp_path / "build")
    before = {path.name for path in vivado.iterdir()}
    done = make(vivado, tool, "bitstream", "JOBS=1")
    assert done.returncode == 0, done.stderr
    assert (vivado / "out" / "shifthw.bit").is_file()
    assert "ready" not in make(vivado, tool).stdout
    assert make(vivado, tool, "clean").returncode == 0
    assert {path.name for path in vivado.iterdir()} == before


def test_make_project_and_a_failure(tool: Path, tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    vivado = emit("zc706", tmp_path / "build")
    assert make(vivado, tool, "project").returncode == 0
    assert not (vivado / "out").exists()
    (vivado / "zc706.xdc").write_text("wrong")
    assert make(vivado, tool).returncode != 0
    assert not (vivado / "out" / "done").exists()


def test_make_bin_and_program_then_clean(tool: Path, tmp_path: Path) -> None:
    build = tmp_path / "a build"
    build.mkdir()
    vivado = emit("zc706", build)
    shutil.copytree(FOLDER / "driver" / "shifthw_driver", build / "driver" / "shifthw_driver",
                    ignore=shutil.ignore_patterns("__pycache__"))
    before = set(build.rglob("*"))
    done = make(vivado, tool, "bin", f"PYTHON={sys.executable}")
    assert done.returncode == 0, done.stderr
    for folder in (vivado / "out", build / "driver"):
        assert (folder / "shifthw.bin").read_bytes() == bytes.fromhex("ffffffff 665599aa")
    assert "programmed xc7z045_1 with" in make(vivado, tool, "program").stdout
    assert make(vivado, tool, "clean").returncode == 0
    assert set(build.rglob("*")) == before


def test_make_bin_without_the_driver_fails(tool: Path, tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    vivado = emit("zc706", tmp_path / "build")
    assert make(vivado, tool, "bin", f"PYTHON={sys.executable}").returncode != 0
    assert "shifthw.bin" not in names(vivado / "out") | names(tmp_path / "build" / "driver")


def test_make_runs_again_after_a_change_in_primitives(tool: Path, tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    vivado = emit("zc706", tmp_path / "build")
    (tmp_path / "build" / "rtl" / "primitives").mkdir()
    assert make(vivado, tool).returncode == 0
    assert "ready" not in make(vivado, tool).stdout
    (tmp_path / "build" / "rtl" / "primitives" / "dot.v").touch()
    assert "ready" in make(vivado, tool).stdout
