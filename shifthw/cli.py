"""The command line: verbs, what they print, exit codes (0 done, 1 the comparison failed, 2 an error of the user)."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import cli_board, cli_import, cli_quantize
from .cli_results import ARRAY, check_parts, measured_parts, report_parts, sim_parts
from .cli_text import Part, add_row, make_table, plain
from .errors import ShifthwError

SEEDS = 2 ** 32
MOST_COLUMNS = 500
"""Of a terminal line that a table may take."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, as for every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"shifthw: {plain(message)}: see `{self.prog} --help`\n")


class Stages:
    """Shows the stage that a flow is in, on stderr, if that is a terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bars = Progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
                              console=console, transient=True, disable=not console.is_terminal)
        self._stage, self._task = "", TaskID(0)

    def __enter__(self) -> "Stages":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, stage: str, done: float | None) -> None:
        if stage != self._stage:
            if self._stage:
                self._bars.remove_task(self._task)
            self._stage, self._task = stage, self._bars.add_task(stage, total=None)
        if done is not None:
            self._bars.update(self._task, total=1.0, completed=done)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:      # as nohup wants it
            signal.signal(number, _terminate)
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except ShifthwError as error:
        print(f"shifthw: {plain(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        where = plain(str(error.filename or "the system"))
        print(f"shifthw: {where}: {error.strerror or type(error).__name__}: use another path, or make this one usable",
              file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("shifthw: interrupted", file=sys.stderr)
        return 130


def _terminate(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)          # unwinds, so that temporary folders go


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="shifthw", description="Multiplication-free CNNs as FPGA accelerators.")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    build = verbs.add_parser("build", help="compile a model for a board")
    build.add_argument("model", type=Path, help="model file, written by shifthw.save or `shifthw zoo`")
    build.add_argument("--board", required=True, help="see `shifthw boards`")
    build.add_argument("-o", "--output", type=Path, default=Path("build"), help="folder to write (default: build)")
    build.add_argument("--goal", choices=("throughput", "latency"), default="throughput",
                       help="what the array is chosen for (default: throughput)")
    build.add_argument("--array", type=_array, default={}, metavar="images=2,pixels=8,simd=16,pe=16",
                       help="fix some or all sizes of the array")
    build.add_argument("--clock", type=float, metavar="MHZ", help="clock of the accelerator (default: the board's)")
    build.set_defaults(run=_build)

    sim = verbs.add_parser("sim", help="simulate a build and compare every output with the golden model")
    sim.add_argument("folder", type=Path, help="folder written by `shifthw build`")
    sim.add_argument("--images", type=Path, required=True, metavar="X.npy",
                     help="images of shape (n, c, h, w); or an .npz with images and labels")
    sim.add_argument("--labels", type=Path, metavar="Y.npy", help="class numbers of shape (n,): prints the accuracy")
    sim.add_argument("--limit", type=_positive, metavar="N", help="simulate the first N images only")
    sim.add_argument("--stalls", type=_seed, metavar="SEED",
                     help="pause all channels of the memory bus at random; the cocotb host also those of the registers")
    sim.add_argument("--primitives", action="store_true",
                     help="simulate the lanes as synthesis takes them, in LUT and carry primitives (slow)")
    sim.add_argument("--engine", choices=("cocotb", "fast"),
                     help="who plays the host: the cocotb bench, or a C++ program (default: by the length of the run)")
    sim.add_argument("--cache", type=Path, metavar="FOLDER",
                     help="where simulators are kept, and run from (default: ~/.cache/shifthw/simulators)")
    sim.set_defaults(run=_sim)

    check = verbs.add_parser("check", help="compare the float, the fake-quantized and the integer network")
    check.add_argument("model", type=Path, help="model file, written by shifthw.save or `shifthw zoo`")
    check.add_argument("--images", type=Path, required=True, metavar="X.npy",
                       help="images of shape (n, c, h, w); or an .npz with images and labels")
    check.add_argument("--labels", type=Path, metavar="Y.npy", help="class numbers of shape (n,): prints the accuracy")
    check.add_argument("--limit", type=_positive, metavar="N", help="take the first N images only")
    check.add_argument("--layer-images", type=_positive, metavar="N",
                       help="compare the layers on the first N images (default: 256)")
    check.add_argument("--json", type=Path, metavar="FILE", help="also write the result to this file")
    check.set_defaults(run=_check)

    imports = verbs.add_parser("import", help="turn a checkpoint of a source framework, or a QONNX file, into a model")
    cli_import.add_arguments(imports)
    imports.set_defaults(run=_import)

    quantize = verbs.add_parser("quantize", help="turn a plain float network of PyTorch into a model, without training")
    cli_quantize.add_arguments(quantize)
    quantize.set_defaults(run=_quantize)

    serve = verbs.add_parser("serve", help="simulate a build as a board that the driver can use")
    cli_board.add_serve_arguments(serve)
    serve.set_defaults(run=_serve)

    measure = verbs.add_parser("measure", help="run a build on its board, measure time and energy")
    cli_board.add_measure_arguments(measure)
    measure.set_defaults(run=_measure)

    report = verbs.add_parser("report", help="print the report of a build")
    report.add_argument("folder", type=Path, help="folder written by `shifthw build`")
    report.set_defaults(run=_report)

    boards = verbs.add_parser("boards", help="list the boards")
    boards.set_defaults(run=_boards)

    zoo = verbs.add_parser("zoo", help="list the networks that come with shifthw, or write one")
    zoo.add_argument("name", nargs="?", help="network to write")
    zoo.add_argument("-o", "--output", type=Path, help="model file to write (default: NAME.pt)")
    zoo.add_argument("--reduced", action="store_true", help="with fewer channels and pixels (of seeded networks)")
    zoo.set_defaults(run=_zoo)
    return parser


def _array(text: str) -> dict[str, int]:
    pins: dict[str, int] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name not in ARRAY or not _is_number(value) or name in pins:
            raise argparse.ArgumentTypeError(f"{part!r} must be one of {', '.join(ARRAY)}, =, and a number; each once")
        pins[name] = int(value)
    return pins


def _positive(text: str) -> int:
    if not _is_number(text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number, at least 1")
    return int(text)


def _seed(text: str) -> int:
    if not _is_number(text) or int(text) >= SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number within 0..{SEEDS - 1}")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


# Commands import what they need themselves: `shifthw --help` and a mistyped option need not wait for PyTorch.

def _build(options: argparse.Namespace) -> int:
    from .flow import build_folder
    with Stages() as progress:
        values = build_folder(options.model, options.board, options.output, goal=options.goal, pins=options.array,
                              clock_mhz=options.clock, progress=progress)
    _print(report_parts(values))
    print(plain(f"written to {options.output}"))
    return 0


def _sim(options: argparse.Namespace) -> int:
    from .flow import simulate_folder
    from .image_files import read_labeled
    from .sim.build import Engine
    images, labels = read_labeled(options.images, options.labels, options.limit)
    with Stages() as progress:
        values = simulate_folder(options.folder, images, labels, stalls_seed=options.stalls, progress=progress,
                                 primitives=options.primitives, cache=options.cache,
                                 engine=Engine(options.engine) if options.engine else None)
    _print(sim_parts(values))
    return 0 if values["bit_exact"] and values["cycles_as_predicted"] else 1


def _check(options: argparse.Namespace) -> int:
    from .accuracy import LAYER_IMAGES
    from .flow import check_model
    from .image_files import read_labeled
    images, labels = read_labeled(options.images, options.labels, options.limit)
    with Stages() as progress:
        values = check_model(options.model, images, labels, result=options.json, progress=progress,
                             layer_images=options.layer_images or LAYER_IMAGES)
    _print(check_parts(values))
    return 0


def _import(options: argparse.Namespace) -> int:
    for line in cli_import.run(options):
        print(plain(line))
    return 0


def _quantize(options: argparse.Namespace) -> int:
    with Stages() as progress:
        progress("quantizing", None)
        quantized = cli_quantize.run(options)
    table = make_table(*cli_quantize.COLUMNS)
    for layer in quantized.layers:
        add_row(table, *cli_quantize.cells(layer))
    _print([table])
    for remark in cli_quantize.remarks(quantized, options.output):
        print(plain(remark))       # paths are not wrapped
    return 0


def _serve(options: argparse.Namespace) -> int:
    from .flow import serve_folder
    with Stages() as progress:
        server = serve_folder(options.folder, options.socket, memory_bytes=options.memory << 20, cache=options.cache,
                              progress=progress)
    with server:
        print(plain(f"serving at {options.socket}: use the driver with --backend simulation:{options.socket}"),
              flush=True)
        server.wait()
    return 0


def _measure(options: argparse.Namespace) -> int:
    values = cli_board.measure(options, lambda line: print(plain(line), flush=True))
    _print(measured_parts(values))
    if values["energy_failed"]:
        raise ShifthwError(str(values["energy_failed"]))
    return 0 if values["bench"]["cycles_as_predicted"] else 1


def _report(options: argparse.Namespace) -> int:
    from .flow import read_report
    values, sim, measured = read_report(options.folder)
    parts = _parts_of(options.folder / "report.json", report_parts, values)
    if sim is not None:
        parts += _parts_of(options.folder / "sim.json", sim_parts, sim)
    if measured is not None:
        parts += _parts_of(options.folder / "measured.json", measured_parts, measured)
    _print(parts)
    return 0


def _parts_of(path: Path, make: Callable[[dict[str, Any]], list[Part]], values: dict[str, Any]) -> list[Part]:
    """The file's contents as text, or one line if it does not hold what this tool puts there."""
    try:
        return make(values)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        raise ShifthwError(f"{path}: is damaged: remove it, then build, simulate or measure again") from None


def _boards(options: argparse.Namespace) -> int:
    from . import boards
    from .report import RESOURCES
    table = make_table("board", "part", "clock MHz", *RESOURCES.values(), left=2)
    for name in boards.names():
        board = boards.load(name)
        add_row(table, f"{name}: {board.title}", board.part, f"{board.clock_mhz:.6g}",
             *(f"{getattr(board, resource):,}" for resource in RESOURCES))
    _print([table])
    return 0


def _zoo(options: argparse.Namespace) -> int:
    from . import zoo
    from .emit.bundle import check_writable
    if options.name is None:
        if options.output:
            raise ShifthwError("zoo: -o must come with the name of a network: shifthw zoo NAME -o FILE")
        for name in zoo.names() + zoo.names(seeded=True):
            print(f"{name:22} {zoo.describe(name)}")
        return 0
    output = options.output or Path(f"{options.name}.pt")
    description = zoo.describe(options.name)
    check_writable(output)
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise ShifthwError(f"{output}: must be a file in a folder that exists: choose another with -o")
    zoo.write(options.name, output, reduced=options.reduced)
    print(plain(f"written to {output}: {description}"))
    return 0


def _print(parts: list[Part]) -> None:
    """To a console as wide as the terminal, but never so narrow that the tables break."""
    console = Console()
    width = console.width if console.width >= 100 else 120
    unlimited = Console(width=MOST_COLUMNS)
    needed = [unlimited.measure(part).maximum for part in parts if isinstance(part, Table)]
    console = Console(width=max([width, *needed]))
    for part in parts:
        console.print(part)


if __name__ == "__main__":
    sys.exit(main())
