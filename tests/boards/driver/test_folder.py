"""The driver's folder and what the driver reads from it say the same as the compiler's program and golden model."""

import json
from pathlib import Path

import numpy as np
import pytest

from shifthw import boards, zoo
from shifthw.emit.driver import Golden, driver_files, golden_images
from shifthw.emit.memory_test import memory_test, patterns
from shifthw.emulator import Emulator
from shifthw.ir import Graph, interpret
from shifthw.lower import compile_graph
from shifthw.program import Program
from shifthw_driver.errors import BadFolder, BadImages
from shifthw_driver.folder import Folder

from ...lower.graphs import random_graph

ARRAYS = [(1, 2, 4, 1), (2, 2, 4, 4), (3, 4, 8, 8), (1, 16, 16, 8), (5, 8, 4, 4)]
"""images, pixels, simd, pe"""
RULE = {"scale": 1.0, "rounding": "floor", "lo": 0, "hi": 1, "pixels": None}
EXPECTED = {"frames_per_second": 1.0, "latency_ms": 1.0, "energy_mj_per_image": 1.0, "energy_mark": "a model",
            "energy_units": "of a kind"}


def compiled(graph: Graph, array: tuple[int, int, int, int], bits: int = 64) -> Program:
    images, pixels, simd, pe = array
    return compile_graph(graph, images=images, pixels=pixels, simd=simd, pe=pe, axi_data_bits=bits)


def write(graph: Graph, program: Program, folder: Path) -> Path:
    dtype = graph.nodes[0].output.dtype
    images = golden_images(program, dtype.lo, dtype.hi)
    golden = Golden(images=images, outputs=interpret(graph, images)[graph.outputs[0]])
    files = driver_files(program, boards.load("zc706"), 200.0, golden, preprocess=RULE, predicted=EXPECTED,
                         version="1.2.3")
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content)
    return folder


@pytest.mark.parametrize("array", ARRAYS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_images_and_results_lie_on_the_wire_as_the_compiler_has_them(
    seed: int, array: tuple[int, int, int, int], tmp_path: Path
) -> None:
    graph = random_graph(seed)[0]
    program = compiled(graph, array, bits=64 if seed % 2 else 128)
    job = Folder.load(write(graph, program, tmp_path)).network
    dtype, random = program.source.dtype, np.random.default_rng(seed)
    for count in (1, program.config.images, program.config.images + 1):
        images = random.integers(dtype.lo, dtype.hi, (count, *program.source.shape), endpoint=True)
        assert job.pack(images).tobytes() == program.pack_inputs(images)
        wire = random.integers(0, 256, program.batches(count) * program.output_batch_bytes, dtype=np.uint8)
        np.testing.assert_array_equal(job.unpack(wire, count), program.unpack_outputs(wire.tobytes(), count))
        assert job.cycles(job.batches(count)) == program.cycles(program.batches(count))


@pytest.mark.parametrize("name", ["digits", "resnet8"])
def test_the_golden_vectors_are_the_golden_models(name: str, tmp_path: Path) -> None:
    graph = zoo.build(name)
    program = compiled(graph, (2, 4, 16, 16))
    folder = Folder.load(write(graph, program, tmp_path))
    assert folder.network.images.shape == (3, *program.source.shape), "the second batch is not full"
    np.testing.assert_array_equal(folder.network.outputs, interpret(graph, folder.network.images)[graph.outputs[0]])
    np.testing.assert_array_equal(folder.network.outputs, Emulator(program).run(folder.network.images).outputs)
    assert folder.network.program == program.image()


@pytest.mark.parametrize("array", ARRAYS, ids=str)
@pytest.mark.parametrize("name", ["digits", "resnet8"])
def test_the_memory_test_brings_back_every_code_that_it_moves(name: str, array: tuple[int, int, int, int]) -> None:
    test = memory_test(compiled(zoo.build(name), array))
    moved, c = patterns(test), test.config
    run = Emulator(test).run(moved)
    assert run.cycles == test.cycles(4) and set(run.cycles_per_batch) == {test.cycles_per_batch}
    assert len(moved) == 4 * c.images
    # Channel lane n holds channel n mod input_channels, as often as it fits; the first output_pixels lanes come back.
    whole = c.simd // c.input_channels
    expected = np.tile(moved, (1, whole, 1, 1))[..., :c.output_pixels]
    np.testing.assert_array_equal(run.outputs[:, :whole * c.input_channels], expected)
    assert not run.outputs[:, whole * c.input_channels:].any()
    ones = [int(np.bitwise_or.reduce(batch, axis=None)) for batch in moved]
    assert set(ones) == {(1 << test.source.dtype.bits) - 1}, "each bit of each batch is 1 somewhere, and 0 elsewhere"
    assert not np.bitwise_and.reduce(moved, axis=None)


@pytest.mark.parametrize("bits", [64, 128])
def test_the_memory_test_reads_every_bit_of_the_bus_as_0_and_as_1(bits: int) -> None:
    beats = np.frombuffer(memory_test(compiled(zoo.build("digits"), (2, 2, 4, 4), bits)).image(), np.uint8)
    beats = beats.reshape(-1, bits // 8)
    assert (np.bitwise_or.reduce(beats) == 255).all() and (np.bitwise_and.reduce(beats) == 0).all()
    assert len({beat.tobytes() for beat in beats}) > bits / 4, "and neighbours apart"


def test_a_folder_is_the_same_bytes_for_the_same_build(tmp_path: Path) -> None:
    graph = zoo.build("digits")
    first, second = (write(graph, compiled(graph, ARRAYS[1]), tmp_path / name) for name in "ab")
    files = [{path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
             for folder in (first, second)]
    assert files[0] == files[1]
    assert Path("shifthw_driver/registers.py") in files[0] and Path("shifthw.dtso") in files[0]


def damaged(folder: Path, change: str) -> str:
    """What the driver says of a folder that something happened to."""
    about = folder / "driver.json"
    if change == "a file is gone":
        (folder / "network" / "program.bin").unlink()
    elif change == "a file is changed":
        (folder / "network" / "program.bin").write_bytes(b"\0" * 64)
    elif change == "not JSON":
        about.write_text("{")
    elif change == "no folder":
        folder = folder / "none"
    elif change == "format":
        about.write_text(json.dumps({**json.loads(about.read_text()), "format": "shifthw-driver-0"}))
    else:
        values = json.loads(about.read_text())
        del values[change]
        about.write_text(json.dumps(values))
    with pytest.raises(BadFolder) as caught:
        Folder.load(folder)
    return str(caught.value)


@pytest.mark.parametrize(("change", "text"), [
    ("a file is gone", "must be the driver folder of a build"), ("a file is changed", "program.bin: SHA-256 is"),
    ("not JSON", "driver.json: is damaged"), ("no folder", "must be the driver folder of a build"),
    ("format", "another version"), ("jobs", "KeyError: 'jobs'"), ("hardware", "KeyError: 'hardware'"),
])
def test_a_damaged_folder_is_named(change: str, text: str, tmp_path: Path) -> None:
    graph = zoo.build("digits")
    said = damaged(write(graph, compiled(graph, ARRAYS[1]), tmp_path), change)
    assert text in said and "\n" not in said and "copy" in said


@pytest.mark.parametrize(("images", "text"), [
    (np.zeros((1, 1, 8, 7), np.int8), r"must be \(n, 1, 8, 8\)"), (np.zeros((0, 1, 8, 8), np.int8), "n >= 1"),
    (np.full((1, 1, 8, 8), 300), "must be within"), (np.zeros((1, 1, 8, 8), bool), "must be integers"),
])
def test_images_that_do_not_fit_are_refused(images: np.ndarray, text: str, tmp_path: Path) -> None:
    graph = zoo.build("digits")
    job = Folder.load(write(graph, compiled(graph, ARRAYS[1]), tmp_path)).network
    with pytest.raises(BadImages, match=text):
        job.check(images)
