"""Integer graphs for tests: a builder with random parameters, and random graphs."""

import numpy as np

from shifthw.ir.graph import (
    AdderConv2d,
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
from shifthw.ir.ranges import accumulator_type
from shifthw.ir.shapes import output_shape
from shifthw.ir.types import IntType, ShiftWeight, TensorType


class GraphBuilder:
    """Adds nodes with random weights and scales; every method returns the name of its node."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int, int], dtype: IntType, *,
                 unit_scales: bool = False, zeros: bool = True) -> None:
        self.rng, self.unit_scales, self.zeros = rng, unit_scales, zeros
        self.nodes = [Node("images", Input(), (), TensorType(shape, dtype))]

    def type(self, name: str) -> TensorType:
        return next(node.output for node in self.nodes if node.name == name)

    def graph(self, output: str = "") -> Graph:
        return Graph("test", tuple(self.nodes), (output or self.nodes[-1].name,))

    def images(self, count: int) -> np.ndarray:
        t = self.nodes[0].output
        return self.rng.integers(t.dtype.lo, t.dtype.hi, (count, *t.shape), endpoint=True)

    def add(self, op: Op, *inputs: str, dtype: IntType | None = None) -> str:
        name = f"{type(op).__name__.lower()}{len(self.nodes)}"
        sources = [self.type(source) for source in inputs]
        if isinstance(op, SumOp):
            dtype = accumulator_type(op, *sources)
        self.nodes.append(Node(name, op, inputs, TensorType(output_shape(op, tuple(sources)),
                                                            dtype or sources[0].dtype)))
        return name

    def weight(self, shape: tuple[int, int, int, int], terms: int = 1, levels: int = 8) -> ShiftWeight:
        signs = (-1, 0, 1) if self.zeros else (-1, 1)
        sign = self.rng.choice(np.array(signs, np.int8), (terms, *shape))
        exponent = self.rng.integers(0, levels, (terms, *shape)).astype(np.int8)
        return ShiftWeight(sign, np.where(sign == 0, np.int8(0), exponent))

    def conv(self, source: str, out: int, kernel: tuple[int, int] = (3, 3), stride: tuple[int, int] = (1, 1),
             padding: tuple[int, int, int, int] = (1, 1, 1, 1), dilation: tuple[int, int] = (1, 1), groups: int = 1,
             terms: int = 1, levels: int = 8) -> str:
        per_group = self.type(source).channels // groups
        weight = self.weight((out, per_group, *kernel), terms, levels)
        return self.add(ShiftConv2d(weight, stride, padding, dilation, groups), source)

    def adder(self, source: str, out: int, kernel: tuple[int, int] = (3, 3), stride: tuple[int, int] = (1, 1),
              padding: tuple[int, int, int, int] = (1, 1, 1, 1), dilation: tuple[int, int] = (1, 1), groups: int = 1,
              reach: float = 1.2) -> str:
        """Weights over `reach` times the range of the source."""
        lo, hi = self.type(source).dtype.lo, self.type(source).dtype.hi
        span = round(reach * (hi - lo + 1) / 2)
        middle = (lo + hi + 1) // 2
        shape = (out, self.type(source).channels // groups, *kernel)
        weight = self.rng.integers(middle - span, middle + span, shape, endpoint=True).clip(-(1 << 31), 1 << 31)
        return self.add(AdderConv2d(weight, stride, padding, dilation, groups), source)

    def requantize(self, main: str, dtype: IntType, residual: str | None = None, *,
                   rounding: Rounding = Rounding.HALF_UP, clamp: tuple[int, int] | None = None,
                   gain: float = 1.0) -> str:
        """Scales that use about the output's range: `gain` of it."""
        source = self.type(main)
        wide = max(abs(source.dtype.lo), source.dtype.hi) ** 0.75
        shift = int(self.rng.integers(0, 20))
        multiplier = gain * dtype.hi / wide * 2.0**shift * self.rng.uniform(0.5, 1.5, source.channels)
        m = np.clip(np.rint(multiplier), 1, 2**31 - 1).astype(np.int64)
        m *= self.rng.choice([-1, 1], source.channels)
        if self.unit_scales:
            m = np.ones(source.channels, np.int64) << min(3, shift)
        multipliers = [m]
        inputs = [main]
        if residual:
            inputs.append(residual)
            second = int(m[0]) if self.unit_scales else int(np.clip(abs(int(m[0])) * 3 // 2, 1, 2**31 - 1))
            multipliers.append(np.full(source.channels, second, np.int64))
        bias = self.rng.integers(-(1 << shift) * 9, (1 << shift) * 9 + 1, source.channels)
        lo, hi = clamp or (dtype.lo, dtype.hi)
        return self.add(Requantize(tuple(multipliers), bias, shift, lo, hi, rounding), *inputs, dtype=dtype)


def random_graph(seed: int, adders: float = 0.0) -> tuple[Graph, GraphBuilder]:
    """A chain with branches of every operation, odd sizes included; this share of the weighted layers are adders."""
    rng = np.random.default_rng(seed)
    bits = int(rng.choice([2, 4, 5, 8, 8, 8, 12, 16]))

    def dtype() -> IntType:
        return IntType(int(rng.integers(max(2, bits - 2), bits + 1)), bool(rng.integers(2)))

    shape = (int(rng.choice([1, 2, 3, 4, 5, 8, 17])), int(rng.integers(1, 14)), int(rng.integers(1, 14)))
    build = GraphBuilder(rng, shape, dtype(), unit_scales=bool(rng.integers(4) == 0), zeros=bool(rng.integers(2)))
    tensor = "images"
    stored = [tensor]
    for _ in range(int(rng.integers(1, 6))):
        tensor = _random_layer(build, tensor, stored, dtype, adders)
        stored.append(tensor)
    if rng.integers(3) == 0:
        flat = build.add(Flatten(), tensor)
        linear = build.adder if adders and rng.random() < adders else build.conv
        acc = linear(flat, int(rng.integers(1, 12)), (1, 1), padding=(0, 0, 0, 0))
        tensor = build.requantize(acc, dtype())
    return build.graph(tensor), build


def _random_layer(build: GraphBuilder, tensor: str, stored: list[str], dtype, adders: float) -> str:
    rng = build.rng
    channels, height, width = build.type(tensor).shape
    kind = rng.choice(["conv", "conv", "conv", "grouped", "depthwise", "max", "sum", "global", "requantize", "linear"])
    rounding = list(Rounding)[int(rng.integers(len(Rounding)))]
    if kind in ("conv", "grouped", "depthwise", "linear"):
        groups, out = 1, int(rng.choice([1, 3, 4, 8, 10, 16, 20]))
        if kind == "grouped":
            groups = int(rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
            out = groups * int(rng.integers(1, 4))
        if kind == "depthwise":
            groups, out = channels, channels * int(rng.integers(1, 3))
        kernel = tuple(int(k) for k in rng.integers(1, 4, 2))
        dilation = tuple(int(d) for d in rng.choice([1, 1, 2], 2))
        padding = tuple(int(p) for p in rng.integers(0, 3, 4))
        stride = tuple(int(s) for s in rng.choice([1, 1, 2, 3], 2))
        if rng.integers(3) == 0:
            kernel, dilation, padding, stride = (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)
            if kind == "conv":
                out = channels
        if _fits((height, width), kernel, padding, dilation):
            if adders and rng.random() < adders:
                acc = build.adder(tensor, out, kernel, stride, padding, dilation, groups,
                                  float(rng.choice([0.2, 1.0, 1.2, 8.0])))
            else:
                acc = build.conv(tensor, out, kernel, stride, padding, dilation, groups, int(rng.choice([1, 1, 2, 4])),
                                 int(rng.integers(1, 16)))
            equal = [name for name in stored if build.type(name).shape == build.type(acc).shape]
            residual = str(rng.choice(equal)) if equal and rng.integers(4) else None
            return build.requantize(acc, dtype(), residual, rounding=rounding, gain=float(rng.choice([0.5, 1, 50])))
    if kind in ("max", "sum"):
        kernel = tuple(int(k) for k in rng.integers(1, 4, 2))
        padding = tuple(int(rng.integers(0, k)) for k in (*kernel, *kernel))
        stride = tuple(int(s) for s in rng.integers(1, 4, 2))
        if _fits((height, width), kernel, padding, (1, 1)):
            if kind == "max":
                return build.add(MaxPool2d(kernel, stride, padding), tensor)
            return build.requantize(build.add(SumPool2d(kernel, stride, padding), tensor), dtype(), rounding=rounding)
    if kind == "global":
        return build.requantize(build.add(SumPool2d((height, width), (1, 1)), tensor), dtype(), rounding=rounding)
    equal = [name for name in stored if build.type(name).shape == (channels, height, width)]
    return build.requantize(tensor, dtype(), str(rng.choice(equal)) if rng.integers(2) else None, rounding=rounding)


def _fits(size: tuple[int, int], kernel: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    return all(size[a] + padding[a] + padding[a + 2] >= dilation[a] * (kernel[a] - 1) + 1 for a in (0, 1))


def random_array(seed: int) -> dict[str, int]:
    """images, pixels, simd, pe."""
    rng = np.random.default_rng(seed)
    simd = int(rng.choice([4, 8, 16, 32]))
    return {"images": int(rng.integers(1, 4)), "pixels": int(rng.choice([2, 4, 8, 16])), "simd": simd,
            "pe": int(rng.choice([o for o in (1, 2, 4, 8, 16, 32) if o <= simd]))}
