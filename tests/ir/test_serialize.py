"""Graphs to JSON values and arrays, and back."""

import json

import numpy as np
import pytest

from shifthw import zoo
from shifthw.ir import verify
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


def test_unknown_operation_is_named() -> None:
    document, arrays = to_document(zoo.build("digits"))
    document["nodes"][3]["op"] = "Softmax"
    with pytest.raises(ValueError, match="unknown operation 'Softmax'"):
        from_document(document, arrays)
