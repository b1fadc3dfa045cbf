"""The runner on a small hand-written design with the engine's ports: tests/sim/copier.v."""

import random
from pathlib import Path

import pytest

from shifthw.sim.build import Engine, build_simulator
from shifthw.sim.job import Job, SimulationFailed
from shifthw.sim.run import run_job

COPIER = (Path(__file__).parent / "copier.v").read_text()
BATCH_BYTES = 32
CONFIG = 0x1234_5678


@pytest.fixture(scope="module", params=[Engine.COCOTB, Engine.FAST], ids=lambda engine: engine.value)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


@pytest.fixture(scope="module")
def simulator(engine: Engine, simulator_cache: Path) -> Path:
    return build_simulator({"copier.v": COPIER}, top="copier", engine=engine, cache=simulator_cache)


def make_job(batches: int = 20, **changes: object) -> Job:
    inputs = random.Random(7).randbytes(batches * BATCH_BYTES)
    values = {"program": bytes(BATCH_BYTES), "inputs": inputs, "output_bytes": len(inputs), "batches": batches,
              "config": CONFIG, "axi_data_bits": 64, "max_cycles": 20_000}
    return Job(**values | changes)


@pytest.mark.parametrize("batches", [1, 2, 20])
@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3])
def test_every_byte_arrives_with_and_without_stalls(
    simulator: Path, engine: Engine, seed: int | None, batches: int
) -> None:
    job = make_job(batches, stalls_seed=seed)
    result = run_job(simulator, engine, job)
    assert result.output == bytes(255 - byte for byte in job.inputs)
    assert result.cycles - result.stall_cycles == batches * result.batch_cycles
    assert result.batches_done == batches


def test_stalls_come_from_the_seed_alone(simulator: Path, engine: Engine) -> None:
    def cycles(seed: int | None) -> int:
        return run_job(simulator, engine, make_job(stalls_seed=seed)).cycles

    assert cycles(4) == cycles(4)
    assert cycles(4) != cycles(5)
    assert cycles(4) > cycles(None)


def test_error_register_is_named(simulator: Path, engine: Engine) -> None:
    with pytest.raises(SimulationFailed, match="ERROR register must be NONE, not CHECKSUM"):
        run_job(simulator, engine, make_job(program=b"\xee" * BATCH_BYTES))


def test_reading_outside_the_buffers_is_caught(simulator: Path, engine: Engine) -> None:
    with pytest.raises(SimulationFailed, match="reads outside its buffers"):
        run_job(simulator, engine, make_job(inputs=bytes(19 * BATCH_BYTES)))


def test_writing_outside_the_buffers_is_caught(simulator: Path, engine: Engine) -> None:
    with pytest.raises(SimulationFailed, match="writes outside its buffers"):
        run_job(simulator, engine, make_job(output_bytes=19 * BATCH_BYTES))


def test_wrong_configuration_is_caught(simulator: Path, engine: Engine) -> None:
    with pytest.raises(SimulationFailed, match="register CONFIG must be"):
        run_job(simulator, engine, make_job(config=1))


def test_an_engine_that_never_finishes_is_given_up(simulator: Path, engine: Engine) -> None:
    with pytest.raises(SimulationFailed, match="not done after 300 clock cycles"):
        run_job(simulator, engine, make_job(max_cycles=300))


def test_progress_is_told(simulator: Path, engine: Engine) -> None:
    batches = 100_000 if engine is Engine.FAST else 1_000
    seen: list[int] = []
    run_job(simulator, engine, make_job(batches, max_cycles=100 * batches), seen.append)
    assert seen == sorted(seen)
    assert 0 < seen[-1] <= batches
