from pathlib import Path

import pytest

from shifthw.sim.job import PAGE, PROGRAM_ADDRESS, Job, JobResult, SimulationFailed, parse_fields


def make_job(**changes: object) -> Job:
    values = {"program": bytes(PAGE), "inputs": bytes(1), "output_bytes": 8, "batches": 1, "config": 3,
              "axi_data_bits": 64, "max_cycles": 10}
    return Job(**values | changes)


def test_a_free_page_lies_behind_each_buffer() -> None:
    job = make_job()
    assert job.input_address == PROGRAM_ADDRESS + 2 * PAGE
    assert job.output_address == job.input_address + 2 * PAGE


@pytest.mark.parametrize(("bits", "beats"), [(32, 1024), (64, 512), (128, 256)])
def test_program_is_counted_in_beats(tmp_path: Path, bits: int, beats: int) -> None:
    make_job(axi_data_bits=bits).write(tmp_path)
    assert parse_fields((tmp_path / "job.txt").read_text())["program_beats"] == beats


def test_a_simulator_that_died_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(SimulationFailed, match="without a result"):
        JobResult.read(tmp_path)
