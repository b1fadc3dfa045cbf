"""Activation functions of ATen that become tables."""

from ..activations import PLAIN
from ..exported import Step, Stored
from ..plain_layers import Layer
from .steps import one, refuse

KINDS = ("sigmoid", "hardsigmoid", "silu", "hardswish", "mish", "tanh", "gelu", "leaky_relu", "prelu", "elu")


def table(step: Step) -> list[Layer]:
    """A function of each value, by the name that shifthw.frontend.activations knows it by."""
    return one(step, "function", function=_name(step))


def _name(step: Step) -> str:
    match step.kind:
        case "gelu":
            return "gelu" if step.options["approximate"] == "none" else "gelu_tanh"
        case "leaky_relu":
            return f"leaky_relu {float(step.options['negative_slope'])!r}"
        case "prelu":
            return f"leaky_relu {_slope(step)!r}"
        case "elu":
            if (step.options["scale"], step.options["input_scale"]) != (1, 1):
                refuse(step, "has factors, as SELU and CELU have, which are not supported; use ELU")
            return f"elu {float(step.options['alpha'])!r}"
    assert step.kind in PLAIN
    return step.kind


def _slope(step: Step) -> float:
    weight = step.options.get("weight")
    if not isinstance(weight, Stored) or bool((weight.value != weight.value.flatten()[0]).any()):
        refuse(step, "has a slope for each channel, must have one for all; use PReLU() with one parameter")
    return float(weight.value.flatten()[0])
