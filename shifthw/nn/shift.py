"""Convolution and linear layers whose weights are signed powers of two, or sums of a few."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..ir.types import ShiftWeight
from ..quantize import (
    MAX_NEAREST_BITS,
    MAX_WEIGHT_BITS,
    MIN_WEIGHT_BITS,
    Form,
    integer_weight,
    nearest_terms,
    nearest_values,
    powers_of_two,
    ps_terms,
    q_terms,
    smallest_exponent,
    term_values,
)
from .geometry import Padding, Pair, check_channels, pair, sides


class StraightThrough(torch.autograd.Function):
    """Forward gives `rounded` exactly, backward passes the gradient to `latent` as if they were equal."""

    @staticmethod
    def forward(ctx: Any, latent: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
        return rounded.clone()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grads[0], None


class _SignTimesPower(torch.autograd.Function):
    """sum of sign * 2**exponent with DeepShift's gradients: straight through both roundings."""

    @staticmethod
    def forward(ctx: Any, shift: torch.Tensor, sign: torch.Tensor, weight_bits: int) -> torch.Tensor:
        signs, exponents = ps_terms(shift, sign, weight_bits)
        powers = powers_of_two(torch.round(shift.clamp(smallest_exponent("PS", weight_bits), 0)))
        ctx.save_for_backward(signs, powers)
        return term_values(signs, exponents)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        signs, powers = ctx.saved_tensors
        return grads[0] * signs * powers * math.log(2), grads[0] * powers, None


class _ShiftLayer(nn.Module):
    """What ShiftConv2d and ShiftLinear share: latent parameters and their rounding.

    form Q: parameter `weight`, over weight_scale. form nearest: parameter `weight`, the real weight itself.
    form PS: parameters `shift` and `sign`, with a leading dimension `terms` if there is more than one term.
    The weights used are weight_scale * sum_n sign[n] * 2**exponent[n], and 0 where `mask`, if there is one, is False.
    """

    weight_scale: torch.Tensor
    mask: torch.Tensor | None

    def __init__(self, shape: tuple[int, ...], bias: bool, form: Form, weight_bits: int, terms: int,
                 weight_scale: float | torch.Tensor, bias_format: tuple[int, int] | None) -> None:
        super().__init__()
        kind = type(self).__name__
        if form not in ("Q", "PS", "nearest"):
            raise ValueError(f"{kind}: form must be 'Q', 'PS' or 'nearest', not {form!r}")
        most = MAX_NEAREST_BITS if form == "nearest" else MAX_WEIGHT_BITS
        if not MIN_WEIGHT_BITS <= weight_bits <= most:
            raise ValueError(f"{kind}: weight_bits must be {MIN_WEIGHT_BITS}..{most} in form {form}, not {weight_bits}")
        if not 1 <= terms <= 4:
            raise ValueError(f"{kind}: terms must be 1..4, not {terms}")
        self.form, self.weight_bits, self.terms = form, weight_bits, terms
        self.bias_format = bias_format
        self._set_scale(kind, shape, weight_scale)
        latent = shape if terms == 1 else (terms, *shape)
        if form != "PS":
            self.weight = nn.Parameter(torch.empty(shape))
        else:
            self.shift, self.sign = nn.Parameter(torch.empty(latent)), nn.Parameter(torch.empty(latent))
        self.bias = nn.Parameter(torch.empty(shape[0])) if bias else None
        self.register_buffer("mask", None)
        self._fan_in = math.prod(shape[1:])
        self.reset_parameters()

    def _set_scale(self, kind: str, shape: tuple[int, ...], weight_scale: float | torch.Tensor) -> None:
        """The buffer weight_scale: float64[] or, per output channel, float64[out, 1, ...]; saved if it is learned
        from weights, as that of form nearest is."""
        scale = torch.as_tensor(weight_scale, dtype=torch.float64)
        if not bool(((scale > 0) & (torch.frexp(scale).mantissa == 0.5)).all()):
            raise ValueError(f"{kind}: weight_scale must be a power of two, not {weight_scale}")
        if scale.ndim and scale.shape != shape[:1]:
            raise ValueError(f"{kind}: weight_scale must be one number, or one per output channel ({shape[0]}), not "
                             f"of shape {list(scale.shape)}")
        if scale.ndim:
            scale = scale.reshape(-1, *[1] * (len(shape) - 1))
        self.register_buffer("weight_scale", scale, persistent=self.form == "nearest")

    def reset_parameters(self) -> None:
        """Q, nearest: as torch initializes convolutions; PS: uniform shifts and signs, as DeepShift does."""
        bound = 1 / math.sqrt(self._fan_in)
        if self.form != "PS":
            nn.init.uniform_(self.weight, -bound, bound)
            if self.form == "Q":
                with torch.no_grad():
                    self.weight.div_(self.weight_scale)
        else:
            nn.init.uniform_(self.shift, smallest_exponent("PS", self.weight_bits), 0)
            nn.init.uniform_(self.sign, -1, 1)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def prune(self, fraction: float) -> None:
        """Make this fraction of the weights 0, the smallest of those that are used; training leaves them 0."""
        if not 0.0 <= fraction < 1.0:
            raise ValueError(f"{type(self).__name__}: fraction must be in 0..1, 1 excluded, not {fraction}")
        magnitude = self.rounded_weight().detach().abs()
        mask = torch.ones_like(magnitude, dtype=torch.bool)
        smallest = magnitude.flatten().argsort(stable=True)[:round(fraction * magnitude.numel())]
        mask.view(-1)[smallest] = False
        self.mask = mask

    def freeze(self) -> None:
        """Leave the weights as they are in training, as ShiftAddNet's fixed shifts are; a bias is trained still."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name == "bias")

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """A mask that was saved is one that the layer has; without one, no weight is masked."""
        latent = "sign" if self.form == "PS" else "weight"
        if f"{prefix}mask" in state_dict and self.mask is None:
            self.mask = torch.empty(state_dict[f"{prefix}mask"].shape, dtype=torch.bool)
        elif f"{prefix}{latent}" in state_dict and f"{prefix}mask" not in state_dict:
            self.mask = None
        super()._load_from_state_dict(state_dict, prefix, *args)

    def rounded_weight(self) -> torch.Tensor:
        """The weights as used: powers of two times weight_scale, or 0, gradients straight through."""
        weight = self._unmasked_weight()
        return weight if self.mask is None else weight * self.mask

    def _unmasked_weight(self) -> torch.Tensor:
        if self.form == "PS":
            shift, sign = (self.shift, self.sign) if self.terms > 1 else (self.shift[None], self.sign[None])
            scale = self.weight_scale.to(shift.dtype)
            return _SignTimesPower.apply(shift, sign, self.weight_bits) * scale
        scale = self.weight_scale.to(self.weight.dtype)
        if self.form == "Q":
            values = term_values(*q_terms(self.weight, self.weight_bits, self.terms))
            return StraightThrough.apply(self.weight, values) * scale
        values = nearest_values(self.weight.detach() / scale, self.weight_bits, self.terms) * scale
        return StraightThrough.apply(self.weight, values)

    def rounded_bias(self) -> torch.Tensor | None:
        """The bias as used: on DeepShift's fixed-point grid if there is a bias_format."""
        if self.bias is None or self.bias_format is None:
            return self.bias
        integer, fraction = self.bias_format
        steps = torch.floor(self.bias.detach() * 2.0**fraction) / 2.0**fraction
        return StraightThrough.apply(self.bias, steps.clamp(-(2.0 ** (integer - 1)), 2.0 ** (integer - 1) - 1))

    def latent_weight(self) -> torch.Tensor:
        """The real weights before any rounding, in the shape of the layer's; 0 where they are masked."""
        if self.form == "PS":
            shift, sign = (self.shift, self.sign) if self.terms > 1 else (self.shift[None], self.sign[None])
            weight = (sign.clamp(-1, 1) * torch.exp2(shift)).sum(dim=0) * self.weight_scale.to(shift.dtype)
        else:
            weight = self.weight * self.weight_scale.to(self.weight.dtype) if self.form == "Q" else self.weight
        return weight if self.mask is None else weight * self.mask

    def integer_weight(self, where: str = "weights") -> tuple[ShiftWeight, np.ndarray]:
        """Integer weights [terms, out, in/groups, kh, kw] (kh = kw = 1 for a linear layer) and the value of one unit
        of each output channel, float64[out].

        Raises UnsupportedModel, naming `where`, if the exponents span more than 16 values.
        """
        if self.form == "PS":
            shift, sign = (self.shift, self.sign) if self.terms > 1 else (self.shift[None], self.sign[None])
            signs, exponents = ps_terms(shift, sign, self.weight_bits)
        elif self.form == "Q":
            signs, exponents = q_terms(self.weight, self.weight_bits, self.terms)
        else:
            scale = self.weight_scale.to(self.weight.dtype)
            signs, exponents = nearest_terms(self.weight / scale, self.weight_bits, self.terms)
        if self.mask is not None:
            signs, exponents = signs * self.mask, exponents * self.mask
        if signs.ndim == 3:
            signs, exponents = signs[..., None, None], exponents[..., None, None]
        weight, unit = integer_weight(signs, exponents, where)
        return weight, np.broadcast_to(2.0**unit * self.weight_scale.flatten().numpy(force=True), signs.shape[1])


class ShiftConv2d(_ShiftLayer):
    """torch.nn.Conv2d with weights that are `terms` signed powers of two, of `weight_bits` bits each.

    form          "Q" (latent weight), "PS" (latent shift and sign) or "nearest": see shifthw.quantize
    weight_bits   2..8 (nearest: 2..5), sign included: exponents 0 down to smallest_exponent(form, weight_bits)
    padding       int, (rows, columns) or (top, left, bottom, right), of zeros
    weight_scale  power of two that all weights are multiplied with; a tensor [out] for one per output channel
    bias_format   (integer bits, fraction bits) that the bias is rounded to, as DeepShift does; None: not rounded
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1,
                 padding: Padding = 0, dilation: Pair = 1, groups: int = 1,
                 bias: bool = True, *, form: Form = "Q", weight_bits: int = 5, terms: int = 1,
                 weight_scale: float | torch.Tensor = 1.0, bias_format: tuple[int, int] | None = None) -> None:
        kind = type(self).__name__
        check_channels(kind, in_channels, out_channels, groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.padding = pair(kind, "kernel_size", kernel_size), sides(kind, padding)
        self.stride, self.dilation = pair(kind, "stride", stride), pair(kind, "dilation", dilation)
        super().__init__((out_channels, in_channels // groups, *self.kernel_size), bias, form, weight_bits, terms,
                         weight_scale, bias_format)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        top, left, bottom, right = self.padding
        if (top, left) == (bottom, right):
            padding: Pair = (top, left)
        else:
            x, padding = functional.pad(x, (left, right, top, bottom)), 0
        return functional.conv2d(x, self.rounded_weight(), self.rounded_bias(), self.stride, padding, self.dilation,
                                 self.groups)

    def extra_repr(self) -> str:
        return (f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
                f"padding={self.padding}, groups={self.groups}, form={self.form}, weight_bits={self.weight_bits}, "
                f"terms={self.terms}")


class ShiftLinear(_ShiftLayer):
    """torch.nn.Linear with weights that are signed powers of two; parameters as ShiftConv2d's."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, form: Form = "Q",
                 weight_bits: int = 5, terms: int = 1, weight_scale: float | torch.Tensor = 1.0,
                 bias_format: tuple[int, int] | None = None) -> None:
        self.in_features, self.out_features = in_features, out_features
        super().__init__((out_features, in_features), bias, form, weight_bits, terms, weight_scale, bias_format)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.rounded_weight(), self.rounded_bias())

    def extra_repr(self) -> str:
        return (f"{self.in_features}, {self.out_features}, form={self.form}, weight_bits={self.weight_bits}, "
                f"terms={self.terms}")
