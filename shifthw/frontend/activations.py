"""Activation functions that become tables: by name, as they are kept with a Lookup."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

Function = Callable[[torch.Tensor], torch.Tensor]

PLAIN: dict[str, Function] = {
    "hardsigmoid": functional.hardsigmoid, "hardswish": functional.hardswish, "sigmoid": torch.sigmoid,
    "silu": functional.silu, "tanh": torch.tanh, "mish": functional.mish, "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
}
"""Functions without parameters."""
MODULES: dict[str, Callable[[], nn.Module]] = {
    "hardsigmoid": nn.Hardsigmoid, "hardswish": nn.Hardswish, "sigmoid": nn.Sigmoid, "silu": nn.SiLU, "tanh": nn.Tanh,
    "mish": nn.Mish, "gelu": nn.GELU, "gelu_tanh": partial(nn.GELU, "tanh"),
}
PARAMETRIC: dict[str, tuple[Callable[..., torch.Tensor], type[nn.Module], str]] = {
    "leaky_relu": (functional.leaky_relu, nn.LeakyReLU, "negative_slope"), "elu": (functional.elu, nn.ELU, "alpha"),
}
"""Function, module and the attribute of functions with a parameter, which their names end with."""
KNOWN = (nn.Hardsigmoid, nn.Hardswish, nn.Sigmoid, nn.SiLU, nn.Tanh, nn.Mish, nn.GELU, nn.LeakyReLU, nn.ELU)


def name_of(module: nn.Module) -> str:
    """The name of the function that a module of a type in KNOWN computes."""
    for name, (_, parametric, attribute) in PARAMETRIC.items():
        if isinstance(module, parametric):
            return f"{name} {getattr(module, attribute)!r}"
    if isinstance(module, nn.GELU):
        return "gelu" if module.approximate == "none" else "gelu_tanh"
    return next(name for name, kind in MODULES.items() if isinstance(kind, type) and isinstance(module, kind))


def function(name: str) -> Function:
    """The function of a name that name_of gives. Raises ValueError for any other."""
    if name in PLAIN:
        return PLAIN[name]
    called, parameter = _parametric(name)
    return lambda x: PARAMETRIC[called][0](x, parameter)


def module(name: str) -> nn.Module:
    """A module that name_of gives this name of. Raises ValueError for any other name."""
    if name in PLAIN:
        return MODULES[name]()
    called, parameter = _parametric(name)
    return PARAMETRIC[called][1](parameter)


def _parametric(name: str) -> tuple[str, Any]:
    called, _, parameter = name.partition(" ")
    try:
        return called, float(parameter if called in PARAMETRIC else "")
    except ValueError:
        raise ValueError(f"{name!r:.40} must be one of {', '.join(PLAIN)}, or {' or '.join(PARAMETRIC)} with its "
                         f"parameter") from None
