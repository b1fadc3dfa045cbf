"""A graph as plain JSON values and named integer arrays, and back."""

from typing import Any

import numpy as np

from .graph import Flatten, Graph, Input, MaxPool2d, Node, Op, Requantize, Rounding, ShiftConv2d, SumPool2d
from .types import IntType, ShiftWeight, TensorType

Document = dict[str, Any]
Arrays = dict[str, np.ndarray]


def to_document(graph: Graph) -> tuple[Document, Arrays]:
    """JSON values that describe the graph, and its arrays by the keys that the values refer to."""
    arrays: Arrays = {}
    nodes = [_node_document(node, arrays) for node in graph.nodes]
    return {"name": graph.name, "nodes": nodes, "outputs": list(graph.outputs), "metadata": graph.metadata}, arrays


def from_document(document: Document, arrays: Arrays) -> Graph:
    """The inverse of to_document. Raises KeyError, TypeError or ValueError on anything malformed; does not verify."""
    nodes = tuple(_node(entry, arrays) for entry in document["nodes"])
    return Graph(str(document["name"]), nodes, tuple(document["outputs"]), dict(document["metadata"]))


def _node_document(node: Node, arrays: Arrays) -> Document:
    tensor = node.output
    entry: Document = {"name": node.name, "op": type(node.op).__name__, "inputs": list(node.inputs),
                       "shape": list(tensor.shape), "bits": tensor.dtype.bits, "signed": tensor.dtype.signed,
                       "scale": tensor.scale}
    match node.op:
        case ShiftConv2d() as op:
            arrays[f"{node.name}/sign"], arrays[f"{node.name}/exponent"] = op.weight.sign, op.weight.exponent
            entry |= {"stride": list(op.stride), "padding": list(op.padding), "dilation": list(op.dilation),
                      "groups": op.groups}
        case SumPool2d() | MaxPool2d() as op:
            entry |= {"kernel": list(op.kernel), "stride": list(op.stride), "padding": list(op.padding)}
        case Requantize() as op:
            for index, multiplier in enumerate(op.multiplier):
                arrays[f"{node.name}/multiplier{index}"] = multiplier
            arrays[f"{node.name}/bias"] = op.bias
            entry |= {"shift": op.shift, "lo": op.lo, "hi": op.hi, "rounding": op.rounding.value}
    return entry


def _node(entry: Document, arrays: Arrays) -> Node:
    channels, height, width = entry["shape"]
    tensor = TensorType((channels, height, width), IntType(entry["bits"], entry["signed"]), float(entry["scale"]))
    return Node(entry["name"], _op(entry, arrays), tuple(entry["inputs"]), tensor)


def _op(entry: Document, arrays: Arrays) -> Op:
    name = entry["name"]
    match entry["op"]:
        case "Input":
            return Input()
        case "Flatten":
            return Flatten()
        case "ShiftConv2d":
            weight = ShiftWeight(arrays[f"{name}/sign"], arrays[f"{name}/exponent"])
            return ShiftConv2d(weight, tuple(entry["stride"]), tuple(entry["padding"]), tuple(entry["dilation"]),
                               entry["groups"])
        case "SumPool2d" | "MaxPool2d" as kind:
            pool = SumPool2d if kind == "SumPool2d" else MaxPool2d
            return pool(tuple(entry["kernel"]), tuple(entry["stride"]), tuple(entry["padding"]))
        case "Requantize":
            multiplier = tuple(arrays[f"{name}/multiplier{index}"] for index in range(len(entry["inputs"])))
            return Requantize(multiplier, arrays[f"{name}/bias"], entry["shift"], entry["lo"], entry["hi"],
                              Rounding(entry["rounding"]))
        case unknown:
            raise ValueError(f"{name}: unknown operation {unknown!r}")
