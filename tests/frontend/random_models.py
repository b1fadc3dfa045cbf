"""Random torch networks of all layers; by default such that convert exactly: every scale is a power of two."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from shifthw.nn import (
    ActiveShift2d,
    AddressShift2d,
    ChannelShift,
    GroupedShift2d,
    PadShortcut,
    QuantAct,
    Rounding,
    ShiftConv2d,
    ShiftConvTranspose2d,
    ShiftLinear,
    ShortcutShift,
    SparseShift2d,
)

Step = Callable[["RandomNetwork", list[torch.Tensor]], torch.Tensor]
MAX_ELEMENTS = 4000
KINDS = ("conv", "conv", "pointwise", "grouped", "residual", "residual", "broadcast", "pad_shortcut", "shift", "active",
         "half", "sparse", "address", "channel_shift", "shuffle", "part", "halves", "joined", "joined_sums", "shortcut",
         "upsample", "bilinear", "transposed", "max", "mean", "global_mean", "table", "product", "excite")


class RandomNetwork(nn.Module):
    """A chain with branches: every step reads the last value, or an earlier one, of those that were made before it.

    exact  powers of two for all scales and gains; else any real numbers
    """

    def __init__(self, seed: int, kinds: tuple[str, ...] = KINDS, steps: int = 7, exact: bool = True) -> None:
        super().__init__()
        self.exact = exact
        self.rng = np.random.default_rng((77, seed))
        torch.manual_seed(seed)
        self.layers = nn.ModuleList()
        self.steps: list[Step] = []
        shape = [int(self.rng.choice(sizes)) for sizes in ((1, 3, 4, 8), (1, 2, 4, 5, 7, 8), (1, 3, 4, 6, 8))]
        self.example = torch.randn(4, *shape, dtype=torch.float64)
        first = self.quantizer(self.example)
        self.values = [self.layers[first](self.example)]
        self.steps = [lambda net, values: net.layers[first](values[0])]
        self.made: list[str] = []
        while len(self.steps) <= steps:
            self.grow(str(self.rng.choice(kinds)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = [x]
        for step in self.steps:
            values.append(step(self, values))
        return values[-1]

    # -- growing ------------------------------------------------------------------------------
    def grow(self, kind: str) -> None:
        """Append a step of this kind, if it suits the value that it would read."""
        index = len(self.values) if self.rng.integers(4) else int(self.rng.integers(1, len(self.values) + 1))
        if self.steps[index - 1].__name__ == "half":
            kind = str(self.rng.choice(["conv", "pointwise", "residual"]))     # nothing else reads fourfold means
        before = len(self.layers)
        step = getattr(self, f"_{kind}")(index, self.values[index - 1])
        with torch.no_grad():
            value = None if step is None else step(self.eval(), [self.example, *self.values])
        if value is None or value.numel() > 4 * MAX_ELEMENTS or not value.any():
            del self.layers[before:]
            return
        step.__name__ = kind
        self.steps.append(step)
        self.values.append(value)
        self.made.append(kind)

    def add(self, layer: nn.Module) -> int:
        """The place of a new layer in `layers`."""
        self.layers.append(layer.double().eval())
        return len(self.layers) - 1

    def quantizer(self, value: torch.Tensor, bits: int = 8) -> int:
        """A quantizer whose power of two suits a value of this range."""
        largest = float(value.detach().abs().max()) or 1.0
        signed = bool((value < 0).any()) and bool(self.rng.integers(4))
        scale = largest / 2 ** (bits - signed)
        scale = 2.0 ** np.clip(np.ceil(np.log2(scale)), -7, 2) if self.exact else scale * self.rng.uniform(0.7, 1.2)
        return self.add(QuantAct(bits, signed, scale=float(scale), rounding=self.choice(*Rounding)))

    def quantized(self, unquantized: Step) -> Step:
        """The step with an activation function or none, and a quantizer behind it."""
        clamp = self.choice(lambda x: x, functional.relu, functional.relu6, lambda x: functional.hardtanh(x, -0.5, 1.5))
        with torch.no_grad():
            sums = clamp(unquantized(self.eval(), [self.example, *self.values]))
        act = self.quantizer(sums)
        return lambda net, values: net.layers[act](clamp(unquantized(net, values)))

    def choice(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def like(self, value: torch.Tensor, dimensions: slice) -> list[int]:
        """Indices of values that are equal in a part of their shape."""
        return [index for index, other in enumerate(self.values, start=1)
                if other.shape[dimensions] == value.shape[dimensions] and self.steps[index - 1].__name__ != "half"]

    def layer(self, index: int, module: nn.Module) -> Step:
        place = self.add(module)
        return lambda net, values: net.layers[place](values[index])

    # -- convolutions -------------------------------------------------------------------------
    def sums(self, index: int, x: torch.Tensor, out: int, kernel: tuple[int, int], groups: int = 1,
             stride: tuple[int, int] = (1, 1)) -> Step | None:
        padding, dilation = (kernel[0] // 2, kernel[1] // 2), self.choice(1, 1, 2)
        if any(size + 2 * added < dilation * (k - 1) + 1
               for size, added, k in zip(x.shape[2:], padding, kernel, strict=True)):
            return None
        form, terms = self.choice(("Q", 1), ("Q", 2), ("PS", 1))
        conv = self.add(ShiftConv2d(x.shape[1], out, kernel, stride, padding, dilation, groups, weight_bits=4,
                                    terms=terms, form=form))
        norm = nn.BatchNorm2d(out, eps=0.0)
        with torch.no_grad():
            gain = torch.randint(-1, 2, (out,)) if self.exact else torch.empty(out).uniform_(-1, 1)
            norm.weight.copy_(2.0**gain)
            norm.bias.normal_(0, 0.3)
        batch_norm = self.add(self.choice(norm, nn.Identity()))
        return lambda net, values: net.layers[batch_norm](net.layers[conv](values[index]))

    def _conv(self, index: int, x: torch.Tensor, groups: int = 1) -> Step | None:
        kernel, stride = self.choice((3, 3), (1, 3), (2, 1)), self.choice((1, 1), (1, 1), (2, 2), (1, 2))
        made = self.sums(index, x, groups * self.choice(1, 2, 3), kernel, groups, stride)
        return made and self.quantized(made)

    def _pointwise(self, index: int, x: torch.Tensor) -> Step | None:
        made = self.sums(index, x, self.choice(2, 4, 9, 12), (1, 1))
        return made and self.quantized(made)

    def _grouped(self, index: int, x: torch.Tensor) -> Step | None:
        return self._conv(index, x, self.choice(*(g for g in range(1, x.shape[1] + 1) if x.shape[1] % g == 0)))

    def _residual(self, index: int, x: torch.Tensor) -> Step | None:
        made, other = self.sums(index, x, x.shape[1], (1, 1)), self.choice(*self.like(x, slice(1, 4)) or [0])
        if made is None or other == 0:
            return None
        return self.quantized(self.choice(lambda net, values: made(net, values) + values[other],
                                          lambda net, values: values[other] + made(net, values)))

    def _broadcast(self, index: int, x: torch.Tensor) -> Step | None:
        mean, made = self._global_mean(index, x), self.sums(index, x, x.shape[1], (1, 1))
        assert made is not None
        return self.quantized(lambda net, values: made(net, values) + mean(net, values))

    def _pad_shortcut(self, index: int, x: torch.Tensor) -> Step:
        return self.layer(index, PadShortcut(x.shape[1], x.shape[1] + self.choice(0, 1, 4), self.choice(1, 2)))

    def _transposed(self, index: int, x: torch.Tensor) -> Step:
        kernel, stride = self.choice((2, 2), (3, 4)), self.choice((2, 2), (1, 2))
        conv = self.add(ShiftConvTranspose2d(x.shape[1], self.choice(2, 5), kernel, stride))
        return self.quantized(lambda net, values: net.layers[conv](values[index]))

    # -- moves --------------------------------------------------------------------------------
    def displaced(self, layer: ActiveShift2d | SparseShift2d) -> nn.Module:
        with torch.no_grad():
            layer.displacement.uniform_(-2.4, 2.4)
        return layer

    def _shift(self, index: int, x: torch.Tensor) -> Step:
        return self.layer(index, GroupedShift2d(x.shape[1], 3, self.choice(1, 2)))

    def _active(self, index: int, x: torch.Tensor) -> Step:
        return self.layer(index, self.displaced(ActiveShift2d(x.shape[1], self.choice(1, 2, (1, 2)))))

    def _half(self, index: int, x: torch.Tensor) -> Step:
        return self.layer(index, self.displaced(ActiveShift2d(x.shape[1], self.choice(1, 2), 2)))

    def _sparse(self, index: int, x: torch.Tensor) -> Step:
        return self.layer(index, self.displaced(SparseShift2d(x.shape[1])))

    def _address(self, index: int, x: torch.Tensor) -> Step:
        return self.layer(index, AddressShift2d(x.shape[1], self.choice(1, 2), self.choice(False, True)))

    def _channel_shift(self, index: int, x: torch.Tensor) -> Step:
        return self.layer(index, ChannelShift(x.shape[1], int(self.rng.integers(-3, 4))))

    def _shuffle(self, index: int, x: torch.Tensor) -> Step:
        groups = self.choice(*(g for g in range(1, x.shape[1] + 1) if x.shape[1] % g == 0))
        return self.layer(index, nn.ChannelShuffle(groups))

    def _part(self, index: int, x: torch.Tensor) -> Step:
        first = int(self.rng.integers(x.shape[1]))
        last = int(self.rng.integers(first + 1, x.shape[1] + 1))
        return lambda net, values: values[index][:, first:last]

    def _halves(self, index: int, x: torch.Tensor) -> Step | None:
        """A part passes, the other goes through a layer: ShuffleNet V2's."""
        if x.shape[1] % 2:
            return None
        half = x.shape[1] // 2
        conv, act = self.add(ShiftConv2d(half, half, 1)), self.quantizer(x)

        def step(net: "RandomNetwork", values: list[torch.Tensor]) -> torch.Tensor:
            left, right = values[index].chunk(2, dim=1)
            right = net.layers[act](functional.relu(net.layers[conv](right)))
            return functional.channel_shuffle(net.layers[act](torch.cat([left, right], dim=1)), 2)
        return step

    def _joined(self, index: int, x: torch.Tensor) -> Step:
        """Quantized maps, on grids of their own: one quantizer behind them."""
        others = [self.choice(*self.like(x, slice(2, 4))) for _ in range(self.choice(1, 2))] \
            if self.like(x, slice(2, 4)) else []
        return self.quantized(lambda net, values: torch.cat([values[index], *(values[i] for i in others)], dim=1))

    def _joined_sums(self, index: int, x: torch.Tensor) -> Step | None:
        parts = [made for out in (1, 4, 3)[:self.choice(2, 3)] if (made := self.sums(index, x, out, (1, 1)))]
        return self.quantized(lambda net, values: torch.cat([part(net, values) for part in parts], dim=1))

    def _shortcut(self, index: int, x: torch.Tensor) -> Step:
        """A map and what is moved of it, on one grid."""
        shift, join = self.add(GroupedShift2d(x.shape[1])), self.add(ShortcutShift())
        return lambda net, values: net.layers[join](net.layers[shift](values[index]), values[index])

    def _upsample(self, index: int, x: torch.Tensor) -> Step:
        return self.layer(index, nn.Upsample(scale_factor=self.choice(2, (1, 3), (2, 1))))

    # -- sums of pixels -----------------------------------------------------------------------
    def _bilinear(self, index: int, x: torch.Tensor) -> Step:
        return self.quantized(lambda net, values: functional.interpolate(values[index], scale_factor=2,
                                                                         mode="bilinear"))

    def window(self, x: torch.Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
        """A kernel that the map holds, and a stride."""
        kernel = min(self.choice(1, 2, 3), x.shape[2]), min(self.choice(1, 2, 3), x.shape[3])
        return kernel, self.choice((1, 1), (2, 2), (2, 1))

    def _max(self, index: int, x: torch.Tensor) -> Step:
        kernel, stride = self.window(x)
        return self.layer(index, nn.MaxPool2d(kernel, stride, (kernel[0] // 2, kernel[1] // 2)))

    def _mean(self, index: int, x: torch.Tensor) -> Step:
        kernel, stride = self.window(x)
        pool = self.add(nn.AvgPool2d(kernel, stride, divisor_override=self.choice(4, 8)))
        return self.quantized(lambda net, values: net.layers[pool](values[index]))

    def _global_mean(self, index: int, x: torch.Tensor) -> Step:
        divisor = 1 << (x.shape[2] * x.shape[3] - 1).bit_length()      # a mean that is exact in binary numbers
        pool = self.add(nn.AvgPool2d(tuple(x.shape[2:]), divisor_override=divisor))
        act = self.quantizer(x)
        return lambda net, values: net.layers[act](net.layers[pool](values[index]))

    # -- tables, products ---------------------------------------------------------------------
    def _table(self, index: int, x: torch.Tensor) -> Step:
        function = self.add(self.choice(nn.Sigmoid, nn.Tanh, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.LeakyReLU)())
        with torch.no_grad():
            act = self.quantizer(self.layers[function](x))
        return lambda net, values: net.layers[act](net.layers[function](values[index]))

    def _product(self, index: int, x: torch.Tensor) -> Step:
        other = self.choice(*self.like(x, slice(1, 4)) or [index])
        return self.quantized(lambda net, values: values[index] * values[other])

    def _excite(self, index: int, x: torch.Tensor) -> Step:
        mean, channels = self._global_mean(index, x), x.shape[1]
        squeeze, act = self.add(ShiftConv2d(channels, 3, 1)), self.add(QuantAct(8, scale=2.0**-6))
        expand, before = self.add(ShiftConv2d(3, channels, 1)), self.add(QuantAct(8, True, scale=2.0**-5))
        after = self.add(QuantAct(8, scale=2.0**-8))

        def product(net: "RandomNetwork", values: list[torch.Tensor]) -> torch.Tensor:
            y = net.layers[act](functional.relu(net.layers[squeeze](mean(net, values))))
            gate = net.layers[after](functional.hardsigmoid(net.layers[before](net.layers[expand](y))))
            return self.choice_of_order(values[index], gate, channels)
        return self.quantized(product)

    @staticmethod
    def choice_of_order(x: torch.Tensor, gate: torch.Tensor, channels: int) -> torch.Tensor:
        """Both orders of the operands occur."""
        return x * gate if channels % 2 else gate * x


def with_classes(network: RandomNetwork) -> nn.Module:
    """The network with a classifier behind it."""
    features = int(np.prod(network.values[-1].shape[1:]))
    return nn.Sequential(network, nn.Flatten(), ShiftLinear(features, 6, weight_bits=4),
                         QuantAct(8, True, scale=2.0**-3))
