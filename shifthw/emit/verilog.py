"""The engine as Verilog files."""

from shifthw.arch import ArrayConfig
from shifthw.rtl.engine import Engine
from shifthw.rtl.module_library import ModuleLibrary, emit_module

TOP = "shifthw_engine"


def engine_files(config: ArrayConfig) -> dict[str, str]:
    """Verilog-2001 text by file name: the top module `shifthw_engine` and one file per shared module.

    Equal configurations give equal text.
    """
    library = ModuleLibrary()
    top = emit_module(Engine(config=config, library=library), TOP)
    return {f"{TOP}.v": top, **{f"{name}.v": text for name, text in library.emit().items()}}
