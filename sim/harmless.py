"""Verilog that can only compute: a simulator of it is a program, and must do nothing else."""

import re
from collections.abc import Mapping

from shifthw.errors import ShifthwError

OPAQUE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\\\S+', re.DOTALL)
"""Comments, strings and escaped identifiers: what they hold is not code."""
ACTION = re.compile(r"\"|`\w*|\$(?!signed\b|unsigned\b)[A-Za-z_]\w*|\b(?:import|export)\b")
"""Open strings, directives, system tasks ($system and $c run anything), foreign functions: emitted Verilog has none."""
NAME = re.compile(r"[A-Za-z_]\w*\.v")
"""Anything else could be taken for an option of the tools."""


class UnsafeVerilog(ShifthwError):
    """A Verilog file asks the simulator to do more than compute."""


def check_harmless(files: Mapping[str, str]) -> None:
    """UnsafeVerilog unless the Verilog `files` (name -> text) consist of plain logic."""
    for name, text in files.items():
        if not NAME.fullmatch(name):
            raise UnsafeVerilog(f"{name!r}: a Verilog file must be named like a module: build again from the model")
        # Three quotes may open a string of another kind, in which the pairs of quotes mean nothing.
        if found := re.search('"""', text) or ACTION.search(OPAQUE.sub(" ", text)):
            raise UnsafeVerilog(f"{name}: must be plain logic as `shifthw build` writes it, it holds {found[0]}, which "
                                "could run programs: build again from the model")
