"""The report of a build: what runs how long, what it takes of the board, and how sure each figure is."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from .energy import energy_report
from .ir.graph import Graph
from .lower.resources import Resources
from .measured import Row
from .program import Program

EXACT, ESTIMATED, ASSUMED = "exact", "estimated", "assumed"
MARKS = {
    "steps": EXACT, "cycles_per_image": EXACT, "cycles_per_batch": EXACT, "lanes_busy": EXACT, "bytes_moved": EXACT,
    "resources": ESTIMATED, "frames_per_second": ESTIMATED, "latency_ms": ESTIMATED, "clock_mhz": ASSUMED,
}
"""exact: the simulation counts the same; estimated: from a model; assumed: a setting that nothing here proves."""

PLATFORMS = {"asic_45nm": "45 nm ASIC", "fpga_zc706": "ZC706"}
"""Columns of the energy model."""
MEMORIES = {"dram": "DRAM", "global_buffer": "on-chip memories", "noc": "NoC", "registers": "accumulators"}
"""Its levels of memory, as what they are in the engine."""
RESOURCES = {"lut": "LUTs", "ff": "flip-flops", "bram36": "block RAMs (36 Kbit)", "dsp": "DSP slices"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """What of a board a report needs: its names, the clock in MHz, the totals of its part."""

    name: str
    title: str
    clock_mhz: float
    totals: dict[str, int]
    """By the names in RESOURCES."""


def report(graph: Graph, program: Program, estimate: Resources, target: Target) -> dict[str, object]:
    """The contents of report.json. `program` must be compiled from `graph`."""
    c = program.config
    cycles_per_image = program.cycles_per_batch / c.images
    table = _layers(program)
    return {
        "model": program.name,
        "board": target.name,
        "board_title": target.title,
        "array": {"images": c.images, "pixels": c.pixels, "simd": c.simd, "pe": c.pe},
        "lanes": c.lanes,
        "layers": table,
        "copies": sum(1 for layer in program.layers if layer.copy),
        "steps": sum(layer.steps for layer in program.layers),
        "macs_per_image": sum(layer.macs for layer in program.layers),
        "cycles_per_batch": program.cycles_per_batch,
        "cycles_per_image": _short(cycles_per_image),
        "lanes_busy": program.busy,
        "bytes_moved": program.input_batch_bytes + program.output_batch_bytes,
        "program_bytes": len(program.image()),
        "clock_mhz": target.clock_mhz,
        "frames_per_second": target.clock_mhz * 1e6 / cycles_per_image,
        "latency_ms": program.cycles_per_batch / target.clock_mhz / 1e3,
        "resources": {name: {"used": round(getattr(estimate, name), 1), "total": target.totals[name]}
                      for name in RESOURCES},
        "energy": energy_report(graph, program),
        "marks": MARKS,
    }


def predicted(values: dict[str, Any]) -> dict[str, object]:
    """Of the contents of report.json what a measurement on the board is compared with."""
    energy = values["energy"]["with_memory"]["fpga_zc706"]["total_pj"]
    return {"frames_per_second": values["frames_per_second"], "latency_ms": values["latency_ms"],
            "energy_mj_per_image": energy / 1e9, "energy_mark": values["energy"]["mark"],
            "energy_units": "unit energies of ZC706, memory of an ASIC"}


def _layers(program: Program) -> list[dict[str, object]]:
    """Rows whose cycles add up to the batch's: the layers, then loads, stores and the loop."""
    rows: list[dict[str, object]] = [
        {"name": layer.name, "kind": layer.kind, "shape": list(program.tensors[layer.output].shape),
         "steps": layer.steps, "cycles": layer.cycles, "macs": layer.macs, "lanes_busy": layer.busy, "bytes_moved": 0,
         "copy": layer.copy}
        for layer in program.layers]
    rest = program.cycles_per_batch - sum(layer.cycles for layer in program.layers)
    transfer = {"name": "(load, store, table, loop)", "kind": "transfer", "shape": list(program.result_shape),
                "steps": 0, "cycles": rest, "macs": 0, "lanes_busy": 0.0, "copy": "",
                "bytes_moved": program.input_batch_bytes + program.output_batch_bytes}
    return [*rows, transfer]


def report_page(values: dict[str, object], measured: Sequence[Row] = ()) -> str:
    """report.html: one page that needs nothing else; with rows of what was measured, if it was."""
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("report.html.jinja").read_text(encoding="utf-8"))
    return template.render(r=values, measured=measured, resource_names=RESOURCES, platforms=PLATFORMS,
                           memories=MEMORIES) + "\n"


def _short(value: float) -> float | int:
    return int(value) if value == int(value) else value
