"""The real-valued networks of a model as plain JSON values and named real arrays, and back.

    {"fake": {node: [lo, hi], ...}, "float": ...}         limits of each Requantize, null for none; null for a network
    "fake/NODE/gain0", ..., "fake/NODE/offset"            that is not known
    "float/NODE/weight", "float/NODE/gain0", ...

The weights of the fake-quantized network are not stored: they follow from the graph.
"""

import math
from typing import Any

import numpy as np

from ..ir.graph import Convolution, Graph, Requantize
from .reference import Model, RealRequantize, Reference, rounded_weights, verify_reference

Document = dict[str, Any]
Arrays = dict[str, np.ndarray]


def to_document(model: Model) -> tuple[Document, Arrays]:
    """JSON values and arrays of both networks of `model`."""
    document: Document = {}
    arrays: Arrays = {}
    for kind, reference in (("fake", model.fake_reference), ("float", model.float_reference)):
        document[kind] = None if reference is None else {
            name: [_finite(affine.lo), _finite(affine.hi)] for name, affine in reference.affine.items()}
        if reference is None:
            continue
        for name, affine in reference.affine.items():
            arrays |= {f"{kind}/{name}/gain{index}": gain for index, gain in enumerate(affine.gain)}
            arrays[f"{kind}/{name}/offset"] = affine.offset
        if kind == "float":
            arrays |= {f"float/{name}/weight": weight for name, weight in reference.weight.items()}
    return document, arrays


def from_document(graph: Graph, document: Document, arrays: Arrays) -> Model:
    """The inverse of to_document. Raises KeyError, TypeError, ValueError or UnsupportedModel for anything that does not
    suit `graph`."""
    if type(document) is not dict or set(document) != {"fake", "float"}:
        raise TypeError("the reference must be an object with fake and float")
    unused = dict(arrays)
    fake = real = None
    if document["fake"] is not None:
        fake = Reference(rounded_weights(graph.nodes), _affine(graph, "fake", document["fake"], unused))
        verify_reference(graph, fake)
    if document["float"] is not None:
        weight = {node.name: unused.pop(f"float/{node.name}/weight") for node in graph.nodes
                  if isinstance(node.op, Convolution)}
        real = Reference(weight, _affine(graph, "float", document["float"], unused))
        verify_reference(graph, real)
    if unused:
        raise ValueError(f"the reference has an array {min(unused)!r:.80} of no node")
    return Model(graph, fake, real)


def _affine(graph: Graph, kind: str, limits: object, unused: Arrays) -> dict[str, RealRequantize]:
    """The factors of each Requantize, whose arrays are taken out of `unused`."""
    nodes = {node.name: node for node in graph.nodes if isinstance(node.op, Requantize)}
    if not isinstance(limits, dict) or set(limits) != set(nodes):
        raise TypeError(f"{kind} must be an object with the limits of every Requantize, and of no other node")
    result = {}
    for name, pair in limits.items():
        gain = tuple(unused.pop(f"{kind}/{name}/gain{index}") for index in range(len(nodes[name].inputs)))
        result[name] = RealRequantize(gain, unused.pop(f"{kind}/{name}/offset"), *_limits(name, pair))
    return result


def _limits(name: str, pair: object) -> tuple[float, float]:
    if not isinstance(pair, list) or [type(value) in (int, float, type(None)) for value in pair] != [True, True]:
        raise TypeError(f"the limits of {name} must be two numbers or null, not {pair!r:.40}")
    lo, hi = pair
    return -math.inf if lo is None else float(lo), math.inf if hi is None else float(hi)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
