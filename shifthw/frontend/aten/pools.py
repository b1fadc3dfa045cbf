"""Pools of ATen, and means."""

from ..exported import Step
from ..plain_layers import Layer
from .steps import one, pair, refuse, shown


def max_pool(step: Step) -> list[Layer]:
    window = _window(step)
    if _overhangs(step, window) or pair(step.options.get("dilation", 1)) != (1, 1):
        refuse(step, "must have ceil_mode=False and dilation=1")
    return one(step, "max_pool", **window)


def average_pool(step: Step) -> list[Layer]:
    window = _window(step)
    if _overhangs(step, window) or (window["padding"] != (0, 0) and not step.options["count_include_pad"]):
        refuse(step, "must have ceil_mode=False and, with padding, count_include_pad=True")
    return one(step, "average_pool", **window, divisor=step.options.get("divisor_override"))


def _window(step: Step) -> dict[str, tuple[int, int]]:
    kernel = pair(step.options["kernel_size"])
    return {"kernel": kernel, "stride": pair(step.options.get("stride") or kernel),
            "padding": pair(step.options["padding"])}


def _overhangs(step: Step, window: dict[str, tuple[int, int]]) -> bool:
    """Whether ceil_mode adds windows that reach beyond the map and its padding."""
    inside = tuple((size + 2 * padding - kernel) // stride + 1 for size, padding, kernel, stride in zip(
        step.input_shapes[0][-2:], window["padding"], window["kernel"], window["stride"], strict=True))
    return bool(step.options.get("ceil_mode")) and step.shape[-2:] != inside


def adaptive_pool(step: Step) -> list[Layer]:
    is_max = "max" in step.kind
    before, after = step.input_shapes[0][2:], step.shape[2:]
    if before == after:
        return []
    if after == (1, 1) and not is_max:
        return one(step, "global_pool")
    if any(size % count for size, count in zip(before, after, strict=True)):
        refuse(step, f"makes {shown(after)} pixels of {shown(before)}; the first must divide the second")
    kernel = tuple(size // count for size, count in zip(before, after, strict=True))
    window = dict(kernel=kernel, stride=kernel, padding=(0, 0))
    return one(step, "max_pool", **window) if is_max else one(step, "average_pool", **window, divisor=None)


def mean(step: Step) -> list[Layer]:
    """Over all pixels, or over rows or columns: two of these in a row become one over all pixels."""
    before = step.input_shapes[0]
    axes = {axis % len(before) for axis in step.options.get("dim") or ()}
    if not axes or min(axes) < 2:
        refuse(step, f"is over dimensions {step.options.get('dim')}, must be over pixels: (2, 3)")
    whole = all(axis in axes or size == 1 for axis, size in enumerate(before) if axis >= 2)
    return one(step, "global_pool" if whole else "mean")
