"""What `shifthw build` chooses for the zoo: `python -m bench.networks [NAME ...] [--boards ...] [--goals ...]`.

Cycles per image, lanes busy and copies are exact; frames/s assume the board's default clock; LUTs are the tool's
estimate. Parameters and multiply-accumulates are counted on the torch network as papers do; of networks with trained
weights on the integer graph, with one parameter per output channel of a layer beside its weights. Where feature maps
and weights do not fit on chip, the last column has the bytes that they take, and the row is what the engine would do
that had them elsewhere at no cost: the search leaves memories out of account. Prints a Markdown table.
"""

import argparse
import dataclasses
import time

from shifthw import boards, zoo
from shifthw.errors import DoesNotFit
from shifthw.ir import Graph
from shifthw.lower.compile import prepare
from shifthw.lower.explore import Budget, Found, Goal, explore
from shifthw.lower.work import layer_uses
from shifthw.report import RESOURCES
from shifthw.zoo.architectures import ARCHITECTURES
from shifthw.zoo.cost import Cost, cost

GOALS: tuple[Goal, ...] = ("throughput", "latency")
COLUMNS = ("network", "image", "parameters", "MACs", "board", "goal", "images x pixels x simd x pe", "lanes",
           "cycles per image", "lanes busy", "MHz", "frames/s", "ms per batch", "LUTs (estimate)", "copies", "search s",
           "bytes of features and weights that do not fit")


def size(name: str, graph: Graph) -> Cost:
    """Parameters and multiply-accumulates of a network of the zoo."""
    if name in ARCHITECTURES:
        network = ARCHITECTURES[name].full()
        return cost(network, network.shape)
    network = prepare(graph)
    made = [layer for layer in network.layers if layer_uses(layer, network).weights]
    weights = [layer.adder_weight if layer.weight is None else layer.weight.integer for layer in made]
    return Cost(sum(each.size + len(each) for each in weights if each is not None),
                sum(layer_uses(layer, network).weights for layer in made))


def best(graph: Graph, budget: Budget, goal: Goal) -> tuple[Found, bool]:
    """The best array, and whether it has room for the network."""
    try:
        return explore(graph, budget, goal), True
    except DoesNotFit:
        return explore(graph, dataclasses.replace(budget, on_chip=False), goal), False


def columns(graph: Graph, board_name: str, goal: Goal) -> list[str]:
    """Those of one board and goal."""
    board = boards.load(board_name)
    budget = Budget(**{name: getattr(board, name) for name in RESOURCES}, clock_mhz=board.clock_mhz,
                    axi_data_bits=board.axi_data_bits, family=board.family)
    start = time.perf_counter()
    found, fits = best(graph, budget, goal)
    seconds = time.perf_counter() - start
    program, c = found.program, found.program.config
    cycles = program.cycles_per_batch
    features = program.rows_used * c.pixels * c.simd * c.images * c.activation_bits // 8
    weights = len(program.weight_words) * c.weight_word_bits // 8
    return [board_name, goal, f"{c.images}x{c.pixels}x{c.simd}x{c.pe}", f"{c.lanes:,}", f"{cycles / c.images:,.0f}",
            f"{program.busy:.1%}", f"{board.clock_mhz:g}", f"{board.clock_mhz * 1e6 * c.images / cycles:,.0f}",
            f"{cycles / board.clock_mhz / 1e3:.3f}", f"{found.estimate.lut / board.lut:.0%}",
            str(sum(1 for layer in program.layers if layer.copy)), f"{seconds:.1f}",
            "" if fits else f"{features:,} + {weights:,}"]


def main(arguments: list[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.networks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(zoo.NAMES), help="default: the whole zoo")
    parser.add_argument("--boards", nargs="+", default=["zc706", "ultra96v2"])
    parser.add_argument("--goals", nargs="+", choices=GOALS, default=["throughput"])
    chosen = parser.parse_args(arguments)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for name in chosen.names:
        graph = zoo.build(name)
        price = size(name, graph)
        start = [name, "x".join(map(str, graph.nodes[0].output.shape)), f"{price.parameters:,}",
                 f"{price.macs / 1e6:,.2f} M"]
        for board in chosen.boards:
            for goal in chosen.goals:
                print(f"| {' | '.join(start + columns(graph, board, goal))} |", flush=True)


if __name__ == "__main__":
    main()
