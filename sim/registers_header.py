"""The register map as a C++ header, for the host side that is written in C++."""

from shifthw import registers

NAMES = ("ID", "CONFIG", "CONTROL", "STATUS", "ERROR", "PROGRAM_ADDRESS", "PROGRAM_BEATS", "INPUT_ADDRESS",
         "OUTPUT_ADDRESS", "BATCHES", "CYCLES", "STALL_CYCLES", "BATCH_CYCLES", "BATCHES_DONE")


def registers_header() -> str:
    """C++ constants in namespace `registers`: addresses, bits of CONTROL and STATUS."""
    constants = {name: int(registers.Register[name]) for name in NAMES} | {
        "ID_VALUE": registers.ID,
        "LOAD_PROGRAM": int(registers.Control.LOAD_PROGRAM),
        "START": int(registers.Control.START),
        "PROGRAM_LOADED": int(registers.Status.PROGRAM_LOADED),
        "DONE": int(registers.Status.DONE),
        "FAILED": int(registers.Status.ERROR),
    }
    lines = [f"constexpr uint32_t {name} = {value:#x};" for name, value in constants.items()]
    return "\n".join(["#pragma once", "#include <cstdint>", "namespace registers {", *lines, "}", ""])
