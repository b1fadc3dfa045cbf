"""A graph as plain JSON values and named integer arrays, and back."""

from typing import Any

import numpy as np

from .graph import (
    AdderConv2d,
    AddressShift2d,
    BilinearUpsample2d,
    Concat,
    Convolution,
    Flatten,
    Graph,
    Input,
    Lookup,
    MaxPool2d,
    Multiply,
    Node,
    Op,
    Requantize,
    Rounding,
    SelectChannels,
    ShiftConv2d,
    SpatialShift2d,
    SumPool2d,
    Upsample2d,
)
from .types import IntType, ShiftWeight, TensorType

Document = dict[str, Any]
Arrays = dict[str, np.ndarray]
PLAIN: dict[str, Op] = {"Input": Input(), "Flatten": Flatten(), "Concat": Concat(), "Multiply": Multiply(),
                        "BilinearUpsample2d": BilinearUpsample2d()}
"""Operations without parameters."""


def to_document(graph: Graph) -> tuple[Document, Arrays]:
    """JSON values that describe the graph, and its arrays by the keys that the values refer to."""
    arrays: Arrays = {}
    nodes = [_node_document(node, arrays) for node in graph.nodes]
    return {"name": graph.name, "nodes": nodes, "outputs": list(graph.outputs), "metadata": graph.metadata}, arrays


def from_document(document: Document, arrays: Arrays) -> Graph:
    """The inverse of to_document. Raises KeyError, TypeError or ValueError on anything malformed; does not verify."""
    if not isinstance(document, dict):
        raise TypeError(f"the graph must be an object, not {document!r:.40}")
    nodes = tuple(_node(entry, arrays) for entry in _list(document, "nodes", dict))
    return Graph(_plain(document, "name", str), nodes, _list(document, "outputs", str),
                 _plain(document, "metadata", dict))


def _plain(entry: Document, key: str, *kinds: type) -> Any:
    """A value of exactly one of the given types: a bool is no int."""
    value = entry[key]
    if type(value) not in kinds:
        raise TypeError(f"{key} must be {' or '.join(kind.__name__ for kind in kinds)}, not {value!r:.40}")
    return value


def _list(entry: Document, key: str, kind: type) -> tuple[Any, ...]:
    values = _plain(entry, key, list)
    if any(type(value) is not kind for value in values):
        raise TypeError(f"{key} must be a list of {kind.__name__}, not {values!r:.40}")
    return tuple(values)


def _node_document(node: Node, arrays: Arrays) -> Document:
    tensor = node.output
    entry: Document = {"name": node.name, "op": type(node.op).__name__, "inputs": list(node.inputs),
                       "shape": list(tensor.shape), "bits": tensor.dtype.bits, "signed": tensor.dtype.signed,
                       "scale": tensor.scale}
    match node.op:
        case ShiftConv2d() as op:
            arrays[f"{node.name}/sign"], arrays[f"{node.name}/exponent"] = op.weight.sign, op.weight.exponent
            entry |= _area_document(op)
        case AdderConv2d() as op:
            arrays[f"{node.name}/weight"] = op.weight
            entry |= _area_document(op)
        case SumPool2d() | MaxPool2d() as op:
            entry |= {"kernel": list(op.kernel), "stride": list(op.stride), "padding": list(op.padding)}
        case SpatialShift2d() as op:
            arrays[f"{node.name}/displacement"] = op.displacement
            entry |= {"per_pixel": op.per_pixel, "stride": list(op.stride)}
        case AddressShift2d() as op:
            arrays[f"{node.name}/offset"] = op.offset
        case SelectChannels() as op:
            arrays[f"{node.name}/channels"] = op.channels
        case Upsample2d() as op:
            entry |= {"factor": list(op.factor), "zeros": op.zeros}
        case Lookup() as op:
            arrays[f"{node.name}/table"] = op.table
            entry |= {"function": op.function}
        case Requantize() as op:
            for index, multiplier in enumerate(op.multiplier):
                arrays[f"{node.name}/multiplier{index}"] = multiplier
            arrays[f"{node.name}/bias"] = op.bias
            entry |= {"shift": op.shift, "lo": op.lo, "hi": op.hi, "rounding": op.rounding.value}
    return entry


def _area_document(op: Convolution) -> Document:
    return {"stride": list(op.stride), "padding": list(op.padding), "dilation": list(op.dilation), "groups": op.groups}


def _node(entry: Document, arrays: Arrays) -> Node:
    channels, height, width = _list(entry, "shape", int)
    dtype = IntType(_plain(entry, "bits", int), _plain(entry, "signed", bool))
    tensor = TensorType((channels, height, width), dtype, float(_plain(entry, "scale", float, int)))
    return Node(_plain(entry, "name", str), _op(entry, arrays), _list(entry, "inputs", str), tensor)


def _op(entry: Document, arrays: Arrays) -> Op:
    name = _plain(entry, "name", str)
    match entry["op"]:
        case "Input" | "Flatten" | "Concat" | "Multiply" | "BilinearUpsample2d" as kind:
            return PLAIN[kind]
        case "ShiftConv2d":
            weight = ShiftWeight(arrays[f"{name}/sign"], arrays[f"{name}/exponent"])
            return ShiftConv2d(weight, _list(entry, "stride", int), _list(entry, "padding", int),
                               _list(entry, "dilation", int), _plain(entry, "groups", int))
        case "AdderConv2d":
            return AdderConv2d(arrays[f"{name}/weight"], _list(entry, "stride", int), _list(entry, "padding", int),
                               _list(entry, "dilation", int), _plain(entry, "groups", int))
        case "SumPool2d" | "MaxPool2d" as kind:
            pool = SumPool2d if kind == "SumPool2d" else MaxPool2d
            return pool(_list(entry, "kernel", int), _list(entry, "stride", int), _list(entry, "padding", int))
        case "Requantize":
            multiplier = tuple(arrays[f"{name}/multiplier{index}"] for index in range(len(entry["inputs"])))
            return Requantize(multiplier, arrays[f"{name}/bias"], _plain(entry, "shift", int),
                              _plain(entry, "lo", int), _plain(entry, "hi", int),
                              Rounding(_plain(entry, "rounding", str)))
        case "SpatialShift2d":
            return SpatialShift2d(arrays[f"{name}/displacement"], _plain(entry, "per_pixel", int),
                                  _list(entry, "stride", int))
        case "AddressShift2d":
            return AddressShift2d(arrays[f"{name}/offset"])
        case "SelectChannels":
            return SelectChannels(arrays[f"{name}/channels"])
        case "Upsample2d":
            return Upsample2d(_list(entry, "factor", int), _plain(entry, "zeros", bool))
        case "Lookup":
            return Lookup(arrays[f"{name}/table"], _plain(entry, "function", str))
        case unknown:
            raise ValueError(f"{name}: unknown operation {unknown!r:.40}")
