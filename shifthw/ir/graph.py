"""The integer graph: a closed set of operations on integer tensors, immutable, in topological order.

Arithmetic is exact. Only `Requantize` loses bits, and it is the only place where rounding and
saturation are defined.
"""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from .types import ShiftWeight, TensorType


class Rounding(Enum):
    """How Requantize drops the fraction: toward minus infinity, or to nearest with halves up or to the even number.

    TRN, RND and RND_CONV of ap_fixed; torch.round and numpy.round are HALF_EVEN.
    """

    FLOOR = "floor"
    HALF_UP = "half_up"
    HALF_EVEN = "half_even"


@dataclass(frozen=True)
class Input:
    """The images of the network: no inputs."""


@dataclass(frozen=True, eq=False)
class ShiftConv2d:
    """acc[o,y,x] = sum w[o,i,ky,kx] * in[g(o)+i, y*sy - top + ky*dy, x*sx - left + kx*dx]; outside is 0.

    padding is (top, left, bottom, right); the output is an accumulator (exact, wide).
    """

    weight: ShiftWeight
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(out, in/groups, kh, kw)"""
        return self.weight.sign.shape[1:]


@dataclass(frozen=True, eq=False)
class AdderConv2d:
    """acc[o,y,x] = -sum |w[o,i,ky,kx] - in[g(o)+i, y*sy - top + ky*dy, x*sx - left + kx*dx]|; outside, in is 0.

    A position in the padding counts -|w|. All else is as in ShiftConv2d.

    weight  int64[out, in/groups, kh, kw] in steps of the input;  |w| <= 2**31
    """

    weight: np.ndarray
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        if self.weight.ndim != 4:
            raise ValueError(f"weight must have 4 dimensions, not the shape {self.weight.shape}")
        self.weight.setflags(write=False)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(out, in/groups, kh, kw)"""
        return self.weight.shape


@dataclass(frozen=True)
class SumPool2d:
    """acc[c,y,x] = sum of a window, outside counts 0. The mean's division is in the Requantize behind it."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True)
class MaxPool2d:
    """out[c,y,x] = maximum of a window; positions outside the map never win."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class Requantize:
    """y[c] = clamp(t >> shift, lo, hi) of t = sum_k multiplier[k][c] * in_k[c] + bias[c] + half.

    half = 2**(shift-1) with shift > 0 unless rounding is Rounding.FLOOR, else 0; `>>` rounds toward minus infinity.
    Rounding.HALF_EVEN clears bit 0 of t >> shift where shift > 0 and the low `shift` bits of t are all 0: at a tie.
    That is round_half_even((sum_k multiplier[k][c] * in_k[c] + bias[c]) / 2**shift), clamped.
    One input: accumulator (or activation) to activation. Two inputs: residual add, summed before the one rounding;
    the second has the first's shape, or is a 1x1 map that counts at every pixel.

    multiplier  one int64[channels] per input;  |m| < 2**31
    bias        int64[channels]
    shift       0..47;  lo <= hi inside the output's dtype
    """

    multiplier: tuple[np.ndarray, ...]
    bias: np.ndarray
    shift: int
    lo: int
    hi: int
    rounding: Rounding = Rounding.HALF_UP

    @property
    def half(self) -> int:
        """Half a step of the output, which goes into the sum before the shift."""
        return 1 << (self.shift - 1) if self.shift and self.rounding is not Rounding.FLOOR else 0


@dataclass(frozen=True)
class Flatten:
    """(C, H, W) to (C*H*W, 1, 1), channel-major as torch.flatten does."""


@dataclass(frozen=True, eq=False)
class SpatialShift2d:
    """out[c,y,x] = in[c, y*sy + dy[c], x*sx + dx[c]]; outside is 0. (ShiftNet, Active Shift, Sparse Shift)

    per_pixel 2: displacements are in half pixels, and the output is 4 times the mean of the 1, 2 or 4 neighbours:
    along an axis an even d gives 2 * in[d/2], an odd one in[(d-1)/2] + in[(d+1)/2].

    displacement  int64[channels, 2]: dy, dx in 1/per_pixel pixels;  within +-MAX_DISPLACEMENT
    per_pixel     1, or 2: the output has 2 bits more than the input
    """

    displacement: np.ndarray
    per_pixel: int = 1
    stride: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        self.displacement.setflags(write=False)


@dataclass(frozen=True, eq=False)
class AddressShift2d:
    """out[c,n] = in[c, n + offset[c]], n = y*W + x being a pixel's number in its map; 0 beyond the map's two ends.

    AddressNet's shift: a pointer moves, and no border is masked, so that the right neighbour of a line's last pixel
    is the first of the next line.

    offset  int64[channels];  within +-MAX_DISPLACEMENT
    """

    offset: np.ndarray

    def __post_init__(self) -> None:
        self.offset.setflags(write=False)


@dataclass(frozen=True, eq=False)
class SelectChannels:
    """out[c] = in[channels[c]]: a split, a shuffle, a circular channel shift.

    channels  int64[out], each a channel of the input
    """

    channels: np.ndarray

    def __post_init__(self) -> None:
        self.channels.setflags(write=False)


@dataclass(frozen=True)
class Concat:
    """The channels of all inputs, one behind the other; the inputs have one integer type and one size of map."""


@dataclass(frozen=True)
class Upsample2d:
    """out[c,y,x] = in[c, y // fy, x // fx]; with `zeros` only where fy divides y and fx divides x, else 0.

    With zeros and a convolution behind it, it is a transposed convolution.
    """

    factor: tuple[int, int]
    zeros: bool = False


@dataclass(frozen=True)
class BilinearUpsample2d:
    """acc = 16 * the map enlarged twice along both axes, weights 3/4 and 1/4, the border's pixels repeated.

    torch's interpolate(scale_factor=2, mode="bilinear", align_corners=False).
    """


@dataclass(frozen=True)
class Multiply:
    """acc[c,y,x] = a[c,y,x] * b[c,y,x], or * b[c,0,0] where b is a 1x1 map (squeeze-and-excite)."""


@dataclass(frozen=True, eq=False)
class Lookup:
    """out = table[in - lo], lo being the least value of the input's type: any function of one activation.

    table     int64[2**bits] of an input of at most MAX_LOOKUP_BITS bits
    function  what it is a table of, for people and for real-valued references; no integer depends on it
    """

    table: np.ndarray
    function: str = ""

    def __post_init__(self) -> None:
        self.table.setflags(write=False)


Convolution = ShiftConv2d | AdderConv2d
WindowSum = Convolution | SumPool2d
"""Sums over windows of one map."""
SumOp = WindowSum | BilinearUpsample2d | Multiply
"""Operations whose output is an accumulator."""
Move = SpatialShift2d | AddressShift2d | SelectChannels | Concat | Upsample2d | Flatten
"""Operations that only say where a value is found (half-pixel shifts add up a few)."""
Op = Input | SumOp | MaxPool2d | Requantize | Lookup | Move


@dataclass(frozen=True, eq=False)
class Node:
    """One operation. `name` is unique and, where there is one, the layer's path in the user's model."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    output: TensorType


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order; the first is the only Input, `outputs` names the results (activations)."""

    name: str
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    metadata: dict[str, object] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def consumers(self, name: str) -> tuple[Node, ...]:
        """The nodes that read the tensor `name`."""
        return tuple(node for node in self.nodes if name in node.inputs)
