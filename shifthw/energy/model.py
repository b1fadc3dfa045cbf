"""The contents of report.json's `energy`: a network as it is, and the same network with multiplications."""

from dataclasses import dataclass
from functools import reduce
from operator import add

from ..ir.graph import Graph
from ..lower.compile import prepare
from ..lower.network import Kind, Layer
from ..program import Program
from .accesses import TRANSFER, Accesses, program_accesses
from .operations import NO_OPERATIONS, LayerOperations, in_floats, layer_operations
from .units import MEMORY_PJ, OPERATION_PJ, Counts, Operation, Platform, memory_pj, operations_pj

MODEL = "model, not measurement"
"""Stands beside every figure of energy."""

WORK = {Kind.CONV: "shift", Kind.BILINEAR: "shift", Kind.ADDER: "adder", Kind.SUM_POOL: "pool", Kind.MAX_POOL: "pool"}
"""Kinds of layers that compute."""


@dataclass(frozen=True)
class _Part:
    """A layer, what loads and stores, or all of them: operations per image, accesses per batch."""

    name: str
    kind: str
    operations: LayerOperations
    accesses: Accesses
    multiplying_accesses: Accesses

    def __add__(self, other: "_Part") -> "_Part":
        return _Part("", "", self.operations + other.operations, self.accesses + other.accesses,
                     self.multiplying_accesses + other.multiplying_accesses)


def energy_report(graph: Graph, program: Program) -> dict[str, object]:
    """Counts and pJ per image, by layer and in total. `program` must be compiled from `graph`.

    `ratio` is the energy with multiplications over the energy as it is; None where there is no operation.
    """
    parts, images = _parts(graph, program), program.config.images
    whole = reduce(add, parts)
    floats = in_floats(whole.operations.all_multiplying)
    return {
        "mark": MODEL,
        "layers": [_row(part, whole, images) for part in parts],
        "total": _row(whole, whole, images),
        "with_memory": {platform.value: _with_memory(whole, platform, images) for platform in Platform},
        "multiplying_fp32_pj": {platform.value: _short(operations_pj(floats, platform)) for platform in Platform},
        "shares": {platform.value: _shares(parts, platform) for platform in Platform},
        "memory_shares": _memory_shares(whole.accesses),
        "operation_pj": {platform.value: {f"{form.value} {operation.value}": pj
                                          for (operation, form), pj in OPERATION_PJ[platform].items()}
                         for platform in Platform},
        "memory_pj_per_16_bits": {level.value: pj for level, pj in MEMORY_PJ.items()},
    }


def _parts(graph: Graph, program: Program) -> list[_Part]:
    """The layers in order, then the transfers."""
    network = prepare(graph)
    moved, multiplying = program_accesses(program), program_accesses(program, multiplying=True)
    parts = []
    for layer in network.layers:
        operations = layer_operations(layer, network, program.config)
        parts.append(_Part(layer.name, _kind(layer, operations), operations, moved[layer.output],
                           multiplying[layer.output]))
    return [*parts, _Part("(load, store, table, loop)", "transfer", NO_OPERATIONS, moved[TRANSFER],
                          multiplying[TRANSFER])]


def _kind(layer: Layer, operations: LayerOperations) -> str:
    """What a layer does; without an operation of the lanes it is there for what stands behind them, or a copy."""
    if operations.array:
        return WORK[layer.kind]
    if layer.residual:
        return "product" if layer.scale and layer.scale.factor else "sum"
    return "table" if layer.lookup else "copy"


def _row(part: _Part, whole: _Part, images: int) -> dict[str, object]:
    operations = part.operations
    return {
        "name": part.name, "kind": part.kind, "format": operations.format,
        "operations": _numbers(operations.array), "requantize": _numbers(operations.requantize),
        "multiplying_operations": _numbers(operations.multiplying), "zero_terms": operations.zero_terms,
        "bits_per_batch": vars(part.accesses), "multiplying_bits_per_batch": vars(part.multiplying_accesses),
        **{platform.value: _energies(operations, whole.operations, platform) for platform in Platform},
        "memory_pj": _memory(part.accesses, images),
        "multiplying_memory_pj": _memory(part.multiplying_accesses, images),
    }


def _numbers(counts: Counts) -> dict[str, int]:
    """By operation, whatever the format."""
    return {operation.value: sum(count for (kind, _), count in counts.items() if kind is operation)
            for operation in Operation}


def _energies(operations: LayerOperations, whole: LayerOperations, platform: Platform) -> dict[str, object]:
    """pJ per image: of the lanes by operation, of requantize, in all, with multiplications; share of the network."""
    total, everything = operations_pj(operations.all, platform), operations_pj(whole.all, platform)
    by_operation = {f"{operation.value}_pj": _short(operations_pj(
        Counts({unit: count for unit, count in operations.array.items() if unit[0] is operation}), platform))
        for operation in (Operation.SHIFT, Operation.ADD)}
    return {**by_operation, "requantize_pj": _short(operations_pj(operations.requantize, platform)),
            **_compared(total, operations_pj(operations.all_multiplying, platform)),
            "share": total / everything if everything else 0.0}


def _compared(energy: float, multiplying: float) -> dict[str, object]:
    return {"total_pj": _short(energy), "multiplying_pj": _short(multiplying),
            "ratio": multiplying / energy if energy else None}


def _with_memory(whole: _Part, platform: Platform, images: int) -> dict[str, object]:
    return _compared(operations_pj(whole.operations.all, platform) + _memory(whole.accesses, images),
                     operations_pj(whole.operations.all_multiplying, platform)
                     + _memory(whole.multiplying_accesses, images))


def _memory(accesses: Accesses, images: int) -> float:
    """pJ per image."""
    return _short(memory_pj(accesses.levels) / images)


def _shares(parts: list[_Part], platform: Platform) -> dict[str, float]:
    """Of the operations' energy: the lanes by kind of layer, and requantize."""
    energies = dict.fromkeys(WORK.values(), 0.0)
    for part in parts:
        if part.kind in energies:
            energies[part.kind] += operations_pj(part.operations.array, platform)
    energies["requantize"] = sum(operations_pj(part.operations.requantize, platform) for part in parts)
    return _divided(energies)


def _memory_shares(accesses: Accesses) -> dict[str, float]:
    """Of the memory's energy, by level."""
    return _divided({level.value: memory_pj({level: bits}) for level, bits in accesses.levels.items()})


def _divided(energies: dict[str, float]) -> dict[str, float]:
    whole = sum(energies.values())
    return {name: energy / whole if whole else 0.0 for name, energy in energies.items()}


def _short(pj: float) -> float:
    return round(pj, 3)
