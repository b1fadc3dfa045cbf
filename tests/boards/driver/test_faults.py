"""Faults of the bus, the memory, the bitstream and the driver's own process: each is named, and the engine recovers."""

from collections.abc import Iterator

import pytest

from shifthw.registers import ErrorCode, Register, Status
from shifthw_driver import selfcheck
from shifthw_driver.accelerator import Accelerator
from shifthw_driver.errors import DriverError, EngineError, EngineHang, MemoryFault, WrongHardware
from shifthw_driver.folder import Folder
from shifthw_driver.simulation import SimulationBackend

from .builds import Desk


@pytest.fixture
def accelerator(digits: Desk) -> Iterator[Accelerator]:
    """In this process, so that faults can be put in."""
    with SimulationBackend(digits.server.socket) as backend:
        accelerator = Accelerator(backend, Folder.load(digits.driver))
        accelerator.configure()
        yield accelerator
        backend.ask("fault none 0")


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


def test_buffers_are_given_back(accelerator: Accelerator) -> None:
    for _ in range(3):
        accelerator.execute(accelerator.folder.network, accelerator.folder.network.images)
        accelerator.close()
    with pytest.raises(DriverError, match="more --memory"):
        accelerator.backend.allocate(1 << 40)
    first = accelerator.backend.allocate(4096)
    assert first.address == 0x1000_0000, "nothing is taken any more"
    first.free()
