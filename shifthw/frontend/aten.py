"""What each ATen operation is as a layer of the engine."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import torch

from ..errors import UnsupportedModel
from .exported import Step, Stored
from .plain_layers import Layer

SUPPORTED = ("Conv2d, Linear, AdderConv2d and AdderLinear of shifthw.nn, BatchNorm1d, BatchNorm2d, ReLU, ReLU6, "
             "Hardtanh, clamp, + and - of two tensors, constants added or multiplied per channel, MaxPool2d, "
             "AvgPool2d, AdaptiveAvgPool2d, AdaptiveMaxPool2d, mean over pixels, flatten, zero padding, Dropout, every "
             "n-th pixel, a softmax at the end")


def layers_of(step: Step) -> list[Layer]:
    """The layers of a step, the last with its name; none if its result is its input.

    Raises UnsupportedModel, with the line, for a step that is no layer of the engine.
    """
    if step.kind not in HANDLERS:
        refuse(step, f"is not supported; supported are {SUPPORTED}")
    layers = HANDLERS[step.kind](step)
    if not step.inputs or any(len(layer.inputs) != (2 if layer.kind == "add" else 1) for layer in layers):
        refuse(step, f"reads {len(step.inputs)} tensors that depend on the images, must read one; weights must be "
                     f"parameters")
    return layers


def refuse(step: Step, what: str) -> NoReturn:
    """Raise UnsupportedModel about a step."""
    raise UnsupportedModel(f"{step.where}: {what}")


def _one(step: Step, kind: str, **options: Any) -> list[Layer]:
    return [Layer(step.name, kind, step, step.inputs, step.shape, options)]


# -- weights -----------------------------------------------------------------------------------

def _conv(step: Step) -> list[Layer]:
    options = step.options
    weight = _stored(step, "weight")
    if weight.value.ndim != 4 or len(step.shape) != 4 or options.get("transposed"):
        refuse(step, "must be an ordinary convolution in two dimensions")
    return _one(step, "conv", weight=weight, bias=_bias(step), stride=_pair(options["stride"]),
                padding=_sides(step, weight), dilation=_pair(options["dilation"]), groups=options["groups"])


def _sides(step: Step, weight: Stored) -> tuple[int, int, int, int]:
    """Padding as (top, left, bottom, right); "same" adds the odd one below and on the right, as torch does."""
    padding = step.options["padding"]
    if padding == "valid":
        return 0, 0, 0, 0
    if padding == "same":
        rows, columns = (dilation * (size - 1) for dilation, size in
                         zip(_pair(step.options["dilation"]), weight.value.shape[2:], strict=True))
        return rows // 2, columns // 2, rows - rows // 2, columns - columns // 2
    return _pair(padding) * 2


def _linear(step: Step) -> list[Layer]:
    if len(step.shape) != 2:
        refuse(step, f"reads a tensor of shape {_shown(step.input_shapes[0])}, must read [N, features]; flatten it "
                     f"first")
    return _one(step, "linear", weight=_stored(step, "weight"), bias=_bias(step))


def _adder(step: Step) -> list[Layer]:
    """shifthw.nn's own; its bias is added behind it."""
    weight = _stored(step, "weight")
    if weight.value.ndim == 2:
        return _one(step, "adder_linear", weight=weight)
    stride, padding, dilation = (tuple(step.options[name]) for name in ("stride", "padding", "dilation"))
    return _one(step, "adder", weight=weight, stride=stride, padding=padding, dilation=dilation,
                groups=step.options["groups"])


def _batch_norm(step: Step) -> list[Layer]:
    found = {name: step.options.get(name) for name in ("weight", "bias", "running_mean", "running_var")}
    variance = found["running_var"]
    if found["running_mean"] is None or variance is None:
        refuse(step, "has no running statistics; it must have track_running_stats=True")
    if isinstance(variance, Stored) and bool((variance.value + step.options["eps"] <= 0).any()):
        refuse(step, "has negative numbers in running_var; train or export the model again")
    return _one(step, "batch_norm", **found, eps=step.options["eps"])


def _without_statistics(step: Step) -> NoReturn:
    refuse(step, "has no running statistics; it must have track_running_stats=True")


def _stored(step: Step, name: str) -> Stored:
    value = step.options.get(name)
    if not isinstance(value, Stored):
        refuse(step, f"its {name} must be a parameter, not computed from the images")
    return value


def _bias(step: Step) -> Stored | None:
    return None if step.options.get("bias", None) is None else _stored(step, "bias")


# -- arithmetic --------------------------------------------------------------------------------

def _clamp(step: Step) -> list[Layer]:
    lo, hi = (0.0, 6.0 if step.kind == "relu6" else math.inf) if "relu" in step.kind else (-math.inf, math.inf)
    lo = _limit(step, ("min_val", "min"), lo)
    hi = _limit(step, ("max_val", "max"), hi)
    if not lo < hi:
        refuse(step, f"limits values to {lo}..{hi}; the first must be smaller")
    return _one(step, "clamp", lo=lo, hi=hi)


def _limit(step: Step, names: tuple[str, ...], default: float) -> float:
    given = next((step.options[name] for name in names if step.options.get(name) is not None), default)
    if isinstance(given, Stored):
        if given.value.numel() != 1:
            refuse(step, f"has {given.value.numel()} limits, must have one for all values")
        given = given.value.item()
    return float(given)


def _sum(step: Step) -> list[Layer]:
    """a + alpha * b, a - alpha * b or, for rsub, b - alpha * a; one of them may be a constant."""
    alpha = float(step.options.get("alpha", 1))
    factors = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[step.kind]
    if any(shape != step.shape for shape in step.input_shapes):
        shapes = " and ".join(_shown(shape) for shape in step.input_shapes)
        refuse(step, f"works on tensors of shapes {shapes}, whose result is {_shown(step.shape)}; shapes must be equal")
    if len(step.inputs) == 2:
        negated = [Layer(f"{step.name}.{index}", "affine", step, (name,), step.shape, _scaling(step, factor, 0.0))
                   if factor != 1.0 else None for index, (name, factor) in enumerate(zip(step.inputs, factors,
                                                                                         strict=True))]
        names = tuple(layer.name if layer else name for layer, name in zip(negated, step.inputs, strict=True))
        return [*filter(None, negated), Layer(step.name, "add", step, names, step.shape)]
    constant = 0 if "self" in step.options else 1
    offset = factors[constant] * _per_channel(step, step.options["self" if constant == 0 else "other"])
    return _affine(step, factors[1 - constant], offset)


def _product(step: Step) -> list[Layer]:
    """a * b, a / b or -a, with one of them a constant."""
    if step.kind == "neg":
        return _affine(step, -1.0, 0.0)
    constant = step.options.get("other", step.options.get("self"))
    if constant is None or (step.kind == "div" and "self" in step.options) or step.options.get("rounding_mode"):
        refuse(step, "must be by a constant, and not rounded; the engine multiplies activations by constants only")
    factor = _per_channel(step, constant)
    return _affine(step, 1.0 / factor if step.kind == "div" else factor, 0.0)


def _affine(step: Step, gain: torch.Tensor | float, offset: torch.Tensor | float) -> list[Layer]:
    options = _scaling(step, gain, offset)
    if not all(bool(torch.isfinite(values).all()) for values in options.values()):
        refuse(step, "gives infinite or NaN numbers; its constants must be finite, and a divisor not 0")
    if bool((options["gain"] == 1).all()) and bool((options["offset"] == 0).all()):
        return []
    return _one(step, "affine", **options)


def _scaling(step: Step, gain: torch.Tensor | float, offset: torch.Tensor | float) -> dict[str, torch.Tensor]:
    """Gain and offset, float64[channels] each."""
    return {name: torch.as_tensor(values, dtype=torch.float64).expand(step.shape[1]).clone()
            for name, values in (("gain", gain), ("offset", offset))}


def _per_channel(step: Step, constant: Any) -> torch.Tensor:
    """A constant that is broadcast over the step's result as float64[1] or float64[channels]."""
    value = (constant.value if isinstance(constant, Stored) else torch.tensor(constant)).double()
    if len(step.shape) < 2 or step.input_shapes[0] != step.shape or value.ndim > len(step.shape):
        refuse(step, f"makes {_shown(step.shape)} of {_shown(step.input_shapes[0])}; a constant must be one number, or "
                     f"one per channel")
    value = value.reshape((1,) * (len(step.shape) - value.ndim) + value.shape)
    if value.numel() != value.shape[1]:
        refuse(step, f"has a constant of shape {_shown(tuple(value.shape))}; it must be one number, or one per channel")
    return value.flatten()


# -- pools -------------------------------------------------------------------------------------

def _max_pool(step: Step) -> list[Layer]:
    window = _window(step)
    if _overhangs(step, window) or _pair(step.options.get("dilation", 1)) != (1, 1):
        refuse(step, "must have ceil_mode=False and dilation=1")
    return _one(step, "max_pool", **window)


def _average_pool(step: Step) -> list[Layer]:
    window = _window(step)
    if _overhangs(step, window) or (window["padding"] != (0, 0) and not step.options["count_include_pad"]):
        refuse(step, "must have ceil_mode=False and, with padding, count_include_pad=True")
    return _one(step, "average_pool", **window, divisor=step.options.get("divisor_override"))


def _window(step: Step) -> dict[str, tuple[int, int]]:
    kernel = _pair(step.options["kernel_size"])
    return {"kernel": kernel, "stride": _pair(step.options.get("stride") or kernel),
            "padding": _pair(step.options["padding"])}


def _overhangs(step: Step, window: dict[str, tuple[int, int]]) -> bool:
    """Whether ceil_mode adds windows that reach beyond the map and its padding."""
    inside = tuple((size + 2 * padding - kernel) // stride + 1 for size, padding, kernel, stride in zip(
        step.input_shapes[0][-2:], window["padding"], window["kernel"], window["stride"], strict=True))
    return bool(step.options.get("ceil_mode")) and step.shape[-2:] != inside


def _adaptive_pool(step: Step) -> list[Layer]:
    is_max = "max" in step.kind
    before, after = step.input_shapes[0][2:], step.shape[2:]
    if before == after:
        return []
    if after == (1, 1) and not is_max:
        return _one(step, "global_pool")
    if any(size % count for size, count in zip(before, after, strict=True)):
        refuse(step, f"makes {_shown(after)} pixels of {_shown(before)}; the first must divide the second")
    kernel = tuple(size // count for size, count in zip(before, after, strict=True))
    window = dict(kernel=kernel, stride=kernel, padding=(0, 0))
    return _one(step, "max_pool", **window) if is_max else _one(step, "average_pool", **window, divisor=None)


def _mean(step: Step) -> list[Layer]:
    """Over all pixels, or over rows or columns: two of these in a row become one over all pixels."""
    before = step.input_shapes[0]
    axes = {axis % len(before) for axis in step.options.get("dim") or ()}
    if not axes or min(axes) < 2:
        refuse(step, f"is over dimensions {step.options.get('dim')}, must be over pixels: (2, 3)")
    whole = all(axis in axes or size == 1 for axis, size in enumerate(before) if axis >= 2)
    return _one(step, "global_pool" if whole else "mean")


# -- shapes ------------------------------------------------------------------------------------

def _reshape(step: Step) -> list[Layer]:
    before, after = step.input_shapes[0], step.shape
    if before == after:
        return []
    features = math.prod(before[1:])
    if len(before) == 4 and after == (*before[:2], before[2] * before[3]) and features > before[1]:
        return _one(step, "pixels")
    if math.prod(after) != math.prod(before) or after[:2] != (before[0], features):
        refuse(step, f"makes {_shown(after)} of {_shown(before)}; only flattening to [N, features] is supported")
    return _one(step, "flatten")


def _permute(step: Step) -> list[Layer]:
    """A change of shape alone, if the dimensions that pass each other have one entry."""
    before = step.input_shapes[0]
    order = list(range(len(before)))
    if step.kind == "permute":
        order = [axis % len(before) for axis in step.options["dims"]]
    else:
        one, other = (step.options[name] for name in ("dim0", "dim1"))
        order[one], order[other] = order[other], order[one]
    moved = [axis for axis in order if before[axis] > 1]
    if moved != sorted(moved):
        refuse(step, f"makes {_shown(step.shape)} of {_shown(before)} in another order; the engine keeps [N, C, H, W]; "
                     f"leave it out, or do it to the images beforehand")
    return _reshape(step)


def _pad(step: Step) -> list[Layer]:
    """Zeros around the map are a pad, zero channels a subsample of every pixel."""
    pad = list(step.options["pad"])
    mode, value = step.options.get("mode", "constant"), step.options.get("value")
    if mode != "constant" or value or len(pad) > 6 or min(pad) < 0 or len(step.shape) != 4:
        value = f" of {value}" if value else ""
        refuse(step, f"must add zeros (mode 'constant', value 0) around a map, not {pad} in mode {mode!r}{value}")
    left, right, top, bottom, before, after = pad + [0] * (6 - len(pad))
    layers = []
    if before or after:
        layers += _one(step, "subsample", stride=(1, 1), channels=(before, after))
    if left or right or top or bottom:
        layers += _one(step, "pad", sides=(top, left, bottom, right))
    if len(layers) == 2:
        shape = (*step.shape[:2], *step.input_shapes[0][2:])
        layers[0] = replace(layers[0], name=f"{step.name}.channels", shape=shape)
        layers[1] = replace(layers[1], inputs=(layers[0].name,))
    return layers


def _slice(step: Step) -> list[Layer]:
    dimension, stride = step.options["dim"] % len(step.shape), step.options["step"]
    size = step.input_shapes[0][dimension]
    if step.shape == step.input_shapes[0]:
        return []
    if step.options.get("start") or step.shape[dimension] != -(-size // stride) or dimension < 2 \
            or len(step.shape) != 4:
        refuse(step, "cuts a part out; a slice may only take every n-th row and column, from the first on")
    return _one(step, "subsample", stride=(stride, 1) if dimension == 2 else (1, stride), channels=(0, 0))


# -- nothing -----------------------------------------------------------------------------------

def _same(step: Step) -> list[Layer]:
    """Values stay as they are, in evaluation mode."""
    return []


def _dropout(step: Step) -> list[Layer]:
    if step.options.get("train") or step.kind == "native_dropout":
        refuse(step, "drops values in evaluation mode too; pass training=self.training")
    return []


def _cast(step: Step) -> list[Layer]:
    other = step.options.get("other")
    kind = other.value.dtype if isinstance(other, Stored) else step.options.get("dtype")
    if kind not in (None, torch.float32, torch.float64):
        refuse(step, f"casts to {kind}, must be to float32; quantize decides how values are rounded")
    return []


def _item(step: Step) -> list[Layer]:
    """An operation's first result of several: batch norms have more, which nothing reads."""
    if step.options.get("1") != 0:
        refuse(step, "takes one of several tensors apart from the first, which is not supported")
    return []


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


def _shown(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


HANDLERS: dict[str, Callable[[Step], list[Layer]]] = {
    **dict.fromkeys(("conv2d", "convolution"), _conv), "linear": _linear,
    "negative_distances": _adder, "batch_norm": _batch_norm,
    "_native_batch_norm_legit": _without_statistics,
    **dict.fromkeys(("relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max"), _clamp),
    **dict.fromkeys(("add", "sub", "rsub"), _sum), **dict.fromkeys(("mul", "div", "neg"), _product),
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), _max_pool), "avg_pool2d": _average_pool,
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive_pool), "mean": _mean,
    **dict.fromkeys(("flatten", "view", "reshape", "_unsafe_view", "squeeze", "unsqueeze", "select"), _reshape),
    **dict.fromkeys(("permute", "transpose"), _permute),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad), "slice": _slice,
    **dict.fromkeys(("clone", "contiguous", "detach", "alias", "lift_fresh_copy"), _same),
    **dict.fromkeys(("dropout", "feature_dropout", "native_dropout"), _dropout),
    **dict.fromkeys(("_to_copy", "to", "type_as"), _cast), "getitem": _item,
}
