"""Graphs to JSON values and arrays, and back."""

import json

import numpy as np
import pytest

from shifthw import zoo
from shifthw.errors import UnsupportedModel
from shifthw.ir import (
    AdderConv2d,
    Graph,
    Input,
    IntType,
    Node,
    Requantize,
    TensorType,
    accumulator_type,
    output_shape,
    verify,
)
from shifthw.ir.serialize import from_document, to_document


def test_round_trip_keeps_every_value() -> None:
    graph = zoo.build("digits")
    document, arrays = to_document(graph)
    again = from_document(json.loads(json.dumps(document)), arrays)
    verify(again)
    assert (again.name, again.outputs, again.metadata) == (graph.name, graph.outputs, graph.metadata)
    second, second_arrays = to_document(again)
    assert second == document
    assert list(second_arrays) == list(arrays)
    assert all(np.array_equal(second_arrays[key], arrays[key]) for key in arrays)


def test_adder_layer_comes_back_and_is_checked() -> None:
    op = AdderConv2d(np.arange(-9, 9).reshape(1, 2, 3, 3), (2, 1), (1, 0, 2, 1), (1, 2))
    source = TensorType((2, 5, 7), IntType(8, True), 0.5)
    sums = TensorType(output_shape(op, (source,)), accumulator_type(op, source), 0.5)
    quantized = Requantize((np.ones(1, np.int64),), np.zeros(1, np.int64), 3, -128, 127)
    nodes = (Node("input", Input(), (), source), Node("adder", op, ("input",), sums),
             Node("out", quantized, ("adder",), TensorType(sums.shape, IntType(8, True))))
    document, arrays = to_document(Graph("net", nodes, ("out",)))
    document = json.loads(json.dumps(document))
    again = from_document(document, arrays)
    verify(again)
    found = again["adder"].op
    assert isinstance(found, AdderConv2d)
    assert np.array_equal(found.weight, op.weight)
    assert (found.stride, found.padding, found.dilation, found.groups) == (op.stride, op.padding, op.dilation, 1)
    with pytest.raises(ValueError, match="must have 4 dimensions"):
        from_document(document, arrays | {"adder/weight": op.weight[0]})
    with pytest.raises(UnsupportedModel, match="has weights float64"):
        verify(from_document(document, arrays | {"adder/weight": op.weight * 1.0}))


def test_unknown_operation_is_named() -> None:
    document, arrays = to_document(zoo.build("digits"))
    document["nodes"][3]["op"] = "Softmax"
    with pytest.raises(ValueError, match="unknown operation 'Softmax'"):
        from_document(document, arrays)
