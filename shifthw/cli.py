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
from rich.text import Text

from . import cli_energy, cli_import, cli_quantize
from .errors import ShifthwError

ARRAY = ("images", "pixels", "simd", "pe")
SEEDS = 2 ** 32
MOST_COLUMNS = 500
"""Of a terminal line that a table may take."""

Part = Text | Table
"""What is printed one below the other."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, as for every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"shifthw: {_plain(message)}: see `{self.prog} --help`\n")


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
    signal.signal(signal.SIGTERM, _terminate)
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except ShifthwError as error:
        print(f"shifthw: {_plain(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        where = _plain(str(error.filename or "the system"))
        print(f"shifthw: {where}: {error.strerror or type(error).__name__}: use another path, or make this one usable",
              file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("shifthw: interrupted", file=sys.stderr)
        return 130


def _terminate(*_: object) -> NoReturn:
    raise SystemExit(143)                   # unwinds, so that temporary folders go


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
    _print(_report_parts(values))
    print(_plain(f"written to {options.output}"))
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
    _print(_sim_parts(values))
    return 0 if values["bit_exact"] and values["cycles_as_predicted"] else 1


def _check(options: argparse.Namespace) -> int:
    from .accuracy import LAYER_IMAGES
    from .flow import check_model
    from .image_files import read_labeled
    images, labels = read_labeled(options.images, options.labels, options.limit)
    with Stages() as progress:
        values = check_model(options.model, images, labels, result=options.json, progress=progress,
                             layer_images=options.layer_images or LAYER_IMAGES)
    _print(_check_parts(values))
    return 0


def _import(options: argparse.Namespace) -> int:
    for line in cli_import.run(options):
        print(_plain(line))
    return 0


def _quantize(options: argparse.Namespace) -> int:
    with Stages() as progress:
        progress("quantizing", None)
        quantized = cli_quantize.run(options)
    table = _table(*cli_quantize.COLUMNS)
    for layer in quantized.layers:
        _row(table, *cli_quantize.cells(layer))
    _print([table])
    for remark in cli_quantize.remarks(quantized, options.output):
        print(_plain(remark))       # paths are not wrapped
    return 0


def _report(options: argparse.Namespace) -> int:
    from .flow import read_report
    values, sim = read_report(options.folder)
    parts = _parts_of(options.folder / "report.json", _report_parts, values)
    if sim is not None:
        parts += _parts_of(options.folder / "sim.json", _sim_parts, sim)
    _print(parts)
    return 0


def _parts_of(path: Path, make: Callable[[dict[str, Any]], list[Part]], values: dict[str, Any]) -> list[Part]:
    """The file's contents as text, or one line if it does not hold what this tool puts there."""
    try:
        return make(values)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        raise ShifthwError(f"{path}: is damaged: remove it, then build or simulate again") from None


def _boards(options: argparse.Namespace) -> int:
    from . import boards
    from .report import RESOURCES
    table = _table("board", "part", "clock MHz", *RESOURCES.values(), left=2)
    for name in boards.names():
        board = boards.load(name)
        _row(table, f"{name}: {board.title}", board.part, f"{board.clock_mhz:.6g}",
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
    print(_plain(f"written to {output}: {description}"))
    return 0


# -- what is printed ---------------------------------------------------------------------------

def _print(parts: list[Part]) -> None:
    """To a console as wide as the terminal, but never so narrow that the tables break."""
    console = Console()
    width = console.width if console.width >= 100 else 120
    unlimited = Console(width=MOST_COLUMNS)
    needed = [unlimited.measure(part).maximum for part in parts if isinstance(part, Table)]
    console = Console(width=max([width, *needed]))
    for part in parts:
        console.print(part)


def _plain(text: str) -> str:
    """One line in which nothing steers the terminal: names come from files of anybody's making."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def _table(*columns: str, left: int = 1) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(_line(column), justify="left" if number < left else "right", no_wrap=True)
    return table


def _row(table: Table, *cells: str, style: str | None = None) -> None:
    table.add_row(*(Text(_plain(cell)) for cell in cells), style=style)


def _line(text: str) -> Text:
    return Text(_plain(text))


def _short(value: float) -> str:
    """At most two decimals."""
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def _report_parts(r: dict[str, Any]) -> list[Part]:
    from .report import RESOURCES
    marks, array = r["marks"], r["array"]
    layers = _table("layer", "kind", "shape", "steps", "cycles", "lanes busy", "DRAM bytes", left=2)
    for row in r["layers"]:
        _row(layers, row["name"], row["kind"], "x".join(map(str, row["shape"])), f"{row['steps']:,}",
             f"{row['cycles']:,}", f"{100 * row['lanes_busy']:.1f} %", f"{row['bytes_moved']:,}")
    _row(layers, f"batch of {array['images']} ({marks['steps']})", "", "", f"{r['steps']:,}",
         f"{r['cycles_per_batch']:,}", f"{100 * r['lanes_busy']:.1f} %", f"{r['bytes_moved']:,}", style="bold")
    resources = _table(f"resources ({marks['resources']})", "used", "of", "share")
    for name, title in RESOURCES.items():
        used, total = r["resources"][name]["used"], r["resources"][name]["total"]
        _row(resources, title, f"{used:,.0f}", f"{total:,}", f"{100 * used / total:.1f} %")
    energy = _table(*cli_energy.columns(r["energy"]), left=cli_energy.LEFT)
    for cells in cli_energy.rows(r["energy"]):
        _row(energy, *cells, style=None if cells[1] else "bold")
    return [
        _line(f"{r['model']} on {r['board_title']}: {' x '.join(f'{array[name]} {name}' for name in ARRAY)} = "
              f"{r['lanes']:,} lanes"),
        layers, resources, energy,
        _line(f"cycles per image: {_short(r['cycles_per_image'])} ({marks['cycles_per_image']})"),
        _line(f"clock: {r['clock_mhz']:.6g} MHz ({marks['clock_mhz']})"),
        _line(f"frames/s: {r['frames_per_second']:,.0f} ({marks['frames_per_second']}), "
              f"{r['latency_ms']:.3g} ms per batch ({marks['latency_ms']})")]


def _sim_parts(s: dict[str, Any]) -> list[Part]:
    stalls = "" if s["stalls_seed"] is None else f", random stalls from seed {s['stalls_seed']}"
    parts: list[Part] = [_line(f"simulated: {s['images']} images ({s['engine']} host{stalls})"),
                         _line(f"bit-exact: {'yes' if s['bit_exact'] else 'no'}")]
    if mismatch := s["first_mismatch"]:
        parts.append(_line(f"first mismatch: {mismatch['layer']}, image {mismatch['image']}, "
                           f"index {mismatch['index']}: expected {mismatch['expected']}, "
                           f"actual {mismatch['actual']}"))
    as_predicted = "as predicted" if s["cycles_as_predicted"] else f"NOT as predicted: {s['cycles_predicted']:,}"
    parts.append(_line(f"cycles per image: {_short(s['cycles_per_image'])} "
                       f"({s['cycles'] - s['stall_cycles']:,} in all, {as_predicted}; "
                       f"{s['stall_cycles']:,} more waiting for the memory)"))
    if s["accuracy"] is not None:
        parts.append(_line(f"accuracy: {100 * s['accuracy']:.2f} %"))
    return parts


def _check_parts(c: dict[str, Any]) -> list[Part]:
    from .accuracy import FAKE, FLOAT, INTEGER, MARKED_NOISE
    networks = (FLOAT, FAKE, INTEGER)
    accuracy = c["accuracy"] or {}
    summary = _table("network", "accuracy", *(f"as {network}" for network in networks))
    for network in networks:
        shared = c["agreement"].get(network, {})
        _row(summary, network, _share(accuracy.get(network)), *(_share(shared.get(other)) for other in networks))
    references = [network for network in networks if network in c["networks"] and network != INTEGER]
    layers = _table("layer", *(f"dB to {network}" for network in references), "noise added",
                    "saturated", "integers used", "")
    for row in c["layers"]:
        _row(layers, _layer(row), *(_decibels(row["snr_db"][name]) for name in references),
             _share(row["noise_added"]), _share(row["saturated"]),
             f"{row['smallest']}..{row['largest']} of {row['lo']}..{row['hi']}", "<-- noise" if row["marked"] else "",
             style="bold" if row["marked"] else None)
    parts: list[Part] = [_line(f"{c['model']}: {c['images']:,} images"), summary,
                         _line(f"activations of the integer network, on {c['layer_images']:,} images:"), layers]
    if not references:
        parts.append(_line("the model file holds the integer network only: save it again to compare it with others"))
    elif not any(row["marked"] for row in c["layers"]):
        parts.append(_line(f"no layer adds {100 * MARKED_NOISE:.1f} % noise against the {references[0]} network"))
    return parts


def _layer(row: dict[str, Any]) -> str:
    """What computes the activation: users know it better than their quantizers."""
    inputs = row["inputs"] or [row["name"]]
    return f"{inputs[0]} + residual" if len(inputs) > 1 else str(inputs[0])


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _decibels(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
