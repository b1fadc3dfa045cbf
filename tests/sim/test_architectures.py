"""The field's networks, reduced: built for both boards, and simulated on a small array; the full ones compiled.

`make networks` runs them in two processes; tests/sim/test_engine.py has the operators one by one.
"""

from pathlib import Path

import numpy as np
import pytest

from shifthw import zoo
from shifthw.emit.verilog import TOP, engine_files
from shifthw.emulator import Emulator
from shifthw.errors import DoesNotFit
from shifthw.flow import build_folder
from shifthw.frontend.model_file import write_model
from shifthw.frontend.reference import Model
from shifthw.ir import interpret
from shifthw.lower import compile_graph
from shifthw.sim.build import Engine, build_simulator
from shifthw.sim.run import simulate
from shifthw.zoo.architectures import ARCHITECTURES

IMAGES = 2
SMALL = {"images": 1, "pixels": 4, "simd": 8, "pe": 8}
NAMES = [pytest.param(name, id=f"{name}-half{index % 2}") for index, name in enumerate(ARCHITECTURES)]
COPIES = {"ghostnet": 1, "tiny_yolov3": 1}
"""Copies that are left, whose reasons the reports give: a shortcut that lies in other lanes than the concatenation that
it is added to; a map that is enlarged and then concatenated with one that is not."""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_reduced_networks_are_bit_exact_and_fit(name: str, tmp_path: Path, simulator_cache: Path) -> None:
    graph = zoo.build(name, reduced=True)
    shape = graph.nodes[0].output.shape
    pictures = np.random.default_rng(31).integers(0, 256, (IMAGES, *shape))
    golden = interpret(graph, pictures)[graph.outputs[0]]
    program = compile_graph(graph, **SMALL)
    assert sum(1 for layer in program.layers if layer.copy) == COPIES.get(name, 0)
    np.testing.assert_array_equal(Emulator(program).run(pictures).outputs, golden)
    simulator = build_simulator(engine_files(program.config), top=TOP, engine=Engine.FAST, cache=simulator_cache)
    result = simulate(simulator, Engine.FAST, program, pictures, stalls_seed=32)
    np.testing.assert_array_equal(result.outputs, golden)
    assert result.cycles - result.stall_cycles == program.cycles(program.batches(IMAGES))
    write_model(Model(graph), tmp_path / "model.pt")
    for board in ("zc706", "ultra96v2"):
        report = build_folder(tmp_path / "model.pt", board, tmp_path / board)
        assert report["copies"] <= COPIES.get(name, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_full_networks_run_as_golden_models_and_compile(name: str, tmp_path: Path) -> None:
    graph = zoo.build(name)
    shape = graph.nodes[0].output.shape
    picture = np.random.default_rng(33).integers(0, 256, (1, *shape))
    result = interpret(graph, picture)[graph.outputs[0]]
    assert result.shape == (1, *graph[graph.outputs[0]].output.shape)
    program = compile_graph(graph, images=1, pixels=8, simd=16, pe=16)
    assert program.cycles_per_batch > 0 < program.busy <= 1
    write_model(Model(graph), tmp_path / "model.pt")
    try:
        build_folder(tmp_path / "model.pt", "zc706", tmp_path / "zc706")
    except DoesNotFit as error:
        assert "bytes" in str(error)
