"""Output shapes of the operations, one image's (channels, height, width)."""

from ..errors import UnsupportedModel
from .graph import (
    AdderConv2d,
    AddressShift2d,
    BilinearUpsample2d,
    Concat,
    Convolution,
    Flatten,
    Input,
    Lookup,
    MaxPool2d,
    Multiply,
    Op,
    Requantize,
    SelectChannels,
    ShiftConv2d,
    SpatialShift2d,
    SumPool2d,
    Upsample2d,
)
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
        case SpatialShift2d() | AddressShift2d():
            return _shifted_shape(op, inputs[0])
        case SelectChannels():
            return len(op.channels), *inputs[0].shape[1:]
        case Concat():
            return _concat_shape(inputs)
        case Upsample2d() | BilinearUpsample2d():
            fy, fx = op.factor if isinstance(op, Upsample2d) else (2, 2)
            channels, height, width = inputs[0].shape
            return channels, height * fy, width * fx
        case Lookup():
            return inputs[0].shape
        case Requantize() | Multiply():
            return _joined_shape(inputs)


def _shifted_shape(op: SpatialShift2d | AddressShift2d, source: TensorType) -> Shape:
    count = len(op.displacement if isinstance(op, SpatialShift2d) else op.offset)
    if count != source.channels:
        raise UnsupportedModel(f"has displacements for {count} channels, its input has {source.channels}")
    sy, sx = op.stride if isinstance(op, SpatialShift2d) else (1, 1)
    return source.channels, (source.height - 1) // sy + 1, (source.width - 1) // sx + 1


def _concat_shape(inputs: tuple[TensorType, ...]) -> Shape:
    if any((other.shape[1:], other.dtype) != (inputs[0].shape[1:], inputs[0].dtype) for other in inputs):
        raise UnsupportedModel(f"joins maps {' and '.join(f'{t.height}x{t.width} {t.dtype}' for t in inputs)}; they "
                               f"must be of one size and type")
    return sum(tensor.channels for tensor in inputs), *inputs[0].shape[1:]


def _joined_shape(inputs: tuple[TensorType, ...]) -> Shape:
    first = inputs[0].shape
    if any(other.shape not in (first, (first[0], 1, 1)) for other in inputs[1:]):
        raise UnsupportedModel(f"joins tensors of shapes {' and '.join(str(t.shape) for t in inputs)}; they must be "
                               f"equal, or the second a 1x1 map")
    return first


def _conv_shape(op: Convolution, source: TensorType) -> Shape:
    out_channels, per_group, height, width = op.weight_shape
    if source.channels != per_group * op.groups:
        raise UnsupportedModel(f"has weights for {per_group * op.groups} input channels, its input has "
                               f"{source.channels}")
    rows, columns = window_counts(source.shape[1:], (height, width), op.stride, op.padding, op.dilation)
    return out_channels, rows, columns
