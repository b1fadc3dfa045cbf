"""Convolutions, linear layers and batch norms of ATen."""

from typing import NoReturn

from ..exported import Step, Stored
from ..plain_layers import Layer
from .steps import one, pair, refuse, shown


def conv(step: Step) -> list[Layer]:
    options = step.options
    weight = _stored(step, "weight")
    if options.get("transposed"):
        return transposed(step)
    if weight.value.ndim != 4 or len(step.shape) != 4:
        refuse(step, "must be an ordinary convolution in two dimensions")
    return one(step, "conv", weight=weight, bias=_bias(step), stride=pair(options["stride"]),
               padding=_sides(step, weight), dilation=pair(options["dilation"]), groups=options["groups"])


def transposed(step: Step) -> list[Layer]:
    """A transposed convolution; its weight stays as torch has it."""
    options, weight = step.options, _stored(step, "weight")
    if weight.value.ndim != 4 or len(step.shape) != 4:
        refuse(step, "must be a transposed convolution in two dimensions")
    return one(step, "transposed", weight=weight, bias=_bias(step), groups=options["groups"],
               **{name: pair(options[name]) for name in ("stride", "padding", "output_padding", "dilation")})


def _sides(step: Step, weight: Stored) -> tuple[int, int, int, int]:
    """Padding as (top, left, bottom, right); "same" adds the odd one below and on the right, as torch does."""
    padding = step.options["padding"]
    if padding == "valid":
        return 0, 0, 0, 0
    if padding == "same":
        rows, columns = (dilation * (size - 1) for dilation, size in
                         zip(pair(step.options["dilation"]), weight.value.shape[2:], strict=True))
        return rows // 2, columns // 2, rows - rows // 2, columns - columns // 2
    return pair(padding) * 2


def linear(step: Step) -> list[Layer]:
    if len(step.shape) != 2:
        refuse(step, f"reads a tensor of shape {shown(step.input_shapes[0])}, must read [N, features]; flatten it "
                     f"first")
    return one(step, "linear", weight=_stored(step, "weight"), bias=_bias(step))


def adder(step: Step) -> list[Layer]:
    """shifthw.nn's own; its bias is added behind it."""
    weight = _stored(step, "weight")
    if weight.value.ndim == 2:
        return one(step, "adder_linear", weight=weight)
    stride, padding, dilation = (tuple(step.options[name]) for name in ("stride", "padding", "dilation"))
    return one(step, "adder", weight=weight, stride=stride, padding=padding, dilation=dilation,
               groups=step.options["groups"])


def batch_norm(step: Step) -> list[Layer]:
    found = {name: step.options.get(name) for name in ("weight", "bias", "running_mean", "running_var")}
    variance = found["running_var"]
    if found["running_mean"] is None or variance is None:
        refuse(step, "has no running statistics; it must have track_running_stats=True")
    if isinstance(variance, Stored) and bool((variance.value + step.options["eps"] <= 0).any()):
        refuse(step, "has negative numbers in running_var; train or export the model again")
    return one(step, "batch_norm", **found, eps=step.options["eps"])


def without_statistics(step: Step) -> NoReturn:
    refuse(step, "has no running statistics; it must have track_running_stats=True")


def _stored(step: Step, name: str) -> Stored:
    value = step.options.get(name)
    if not isinstance(value, Stored):
        refuse(step, f"its {name} must be a parameter, not computed from the images")
    return value


def _bias(step: Step) -> Stored | None:
    return None if step.options.get("bias", None) is None else _stored(step, "bias")
