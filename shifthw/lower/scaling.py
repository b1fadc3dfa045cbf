"""Shared right shifts: layers whose shifts can be made equal without a wider multiplier get one shift."""

import dataclasses

import numpy as np

from ..errors import UnsupportedModel
from .network import Layer, Scale

FREE_MULTIPLIER_BITS = 18
"""Bits of a multiplier that cost nothing more (one operand of a DSP slice)."""
MAX_RESIDUAL_SHIFT = 8
"""Fixed left shift of the residual; activations of up to 16 bits still fit a DSP operand with it."""

MAX_BIAS_BITS = 64
"""Of a bias as requantize adds it."""


def signed_bits(*values: int) -> int:
    """Bits of the narrowest two's complement number that holds each of the values."""
    return max((value if value >= 0 else -value - 1).bit_length() for value in values) + 1


def fitting_bias(bias: np.ndarray, where: str) -> np.ndarray:
    """Biases, Python's integers, as int64. UnsupportedModel, naming `where`, if they need more bits."""
    bits = signed_bits(int(bias.min()), int(bias.max()))
    if bits > MAX_BIAS_BITS:
        raise UnsupportedModel(f"{where}: its bias takes {bits} bits as the engine adds it, must take at most "
                               f"{MAX_BIAS_BITS}; requantize with a smaller bias, multiplier and shift")
    return bias.astype(np.int64)


def multiplier_bits(layers: tuple[Layer, ...]) -> int:
    """Bits of the requantize multipliers, 0 if all are 1.

    Only a multiplier of 0 keeps the residual's register out of a layer that has no residual, so
    there is no doing without where some layers have a residual and some have none.
    """
    scales = [layer.scale for layer in layers if layer.scale]
    residuals = {layer.scale.residual_multiplier if layer.residual else 0 for layer in layers if layer.scale}
    if all((scale.multiplier == 1).all() for scale in scales) and residuals in (set(), {0}, {1}):
        return 0
    shift = residual_shift(layers)
    return max(_bits(scale, shift) for scale in scales)


def residual_shift(layers: tuple[Layer, ...]) -> int:
    """The power of two that all multipliers of added residuals have in common, at most MAX_RESIDUAL_SHIFT."""
    common = 0
    for layer in layers:
        if layer.scale and layer.residual and not layer.scale.factor:
            common |= layer.scale.residual_multiplier
    return min(MAX_RESIDUAL_SHIFT, (common & -common).bit_length() - 1) if common else 0


def share_shifts(layers: tuple[Layer, ...], activation_bits: int) -> tuple[Layer, ...]:
    """The layers with as few different shifts as possible, of a network with activations of `activation_bits`.

    acc*m + b >> s equals acc*(m << k) + (b << k) >> (s + k), so a layer may take any shift of
    s .. s+slack; the fewest shifts that reach all those intervals are found greedily.
    """
    bits = multiplier_bits(layers)
    if not bits:
        return layers
    limit = max(bits, FREE_MULTIPLIER_BITS)
    fixed = residual_shift(layers)
    spans = {(scale.shift, scale.shift + min(limit - _bits(scale, fixed), 62 - _bias_bits(scale, activation_bits)))
             for layer in layers if (scale := layer.scale)}
    chosen: list[tuple[int, int]] = []  # [lowest common shift, highest common shift] of each set of layers
    for low, high in sorted(spans, key=lambda span: span[1]):
        if chosen and low <= chosen[-1][1]:
            chosen[-1] = (max(low, chosen[-1][0]), chosen[-1][1])
        else:
            chosen.append((low, high))
    shifts = [low for low, _ in chosen]
    return tuple(dataclasses.replace(layer, scale=_scaled(layer.scale, limit, shifts)) if layer.scale else layer
                 for layer in layers)


def _bits(scale: Scale, fixed: int) -> int:
    """Of the multipliers; with a factor, of its products with the residual's multiplier."""
    if scale.factor:
        return signed_bits(scale.factor.lo * scale.residual_multiplier, scale.factor.hi * scale.residual_multiplier)
    return signed_bits(int(scale.multiplier.min()), int(scale.multiplier.max()), scale.residual_multiplier >> fixed)


def _bias_bits(scale: Scale, activation_bits: int) -> int:
    """With the zero point of the residual, if there is one and it is signed (derive.hardware_bias)."""
    zero = 0 if scale.factor else scale.residual_multiplier << (activation_bits - 1)
    return signed_bits(int(scale.bias.min()) - zero, int(scale.bias.max()) - zero, int(scale.bias.max()))


def _scaled(scale: Scale, limit: int, shifts: list[int]) -> Scale:
    shift = min(shift for shift in shifts if shift >= scale.shift)
    k = shift - scale.shift
    return dataclasses.replace(scale, multiplier=np.left_shift(scale.multiplier, k), bias=np.left_shift(scale.bias, k),
                               shift=shift, residual_multiplier=scale.residual_multiplier << k)
