"""Activation functions that become tables: by name, as they are kept with a Lookup."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

Function = Callable[[torch.Tensor], torch.Tensor]

PLAIN: dict[str, Function] = {
    "hardsigmoid": functional.hardsigmoid, "hardswish": functional.hardswish, "sigmoid": torch.sigmoid,
    "silu": functional.silu, "tanh": torch.tanh, "mish": functional.mish,
}
"""Functions without parameters."""
MODULES: dict[type[nn.Module], str] = {
    nn.Hardsigmoid: "hardsigmoid", nn.Hardswish: "hardswish", nn.Sigmoid: "sigmoid", nn.SiLU: "silu", nn.Tanh: "tanh",
    nn.Mish: "mish",
}
LEAKY = "leaky_relu"
KNOWN = (*MODULES, nn.LeakyReLU)


def name_of(module: nn.Module) -> str:
    """The name of the function that a module of a type in KNOWN computes."""
    if isinstance(module, nn.LeakyReLU):
        return f"{LEAKY} {module.negative_slope!r}"
    return next(name for kind, name in MODULES.items() if isinstance(module, kind))


def function(name: str) -> Function:
    """The function of a name that name_of gives. Raises ValueError for any other."""
    if name in PLAIN:
        return PLAIN[name]
    kind, _, slope = name.partition(" ")
    try:
        factor = float(slope if kind == LEAKY else "")
    except ValueError:
        raise ValueError(f"{name!r:.40} must be one of {', '.join(PLAIN)}, or {LEAKY} with its slope") from None
    return lambda x: functional.leaky_relu(x, factor)
