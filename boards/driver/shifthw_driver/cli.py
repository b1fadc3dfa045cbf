"""The commands on the board: what they print, exit codes (0 done, 1 a comparison failed, 2 something must be fixed)."""

import argparse
import io
import json
import os
import signal
import sys
import threading
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Iterator, NoReturn, Optional, Sequence

import numpy as np

from . import arrays, bench, energy, energy_run, hwmon, selfcheck
from . import images as image_rules
from .accelerator import Accelerator
from .backend import Backend
from .errors import BadImages, DriverError, NoHardware
from .folder import Folder
from .settings import Settings

HERE = Path(__file__).resolve().parent.parent
"""The driver's folder, in which this package lies."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, as for every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"shifthw_driver: {message}: see `python3 -m shifthw_driver --help`\n")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs one command; returns its exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:      # as nohup wants it
            signal.signal(number, _terminate)   # unwinds, so that the engine is reset and its clock set back
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    if options.attended:
        threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        folder = Folder.load(options.folder)
        options.prepare(folder, options)
        with _accelerator(folder, options) as accelerator:
            return int(options.run(accelerator, options))
    except BrokenPipeError:                     # nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())     # or Python complains when it ends
        return 2
    except DriverError as error:
        return _fail(str(error))
    except MemoryError:
        return _fail("memory: is too small, must hold the images: give fewer at a time")
    except OSError as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}: use another path, or make this one "
                     "usable")
    except KeyboardInterrupt:
        _fail("interrupted")
        return 130


def _fail(text: str) -> int:
    print(f"shifthw_driver: {text}", file=sys.stderr)
    return 2


def _end_with_input() -> None:
    """Over ssh without a terminal nothing else tells that whoever started this is gone."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _terminate(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="shifthw_driver", description="Runs a shifthw build on its board.")
    parser.add_argument("--folder", type=Path, default=HERE, help="driver folder of the build (default: this one)")
    parser.add_argument("--backend", default="auto", metavar="auto|pynq|linux|simulation:SOCKET",
                        help="how the engine is reached (default: PYNQ if it is installed, else Linux)")
    parser.add_argument("--attended", action="store_true", help="end when the standard input does")
    parser.add_argument("--no-bitstream", action="store_true", help="use the bitstream that is loaded already")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND")
    verbs.required = True

    check = verbs.add_parser("check", help="self-checks, then the golden vectors of this build")
    check.set_defaults(run=_check, prepare=_try_json)
    run = verbs.add_parser("run", help="classify images")
    run.add_argument("images", type=Path, help=".npy of shape (n, c, h, w)")
    run.add_argument("-o", "--output", type=Path, required=True, help=".npy to write, int64 (n, c, h, w)")
    run.add_argument("--labels", type=Path, help=".npy of class numbers (n,): prints the accuracy")
    run.set_defaults(run=_run, prepare=_try_images)
    speed = verbs.add_parser("bench", help="frames per second, latency, cycles and stalls")
    speed.set_defaults(run=_bench, prepare=_try_json)
    joules = verbs.add_parser("energy", help="millijoules per image, from the board's power rails")
    joules.add_argument("--hwmon", type=Path, default=hwmon.FOLDER, help="where the sensors are (default: %(default)s)")
    joules.set_defaults(run=_energy, prepare=_try_json)
    for verb, seconds, of in ((speed, 10.0, "in all"), (joules, 30.0, "of each: idle, idle with clock, running")):
        verb.add_argument("--seconds", type=_seconds, default=seconds, help=f"how long {of} (default: %(default)g)")
    for verb, name in ((check, "check"), (speed, "bench"), (joules, "energy")):
        verb.add_argument("--json", type=Path, help=f"where the result is written (default: {name}.json in the folder)")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds, more than 0")
    return seconds


@contextmanager
def _accelerator(folder: Folder, options: argparse.Namespace) -> Iterator[Accelerator]:
    """Ready for inference: bitstream, clock, identification, memory test."""
    with open_backend(options.backend, folder.settings) as backend:
        accelerator = Accelerator(backend, folder)
        accelerator.configure(load_bitstream=not options.no_bitstream)
        _say(f"engine: config {folder.config:#010x} as built, {backend.clock_mhz():.6g} MHz, {backend.name}")
        for note in accelerator.notes:
            _say(note)
        try:
            _say(f"memory test: {selfcheck.check_memory(accelerator)}")
            yield accelerator
        finally:
            accelerator.close()


def open_backend(name: str, settings: Settings) -> Backend:
    """The backend that `--backend` names; NoHardware if there is none of that name, or not what it needs."""
    if name.startswith("simulation:"):
        from .simulation import SimulationBackend
        return SimulationBackend(Path(name.split(":", 1)[1]))
    if name == "auto":
        name = _best_backend()
    if name == "pynq":
        from .pynq_backend import PynqBackend
        return PynqBackend(settings)
    if name == "linux":
        from .linux import LinuxBackend
        return LinuxBackend(settings)
    raise NoHardware(f"--backend: is {name!r}, must be auto, pynq, linux or simulation:SOCKET")


def _best_backend() -> str:
    if find_spec("pynq"):
        return "pynq"
    from .pynq_backend import environment
    python = environment()
    if python is not None:
        raise NoHardware(f"PYNQ: is not in this Python, must be started in its own: sudo env XILINX_XRT=/usr {python} "
                         "-B -m shifthw_driver, or choose --backend linux")
    return "linux"


def _check(accelerator: Accelerator, options: argparse.Namespace) -> int:
    result = selfcheck.check_golden(accelerator)
    _say(f"golden vectors: {result['images']} images, bit-exact: {'yes' if result['bit_exact'] else 'no'}")
    if result["first_mismatch"]:
        first: Any = result["first_mismatch"]
        _say(f"first mismatch: image {first['image']}, index {first['index']}: expected {first['expected']}, "
             f"actual {first['actual']}")
    _say(f"cycles: {result['cycles']:,} and {result['stall_cycles']:,} waiting for the memory, "
         + ("as predicted" if result["cycles_as_predicted"] else f"NOT as predicted: {result['cycles_predicted']:,}"))
    _write_json(options, result)
    return 0 if result["bit_exact"] and result["cycles_as_predicted"] else 1


# What users give is looked at before the board does anything.

def _try_images(folder: Folder, options: argparse.Namespace) -> None:
    pictures = _images(options)
    image_rules.check(pictures, folder.preprocess, folder.network)
    if options.labels is not None:
        _labels(options.labels, len(pictures))
    output = options.output
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise DriverError(f"{output}: must be a file in a folder that exists: choose another with -o")
    if output.exists() and output.samefile(options.images):
        raise DriverError(f"{output}: must be another file than that of the images: choose another with -o")


def _try_json(_: Folder, options: argparse.Namespace) -> None:
    path = _json_path(options)
    with path.open("a", encoding="utf-8") as file:
        empty = file.tell() == 0
    if empty:
        path.unlink()


def _json_path(options: argparse.Namespace) -> Path:
    return Path(options.json or options.folder / f"{options.verb}.json")


def _images(options: argparse.Namespace) -> np.ndarray:
    return arrays.read(options.images, 4, "images (n, c, h, w)")


def _labels(path: Path, count: int) -> np.ndarray:
    labels = arrays.read(path, 1, "labels (n,)")
    if len(labels) != count or labels.dtype.kind not in "iu":
        raise BadImages(f"{path}: labels are {labels.dtype} of shape {labels.shape}, must be {count} integers, one per "
                        "image")
    return labels


def _run(accelerator: Accelerator, options: argparse.Namespace) -> int:
    pictures = _images(options)
    labels = None if options.labels is None else _labels(options.labels, len(pictures))
    outputs, counted = accelerator.classify(pictures)
    with options.output.open("wb") as file:
        np.save(file, outputs)
    cycles = sum(run.working_cycles for run in counted)
    seconds = sum(run.seconds for run in counted)
    _say(f"{len(outputs):,} images in {1e3 * seconds:.4g} ms on the engine, {cycles / len(outputs):,.1f} cycles each")
    if labels is not None:
        right = outputs.reshape(len(outputs), -1).argmax(axis=1) == labels
        _say(f"accuracy: {100 * float(right.mean()):.2f} %")
    _say(f"written to {options.output}")
    return 0


def _bench(accelerator: Accelerator, options: argparse.Namespace) -> int:
    result = bench.bench(accelerator, options.seconds)
    for line in bench.lines(result):
        _say(line)
    _write_json(options, result)
    return 0 if result["cycles_as_predicted"] else 1


def _energy(accelerator: Accelerator, options: argparse.Namespace) -> int:
    result = energy_run.measure(accelerator, options.seconds, options.hwmon)
    for line in energy.lines(result):
        _say(line)
    predicted = result["predicted"]
    _say(f"{predicted['energy_mark']} ({predicted['energy_units']}): {predicted['energy_mj_per_image']:.4g} mJ/image")
    _write_json(options, result)
    return 0


def _write_json(options: argparse.Namespace, result: Any) -> None:
    _json_path(options).write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _say(line: str) -> None:
    print(line, flush=True)
