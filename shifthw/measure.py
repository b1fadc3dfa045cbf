"""Measures a build on its board over ssh: copies the driver there, runs its commands, fetches what they found."""

import io
import json
import shlex
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ShifthwError, ToolMissing

REMOTE = "shifthw-driver"
"""Where the driver's folder goes, below the home of the user on the board."""
COMPARISON_FAILED = 1
"""Exit code of a driver's command that ran and found a difference."""

Say = Callable[[str], None]
"""Called with each line that the board prints."""


class MeasurementFailed(ShifthwError):
    """The board could not be reached, or a command on it ended with an error."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """How the board is reached.

    ssh        the program with its options
    host       user@name, or a name of ~/.ssh/config
    folder     on the board, relative to the user's home or absolute
    python     how Python 3 is started there; "sudo -n python3" where registers need root
    backend    of the driver
    """

    host: str
    ssh: Sequence[str] = ("ssh",)
    folder: str = REMOTE
    python: str = "python3"
    backend: str = "auto"

    def copy(self, files: dict[str, bytes]) -> None:
        """Makes the folder on the board hold exactly these files; it must be absent, empty or a driver's."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, content in sorted(files.items()):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o644
                tar.addfile(entry, io.BytesIO(content))
        folder = _quoted(self.folder)
        self._run(f'if [ -n "$(ls -A {folder} 2>/dev/null)" ] && [ ! -f {folder}/driver.json ]; then '
                  f"echo {folder} holds something else than a driver, choose another folder with --remote-folder >&2; "
                  f"exit 3; fi; rm -rf {folder} && mkdir -p {folder} && tar xf - -C {folder}", archive.getvalue())

    def drive(self, verb: str, arguments: Sequence[str], say: Say) -> tuple[int, dict[str, object]]:
        """Exit code and result of a driver's command, whose lines are said as they come."""
        result = f"{verb}.json"
        # -B: as root, Python would leave compiled files that the user cannot remove.
        words = ["-B", "-m", "shifthw_driver", "--backend", self.backend, verb, *arguments, "--json", result]
        command = f"cd {_quoted(self.folder)} && {self.python} {shlex.join(words)}"
        last = ""
        with self._start(command, errors=subprocess.STDOUT) as process:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            for line in process.stdout:
                last = line.decode(errors="replace").rstrip()
                say(last)
        if process.returncode not in (0, COMPARISON_FAILED):
            raise MeasurementFailed(f"{self.host}: `{verb}` ended with {process.returncode}: {last or 'no output'}")
        return process.returncode, self._fetch(result)

    def _fetch(self, name: str) -> dict[str, object]:
        data = self._run(f"cat {_quoted(self.folder)}/{shlex.quote(name)}")
        try:
            values = json.loads(data)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise MeasurementFailed(f"{self.host}: {name} must hold what the driver found, it holds something else: "
                                    "measure again")
        return values

    def _run(self, command: str, sent: bytes = b"") -> bytes:
        with self._start(command, errors=subprocess.PIPE) as process:
            out, errors = process.communicate(sent)
        if process.returncode:
            reason = (errors.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
            raise MeasurementFailed(f"{self.host}: ssh ended with {process.returncode} ({reason}): it must work "
                                    "without a password; try it by hand")
        return out

    def _start(self, command: str, *, errors: int) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen([*self.ssh, self.host, command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                    stderr=errors)
        except FileNotFoundError:
            raise ToolMissing(f"{self.ssh[0]}: must be installed to reach the board, it was not found: install an "
                              "ssh client, or name one with --ssh") from None


def measure(board: Board, driver: Path, *, bench_seconds: float, energy_seconds: float | None, say: Say
            ) -> dict[str, object]:
    """Copies `driver`, a build's driver folder, and measures: {"host", "check", "bench", "energy"}.

    energy_seconds: None leaves the energy out; "energy" is then None, and also where the rails cannot be read, with
    the reason in "energy_failed". MeasurementFailed if the board cannot run the build, or runs it wrong."""
    board.copy({str(path.relative_to(driver)): path.read_bytes() for path in sorted(driver.rglob("*"))
                if path.is_file() and "__pycache__" not in path.parts})
    code, check = board.drive("check", [], say)
    if code:
        raise MeasurementFailed(f"{board.host}: the board's results are not those of the golden model: see above")
    _, speed = board.drive("bench", ["--seconds", f"{bench_seconds:g}"], say)
    found: dict[str, object] = {"host": board.host, "check": check, "bench": speed, "energy": None,
                                "energy_failed": None}
    if energy_seconds is not None:
        try:
            found["energy"] = board.drive("energy", ["--seconds", f"{energy_seconds:g}"], say)[1]
        except MeasurementFailed as error:
            found["energy_failed"] = str(error)
    return found


def _quoted(path: str) -> str:
    """For the shell on the board, a leading ~/ left to it."""
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else shlex.quote(path)
