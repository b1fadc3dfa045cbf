"""Activation functions as tables."""

import numpy as np
import torch
from torch import nn

from ..errors import UnsupportedModel
from ..ir.graph import Lookup, Node
from ..ir.verify import MAX_LOOKUP_BITS
from . import activations
from .draft import Draft, Grid, Table


def tabled(where: str, module: nn.Module, source: Node) -> Table:
    """The results of a module of a type in activations.KNOWN, one for each value of the activation that it reads."""
    bits = source.output.dtype.bits
    if bits > MAX_LOOKUP_BITS:
        raise UnsupportedModel(f"{where} ({type(module).__name__}): reads activations of {bits} bits, must be at most "
                               f"{MAX_LOOKUP_BITS}; give the quantizer before it fewer bits")
    return Table(source.name, activations.name_of(module))


def quantized(draft: Draft, where: str, grid: Grid, value: Table) -> str:
    """Append the table of the quantized results."""
    source = draft[value.tensor].output
    steps = np.arange(source.dtype.lo, source.dtype.hi + 1)
    results = activations.function(value.function)(torch.from_numpy(steps * np.float64(source.scale))).tolist()
    if np.isnan(results).any():
        at = steps[np.isnan(results)][0] * source.scale
        raise UnsupportedModel(f"{where}: reads {value.function}, which gives no number at {at:.4g}; it must give one "
                               f"for each value of its input")
    op = Lookup(np.array([grid.step_of(result) for result in results], np.int64), value.function)
    return draft.add_typed(where, op, value.tensor, grid.dtype, grid.scale)
