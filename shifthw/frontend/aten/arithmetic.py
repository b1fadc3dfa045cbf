"""Limits, sums and products of ATen."""

import math
from typing import Any

import torch

from ..exported import Step, Stored
from ..plain_layers import Layer
from .moves import spread
from .steps import one, refuse, shown


def clamp(step: Step) -> list[Layer]:
    lo, hi = (0.0, 6.0 if step.kind == "relu6" else math.inf) if "relu" in step.kind else (-math.inf, math.inf)
    lo = _limit(step, ("min_val", "min"), lo)
    hi = _limit(step, ("max_val", "max"), hi)
    if not lo < hi:
        refuse(step, f"limits values to {lo}..{hi}; the first must be smaller")
    return one(step, "clamp", lo=lo, hi=hi)


def _limit(step: Step, names: tuple[str, ...], default: float) -> float:
    given = next((step.options[name] for name in names if step.options.get(name) is not None), default)
    if isinstance(given, Stored):
        if given.value.numel() != 1:
            refuse(step, f"has {given.value.numel()} limits, must have one for all values")
        given = given.value.item()
    return float(given)


def added(step: Step) -> list[Layer]:
    """a + alpha * b, a - alpha * b or, for rsub, b - alpha * a; one of them may be a constant."""
    alpha = float(step.options.get("alpha", 1))
    factors = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[step.kind]
    if any(shape != step.shape for shape in step.input_shapes):
        shapes = " and ".join(shown(shape) for shape in step.input_shapes)
        refuse(step, f"works on tensors of shapes {shapes}, whose result is {shown(step.shape)}; shapes must be equal")
    if len(step.inputs) == 2:
        negated = [Layer(f"{step.name}.{index}", "affine", step, (name,), step.shape, _scaling(step, factor, 0.0))
                   if factor != 1.0 else None for index, (name, factor) in enumerate(zip(step.inputs, factors,
                                                                                         strict=True))]
        names = tuple(layer.name if layer else name for layer, name in zip(negated, step.inputs, strict=True))
        return [*filter(None, negated), Layer(step.name, "add", step, names, step.shape)]
    constant = 0 if "self" in step.options else 1
    offset = factors[constant] * _per_channel(step, step.options["self" if constant == 0 else "other"])
    return _affine(step, factors[1 - constant], offset)


def multiplied(step: Step) -> list[Layer]:
    """a * b, or a / b or -a with one of them a constant."""
    if step.kind == "neg":
        return _affine(step, -1.0, 0.0)
    if step.kind == "mul" and len(step.inputs) == 2:
        return _product(step)
    constant = step.options.get("other", step.options.get("self"))
    if constant is None or (step.kind == "div" and "self" in step.options) or step.options.get("rounding_mode"):
        refuse(step, "must be by a constant, and not rounded; the engine does not divide by activations")
    factor = _per_channel(step, constant)
    return _affine(step, 1.0 / factor if step.kind == "div" else factor, 0.0)


def _product(step: Step) -> list[Layer]:
    """Of two tensors of one shape; or of the whole one and one of a pixel per channel, or of one channel."""
    spreads, names = [], []
    for index, (name, shape) in enumerate(zip(step.inputs, step.input_shapes, strict=True)):
        if shape not in (step.shape, (*step.shape[:2], 1, 1)):
            if len(shape) != 4 or shape[1] != 1 or shape[2:] not in (step.shape[2:], (1, 1)):
                shapes = " and ".join(shown(shape) for shape in step.input_shapes)
                refuse(step, f"multiplies tensors of shapes {shapes}; they must be equal, or one of them have one "
                             f"pixel or one channel")
            name = f"{step.name}.{index}"
            spreads.append(spread(step, name, step.inputs[index], shape))
        names.append(name)
    return [*spreads, Layer(step.name, "multiply", step, tuple(names), step.shape)]


def _affine(step: Step, gain: torch.Tensor | float, offset: torch.Tensor | float) -> list[Layer]:
    options = _scaling(step, gain, offset)
    if not all(bool(torch.isfinite(values).all()) for values in options.values()):
        refuse(step, "gives infinite or NaN numbers; its constants must be finite, and a divisor not 0")
    if bool((options["gain"] == 1).all()) and bool((options["offset"] == 0).all()):
        return []
    return one(step, "affine", **options)


def _scaling(step: Step, gain: torch.Tensor | float, offset: torch.Tensor | float) -> dict[str, torch.Tensor]:
    """Gain and offset, float64[channels] each."""
    return {name: torch.as_tensor(values, dtype=torch.float64).expand(step.shape[1]).clone()
            for name, values in (("gain", gain), ("offset", offset))}


def _per_channel(step: Step, constant: Any) -> torch.Tensor:
    """A constant that is broadcast over the step's result as float64[1] or float64[channels]."""
    value = (constant.value if isinstance(constant, Stored) else torch.tensor(constant)).double()
    if len(step.shape) < 2 or step.input_shapes[0] != step.shape or value.ndim > len(step.shape):
        refuse(step, f"makes {shown(step.shape)} of {shown(step.input_shapes[0])}; a constant must be one number, or "
                     f"one per channel")
    value = value.reshape((1,) * (len(step.shape) - value.ndim) + value.shape)
    if value.numel() != value.shape[1]:
        refuse(step, f"has a constant of shape {shown(tuple(value.shape))}; it must be one number, or one per channel")
    return value.flatten()
