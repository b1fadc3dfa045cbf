"""Simulation models of the device primitives that emitted Verilog may contain."""

import re
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "primitives"


def primitive_models(files: Mapping[str, str]) -> dict[str, str]:
    """Verilog by file name of the models that the modules in `files` (name -> text) need, if any."""
    models = {path.name: path.read_text() for path in sorted(FOLDER.glob("*.v"))}
    return {name: text for name, text in models.items()
            if any(re.search(rf"\b{Path(name).stem}\b", each) for each in files.values())}
