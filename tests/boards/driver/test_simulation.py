"""The driver as a build ships it, in a process of its own, on a simulated engine in another: what is right, what goes
wrong, and how it recovers."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from shifthw import load
from shifthw.ir import interpret
from shifthw.program import Program
from shifthw.registers import ErrorCode, Register, Status
from shifthw.sim.server import Server
from shifthw_driver import selfcheck
from shifthw_driver.accelerator import Accelerator
from shifthw_driver.errors import DriverError, EngineError, EngineHang, MemoryFault, WrongHardware
from shifthw_driver.folder import Folder
from shifthw_driver.simulation import SimulationBackend

from .builds import SMALL, build, serving


@dataclass(frozen=True)
class Desk:
    """A build, and the server that stands for its board."""

    folder: Path
    server: Server

    @property
    def driver(self) -> Path:
        return self.folder / "driver"

    def drive(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """A command of the driver, started as on a board: in its folder, with nothing of the compiler about."""
        command = [sys.executable, "-I", "-B", "-c",
                   "import sys; sys.path.insert(0, '.'); from shifthw_driver.cli import main; sys.exit(main())",
                   "--backend", f"simulation:{self.server.socket}", *map(str, arguments)]
        return subprocess.run(command, cwd=self.driver, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def digits(simulator_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    scratch = tmp_path_factory.mktemp("digits")
    folder = build("digits", scratch, SMALL)
    with serving(folder, simulator_cache, scratch) as server:
        yield Desk(folder, server)


@pytest.fixture(scope="module")
def resnet8(simulator_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    scratch = tmp_path_factory.mktemp("resnet8")
    folder = build("resnet8", scratch, {"images": 1, "pixels": 8, "simd": 8, "pe": 8})
    with serving(folder, simulator_cache, scratch) as server:
        yield Desk(folder, server)


@pytest.fixture(params=["digits", "resnet8"])
def desk(request: pytest.FixtureRequest) -> Desk:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Desk)
    return found


@pytest.fixture
def accelerator(digits: Desk) -> Iterator[Accelerator]:
    """In this process, so that faults can be put in."""
    with SimulationBackend(digits.server.socket) as backend:
        accelerator = Accelerator(backend, Folder.load(digits.driver))
        accelerator.configure()
        yield accelerator
        backend.ask("fault none 0")


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


def test_the_memory_test_passes(accelerator: Accelerator) -> None:
    assert "over all 64 bits of the bus" in selfcheck.check_memory(accelerator)


def recovers(accelerator: Accelerator) -> bool:
    """Without a reset of the simulation: the engine works again, bit-exact."""
    backend = accelerator.backend
    assert isinstance(backend, SimulationBackend)
    backend.ask("fault none 0")
    return bool(selfcheck.check_golden(accelerator)["bit_exact"])


def fault(accelerator: Accelerator, *requests: str) -> None:
    backend = accelerator.backend
    assert isinstance(backend, SimulationBackend)
    for request in requests:
        backend.ask(f"fault {request}")


def test_a_program_that_is_corrupted_on_its_way_is_a_checksum_error(accelerator: Accelerator) -> None:
    fault(accelerator, "flip_reads 1")
    with pytest.raises(EngineError, match="loading the program of network ended with the error CHECKSUM, it was reset "
                                          "and works again: .* memory port must be as wide as built") as caught:
        accelerator.engine.load(accelerator.folder.network)
    assert caught.value.code == ErrorCode.CHECKSUM
    assert recovers(accelerator)


@pytest.mark.parametrize(("name", "code"), [("read", ErrorCode.BUS_READ), ("write", ErrorCode.BUS_WRITE)])
def test_a_bus_error_in_mid_run_is_named_and_the_engine_recovers(
    name: str, code: ErrorCode, accelerator: Accelerator
) -> None:
    job = accelerator.folder.network
    accelerator.engine.load(job)
    accelerator.place(job, job.images)
    fault(accelerator, "skip 3", f"{name} 1")       # three beats of images come through
    with pytest.raises(EngineError, match=f"running 2 batches of network ended with the error {code.name}") as caught:
        accelerator.run_placed(job.batches(len(job.images)))
    assert caught.value.code == code
    assert recovers(accelerator)


def test_buffers_that_the_bus_does_not_reach_are_a_bus_error(accelerator: Accelerator) -> None:
    job = accelerator.folder.network
    accelerator.engine.load(job)
    buffer = accelerator.backend.allocate(job.input_batch_bytes)
    buffer.address = 0x4000_0000
    with pytest.raises(EngineError, match="BUS_READ"):
        accelerator.engine.run(buffer, buffer, 1)
    buffer.free()
    assert recovers(accelerator)


def test_a_hang_is_noticed_and_the_engine_recovers_when_the_bus_answers_again(accelerator: Accelerator) -> None:
    job = accelerator.folder.network
    accelerator.engine.load(job)
    accelerator.place(job, job.images)
    limit = 40 * job.cycles(2) + 100_000
    fault(accelerator, f"silent {limit + 50_000}")
    with pytest.raises(EngineHang, match="not done after .* ms, was reset and works again"):
        accelerator.run_placed(2)
    assert recovers(accelerator)


def test_a_bus_that_never_answers_needs_the_bitstream_again(accelerator: Accelerator) -> None:
    job = accelerator.folder.network
    accelerator.engine.load(job)
    accelerator.place(job, job.images)
    fault(accelerator, "skip 3", f"silent {10 ** 12}")
    with pytest.raises(EngineHang, match="not idle after a reset.*: load the bitstream again"):
        accelerator.run_placed(2)
    fault(accelerator, "none 0")
    accelerator.configure()
    assert recovers(accelerator)


@pytest.mark.parametrize(("bits", "text"), [
    (0x0000_0000_0004_0000, "all of them written in the bits 16..23 of the bus: .* memory port must be 64 bits wide"),
    (0x0000_0000_FFFF_0000, "all of them written in the bits 16..23, 24..31 of the bus"),
    (0x0101_0101_0101_0101, "in all bits that are written"),
])
def test_a_memory_path_that_flips_bits_is_told_by_its_bits(bits: int, text: str, accelerator: Accelerator) -> None:
    fault(accelerator, f"flip_writes {bits}")
    with pytest.raises(MemoryFault, match=text):
        selfcheck.check_memory(accelerator)
    assert recovers(accelerator)


@pytest.mark.parametrize("bit", [0, 9, 31, 32, 40, 63])
def test_a_bit_of_the_bus_that_is_read_wrong_is_a_checksum_error_of_the_memory_test(
    bit: int, accelerator: Accelerator
) -> None:
    fault(accelerator, f"flip_reads {1 << bit}")
    with pytest.raises(EngineError, match="program of memory_test ended with the error CHECKSUM.* as wide as built"):
        selfcheck.check_memory(accelerator)
    assert recovers(accelerator)


def test_pixels_that_arrive_wrong_are_told(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    run = accelerator.run_placed
    monkeypatch.setattr(accelerator, "run_placed",      # after the program, which has a checksum
                        lambda batches: [fault(accelerator, "flip_reads 128"), run(batches)][1])
    with pytest.raises(MemoryFault, match="codes come back wrong"):
        selfcheck.check_memory(accelerator)
    monkeypatch.undo()
    assert recovers(accelerator)


def test_results_that_never_arrive_are_told(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    run = accelerator.engine.run
    elsewhere = accelerator.backend.allocate(1 << 20)
    monkeypatch.setattr(accelerator.engine, "run", lambda source, target, batches: run(source, elsewhere, batches))
    with pytest.raises(MemoryFault, match="as if they were never written"):
        selfcheck.check_memory(accelerator)
    elsewhere.free()


def test_the_wrong_bitstream_is_told(digits: Desk, simulator_cache: Path, tmp_path: Path) -> None:
    other = build("digits", tmp_path, {**SMALL, "pe": 2})
    done = Desk(other, digits.server).drive("check")
    assert done.returncode == 2
    assert "register CONFIG is" in done.stderr and "copy bitstream and driver folder of one build" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert digits.drive("check").returncode == 0


@pytest.mark.parametrize(("register", "found"), [
    (Register.ID, 0xACB7A8CE), (Register.VERSION, 0xFFFFFFFE), (Register.CONFIG, None)])
def test_another_design_is_told(register: Register, found: int | None, accelerator: Accelerator) -> None:
    fault(accelerator, f"register {int(register)}")
    value = ~accelerator.folder.config & 0xFFFFFFFF if found is None else found
    with pytest.raises(WrongHardware, match=f"register {register.name} is {value:#010x}"):
        accelerator.configure()
    fault(accelerator, "none 0")
    accelerator.configure()
    assert recovers(accelerator)


def test_a_clock_that_is_too_fast_is_refused_and_a_slow_one_noted(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock = accelerator.backend.set_clock
    monkeypatch.setattr(accelerator.backend, "set_clock", lambda mhz: set_clock(mhz * 1.01))
    with pytest.raises(WrongHardware, match="clock: is 202 MHz, must be at most 200 as built"):
        accelerator.configure()
    monkeypatch.setattr(accelerator.backend, "set_clock", lambda mhz: set_clock(mhz * 0.5))
    accelerator.configure()
    assert accelerator.notes == ["clock: is 100 MHz instead of 200: right, but slower than predicted"]


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


def test_an_interrupted_run_leaves_an_idle_engine(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing may write to the buffers when they are given back."""
    job = accelerator.folder.network
    accelerator.engine.load(job)
    accelerator.place(job, job.images)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    fault(accelerator, "silent 3000")
    with monkeypatch.context() as patch:
        patch.setattr(accelerator.backend, "wait", interrupted)
        patch.setattr(accelerator.engine, "reset", lambda: None)
        with pytest.raises(KeyboardInterrupt):
            accelerator.run_placed(2)
        assert not accelerator.backend.read(Register.STATUS) & Status.IDLE, "it runs on without a reset"
    accelerator.engine.reset()
    wait = accelerator.backend.wait
    waits = iter([interrupted])
    monkeypatch.setattr(accelerator.backend, "wait", lambda seconds: next(waits, wait)(seconds))
    with pytest.raises(KeyboardInterrupt):
        accelerator.run_placed(2)
    assert accelerator.backend.read(Register.STATUS) & Status.IDLE
    assert recovers(accelerator)


def test_a_run_that_ends_while_the_driver_is_stopped_is_no_hang(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, read, stopped = accelerator.backend.now, accelerator.backend.read, [0.0]

    def stop(offset: int) -> int:
        status = read(offset)
        if offset == Register.STATUS and not status & Status.DONE:
            accelerator.backend.wait(1.0)
            stopped[0] += 3600.0
        return status

    monkeypatch.setattr(accelerator.backend, "now", lambda: now() + stopped[0])
    monkeypatch.setattr(accelerator.backend, "read", stop)
    assert selfcheck.check_golden(accelerator)["bit_exact"] and stopped[0]


def test_a_run_of_fewer_batches_than_asked_is_told(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    read = accelerator.backend.read
    monkeypatch.setattr(accelerator.backend, "read",
                        lambda offset: read(offset) - (offset == Register.BATCHES_DONE))
    with pytest.raises(WrongHardware, match="BATCHES_DONE is 1, must be 2"):
        selfcheck.check_golden(accelerator)


def test_the_program_is_loaded_again_behind_a_new_bitstream(accelerator: Accelerator) -> None:
    assert selfcheck.check_golden(accelerator)["bit_exact"]
    accelerator.configure()
    assert selfcheck.check_golden(accelerator)["bit_exact"]


def test_buffers_of_a_stuck_engine_are_kept(accelerator: Accelerator) -> None:
    job = accelerator.folder.network
    accelerator.engine.load(job)
    accelerator.place(job, job.images)
    fault(accelerator, f"silent {10 ** 12}")
    with pytest.raises(EngineHang, match="not idle after a reset"):
        accelerator.run_placed(2)
    accelerator.close()
    assert accelerator.backend.allocate(4096).address > 0x1000_0000, "the first pages may still be written"
    fault(accelerator, "none 0")


@pytest.mark.parametrize("request_", ["", "read", "read abc", "read 4096", "read 2", "write 4", "write 4 x", "wait -1",
                                      "wait 1 2", "fault none", "fault magic 1", "reset now", "dance"])
def test_requests_that_make_no_sense_are_refused(request_: str, accelerator: Accelerator) -> None:
    backend = accelerator.backend
    assert isinstance(backend, SimulationBackend)
    with pytest.raises(DriverError, match="no such request"):
        backend.ask(request_)
    accelerator.engine.identify()


def test_a_python_without_numpy_is_told(digits: Desk) -> None:
    done = subprocess.run([sys.executable, "-S", "-B", "-m", "shifthw_driver", "--help"], cwd=digits.driver,
                          capture_output=True, text=True)
    assert done.returncode == 2 and "without numpy, must be 3.8 or newer with numpy" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_buffers_are_given_back(accelerator: Accelerator) -> None:
    for _ in range(3):
        accelerator.execute(accelerator.folder.network, accelerator.folder.network.images)
        accelerator.close()
    with pytest.raises(DriverError, match="more --memory"):
        accelerator.backend.allocate(1 << 40)
    first = accelerator.backend.allocate(4096)
    assert first.address == 0x1000_0000, "nothing is taken any more"
    first.free()


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
