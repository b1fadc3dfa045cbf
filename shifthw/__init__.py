"""Compiler from multiplication-free CNNs in PyTorch to FPGA accelerators.

    shifthw.nn                               layers to train with
    shifthw.save(model, path, example_input) a trained model to a model file
    shifthw.load(path)                       a model file to the integer graph

torch is imported when one of these is first used: the generated hardware's simulation does without it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import nn
    from .frontend.model_file import load, save

__all__ = ["load", "nn", "save"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "nn":
        return importlib.import_module(".nn", __name__)
    if name in ("load", "save"):
        return getattr(importlib.import_module(".frontend.model_file", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
