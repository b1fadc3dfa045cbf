"""Emits projects into folders and runs their scripts under the stand-in for Vivado."""

import shutil
import subprocess
from pathlib import Path

from shifthw.boards import load
from shifthw.emit.project import project_files

HERE = Path(__file__).parent
STUB = HERE / "vivado_stub.tcl"


def tclsh() -> str:
    """Path of tclsh; AssertionError if there is none: these tests are not to be skipped."""
    found = shutil.which("tclsh")
    assert found, "tclsh is not installed: these tests need it (Debian: apt install tcl)"
    return found


def emit(board: str, folder: Path, **options: object) -> Path:
    """Writes the project of `board` and an engine into `folder`; returns its vivado/."""
    (folder / "rtl").mkdir()
    (folder / "rtl" / "engine.v").write_text("module shifthw_engine;\nendmodule\n")
    for path, content in project_files(load(board), engine_files=["rtl/engine.v"], **options).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(content)
    return folder / "vivado"


def run(script: Path, *arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
    """Runs a script as `vivado -mode batch` would; `options` are the stub's."""
    pairs = [word for pair in options.items() for word in pair]
    vivado = ["-mode", "batch", "-notrace", "-nojournal", "-source", str(script), "-tclargs", *arguments]
    return subprocess.run(
        [tclsh(), str(STUB), *pairs, "--", *vivado], capture_output=True, text=True, check=False, timeout=60
    )


def facts(vivado: Path) -> set[str]:
    """What the block design of an emitted project came to."""
    lines = (vivado / "project" / "shifthw.xpr").read_text().splitlines()
    return {line.removeprefix("fact ") for line in lines if line.startswith("fact ")}
