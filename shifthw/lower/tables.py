"""Tables of activation functions, from the values of a layer's scale to codes of its output."""

import numpy as np

from ..errors import UnsupportedModel
from ..ir.verify import MAX_LOOKUP_BITS
from .network import Layer, Network


def tables_of(network: Network) -> tuple[list[np.ndarray], dict[str, int]]:
    """Different tables of codes, int64[2**activation_bits] each, and which of them a layer's output passes."""
    tables: dict[bytes, np.ndarray] = {}
    numbers = {}
    for layer in network.layers:
        if layer.lookup:
            table = _code_table(layer, network)
            tables.setdefault(table.tobytes(), table)
            numbers[layer.output] = list(tables).index(table.tobytes())
    return list(tables.values()), numbers


def _code_table(layer: Layer, network: Network) -> np.ndarray:
    """Code of the output for each code of what is between the scale and the table."""
    bits, between = network.activation_bits, layer.between
    assert layer.lookup is not None and between is not None
    if bits > MAX_LOOKUP_BITS:
        widest = max(network.tensors, key=lambda name: network.tensors[name].dtype.bits)
        raise UnsupportedModel(f"{layer.output}: is a table, for engines of at most {MAX_LOOKUP_BITS} bits, but "
                               f"{widest} is stored with {bits}; quantize it to {MAX_LOOKUP_BITS} bits, also behind a "
                               f"half-pixel shift")
    assert between.bits <= bits, "the engine is as wide as what its tables are asked for"
    table = np.zeros(1 << bits, np.int64)
    table[np.arange(between.lo, between.hi + 1)] = layer.lookup.table & ((1 << bits) - 1)
    return table
