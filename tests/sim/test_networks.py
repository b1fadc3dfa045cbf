"""The networks of the zoo at full size: the array that the search picks, simulated on two images."""

from pathlib import Path

import numpy as np
import pytest

from shifthw import zoo
from shifthw.flow import build_folder, simulate_folder
from shifthw.sim.build import Engine

LEAST_LANES = {"zc706": 2048, "ultra96v2": 1024}


@pytest.mark.slow
@pytest.mark.parametrize("board", LEAST_LANES)
@pytest.mark.parametrize("name", ["resnet8", "resnet20", "resnet20_w3", "shiftadd_resnet20", "adder_resnet20"])
def test_the_chosen_engine_is_large_busy_and_bit_exact(name: str, board: str, tmp_path: Path,
                                                         simulator_cache: Path) -> None:
    zoo.write(name, tmp_path / "model.pt")
    report = build_folder(tmp_path / "model.pt", board, tmp_path / "build")
    assert report["lanes"] >= LEAST_LANES[board]
    assert report["lanes_busy"] >= 0.9
    images = np.random.default_rng(21).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    result = simulate_folder(tmp_path / "build", images, stalls_seed=22, cache=simulator_cache)
    assert result["engine"] == Engine.COCOTB.value
    assert result["bit_exact"] is True
    assert result["cycles_as_predicted"] is True
    assert result["cycles_per_image"] == report["cycles_per_image"]


@pytest.mark.slow
def test_both_hosts_agree_with_the_golden_model_on_digits(tmp_path: Path, simulator_cache: Path) -> None:
    zoo.write("digits", tmp_path / "model.pt")
    build_folder(tmp_path / "model.pt", "ultra96v1", tmp_path / "build", goal="latency")
    images = np.random.default_rng(23).integers(0, 17, (12, 1, 8, 8), dtype=np.uint8)
    for engine in Engine:
        result = simulate_folder(tmp_path / "build", images, engine=engine, cache=simulator_cache)
        assert result["bit_exact"] is True
        assert result["cycles_as_predicted"] is True
