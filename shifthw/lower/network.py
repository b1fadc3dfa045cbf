"""Network: layers in order, each one pass over the array, between stored tensors."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..ir.graph import Lookup
from ..ir.types import IntType, ShiftWeight, TensorType
from .view import View


class Kind(Enum):
    """How a layer uses the engine."""

    CONV = "conv"
    SUM_POOL = "sum_pool"
    ADDER = "adder"
    IDENTITY = "identity"
    BILINEAR = "bilinear"
    MAX_POOL = "max_pool"


@dataclass(frozen=True, eq=False)
class Scale:
    """y[c] = clamp((acc*multiplier[c] + residual*residual_multiplier + bias[c]) >> shift, lo, hi), or, with a factor,
    y[c] = clamp((acc * residual*residual_multiplier + bias[c]) >> shift, lo, hi).

    Rounding is in the bias; common factors of two of the multipliers are divided out (that is exact,
    because floor((acc*2**k + b) / 2**s) == floor((acc + floor(b / 2**k)) / 2**(s-k))).
    ties_to_even: bit 0 of the shifted sum is cleared where the shift drops nothing but zeros; then shift > 0.
    """

    multiplier: np.ndarray
    bias: np.ndarray
    shift: int
    lo: int
    hi: int
    residual_multiplier: int = 0
    ties_to_even: bool = False
    factor: IntType | None = None
    """Type of a residual that is multiplied with the accumulator; `multiplier` is 0 then."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer. Sum pools and identities have one unit weight per tap on the diagonal and no `weight`.

    sum_factor  what its accumulators hold of the exact sum: 1, or 2 (see shifthw.lower.adder)
    """

    name: str
    kind: Kind
    source: View
    output: str
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    """Of the windows on the view."""
    padding: tuple[int, int] = (0, 0)
    """Top and left; bottom and right follow from the output's shape."""
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    weight: ShiftWeight | None = None
    adder_weight: np.ndarray | None = None
    """int64[out, in/groups, kh, kw], in steps of the source."""
    scale: Scale | None = None
    residual: View | None = None
    broadcast: bool = False
    """The residual is a 1x1 map, which counts at every pixel."""
    lookup: Lookup | None = None
    """What follows the scale, whose results have the type `between`."""
    between: IntType | None = None
    sum_factor: int = 1
    phases: tuple[int, int] = (1, 1)
    """Its output is made in so many interleaved parts, so that it can read phase planes made for another reader."""
    copy: str = ""
    """Why the layer is there, if only to move values; "" if it is the network's."""

    @property
    def terms(self) -> int:
        """Steps for each tap and input channel group."""
        if self.kind is Kind.ADDER:
            return 1 if self.groups == 1 else 2
        return self.weight.terms if self.weight else 1

    @property
    def diagonal(self) -> bool:
        """Whether output channel c sees input channel c alone, with weight 1."""
        return self.kind in (Kind.SUM_POOL, Kind.IDENTITY)

    @property
    def keeps_lanes(self) -> bool:
        """Whether output channel c sees input channel c alone: it is made in the lane that the input is in."""
        return (self.diagonal or self.kind in (Kind.MAX_POOL, Kind.BILINEAR)
                or 1 < self.groups == self.source.channels == self.outputs)

    @property
    def outputs(self) -> int:
        """Output channels."""
        weight = self.adder_weight if self.weight is None else self.weight.integer
        return self.source.channels if weight is None else len(weight)

    @property
    def reads(self) -> tuple[str, ...]:
        """The stored tensors that it reads, each once."""
        return tuple(dict.fromkeys((*self.source.names, *(self.residual.names if self.residual else ()))))

    @property
    def spread(self) -> tuple[int, int]:
        """Its output is made in so many interleaved phases, each a loop of its own."""
        if self.kind is Kind.BILINEAR:
            return 2, 2
        return self.source.factor if self.source.factor != (1, 1) else self.phases

    @property
    def read_stride(self) -> tuple[int, int]:
        """Pixels of the stored maps from one output pixel (of a phase) to the next."""
        (sy, sx), (py, px) = self.source.stride, self.phases
        return self.stride[0] * sy * py, self.stride[1] * sx * px


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in order, the types of all stored tensors, the names of input and result."""

    name: str
    layers: tuple[Layer, ...]
    tensors: dict[str, TensorType]
    source: str
    result: str
    result_shape: tuple[int, int, int]
    """Shape of an output; the result's unless the graph flattens it."""

    @property
    def activation_bits(self) -> int:
        """Bits of every activation: those of the widest tensor, or of what a table is asked for; 3 with any table."""
        asked = [layer.between.bits for layer in self.layers if layer.between]
        return max(2 + bool(asked), *(tensor.dtype.bits for tensor in self.tensors.values()), *asked)

    def readers(self, tensor: str) -> tuple[Layer, ...]:
        """Layers that read `tensor`."""
        return tuple(layer for layer in self.layers if tensor in layer.reads)


def unused(name: str, taken: Collection[str]) -> str:
    """A name for a tensor that the compiler adds: `name`, or one like it, that nothing has."""
    number = 2
    found = name
    while found in taken:
        found, number = f"{name}{number}", number + 1
    return found


def identity_scale(tensor: TensorType) -> Scale:
    """The requantization that changes nothing."""
    channels = tensor.channels
    return Scale(np.ones(channels, np.int64), np.zeros(channels, np.int64), 0, tensor.dtype.lo, tensor.dtype.hi)


def pass_layer(name: str, view: View, output: str, scale: Scale) -> Layer:
    """The layer that takes every pixel of a view through the array alone."""
    if view.per_pixel == 1:
        return Layer(name, Kind.IDENTITY, view, output, scale=scale)
    ones = np.ones((1, view.channels, 1, 1, 1), np.int8)    # fourfold means are sums of weighted neighbours
    return Layer(name, Kind.CONV, view, output, groups=view.channels, weight=ShiftWeight(ones, ones - 1), scale=scale)


def copy_layer(name: str, view: View, tensor: TensorType, why: str) -> Layer:
    """The layer that stores what a view of the type `tensor` sees as the tensor `name`."""
    return dataclasses.replace(pass_layer(name, view, name, identity_scale(tensor)), copy=why)
