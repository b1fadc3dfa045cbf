"""Pythons with numpy that are not this machine's: a board's CPU under qemu-user, a board image's old Python.

Nothing is installed into the system: packages of the other CPU are fetched by apt, with folders and a status of its
own, from where the system's packages come from, and unpacked.

    python3 tests/boards/driver/foreign_root.py armhf|arm64|python3.8 FOLDER      prints the command
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NUMPY = "python3-numpy"
OLD = "python3.8"
SECONDS = 900
"""For a command that fetches packages."""


class NotToBeHad(Exception):
    """This machine cannot have that Python; why."""


@dataclass(frozen=True)
class Cpu:
    """A CPU of Debian.

    debian : what Debian calls it
    qemu : who plays it
    triplet : where its libraries lie
    """

    debian: str
    qemu: str
    triplet: str


CPUS = {cpu.debian: cpu for cpu in (Cpu("armhf", "qemu-arm-static", "arm-linux-gnueabihf"),
                                    Cpu("arm64", "qemu-aarch64-static", "aarch64-linux-gnu"))}


def command(name: str, cache: Path) -> list[str]:
    """What starts the Python called `name`, which is made in `cache` unless it is there; NotToBeHad if that fails."""
    if name == OLD:
        return [str(_old_python(cache / name))]
    cpu = CPUS[name]
    root = cache / name
    if not shutil.which(cpu.qemu):
        raise NotToBeHad(f"{cpu.qemu} is not installed: apt-get install qemu-user-static")
    if not root.exists():
        _unpack(cpu, root)
    libraries = root / "usr" / "lib" / cpu.triplet
    # Absolute paths, for qemu does not look up every path below -L.
    variables = {"LD_LIBRARY_PATH": f"{libraries}/blas:{libraries}/lapack", "PYTHONHOME": f"{root}/usr",
                 "PYTHONPATH": f"{root}/usr/lib/python3/dist-packages"}
    return [cpu.qemu, "-L", str(root), *(word for item in variables.items() for word in ("-E", "=".join(item))),
            f"{root}/usr/bin/python3"]


def _unpack(cpu: Cpu, root: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        scratch = Path(folder)
        for part in ("state/lists/partial", "cache/archives/partial", "root"):
            (scratch / part).mkdir(parents=True)
        (scratch / "status").touch()        # nothing is installed: apt finds all that numpy needs
        options = {"Dir::State": scratch / "state", "Dir::State::status": scratch / "status",
                   "Dir::Cache": scratch / "cache", "APT::Architecture": cpu.debian, "APT::Architectures": cpu.debian,
                   "APT::Sandbox::User": "root"}
        apt = ["apt-get", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
        # An archive that fails, as of security updates in the middle of a change, does no harm if the others have all.
        updated = _ran([*apt, "update"])
        fetched = _ran([*apt, "-y", "--no-install-recommends", "--download-only", "install", NUMPY])
        if fetched.returncode:
            raise NotToBeHad(f"apt does not get {NUMPY} for {cpu.debian}: {_reason(fetched)}; apt-get update: "
                             f"{_reason(updated)}")
        for package in sorted((scratch / "cache" / "archives").glob("*.deb")):
            unpacked = _ran(["dpkg-deb", "-x", str(package), str(scratch / "root")])
            if unpacked.returncode:
                raise NotToBeHad(f"dpkg-deb does not unpack {package.name}: {_reason(unpacked)}")
        shutil.rmtree(scratch / "root" / "usr" / "share")
        (scratch / "root").rename(root)


def _old_python(folder: Path) -> Path:
    python = folder / "bin" / "python"
    if python.exists():
        return python
    found = [shutil.which(OLD), *Path.home().glob(f".pyenv/versions/3.8.*/bin/{OLD}")]
    works = [path for path in found if path and _ran([str(path), "-c", "import venv, ensurepip"]).returncode == 0]
    if not works:
        raise NotToBeHad(f"{OLD} with venv is not installed, nor there for pyenv")
    folder.parent.mkdir(parents=True, exist_ok=True)
    for words in ([str(works[0]), "-m", "venv", str(folder)],
                  [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "numpy"]):
        done = _ran(words)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise NotToBeHad(f"{shlex.join(words)} failed: {_reason(done)}")
    return python


def _ran(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL,
                              env={**os.environ, "LC_ALL": "C"})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotToBeHad(f"{words[0]}: {error}") from None


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    said = [line for line in lines if line.startswith("E:")] or lines
    return said[0] if said else f"exit code {done.returncode}"


if __name__ == "__main__":
    print(shlex.join(command(sys.argv[1], Path(sys.argv[2]).absolute())))
