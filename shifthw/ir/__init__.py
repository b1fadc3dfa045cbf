"""The integer graph: types, operations, consistency, exact ranges, and the golden model that defines it."""

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
    SumOp,
    SumPool2d,
    Upsample2d,
)
from .interpret import check_images, interpret
from .ranges import accumulator_range, accumulator_type
from .shapes import output_shape
from .types import IntType, ShiftWeight, TensorType
from .verify import is_accumulator, verify

__all__ = [
    "AdderConv2d", "AddressShift2d", "BilinearUpsample2d", "Concat", "Convolution", "Flatten", "Graph", "Input",
    "IntType", "Lookup", "MaxPool2d", "Multiply", "Node", "Op", "Requantize", "Rounding", "SelectChannels",
    "ShiftConv2d", "ShiftWeight", "SpatialShift2d", "SumOp", "SumPool2d", "TensorType", "Upsample2d",
    "accumulator_range", "accumulator_type", "check_images", "interpret", "is_accumulator", "output_shape", "verify",
]
