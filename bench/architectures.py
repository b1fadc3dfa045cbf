"""The field's networks at full size: `python -m bench.architectures [NAME ...]`.

Parameters and multiply-accumulates of the torch module as papers count them; the array that `shifthw build` would take
for throughput, its cycles per image and lanes busy by the exact cycle model, frames/s at the board's default clock.
Where feature maps and weights do not fit on chip, the search leaves block RAM out of account, and the last column has
the bytes that they take: what such an engine would do if it had them. Prints a Markdown table.
"""

import dataclasses
import math
import sys

from shifthw import boards, zoo
from shifthw.errors import DoesNotFit
from shifthw.ir import Graph
from shifthw.lower.explore import Budget, Found, explore
from shifthw.report import RESOURCES
from shifthw.zoo.architectures import ARCHITECTURES
from shifthw.zoo.cost import cost


def found(graph: Graph, budget: Budget) -> tuple[Found, bool]:
    """The best array, and whether it has room for the network."""
    try:
        return explore(graph, budget), True
    except DoesNotFit:
        return explore(graph, dataclasses.replace(budget, bram36=math.inf)), False


def row(name: str, graph: Graph, board_name: str) -> str:
    """The columns of one board."""
    board = boards.load(board_name)
    best, fits = found(graph, Budget(**{key: getattr(board, key) for key in RESOURCES}, clock_mhz=board.clock_mhz,
                                     axi_data_bits=board.axi_data_bits, family=board.family))
    program, c = best.program, best.program.config
    cycles = program.cycles_per_batch / c.images
    features = program.rows_used * c.pixels * c.simd * c.images * c.activation_bits // 8
    weights = len(program.weight_words) * c.weight_word_bits // 8
    copies = sum(1 for layer in program.layers if layer.copy)
    return (f"| {board_name} | {c.images}x{c.pixels}x{c.simd}x{c.pe} | {cycles:,.0f} | {program.busy:.1%} "
            f"| {board.clock_mhz * 1e6 / cycles:,.0f} | {copies} | {'' if fits else f'{features:,} + {weights:,}'} |")


def main() -> None:
    """Prints the table."""
    print("| network | image | parameters | MACs | board | array | cycles per image | lanes busy | frames/s | copies "
          "| bytes of features and weights that do not fit |")
    print("|" + "---|" * 11)
    for name in sys.argv[1:] or ARCHITECTURES:
        network = ARCHITECTURES[name].full()
        price, graph = cost(network, network.shape), zoo.build(name)
        start = (f"| {name} | {'x'.join(map(str, network.shape))} | {price.parameters / 1e6:.2f} M "
                 f"| {price.macs / 1e6:,.1f} M ")
        for board in ("zc706", "ultra96v2"):
            print(start + row(name, graph, board), flush=True)


if __name__ == "__main__":
    main()
