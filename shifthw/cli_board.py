"""The arguments of `shifthw serve` and `shifthw measure`."""

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .measure import REMOTE, SSH, RemoteBoard

BENCH_SECONDS, ENERGY_SECONDS = 10.0, 30.0
MEMORY_MIB = 64


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `shifthw serve`."""
    parser.add_argument("folder", type=Path, help="folder written by `shifthw build`")
    parser.add_argument("--socket", type=Path, required=True, help="local socket to make")
    parser.add_argument("--memory", type=_mebibytes, default=MEMORY_MIB, metavar="MIB",
                        help="memory that driver and engine share (default: %(default)s)")
    parser.add_argument("--cache", type=Path, metavar="FOLDER",
                        help="where simulators are kept, and run from (default: ~/.cache/shifthw/simulators)")


def add_measure_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `shifthw measure`."""
    parser.add_argument("folder", type=Path, help="folder written by `shifthw build`, its bitstream in driver/")
    parser.add_argument("--host", type=_host, required=True, metavar="USER@BOARD", help="the board, as ssh knows it")
    parser.add_argument("--seconds", type=_seconds, default=ENERGY_SECONDS,
                        help="energy: of each phase; idle, idle with clock, running (default: %(default)g)")
    parser.add_argument("--bench-seconds", type=_seconds, default=BENCH_SECONDS, metavar="SECONDS",
                        help="for frames/s and latency (default: %(default)g)")
    parser.add_argument("--no-energy", action="store_true", help="time only")
    parser.add_argument("--hwmon", type=_text, metavar="FOLDER",
                        help="on the board, where its sensors are (default: /sys/class/hwmon)")
    parser.add_argument("--python", type=_text, default="python3", metavar="COMMAND",
                        help="Python on the board, e.g. 'sudo -n python3' (default: %(default)s)")
    parser.add_argument("--backend", type=_text, default="auto",
                        help="of the driver: auto, pynq, linux (default: %(default)s)")
    parser.add_argument("--remote-folder", type=_text, default=REMOTE, metavar="FOLDER",
                        help="on the board, for the driver (default: %(default)s)")
    parser.add_argument("--ssh", type=_command, default=SSH, metavar="COMMAND",
                        help=f"ssh with options of yours (default: {shlex.join(SSH)})")


def measure(options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """`shifthw measure`: what flow.measure_folder gives."""
    from .flow import measure_folder
    board = RemoteBoard(host=options.host, ssh=options.ssh, folder=options.remote_folder, python=options.python,
                        backend=options.backend, hwmon=options.hwmon)
    return measure_folder(options.folder, board, bench_seconds=options.bench_seconds, say=say,
                          energy_seconds=None if options.no_energy else options.seconds)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds, more than 0")
    return seconds


def _host(text: str) -> str:
    if not text or text.startswith("-"):        # ssh would take it for an option
        raise argparse.ArgumentTypeError(f"{text!r} must be a name of a host")
    return text


def _text(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def _command(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if not words:
        raise argparse.ArgumentTypeError(f"{text!r} must be a command as a shell takes it")
    return words


def _mebibytes(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 4096):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of MiB within 1..4096")
    return int(text)
