"""The engine as Verilog files."""

from shifthw.arch import ArrayConfig
from shifthw.rtl.engine import Engine
from shifthw.rtl.module_library import ModuleLibrary, emit_module

TOP = "shifthw_engine"


def engine_files(config: ArrayConfig, family: str | None = None) -> dict[str, str]:
    """Verilog-2001 text by file name: the top module `shifthw_engine` and one file per shared module.

    With a device family, "xc7" or "xcup", the dot products are made of its primitives, which the vendor's tools
    have and the simulator build adds; without one all is plain logic. Equal arguments give equal text.
    """
    library = ModuleLibrary()
    top = emit_module(Engine(config=config, library=library, family=family), TOP)
    return {f"{TOP}.v": top, **{f"{name}.v": text for name, text in library.emit().items()}}
