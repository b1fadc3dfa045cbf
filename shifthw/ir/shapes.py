"""Output shapes of the operations, one image's (channels, height, width)."""

from ..errors import UnsupportedModel
from .graph import AdderConv2d, Convolution, Flatten, Input, MaxPool2d, Op, Requantize, ShiftConv2d, SumPool2d
from .types import TensorType

Shape = tuple[int, int, int]


def window_counts(size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int],
                  padding: tuple[int, int, int, int], dilation: tuple[int, int] = (1, 1)) -> tuple[int, int]:
    """Window positions (rows, columns) on a map of `size`; 0 or less where the kernel is larger than the padded map."""
    top, left, bottom, right = padding
    rows = (size[0] + top + bottom - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    columns = (size[1] + left + right - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    return rows, columns


def output_shape(op: Op, inputs: tuple[TensorType, ...]) -> Shape:
    """Shape of `op`'s output. Raises UnsupportedModel (without the node's name) where the inputs do not suit it."""
    match op:
        case Input():
            raise UnsupportedModel("an Input has no inputs to infer a shape from")
        case ShiftConv2d() | AdderConv2d():
            return _conv_shape(op, inputs[0])
        case SumPool2d() | MaxPool2d():
            rows, columns = window_counts(inputs[0].shape[1:], op.kernel, op.stride, op.padding)
            return inputs[0].channels, rows, columns
        case Flatten():
            channels, height, width = inputs[0].shape
            return channels * height * width, 1, 1
        case Requantize():
            if any(other.shape != inputs[0].shape for other in inputs):
                raise UnsupportedModel(f"adds tensors of shapes {' and '.join(str(t.shape) for t in inputs)}; "
                                       f"they must be equal")
            return inputs[0].shape


def _conv_shape(op: Convolution, source: TensorType) -> Shape:
    out_channels, per_group, height, width = op.weight_shape
    if source.channels != per_group * op.groups:
        raise UnsupportedModel(f"has weights for {per_group * op.groups} input channels, its input has "
                               f"{source.channels}")
    rows, columns = window_counts(source.shape[1:], (height, width), op.stride, op.padding, op.dilation)
    return out_channels, rows, columns
