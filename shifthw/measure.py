"""Measures a build on its board over ssh: copies the driver there, runs its commands, fetches what they found."""

import io
import json
import shlex
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .errors import ShifthwError, ToolMissing

SSH = ("ssh", "-o", "BatchMode=yes")
REMOTE = "shifthw-driver"
"""Where the driver's folder goes, below the home of the user on the board."""
COMPARISON_FAILED = 1
"""Exit code of a driver's command that ran and found a difference; Python's, too, when it stops for a reason of its
own, but then without a result."""
SSH_FAILED = 255
"""Exit code of ssh when it is ssh that failed, and not the command on the board."""
OCCUPIED = "must be absent, empty or a driver's, it holds something else: choose another with --remote-folder"
RECEIVE = """
if [ -n "$(ls -A "$F" 2>/dev/null)" ] && ! grep -qs shifthw-driver- "$F/driver.json"; then
  echo "$OCCUPIED" >&2
  exit 2
fi
# A driver that ran as root may have left what only root can remove; a folder can be renamed all the same.
gone() { rm -rf "$1" 2>/dev/null || remove "$1"; }
NEW="$F.shifthw-new" OLD="$F.shifthw-old"
gone "$NEW" && gone "$OLD" && mkdir -p "$NEW" && tar xf - -C "$NEW" || exit
[ ! -e "$F" ] || mv "$F" "$OLD" || exit
mv "$NEW" "$F" && gone "$OLD"
"""
"""What the board's shell does with the archive at its input: folder F holds exactly that, when all of it is there."""
MOST = 1e18
"""No number of a measurement is this large."""

_EACH = {"mj_per_image": {"mean": float, "ci95": float}}
_ENERGY = {"computation": _EACH, "computation_and_clock": _EACH}
RESULTS: dict[str, dict[str, object]] = {
    "check": {"bit_exact": bool, "images": int, "cycles": int, "cycles_predicted": int, "cycles_as_predicted": bool},
    "bench": {
        "backend": str, "clock_mhz": float, "images_per_batch": int, "frames_per_second": float,
        "frames_per_second_with_packing": float, "latency_ms": {"p50": float, "p90": float, "p99": float},
        "cycles_per_batch": int, "cycles_per_batch_predicted": int, "cycles_as_predicted": bool, "stall_share": float,
        "predicted": {"frames_per_second": float, "latency_ms": float}},
    "energy": {
        "rounds": int, "images": int, "source": str, "warnings": [str],
        "rails": [{"name": str, "includes": str, "readings_per_s": float, "step_w": float, **_ENERGY}],
        "totals": {"accelerator": {"rails": [str], **_ENERGY}},
        "predicted": {"energy_mj_per_image": float, "energy_mark": str, "energy_units": str}},
}
"""Of each command of the driver, what its result must hold for measured.measured_rows; it may hold more."""
NAMES: dict[object, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}

Say = Callable[[str], None]
"""Called with each line that the board prints."""


class MeasurementFailed(ShifthwError):
    """The board could not be reached, or a command on it ended with an error."""


@dataclass(frozen=True, kw_only=True)
class RemoteBoard:
    """How the board is reached.

    ssh        the program with its options
    host       user@name, or a name of ~/.ssh/config
    folder     on the board, relative to the user's home or absolute
    python     how Python 3 is started there; "sudo -n python3" where registers need root
    backend    of the driver
    hwmon      where the sensors are, for the driver; None: where Linux has them
    """

    host: str
    ssh: Sequence[str] = SSH
    folder: str = REMOTE
    python: str = "python3"
    backend: str = "auto"
    hwmon: str | None = None

    @property
    def simulated(self) -> bool:
        """Whether it is a simulation that needs no bitstream."""
        return self.backend.startswith("simulation:")

    def copy(self, files: dict[str, bytes]) -> None:
        """Makes the folder on the board hold exactly these files; it must be absent, empty or a driver's. It changes
        when everything is there."""
        folder = _quoted(self.folder)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, content in sorted(files.items()):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o644
                tar.addfile(entry, io.BytesIO(content))
        remove = "import shutil, sys; shutil.rmtree(sys.argv[1])"
        self._run(f"F={folder}\nOCCUPIED={shlex.quote(OCCUPIED)}\n"
                  f'remove() {{ {self.python} -c {shlex.quote(remove)} "$1"; }}\n{RECEIVE}', archive.getvalue())

    def drive(self, verb: str, arguments: Sequence[str], say: Say) -> tuple[int, bytes]:
        """Exit code and result, a JSON text, of a driver's command, whose lines are said as they come."""
        # -B: as root, Python would leave compiled files that the user cannot remove.
        words = ["-B", "-m", "shifthw_driver", "--backend", self.backend, "--attended", verb, *arguments,
                 "--json", f"{verb}.json"]
        # rm: what is there afterwards is this command's.
        command = f"cd {_quoted(self.folder)} && rm -f {verb}.json && {self.python} {shlex.join(words)}"
        last = ""
        with self._started(command, errors=subprocess.STDOUT) as process:
            assert process.stdout is not None
            for line in process.stdout:
                text = line.decode(errors="replace").rstrip()
                last = text or last
                say(text)
        result = b""
        if process.returncode in (0, COMPARISON_FAILED):
            result = self._run(f"cd {_quoted(self.folder)} && if [ -f {verb}.json ]; then cat {verb}.json; fi")
        if not result:
            raise MeasurementFailed(f"{self.host}: `{verb}` ended with {process.returncode}: {last or 'no output'}")
        return process.returncode, result

    def _run(self, command: str, sent: bytes = b"") -> bytes:
        with self._started(command, errors=subprocess.PIPE) as process:
            out, errors = process.communicate(sent)
        reason = (errors.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        if process.returncode == SSH_FAILED:
            raise MeasurementFailed(f"{self.host}: ssh failed ({reason}): it must work without a password; try it by "
                                    "hand")
        if process.returncode:
            raise MeasurementFailed(f"{self.host}: {self.folder}: {reason}")
        return out

    @contextmanager
    def _started(self, command: str, *, errors: int) -> Iterator[subprocess.Popen[bytes]]:
        try:
            process = subprocess.Popen([*self.ssh, self.host, command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=errors)
        except FileNotFoundError:
            raise ToolMissing(f"{self.ssh[0]}: must be installed to reach the board, it was not found: install an "
                              "ssh client, or name one with --ssh") from None
        with process:
            try:
                yield process
            except BaseException:
                process.kill()          # who interrupts a measurement need not wait for the board
                raise


def measure(board: RemoteBoard, driver: dict[str, bytes], *, bench_seconds: float, energy_seconds: float | None,
            say: Say) -> dict[str, object]:
    """Copies `driver`, the files of a build's driver folder, and measures: {"host", "check", "bench", "energy"}.

    energy_seconds: None leaves the energy out; "energy" is then None, and also where the rails cannot be read, with
    the reason in "energy_failed". MeasurementFailed if the board cannot run the build, runs it wrong, or gives
    results that are none."""
    board.copy(driver)
    code, found = board.drive("check", [], say)
    check = _result(board, "check", found)
    if not check["bit_exact"]:
        raise MeasurementFailed(f"{board.host}: the board's results are not those of the golden model: see above")
    if code:
        raise MeasurementFailed(f"{board.host}: the board's results are right, but took {check['cycles']:,} cycles, "
                                f"must be {check['cycles_predicted']:,} as predicted: copy the bitstream of this build")
    _, found = board.drive("bench", ["--seconds", f"{bench_seconds:g}"], say)
    values: dict[str, object] = {"host": board.host, "check": check, "bench": _result(board, "bench", found),
                                 "energy": None, "energy_failed": None}
    if energy_seconds is not None:
        where = [] if board.hwmon is None else ["--hwmon", board.hwmon]
        try:
            _, found = board.drive("energy", ["--seconds", f"{energy_seconds:g}", *where], say)
        except MeasurementFailed as error:
            return values | {"energy_failed": str(error)}
        values["energy"] = _result(board, "energy", found)
    return values


def _result(board: RemoteBoard, verb: str, data: bytes) -> dict[str, Any]:
    """The result of a driver's command, if it is one."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        values = None
    if wrong := _misfit(values, RESULTS[verb], verb):
        raise MeasurementFailed(f"{board.host}: the driver's {verb}.json is damaged, or of another version of shifthw: "
                                f"{wrong}: build again, then measure again")
    return values


def _misfit(value: object, shape: object, name: str) -> str | None:
    """What of a value is not of the shape, and what it must be; None if all is."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{name} must be an object"
        parts = [(value.get(key), inner, f"{name}.{key}") for key, inner in shape.items()]
    elif isinstance(shape, list):
        if not isinstance(value, list):
            return f"{name} must be a list"
        parts = [(item, shape[0], f"{name}[{number}]") for number, item in enumerate(value)]
    else:
        right = type(value) in ((int, float) if shape is float else (shape,))
        if isinstance(value, (int, float)):
            right &= abs(value) < MOST      # which NaN is not
        return None if right else f"{name} must be {NAMES[shape]}"
    return next((wrong for part in parts if (wrong := _misfit(*part))), None)


def _quoted(path: str) -> str:
    """For the shell on the board, a leading ~/ left to it."""
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else shlex.quote(path)
