"""What `shifthw build` chooses for the zoo: `python -m bench.networks [MODEL ...]`.

Steps, cycles and lanes busy are exact; frames/s assume the board's default clock; resources are the tool's estimate.
Prints a Markdown table.
"""

import sys
import time

from shifthw import boards, zoo
from shifthw.lower.compile import prepare
from shifthw.lower.explore import Budget, explore
from shifthw.lower.work import useful_macs
from shifthw.report import RESOURCES


def row(model: str, board_name: str, goal: str) -> str:
    """One row of the table."""
    board = boards.load(board_name)
    graph = zoo.build(model)
    budget = Budget(**{name: getattr(board, name) for name in RESOURCES}, clock_mhz=board.clock_mhz,
                    axi_data_bits=board.axi_data_bits, family=board.family)
    start = time.perf_counter()
    found = explore(graph, budget, "latency" if goal == "latency" else "throughput")
    seconds = time.perf_counter() - start
    program, config = found.program, found.program.config
    network = prepare(graph)
    macs = sum(useful_macs(layer, network) for layer in network.layers)
    cycles = program.cycles_per_batch
    rate = board.clock_mhz * 1e6 * config.images / cycles
    return (f"| {model} | {board_name} | {goal} | {config.images}x{config.pixels}x{config.simd}x{config.pe} "
            f"| {config.lanes:,} | {macs / 1e6:.2f} M | {cycles / config.images:,.0f} | {program.busy:.1%} "
            f"| {board.clock_mhz:g} | {rate:,.0f} | {cycles / board.clock_mhz / 1e3:.3f} "
            f"| {found.estimate.lut / board.lut:.0%} | {seconds:.1f} |")


def main() -> None:
    """Prints the table."""
    print("| model | board | goal | images x pixels x simd x pe | lanes | MACs | cycles per image | lanes busy | MHz "
          "| frames/s | ms per batch | LUTs (estimate) | search s |")
    print("|" + "---|" * 13)
    for model in sys.argv[1:] or zoo.names():
        for board in ("zc706", "ultra96v2"):
            for goal in ("throughput", "latency"):
                print(row(model, board, goal), flush=True)


if __name__ == "__main__":
    main()
