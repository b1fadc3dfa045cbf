"""The integer graph: types, operations, consistency, exact ranges, and the golden model that defines it."""

from .graph import (
    AdderConv2d,
    Convolution,
    Flatten,
    Graph,
    Input,
    MaxPool2d,
    Node,
    Op,
    Requantize,
    Rounding,
    ShiftConv2d,
    SumOp,
    SumPool2d,
)
from .interpret import check_images, interpret
from .ranges import accumulator_range, accumulator_type
from .shapes import output_shape
from .types import IntType, ShiftWeight, TensorType
from .verify import is_accumulator, verify

__all__ = [
    "AdderConv2d", "Convolution", "Flatten", "Graph", "Input", "IntType", "MaxPool2d", "Node", "Op", "Requantize",
    "Rounding", "ShiftConv2d", "ShiftWeight", "SumOp", "SumPool2d", "TensorType", "accumulator_range",
    "accumulator_type", "check_images", "interpret", "is_accumulator", "output_shape", "verify",
]
