"""Energy per image of the zoo's networks, MODEL, NOT MEASUREMENT: `python -m bench.energy [MODEL ...]`.

Operations and memory accesses are exact, of the engine that `shifthw build --board zc706` chooses; unit energies are
published ones (shifthw.energy.units). Prints a Markdown table: each platform's operations as they are, with
multiplications, and the ratio of the two; the same with memory.
"""

import sys
from typing import Any

from shifthw import boards, zoo
from shifthw.energy import MODEL, energy_report
from shifthw.lower.explore import Budget, explore
from shifthw.report import PLATFORMS, RESOURCES

KINDS = ("shift", "adder", "requantize")
"""Of the shares that are printed."""


def energy(model: str) -> dict[str, Any]:
    """The energies of a network of the zoo."""
    board = boards.load("zc706")
    graph = zoo.build(model)
    budget = Budget(**{name: getattr(board, name) for name in RESOURCES}, clock_mhz=board.clock_mhz,
                    axi_data_bits=board.axi_data_bits, family=board.family)
    return energy_report(graph, explore(graph, budget, "throughput").program)


def row(model: str) -> str:
    """One row of the table."""
    e = energy(model)
    operations, shares = e["total"]["operations"], e["shares"]
    cells = [model, f"{operations['shift'] / 1e6:.2f} M", f"{operations['add'] / 1e6:.2f} M"]
    for platform in PLATFORMS:
        cells += [_compared(e["total"][platform]), *(f"{shares[platform][kind]:.0%}" for kind in KINDS)]
    cells += [_compared(e["with_memory"][platform]) for platform in PLATFORMS]
    return "| " + " | ".join(cells) + " |"


def _compared(values: dict[str, Any]) -> str:
    """Microjoules as they are, with multiplications, and the ratio."""
    return f"{values['total_pj'] / 1e6:,.2f} / {values['multiplying_pj'] / 1e6:,.2f} ({values['ratio']:.2f} x)"


def main() -> None:
    """Prints the table."""
    heads = [text for title in PLATFORMS.values() for text in (f"{title} uJ", *(f"in {kind}" for kind in KINDS))]
    heads += [f"{title} with memory, uJ" for title in PLATFORMS.values()]
    print(f"| per image: {MODEL} | shifts | additions | {' | '.join(heads)} |")
    print("|" + "---|" * (len(heads) + 3))
    for model in sys.argv[1:] or zoo.names():
        print(row(model), flush=True)


if __name__ == "__main__":
    main()
