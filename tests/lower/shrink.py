"""Makes a failing graph small: what is left of it fails in the same way."""

import dataclasses
from collections.abc import Callable

from shifthw.errors import UnsupportedModel
from shifthw.ir.graph import Graph, Input
from shifthw.ir.verify import is_accumulator, verify

Fails = Callable[[Graph], bool]


def shrunk(graph: Graph, fails: Fails) -> Graph:
    """A graph of as few nodes as single steps lead to: another output, or a node left out for one of its inputs."""
    while (smaller := next((each for each in _smaller(graph) if fails(each)), None)) is not None:
        graph = smaller
    return graph


def _smaller(graph: Graph) -> list[Graph]:
    """Consistent graphs with fewer nodes, smallest first."""
    cut = [_used(dataclasses.replace(graph, outputs=(node.name,))) for node in graph.nodes[1:-1]
           if not is_accumulator(node)]
    skipped = [_used(_without(graph, node.name, source)) for node in graph.nodes for source in node.inputs
               if node.output == graph[source].output]
    found = [each for each in cut + skipped if len(each.nodes) < len(graph.nodes) and _consistent(each)]
    return sorted(found, key=lambda each: len(each.nodes))


def _without(graph: Graph, name: str, source: str) -> Graph:
    """The graph in which `source` stands for `name`."""
    def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(source if each == name else each for each in names)

    nodes = tuple(dataclasses.replace(node, inputs=renamed(node.inputs)) for node in graph.nodes if node.name != name)
    return dataclasses.replace(graph, nodes=nodes, outputs=renamed(graph.outputs))


def _used(graph: Graph) -> Graph:
    """Without the nodes that no output depends on."""
    used = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.name in used:
            used.update(node.inputs)
    return dataclasses.replace(graph, nodes=tuple(node for node in graph.nodes
                                                  if node.name in used or isinstance(node.op, Input)))


def _consistent(graph: Graph) -> bool:
    try:
        verify(graph)
    except UnsupportedModel:
        return False
    return True


def description(graph: Graph) -> str:
    """A line per node: what to look at when a random graph fails."""
    return "\n".join(f"  {node.name}({', '.join(node.inputs)}) {node.output.shape} {node.output.dtype} "
                     f"{getattr(node.op, 'stride', '')}" for node in graph.nodes)
