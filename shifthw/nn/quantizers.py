"""Activation quantizers: real values onto an integer grid, with straight-through gradients."""

import math
from typing import Any

import torch
from torch import nn

from ..ir.graph import Rounding
from ..ir.types import IntType


def rounded(x: torch.Tensor, rounding: Rounding) -> torch.Tensor:
    """Whole numbers: floor(x), floor(x + 1/2), or the nearest with halves to the even one."""
    return _round_(x.clone(), rounding)


def _round_(x: torch.Tensor, rounding: Rounding) -> torch.Tensor:
    """As rounded, in place."""
    match rounding:
        case Rounding.FLOOR:
            return x.floor_()
        case Rounding.HALF_UP:
            return x.add_(0.5).floor_()
        case Rounding.HALF_EVEN:
            return x.round_()


def _steps(x: torch.Tensor, scale: torch.Tensor, rounding: Rounding) -> torch.Tensor:
    """round(x / scale) in new memory; in float32 at least: autocast's bfloat16 cannot hold a scale."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return _round_(x.to(wide, copy=True).div_(scale.to(wide)), rounding)


class _ToGrid(torch.autograd.Function):
    """y = clamp(round(x / scale), lo, hi) * scale; the gradient passes between the ends of the range.

    In place where it can be, and without masks of booleans: both ways cost a fraction of a convolution.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: torch.Tensor, lo: int, hi: int, rounding: Rounding) -> torch.Tensor:
        below = 0.0 if rounding is Rounding.FLOOR else 0.5
        ctx.save_for_backward(x)
        ctx.ends = (lo - below) * float(scale), (hi + 1 - below) * float(scale)
        steps = _steps(x, scale, rounding).clamp_(lo, hi)
        return steps.mul_(scale.to(steps.dtype)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grads[0], x, *ctx.ends), None, None, None, None


class Quantizer(nn.Module):
    """y = clamp(round(x / scale), lo, hi) * scale.

    dtype     integer type of the steps
    lo, hi    smallest and largest step, inside dtype
    rounding  floor(x / scale) for Rounding.FLOOR, floor(x / scale + 1/2) for HALF_UP, torch.round for HALF_EVEN
    """

    scale: torch.Tensor

    def __init__(self, dtype: IntType, lo: int, hi: int, rounding: Rounding, scale: float) -> None:
        super().__init__()
        self.dtype, self.lo, self.hi, self.rounding = dtype, lo, hi, rounding
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _ToGrid.apply(x, self.scale, self.lo, self.hi, self.rounding)

    def integers(self, x: torch.Tensor) -> torch.Tensor:
        """The steps that forward rounds `x` to, int64, without the real scale."""
        return _steps(x, self.scale, self.rounding).clamp_(self.lo, self.hi).to(torch.int64)

    def extra_repr(self) -> str:
        return f"{self.dtype}, {self.lo}..{self.hi}, scale={float(self.scale):.6g}, {self.rounding.value}"


class FixedPoint(Quantizer):
    """DeepShift's fixed point: floor(x * 2**f) / 2**f, clamped to -2**(i-1) .. 2**(i-1) - 1.

    `integer_bits` i (2..) counts the sign; i + f is 2..32. The largest value is the whole number
    2**(i-1) - 1, not one step below 2**(i-1).
    """

    def __init__(self, integer_bits: int, fraction_bits: int) -> None:
        if integer_bits < 2 or fraction_bits < 0 or integer_bits + fraction_bits > 32:
            raise ValueError(f"FixedPoint: integer_bits must be 2 or more, fraction_bits 0 or more and their sum at "
                             f"most 32, not ({integer_bits}, {fraction_bits})")
        self.integer_bits, self.fraction_bits = integer_bits, fraction_bits
        lo = -(1 << (integer_bits - 1 + fraction_bits))
        hi = ((1 << (integer_bits - 1)) - 1) << fraction_bits
        super().__init__(IntType(integer_bits + fraction_bits, True), lo, hi, Rounding.FLOOR, 2.0**-fraction_bits)


class QuantAct(Quantizer):
    """Uniform quantizer of `bits` (2..16) bits whose scale is calibrated while training.

    In training mode every batch moves `limit`, the magnitude that the last step stands for, toward the
    batch's `percentile` (1.0: the maximum) by `momentum`; in evaluation the scale stands still.
    A given `scale` is never changed. `power_of_two` rounds a calibrated scale up to a power of two.
    """

    limit: torch.Tensor

    def __init__(self, bits: int = 8, signed: bool = False, *, scale: float | None = None,
                 rounding: Rounding = Rounding.HALF_UP, percentile: float = 1.0, momentum: float = 0.1,
                 power_of_two: bool = False) -> None:
        if not 2 <= bits <= 16:
            raise ValueError(f"QuantAct: bits must be 2..16, not {bits}")
        if scale is not None and not scale > 0:
            raise ValueError(f"QuantAct: scale must be positive, not {scale}")
        if not 0.0 < percentile <= 1.0 or not 0.0 < momentum <= 1.0:
            raise ValueError(f"QuantAct: percentile and momentum must be in 0..1, not {percentile} and {momentum}")
        dtype = IntType(bits, signed)
        super().__init__(dtype, dtype.lo, dtype.hi, rounding, 1.0 if scale is None else scale)
        self.fixed, self.percentile, self.momentum, self.power_of_two = scale is not None, percentile, momentum, \
            power_of_two
        self.register_buffer("limit", torch.tensor(0.0, dtype=torch.float64))

    @property
    def calibrated(self) -> bool:
        """Whether the scale means something: given, or seen a batch that is not all zero."""
        return self.fixed or float(self.limit) > 0

    def set_scale(self, scale: float) -> None:
        """Give it a scale that training does not change."""
        if not 0 < scale < math.inf:
            raise ValueError(f"QuantAct: scale must be positive and finite, not {scale}")
        self.scale.fill_(scale)
        self.fixed = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and not self.fixed:
            self.observe(x.detach())
        return super().forward(x)

    @torch.no_grad()
    def observe(self, x: torch.Tensor) -> None:
        """Move the scale toward the batch `x`."""
        if self.percentile < 1.0:
            magnitude = x.abs() if self.dtype.signed else x.clamp(min=0)
            rank = max(1, round(self.percentile * magnitude.numel()))
            seen = float(magnitude.flatten().kthvalue(rank).values)
        else:
            seen = max(float(x.amax()), -float(x.amin()) if self.dtype.signed else 0.0)
        if seen <= 0:
            return
        before = float(self.limit)
        limit = seen if before == 0 else before + self.momentum * (seen - before)
        self.limit.fill_(limit)
        scale = torch.tensor(limit / self.hi, dtype=torch.float64)
        self.scale.copy_(torch.exp2(torch.ceil(torch.log2(scale))) if self.power_of_two else scale)
