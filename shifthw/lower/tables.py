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
        raise UnsupportedModel(f"{layer.name}: is a table of 8-bit activations, in an engine of {bits} bits for the "
                               f"widest tensor; quantize every tensor to {MAX_LOOKUP_BITS} bits at most")
    table = np.zeros(1 << bits, np.int64)
    table[np.arange(between.lo, between.hi + 1)] = layer.lookup.table & ((1 << bits) - 1)
    return table
