"""Random networks of the spatial-shift family: moves of pixels and channels between layers, products, tables."""

import numpy as np

from shifthw.ir.graph import (
    AddressShift2d,
    BilinearUpsample2d,
    Concat,
    Flatten,
    Graph,
    Lookup,
    MaxPool2d,
    Multiply,
    Requantize,
    SelectChannels,
    ShiftConv2d,
    SpatialShift2d,
    SumPool2d,
    Upsample2d,
)
from shifthw.ir.types import IntType, ShiftWeight

from .graphs import GraphBuilder

KINDS = ("conv", "conv", "pointwise", "pointwise", "grouped", "depthwise", "shift", "shift", "half", "address",
         "shuffle", "split", "concat", "shortcut", "upsample", "transposed", "bilinear", "excite", "multiply", "lookup",
         "max", "sum", "global", "residual", "adder", "dense")
MOVES = ("part", "part", "shift", "half", "address", "shuffle", "split", "concat", "concat", "upsample", "pointwise",
         "grouped", "residual")
"""Moves of moves of moves."""
NOTHING = slice(0, 0)


class NetworkBuilder(GraphBuilder):
    """Adds moves, products and tables; every method returns the name of its node."""

    def shift(self, source: str, reach: int = 2, per_pixel: int = 1, stride: tuple[int, int] = (1, 1),
              still: slice = NOTHING) -> str:
        displacement = self.rng.integers(-reach, reach, (self.type(source).channels, 2), endpoint=True)
        displacement[still] = 0
        dtype = self.type(source).dtype
        wide = IntType(dtype.bits + 2 * (per_pixel == 2), dtype.signed)
        return self.add(SpatialShift2d(displacement, per_pixel, stride), source, dtype=wide)

    def address(self, source: str, reach: int = 2, still: slice = NOTHING) -> str:
        width = self.type(source).width
        offset = self.rng.choice([0, 1, -1, width, -width, int(self.rng.integers(-reach * width, reach * width + 1))],
                                 self.type(source).channels)
        offset[still] = 0
        return self.add(AddressShift2d(offset), source)

    def select(self, source: str, channels: np.ndarray) -> str:
        return self.add(SelectChannels(np.asarray(channels, np.int64)), source)

    def shuffle(self, source: str) -> str:
        """As ShuffleNet does, with any number of groups that divides the channels; or at random."""
        channels = self.type(source).channels
        if self.rng.integers(2):
            return self.select(source, self.rng.permutation(channels))
        groups = int(self.rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
        return self.select(source, np.arange(channels).reshape(groups, -1).T.ravel())

    def concat(self, *sources: str) -> str:
        return self.add(Concat(), *sources)

    def upsample(self, source: str, factor: tuple[int, int], zeros: bool = False) -> str:
        return self.add(Upsample2d(factor, zeros), source)

    def bilinear(self, source: str) -> str:
        return self.add(BilinearUpsample2d(), source)

    def multiply(self, source: str, other: str) -> str:
        return self.add(Multiply(), source, other)

    def product(self, source: str, other: str, dtype: IntType) -> str:
        """Multiply and its requantization, with one multiplier of few bits."""
        acc = self.multiply(source, other)
        shift = int(self.rng.integers(4, 14))
        channels = self.type(source).channels
        multiplier = np.full(channels, int(self.rng.integers(1, 1 << 9)), np.int64)
        bias = self.rng.integers(-(1 << shift), (1 << shift) + 1, channels)
        return self.add(Requantize((multiplier,), bias, shift, dtype.lo, dtype.hi), acc, dtype=dtype)

    def lookup(self, source: str, dtype: IntType) -> str:
        table = self.rng.integers(dtype.lo, dtype.hi, 1 << self.type(source).dtype.bits, endpoint=True)
        return self.add(Lookup(table, "random"), source, dtype=dtype)


def random_network(seed: int, kinds: tuple[str, ...] = KINDS, length: int = 8,
                   mixed: bool = False) -> tuple[Graph, NetworkBuilder]:
    """A chain with branches of up to `length` steps of these kinds, odd sizes included.

    mixed  each tensor has 2 to 8 bits and a sign of its own; else all have the same type
    """
    rng = np.random.default_rng((2026, seed))
    dtype = IntType(int(rng.choice([4, 8, 8, 8])), bool(rng.integers(2)))
    shape = (int(rng.choice([1, 2, 3, 4, 6, 8, 12, 17])), int(rng.choice([1, 2, 3, 5, 6, 8, 9])),
             int(rng.choice([1, 2, 4, 5, 7, 8, 10])))
    build = NetworkBuilder(rng, shape, dtype, unit_scales=False, zeros=bool(rng.integers(2)))
    grower = _Grower(build, dtype, kinds, mixed)
    for _ in range(int(rng.integers(1, length + 1))):
        grower.grow()
    tensor = grower.tensors[-1]
    if build.type(tensor).dtype.bits > dtype.bits:
        tensor = build.requantize(tensor, dtype)
    if rng.integers(4) == 0 and np.prod(build.type(tensor).shape) < 600:
        flat = build.add(Flatten(), tensor)
        tensor = build.requantize(build.conv(flat, int(rng.integers(1, 12)), (1, 1), padding=(0, 0, 0, 0)), dtype)
    return build.graph(tensor), build


class _Grower:
    """Appends one step at a time to the last tensor, or to an earlier one."""

    def __init__(self, build: NetworkBuilder, dtype: IntType, kinds: tuple[str, ...], mixed: bool) -> None:
        self.build, self.rng, self.same, self.kinds, self.mixed = build, build.rng, dtype, kinds, mixed
        self.tensors = ["images"]

    @property
    def dtype(self) -> IntType:
        """For the next tensor."""
        return IntType(int(self.rng.integers(2, 9)), bool(self.rng.integers(2))) if self.mixed else self.same

    def grow(self) -> None:
        source = self.tensors[-1] if self.rng.integers(4) else str(self.rng.choice(self.tensors))
        kind = str(self.rng.choice(self.kinds))
        if self.build.type(source).dtype.bits > (8 if self.mixed else self.same.bits):
            kind = str(self.rng.choice(["pointwise", "conv", "requantize"]))
        made = getattr(self, f"_{kind}")(source)
        if made is not None and np.prod(self.build.type(made).shape) <= 6000:
            self.tensors.append(made)

    def _others(self, source: str, same: slice) -> list[str]:
        """Tensors whose shapes are equal in a part."""
        shape = self.build.type(source).shape[same]
        return [name for name in self.tensors if self.build.type(name).shape[same] == shape
                and self.build.type(name).dtype == self.build.type(source).dtype]

    def _finish(self, acc: str) -> str:
        """Requantize, now and then with a residual."""
        equal = [name for name in self.tensors if self.build.type(name).shape == self.build.type(acc).shape
                 and self.build.type(name).dtype == self.dtype]
        residual = str(self.rng.choice(equal)) if equal and self.rng.integers(2) else None
        return self.build.requantize(acc, self.dtype, residual)

    def _window(self, source: str, out: int, groups: int, kernels: tuple[int, ...]) -> str | None:
        rng = self.rng
        kernel = tuple(int(k) for k in rng.choice(kernels, 2))
        padding = tuple(int(p) for p in rng.integers(0, 3, 4)) if kernel != (1, 1) else (0, 0, 0, 0)
        stride = tuple(int(s) for s in rng.choice([1, 1, 1, 2, 3], 2))
        dilation = tuple(int(d) for d in rng.choice([1, 1, 2], 2))
        _, height, width = self.build.type(source).shape
        if any(size + padding[a] + padding[a + 2] < dilation[a] * (kernel[a] - 1) + 1
               for a, size in enumerate((height, width))):
            return None
        return self._finish(self.build.conv(source, out, kernel, stride, padding, dilation, groups,
                                            int(rng.choice([1, 1, 2])), int(rng.integers(1, 9))))

    def _conv(self, source: str) -> str | None:
        return self._window(source, int(self.rng.choice([1, 3, 4, 8, 10, 16])), 1, (1, 2, 3))

    def _pointwise(self, source: str) -> str | None:
        return self._window(source, int(self.rng.choice([2, 4, 8, 9, 16, 24])), 1, (1,))

    def _grouped(self, source: str) -> str | None:
        channels = self.build.type(source).channels
        groups = int(self.rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
        return self._window(source, groups * int(self.rng.integers(1, 5)), groups, (1, 1, 3))

    def _depthwise(self, source: str) -> str | None:
        channels = self.build.type(source).channels
        return self._window(source, channels, channels, (1, 2, 3))

    def _adder(self, source: str) -> str | None:
        out = int(self.rng.choice([3, 4, 8]))
        return self._finish(self.build.adder(source, out, (1, 1), padding=(0, 0, 0, 0)))

    def _dense(self, source: str) -> str | None:
        """DenseNet's: a few new channels behind what there is."""
        fresh = self.build.requantize(self.build.conv(source, int(self.rng.integers(1, 6))),
                                      self.build.type(source).dtype)
        return self.build.concat(source, fresh)

    def _shift(self, source: str) -> str:
        stride = (1, 1) if self.rng.integers(4) else tuple(int(s) for s in self.rng.integers(1, 3, 2))
        return self.build.shift(source, int(self.rng.choice([0, 1, 2, 9])), 1, stride)

    def _half(self, source: str) -> str:
        return self.build.shift(source, int(self.rng.choice([1, 3, 9])), 2)

    def _address(self, source: str) -> str:
        return self.build.address(source)

    def _shuffle(self, source: str) -> str:
        return self.build.shuffle(source)

    def _split(self, source: str) -> str:
        channels = self.build.type(source).channels
        cut = int(self.rng.integers(0, channels))
        self.tensors.append(self.build.select(source, np.arange(cut + 1)))
        return self.build.select(source, np.arange(cut, channels))

    def _part(self, source: str) -> str:
        """A move of some of the channels; often only the others go on."""
        channels = self.build.type(source).channels
        half = max(1, channels // 2)
        still = slice(0, half) if self.rng.integers(2) else slice(channels - half, channels)
        move = self.build.address if self.rng.integers(2) else self.build.shift
        moved = move(source, still=still)
        return self.build.select(moved, np.arange(channels)[still]) if self.rng.integers(2) else moved

    def _concat(self, source: str) -> str:
        others = self.rng.choice(self._others(source, slice(1, 3)), int(self.rng.integers(1, 3)))
        return self.build.concat(source, *map(str, others))

    def _shortcut(self, source: str) -> str | None:
        """Option A."""
        out = 2 * self.build.type(source).channels
        sign = np.zeros((1, out, out // 2, 1, 1), np.int8)
        sign[0, out // 4:out // 4 + out // 2, :, 0, 0] = np.eye(out // 2, dtype=np.int8)
        acc = self.build.add(ShiftConv2d(ShiftWeight(sign, np.zeros_like(sign)), (2, 2)), source)
        return self._finish(acc)

    def _upsample(self, source: str) -> str:
        return self.build.upsample(source, tuple(int(f) for f in self.rng.choice([1, 2, 2, 3], 2)))

    def _transposed(self, source: str) -> str | None:
        stuffed = self.build.upsample(source, tuple(int(f) for f in self.rng.choice([1, 2, 2, 3], 2)), zeros=True)
        return self._finish(self.build.conv(stuffed, int(self.rng.choice([2, 4, 6])), (3, 3)))

    def _bilinear(self, source: str) -> str:
        return self._finish(self.build.bilinear(source))

    def _excite(self, source: str) -> str:
        channels, height, width = self.build.type(source).shape
        mean = self.build.requantize(self.build.add(SumPool2d((height, width), (1, 1)), source), self.dtype)
        gate = self.build.requantize(self.build.conv(mean, channels, (1, 1), padding=(0, 0, 0, 0)), self.dtype)
        return self.build.product(source, self.build.lookup(gate, self.dtype), self.dtype)

    def _multiply(self, source: str) -> str:
        return self.build.product(source, str(self.rng.choice(self._others(source, slice(0, 3)))), self.dtype)

    def _lookup(self, source: str) -> str:
        return self.build.lookup(source, self.dtype)

    def _max(self, source: str) -> str | None:
        return self._pool(source, MaxPool2d)

    def _sum(self, source: str) -> str | None:
        made = self._pool(source, SumPool2d)
        return made and self.build.requantize(made, self.dtype)

    def _pool(self, source: str, op: type[MaxPool2d] | type[SumPool2d]) -> str | None:
        kernel = tuple(int(k) for k in self.rng.integers(1, 4, 2))
        stride = tuple(int(s) for s in self.rng.integers(1, 4, 2))
        padding = tuple(int(self.rng.integers(0, k)) for k in (*kernel, *kernel))
        _, height, width = self.build.type(source).shape
        if height + padding[0] + padding[2] < kernel[0] or width + padding[1] + padding[3] < kernel[1]:
            return None
        return self.build.add(op(kernel, stride, padding), source)

    def _global(self, source: str) -> str:
        _, height, width = self.build.type(source).shape
        return self.build.requantize(self.build.add(SumPool2d((height, width), (1, 1)), source), self.dtype)

    def _residual(self, source: str) -> str:
        return self.build.requantize(source, self.dtype, str(self.rng.choice(self._others(source, slice(0, 3)))))

    def _requantize(self, source: str) -> str:
        return self.build.requantize(source, self.dtype)
