"""From Verilog to a simulator: an executable that runs jobs, cached by the hash of all that goes into it."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from enum import Enum
from importlib.metadata import version
from pathlib import Path

import cocotb_tools.config

from .primitive_models import primitive_models
from .registers_header import registers_header
from .toolchain import Toolchain, find_shared_libpython, find_toolchain

JOBS = 2
"""Compiler processes at a time."""

SHARED_SOURCES = ("failure.hpp", "memory.hpp", "pins.hpp")
"""Of both hosts in C++."""

Progress = Callable[[int, int], None]
"""Called with (done, of) steps."""


class Engine(Enum):
    """Who plays the host around the same Verilog."""

    COCOTB = "cocotb"
    """The cocotb bench: cocotbext-axi's AXI peers, which check the protocol."""
    FAST = "fast"
    """A small C++ program: no Python while it runs."""
    SERVER = "server"
    """A C++ program that a driver in another process tells what to do; it runs no jobs."""


class BuildFailed(RuntimeError):
    """Verilator or the C++ compiler rejected emitted files: a defect of this project, not of its input."""


def build_simulator(
    files: Mapping[str, str], *, top: str, engine: Engine, cache: Path, progress: Progress | None = None
) -> Path:
    """The simulator of the Verilog `files` (name -> text) as an executable below `cache`.

    Models of the device primitives are added as needed. Built at most once per content: a second call returns at
    once. What lies in `cache` is run unseen: it must be the user's own. ToolMissing if a program is absent.
    """
    toolchain = find_toolchain()
    if engine is Engine.COCOTB:
        find_shared_libpython()
    sources = dict(sorted({**files, **primitive_models(files)}.items())) | _host_sources(engine)
    command = _options(engine, top)
    cache = cache.absolute()
    folder = cache / f"{engine.value}-{_key(sources, command)}"
    executable = folder / "simulator"
    if executable.exists():
        os.utime(folder)                    # for those who forget what was not used for long
        return executable
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=cache, prefix="building-"))
    try:
        _compile(scratch, sources, command, toolchain, progress or (lambda done, of: None))
        (scratch / "objects" / "simulator").rename(scratch / "simulator")
        shutil.rmtree(scratch / "objects")
        scratch.rename(folder)
    except OSError:
        if not executable.exists():         # else somebody was faster: same key, same simulator
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return executable


def _host_sources(engine: Engine) -> dict[str, str]:
    if engine is Engine.COCOTB:
        main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
        return {"main.cpp": main.read_text()}
    here = Path(__file__).parent / "fast"
    sources = {name: (here / name).read_text() for name in SHARED_SOURCES}
    if engine is Engine.SERVER:
        return sources | {"main.cpp": (here / "server.cpp").read_text()}
    own = {name: (here / name).read_text() for name in ("main.cpp", "job.hpp")}
    return sources | own | {"registers.hpp": registers_header()}


def _options(engine: Engine, top: str) -> list[str]:
    """Verilator's arguments without the files."""
    options = ["--cc", "--exe", "--Mdir", "objects", "--prefix", "Vtop", "-o", "simulator", "--top-module", top,
               "--no-assert", "-Wno-fatal", "-Wno-WIDTH", "-Wno-UNOPTFLAT", "--output-split", "20000"]
    if engine is Engine.COCOTB:
        libraries = cocotb_tools.config.libs_dir
        options += ["--vpi", "-LDFLAGS", f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator"]
    return options


def _visible_ports(top: str) -> str:
    """Verilator's configuration: of all signals only the top's ports can be reached through VPI."""
    patterns = ("clk", "rst", "irq", "s_axi_*", "m_axi_*")
    lines = [f'public_flat_rw -module "{top}" -var "{pattern}"' for pattern in patterns]
    return "\n".join(["`verilator_config", *lines, ""])


def _key(sources: Mapping[str, str], command: list[str]) -> str:
    digest = hashlib.sha256()
    for part in (version("verilator"), version("cocotb"), *command, *(x for item in sources.items() for x in item)):
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()[:20]


def _compile(
    folder: Path, sources: Mapping[str, str], command: list[str], toolchain: Toolchain, progress: Progress
) -> None:
    for name, text in sources.items():
        (folder / name).write_text(text)
    if "--vpi" in command:
        (folder / "ports.vlt").write_text(_visible_ports(command[command.index("--top-module") + 1]))
    inputs = [*sorted(p.name for p in folder.glob("*.vlt")), *(n for n in sources if not n.endswith(".hpp"))]
    progress(0, 1)
    _run([str(toolchain.perl), str(toolchain.verilator), *command, "-CFLAGS", f"-I{folder}", *inputs],
         folder, toolchain)
    # The generated makefile leaves out the compiler's -include for its precompiled header, so that a build
    # with one (larger designs) fails; naming it here repairs that.
    _run([str(toolchain.make), "-C", "objects", "-f", "Vtop.mk", "-j", str(JOBS),
          "CFG_CXXFLAGS_PCH_I=-include", "OPT_FAST=-O1", "OPT_GLOBAL=-O1"], folder, toolchain, progress)


def _run(command: list[str], folder: Path, toolchain: Toolchain, progress: Progress | None = None) -> None:
    log = folder / "log.txt"
    with log.open("a") as output:
        process = subprocess.Popen(command, cwd=folder, env=toolchain.environment(), stdout=output,
                                   stderr=subprocess.STDOUT)
        try:
            while progress is not None and process.poll() is None:
                progress(*_objects(folder / "objects"))
                try:
                    process.wait(0.2)
                except subprocess.TimeoutExpired:
                    continue
            code = process.wait()
        finally:
            process.terminate()             # make ends its compilers with it
            process.wait()
    if code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise BuildFailed(f"{Path(command[0]).name} ended with {code}:\n{tail}")


def _objects(folder: Path) -> tuple[int, int]:
    """Object files there are, and will be."""
    done = len(list(folder.glob("*.o")))
    return done, max(done, len(list(folder.glob("*.cpp"))) + 6)   # 6: Verilator's run-time library and the host
