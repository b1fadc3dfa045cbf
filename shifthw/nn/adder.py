"""The layers of AdderNet and ShiftAddNet without multiplications and without shifts, and their block with shifts."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import UnsupportedModel
from ..ir.verify import MAX_ADDER_WEIGHT
from ..ir.windows import Area
from ..quantize import Form
from .distances import LEARNING_RATE, Distances, exported_distances
from .geometry import Padding, Pair, check_channels, pair, sides
from .quantizers import QuantAct, Quantizer
from .shift import ShiftConv2d, StraightThrough

MIN_ADDER_BITS, MAX_ADDER_BITS = 4, 16


class _AdderLayer(nn.Module):
    """What AdderConv2d and AdderLinear share: y = -sum |x - w| [+ b], w = `adder` or, if step > 0, rounded to it.

    adder        real weights, named as in AdderNet; b real biases, if there are any
    step         real value of one unit of the weights; 0: they are not rounded. Saved if it is not 0
    weight_bits  4..16: units are limited to signed integers of so many bits; None: no limit
    eta          of the gradients: see shifthw.nn.distances
    function     what computes distances and gradients
    """

    step: torch.Tensor
    function: type[torch.autograd.Function] = Distances

    def __init__(self, shape: tuple[int, ...], bias: bool, weight_bits: int | None, eta: float | None) -> None:
        super().__init__()
        if weight_bits not in (None, *range(MIN_ADDER_BITS, MAX_ADDER_BITS + 1)):
            raise ValueError(f"{type(self).__name__}: weight_bits must be {MIN_ADDER_BITS}..{MAX_ADDER_BITS} or None, "
                             f"not {weight_bits}")
        self.weight_bits, self.eta = weight_bits, eta
        self.adder = nn.Parameter(torch.empty(shape))
        self.b = nn.Parameter(torch.empty(shape[0])) if bias else None
        self.set_step(0.0)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Standard normal weights, as AdderNet's; a bias of 0."""
        nn.init.normal_(self.adder)
        if self.b is not None:
            nn.init.zeros_(self.b)

    def set_step(self, step: float) -> None:
        """Round the weights to multiples of `step` from now on, which must be the step of the layer's input for a
        conversion; 0: do not round them."""
        if not 0 <= step < math.inf:
            raise ValueError(f"{type(self).__name__}: step must be 0 or positive and finite, not {step}")
        value = torch.tensor(step, dtype=torch.float64, device=self.adder.device)
        self.register_buffer("step", value, persistent=step > 0)
        self.is_rounded = step > 0

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """A step that was saved is one that the layer has; weights without one are not rounded."""
        if f"{prefix}adder" in state_dict:
            self.set_step(float(state_dict.get(f"{prefix}step", 0.0)))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _units(self) -> torch.Tensor:
        """The rounded weights in steps, float64: the same whatever type the module is changed to."""
        units = torch.round(self.adder.detach().double() / self.step)
        if self.weight_bits is None:
            return units
        return units.clamp_(-(1 << (self.weight_bits - 1)), (1 << (self.weight_bits - 1)) - 1)

    def rounded_weight(self) -> torch.Tensor:
        """The weights as used, gradients straight through."""
        if not self.is_rounded:
            return self.adder
        return StraightThrough.apply(self.adder, (self._units() * self.step).to(self.adder.dtype))

    def latent_weight(self) -> torch.Tensor:
        """The real weights before they are rounded."""
        return self.adder

    def integer_weight(self, where: str = "weights") -> np.ndarray:
        """The weights in steps, int64[out, in/groups, kh, kw] (kh = kw = 1 for a linear layer).

        Raises UnsupportedModel, naming `where`, where there is no step or it gives more than the engine's integers.
        """
        if not self.is_rounded:
            raise UnsupportedModel(f"{where}: its weights have no step; call shifthw.frontend.round_adders(model, "
                                   f"example_input) when the quantizers are calibrated")
        units = self._units()
        if not bool(units.isfinite().all()):
            raise UnsupportedModel(f"{where}: holds NaN or infinite weights; train it again")
        if not bool((units.abs() <= MAX_ADDER_WEIGHT).all()):
            raise UnsupportedModel(f"{where}: has weights up to {float(units.abs().max()):.3g} steps of its input, "
                                   f"must be at most {MAX_ADDER_WEIGHT}; calibrate the quantizer before it")
        return units.to(torch.int64).reshape(*units.shape[:2], *(units.shape[2:] or (1, 1))).numpy(force=True)

    def _distances(self, x: torch.Tensor, area: Area) -> torch.Tensor:
        """y of x[N, C, H, W] without bias, in the parameters' type at least: autocast's bfloat16 cannot hold sums."""
        weight = self.rounded_weight()
        if x.ndim != weight.ndim:
            raise ValueError(f"{type(self).__name__}: x must have {weight.ndim} dimensions, not {x.ndim}")
        if x.shape[1] != weight.shape[1] * area.groups:     # one channel would be broadcast
            raise ValueError(f"{type(self).__name__}: x must have {weight.shape[1] * area.groups} channels, not "
                             f"{x.shape[1]}")
        if weight.ndim == 4 and min(area.counts(x)) < 1:
            raise ValueError(f"{type(self).__name__}: x has maps of {x.shape[2]}x{x.shape[3]}, with their padding they "
                             f"must be at least as large as the kernel")
        wide = torch.promote_types(x.dtype, weight.dtype)
        x, weight = x.to(wide), weight.to(wide)
        if torch.compiler.is_exporting():
            return exported_distances(x, weight, area.stride, area.padding, area.dilation, area.groups)
        if weight.ndim == 4:
            return self.function.apply(x, weight, area, self.eta)
        return self.function.apply(x[:, :, None, None], weight[:, :, None, None], area, self.eta).flatten(1)


class AdderConv2d(_AdderLayer):
    """y[n,o,h,w] = -sum_{i,ky,kx} |x[n, g(o)+i, h*s-p+ky*d, w*s-p+kx*d] - w[o,i,ky,kx]| [+ b[o]]; outside, x is 0.

    A position in the padding counts -|w|, not 0. Parameters are named as in AdderNet
    (https://github.com/huawei-noah/AdderNet): adder [out, in/groups, kh, kw] and, with bias, b [out].
    x: [N, in, H, W]; y: [N, out, H', W'], the sum in the order of upstream, so equal in every bit of float32.

    padding      int, (rows, columns) or (top, left, bottom, right), of zeros
    weight_bits  see _AdderLayer: 4..16 or None
    eta          length of the weights' gradients: see shifthw.nn.distances
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1,
                 padding: Padding = 0, dilation: Pair = 1, groups: int = 1,
                 bias: bool = False, *, weight_bits: int | None = None, eta: float | None = LEARNING_RATE) -> None:
        kind = type(self).__name__
        check_channels(kind, in_channels, out_channels, groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.padding = pair(kind, "kernel_size", kernel_size), sides(kind, padding)
        self.stride, self.dilation = pair(kind, "stride", stride), pair(kind, "dilation", dilation)
        super().__init__((out_channels, in_channels // groups, *self.kernel_size), bias, weight_bits, eta)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        area = Area(self.kernel_size, self.stride, self.padding, self.dilation, self.groups)
        y = self._distances(x, area)
        return y if self.b is None else y + self.b[:, None, None]

    def extra_repr(self) -> str:
        return (f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
                f"padding={self.padding}, groups={self.groups}, bias={self.b is not None}, step={float(self.step):.6g}")


class AdderLinear(_AdderLayer):
    """y[n,o] = -sum_i |x[n,i] - w[o,i]| [+ b[o]]; parameters as AdderConv2d's, adder [out, in]."""

    def __init__(self, in_features: int, out_features: int, bias: bool = False, *, weight_bits: int | None = None,
                 eta: float | None = LEARNING_RATE) -> None:
        self.in_features, self.out_features = in_features, out_features
        super().__init__((out_features, in_features), bias, weight_bits, eta)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self._distances(x, Area((1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1))
        return y if self.b is None else y + self.b

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.b is not None}, step={float(self.step):.6g}"


class ShiftAdd(nn.Sequential):
    """ShiftAddNet's pair of layers: a shift convolution, a quantizer, an adder layer of stride 1 on what it gives.

    Both have the same kernel, padded by half of it; batch norm belongs behind the pair. `quantizer` is by default a
    calibrated one of 8 signed bits. To be called by its parts: `shift`, `quant`, `add`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, *,
                 quantizer: Quantizer | None = None, form: Form = "PS", weight_bits: int = 5,
                 adder_bits: int | None = None) -> None:
        half = kernel_size // 2
        parts: list[tuple[str, nn.Module]] = [
            ("shift", ShiftConv2d(in_channels, out_channels, kernel_size, stride, half, bias=False, form=form,
                                  weight_bits=weight_bits)),
            ("quant", QuantAct(signed=True) if quantizer is None else quantizer),
            ("add", AdderConv2d(out_channels, out_channels, kernel_size, 1, half, weight_bits=adder_bits))]
        super().__init__(OrderedDict(parts))
