"""Synthesis counts of an engine by native Yosys (pyosys, synth_xilinx): estimates, no place and route.

Each shared module is synthesized once, flattened, with the modules below it as black boxes; the counts of
the whole are those of the top module plus each module's times its number of instances. Run as a program
(one per engine, in a process of its own: `python -m bench.synthesis FAMILY FOLDER [TOP [OPTION ...]]`) it prints JSON.
"""

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

LUT_RAM = {"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4,
           "RAM256X1D": 8, "RAM64X1S": 1, "RAM32X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4}
"""LUT sites of the distributed RAM cells."""


def resources_of(cells: Counter[str]) -> dict[str, float]:
    """LUT sites (logic, distributed RAM, shift registers), flip-flops, BRAM36, DSP of Yosys cell counts."""
    def total(*prefixes: str) -> int:
        return sum(count for name, count in cells.items() if name.startswith(prefixes))

    luts = total("LUT", "SRL") + sum(LUT_RAM.get(name, 0) * count for name, count in cells.items())
    unknown = [name for name in cells if name.startswith("RAM") and name not in LUT_RAM
               and not name.startswith(("RAMB18", "RAMB36"))]
    if unknown:
        raise ValueError(f"no LUT count known for {unknown}")
    return {"lut": luts, "ff": total("FD"), "bram36": total("RAMB36") + total("RAMB18") / 2, "dsp": total("DSP48"),
            "carry": total("CARRY"), "lut_ram": sum(LUT_RAM.get(n, 0) * c for n, c in cells.items()),
            "shift_register": total("SRL")}


def module_cells(files: list[Path], top: str, family: str, options: Sequence[str] = ()) -> Counter[str]:
    """Cells of one module, flattened; other files' modules stay cells. `options` are synth_xilinx's."""
    from pyosys import libyosys as yosys

    design = yosys.Design()
    for file in files:
        yosys.run_pass(f"read_verilog {'' if file.stem == top else '-lib '}{file}", design)
    yosys.run_pass(" ".join([f"synth_xilinx -family {family} -noiopad -noclkbuf -flatten -top {top}", *options]),
                   design)
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        yosys.run_pass(f"tee -q -o {report.name} stat -json -top {top} -tech xilinx", design)
        modules = json.loads(Path(report.name).read_text())["modules"]
    return Counter(modules["\\" + top]["num_cells_by_type"])


def engine_cells(folder: Path, family: str, top: str = "shifthw_engine",
                 options: Sequence[str] = ()) -> dict[str, Counter[str]]:
    """Cells by module name; `top` first."""
    files = sorted(folder.glob("*.v"))
    counted: dict[str, Counter[str]] = {}
    waiting = [top]
    while waiting:
        name = waiting.pop()
        if name not in counted:
            counted[name] = module_cells(files, name, family, options)
            waiting += [file.stem for file in files if file.stem in counted[name]]
    return counted


def flatten(counted: dict[str, Counter[str]], name: str) -> Counter[str]:
    """Cells of a module with everything below it."""
    cells: Counter[str] = Counter()
    for cell, count in counted[name].items():
        below = flatten(counted, cell) if cell in counted else Counter({cell: 1})
        for kind, each in below.items():
            cells[kind] += each * count
    return cells


def main() -> None:
    """FAMILY (xc7 or xcup) and a folder of Verilog files, perhaps the top and options; JSON on standard output."""
    family, folder, *rest = sys.argv[1:]
    output = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)             # Yosys prints where Python cannot catch it
    counted = engine_cells(Path(folder), family, *rest[:1], options=rest[1:])
    top = next(iter(counted))
    parts = {name: resources_of(cells) | {"instances": sum(each[name] for each in counted.values())}
             for name, cells in counted.items()}
    json.dump({"total": resources_of(flatten(counted, top)), "modules": parts}, output, indent=1)


if __name__ == "__main__":
    main()
