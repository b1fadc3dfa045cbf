"""The driver as a build ships it, in a process of its own, on a simulated engine in another."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from shifthw import load
from shifthw.ir import interpret
from shifthw.program import Program

from .builds import SMALL, Desk, build, serving


def test_check_is_bit_exact_and_counts_what_the_cycle_model_says(desk: Desk) -> None:
    done = desk.drive("check")
    assert done.returncode == 0, done.stderr
    found = json.loads((desk.driver / "check.json").read_text())
    program = Program.load(desk.folder)
    assert found["bit_exact"] and found["first_mismatch"] is None
    assert found["images"] == program.config.images + 1
    assert found["cycles"] == found["cycles_predicted"] == program.cycles(2)
    assert "bits of the bus" in done.stdout and "bit-exact: yes" in done.stdout


def test_run_gives_the_golden_models_integers(desk: Desk, tmp_path: Path) -> None:
    graph = load(desk.folder / "model.pt")
    tensor = graph.nodes[0].output
    images = np.random.default_rng(7).integers(tensor.dtype.lo, tensor.dtype.hi, (3, *tensor.shape), endpoint=True)
    expected = interpret(graph, images)[graph.outputs[0]]
    labels = expected.reshape(3, -1).argmax(axis=1)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    done = desk.drive("run", tmp_path / "images.npy", "-o", tmp_path / "out.npy", "--labels", tmp_path / "labels.npy")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
    assert "accuracy: 100.00 %" in done.stdout


def test_bench_counts_exactly_and_agrees_with_the_report(desk: Desk) -> None:
    done = desk.drive("bench", "--seconds", "1e-9")
    assert done.returncode == 0, done.stderr
    found = json.loads((desk.driver / "bench.json").read_text())
    report = json.loads((desk.folder / "report.json").read_text())
    assert found["cycles_as_predicted"]
    assert found["cycles_per_batch_predicted"] == report["cycles_per_batch"]
    assert found["predicted"]["frames_per_second"] == report["frames_per_second"]
    assert 0.5 * report["frames_per_second"] < found["frames_per_second"] < report["frames_per_second"]
    assert found["latency_ms"]["p50"] > report["latency_ms"], "a batch alone also waits for its images"
    assert found["clock_mhz"] == report["clock_mhz"]


def test_energy_says_which_rail_is_not_there(digits: Desk, tmp_path: Path) -> None:
    chip = tmp_path / "hwmon0"              # without inputs; without a chip, this machine's I2C buses would be tried
    chip.mkdir()
    (chip / "name").write_text("ucd90120\n")
    done = digits.drive("energy", "--hwmon", tmp_path)
    assert done.returncode == 2 and "VCCINT: no voltage" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr


def test_the_wrong_bitstream_is_told(digits: Desk, simulator_cache: Path, tmp_path: Path) -> None:
    other = build("digits", tmp_path, {**SMALL, "pe": 2})
    done = Desk(other, digits.server).drive("check")
    assert done.returncode == 2
    assert "register CONFIG is" in done.stderr and "copy bitstream and driver folder of one build" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert digits.drive("check").returncode == 0


@pytest.mark.parametrize(("number", "code", "said"), [
    (signal.SIGINT, 130, "shifthw_driver: interrupted\n"), (signal.SIGTERM, 128 + signal.SIGTERM, ""),
    (signal.SIGHUP, 128 + signal.SIGHUP, "")])
@pytest.mark.parametrize("moment", [0.0, 0.3])
def test_a_signal_ends_the_driver_and_leaves_the_engine_to_the_next(
    moment: float, number: signal.Signals, code: int, said: str, digits: Desk
) -> None:
    command = [sys.executable, "-B", "-m", "shifthw_driver", "--backend", f"simulation:{digits.server.socket}", "bench",
               "--seconds", "1000"]
    # Whoever runs the tests may have the signal ignored, and so would the driver then.
    with subprocess.Popen(command, cwd=digits.driver, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=lambda: signal.signal(number, signal.SIG_DFL)) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            assert "engine" in process.stdout.readline() and "memory test" in process.stdout.readline()
            time.sleep(moment)
            process.send_signal(number)
            assert process.wait(60) == code
            assert process.stderr.read() == said
        finally:
            process.kill()
    assert digits.drive("check").returncode == 0


def test_a_driver_ends_with_whoever_started_it(digits: Desk) -> None:
    """As over ssh: the input ends. The engine is left idle, for the next."""
    command = [sys.executable, "-B", "-m", "shifthw_driver", "--backend", f"simulation:{digits.server.socket}",
               "--attended", "bench", "--seconds", "1000"]
    with subprocess.Popen(command, cwd=digits.driver, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        try:
            assert "engine" in process.stdout.readline()
            process.stdin.close()
            assert process.wait(60) == 128 + signal.SIGTERM
        finally:
            process.kill()
    assert digits.drive("check").returncode == 0


def test_a_corrupted_program_file_is_named_before_anything_runs(digits: Desk) -> None:
    path = digits.driver / "network" / "program.bin"
    data = path.read_bytes()
    try:
        path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
        done = digits.drive("check")
    finally:
        path.write_bytes(data)
    assert done.returncode == 2 and "program.bin: SHA-256 is" in done.stderr


@pytest.mark.parametrize("arguments", [
    ["--backend", "simulation:/nowhere", "check"], ["--backend", "magic", "check"], ["bench", "--seconds", "0"],
    ["run", "absent.npy", "-o", "out.npy"], ["check", "--json", "/nowhere/check.json"],
    ["run", "network/images.npy", "-o", "network/images.npy"], ["run", "network/outputs.npy", "-o", "out.npy"],
    ["run", "network/images.npy", "-o", "/nowhere/out.npy"],
    ["run", "network/images.npy", "-o", "out.npy", "--labels", "network/images.npy"],
    ["--folder", "/nowhere", "check"], [],
], ids=str)
def test_bad_arguments_are_told_in_one_line(arguments: list[str], digits: Desk) -> None:
    done = digits.drive(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("shifthw_driver: ")


def test_a_python_without_numpy_is_told(digits: Desk) -> None:
    done = subprocess.run([sys.executable, "-S", "-B", "-m", "shifthw_driver", "--help"], cwd=digits.driver,
                          capture_output=True, text=True)
    assert done.returncode == 2 and "without numpy, must be 3.8 or newer with numpy" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("network", "board"), [("digits", "zc706"), ("digits", "ultra96v2"), ("resnet8", "zc706"),
                                                ("resnet8", "ultra96v2")])
def test_builds_as_they_go_to_boards_run_on_a_simulated_one(
    network: str, board: str, simulator_cache: Path, tmp_path: Path
) -> None:
    """With the array that the compiler chooses, at the board's width of the bus."""
    folder = build(network, tmp_path, board=board)
    with serving(folder, simulator_cache, tmp_path) as server:
        desk = Desk(folder, server)
        test_check_is_bit_exact_and_counts_what_the_cycle_model_says(desk)
        test_run_gives_the_golden_models_integers(desk, tmp_path)
        test_bench_counts_exactly_and_agrees_with_the_report(desk)
