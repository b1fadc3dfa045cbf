"""The engine as Verilog files."""

from shifthw.arch import ArrayConfig
from shifthw.rtl.dot_primitive import PrimitiveDot, has_primitives
from shifthw.rtl.engine import Engine
from shifthw.rtl.module_library import ModuleLibrary, emit_module

TOP = "shifthw_engine"


def engine_files(config: ArrayConfig) -> dict[str, str]:
    """Verilog-2001 text by file name: the top module `shifthw_engine` and one file per shared module.

    Plain logic throughout. Equal configurations give equal text.
    """
    library = ModuleLibrary()
    top = emit_module(Engine(config=config, library=library), TOP)
    return {f"{TOP}.v": top, **{f"{name}.v": text for name, text in library.emit().items()}}


def primitive_files(config: ArrayConfig, family: str) -> dict[str, str]:
    """Other bodies of some of engine_files' modules, of the same file names, made of a family's primitives.

    Smaller, equal in every output bit and cycle, and much slower to simulate. `family` is "xc7" or "xcup"; empty
    where there are none for the configuration.
    """
    if not has_primitives(family, config.activation_bits, config.exponent_levels):
        return {}
    dot = PrimitiveDot(activation_bits=config.activation_bits, exponent_levels=config.exponent_levels,
                       zero_weights=config.zero_weights, simd=config.simd, adder=config.adder, family=family)
    return {f"{dot.module_name}.v": emit_module(dot, dot.module_name)}
