"""Whether a checkpoint holds what an architecture needs: every name, every shape, only finite numbers."""

from collections.abc import Iterable

import torch
from torch import nn

from ..errors import UnsupportedModel
from ..nn import AdderConv2d
from .checkpoint import short
from .framework import Framework, Tensors

SHOWN = 3
"""Names that a message lists."""
COUNTER = "num_batches_tracked"
"""Of batch norms, which exporters leave out and no result depends on."""
MAY_BE_MINUS_INFINITY = "shift"
"""DeepShift's conversion of a weight 0 leaves a shift of log2(0), which the layer clamps."""


def with_todays_names(model: nn.Module, state: Tensors) -> dict[str, torch.Tensor]:
    """The tensors, parameters of adder layers named `adder` and `b`: old files say weight, torchshiftadd says bias."""
    names = {}
    for path, module in model.named_modules():
        if isinstance(module, AdderConv2d):
            for old, new in (("weight", "adder"), ("bias", "b")):
                if f"{path}.{new}" not in state:
                    names[f"{path}.{old}"] = f"{path}.{new}"
    return {names.get(key, key): tensor for key, tensor in state.items()}


def expected_shapes(model: nn.Module, framework: Framework, state: Tensors) -> dict[str, tuple[int, ...]]:
    """Names and shapes that the checkpoint must have, counters of batch norms aside."""
    found: dict[str, tuple[int, ...]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for name in framework.of_adders if isinstance(module, AdderConv2d) else ():
            if joined(path, name) in state:
                found[joined(path, name)] = (1, 1, 1, 1) if "." in name else tuple(module.adder.shape)
    for key, tensor in model.state_dict().items():
        path, _, name = key.rpartition(".")
        names: tuple[str, ...] = (name,)
        if name == "weight" and isinstance(model.get_submodule(path), nn.Conv2d | nn.Linear):
            names = framework.kind(path, state).tensors
        found |= {joined(path, name): tuple(tensor.shape) for name in names if name != COUNTER}
    return found


def joined(path: str, name: str) -> str:
    """Name in the state dict of a tensor of the module at `path`, "" for the model itself."""
    return f"{path}.{name}" if path else name


def check(where: str, expected: dict[str, tuple[int, ...]], state: Tensors) -> None:
    """Raise UnsupportedModel, naming the first few, for tensors that are missing, too many, misshaped or not finite.

    where  the file and the architecture
    """
    extra = [short(key) for key in state if key not in expected and not key.endswith(f".{COUNTER}")]
    _refuse(where, "misses", [key for key in expected if key not in state], "give the architecture that was trained")
    _refuse(where, "has more than the architecture:", extra, "give the architecture that was trained")
    _refuse(where, "has other shapes:", [f"{key} {short(str(list(state[key].shape)))}, must be {list(shape)}"
                                         for key, shape in expected.items() if tuple(state[key].shape) != shape],
            "give the architecture that was trained")
    _refuse(where, "holds NaN or infinite numbers:", [key for key in expected if not _is_finite(key, state[key])],
            "take an earlier checkpoint")


def _is_finite(key: str, tensor: torch.Tensor) -> bool:
    if not tensor.is_floating_point():
        return True
    if key.rpartition(".")[2] == MAY_BE_MINUS_INFINITY:
        tensor = tensor.clamp(min=torch.finfo(tensor.dtype).min)
    return bool(torch.isfinite(tensor).all())


def _refuse(where: str, what: str, names: Iterable[str], remedy: str) -> None:
    names = list(names)
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise UnsupportedModel(f"{where}: {what} {', '.join(names[:SHOWN])}{more}; {remedy}")
