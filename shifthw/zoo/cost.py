"""Size of a network as papers count it: parameters and multiply-accumulates."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..nn import ShiftConv2d, ShiftConvTranspose2d, ShiftLinear


@dataclass(frozen=True)
class Cost:
    """Of one network and one image.

    parameters  weights of convolutions and linear layers (one each, of however many numbers it is made), biases, gains
                and offsets of batch norms, and what other layers learn, as displacements; no running statistics
    macs        multiply-accumulates of convolutions and linear layers: weights that each output has, padding included;
                a shift by an exponent counts as a multiplication
    """

    parameters: int
    macs: int


def cost(model: nn.Module, shape: tuple[int, int, int]) -> Cost:
    """Cost of `model` for one image of `shape`; runs it once on an image of zeros, in evaluation mode."""
    return Cost(sum(_parameters(module) for module in model.modules()), _macs(model, shape))


def _parameters(module: nn.Module) -> int:
    """Without those of its children."""
    if isinstance(module, ShiftConv2d | ShiftConvTranspose2d | ShiftLinear):
        bias = 0 if module.bias is None else module.bias.numel()
        return module.latent_weight().numel() + bias
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


def _macs(model: nn.Module, shape: tuple[int, int, int]) -> int:
    parameter = next(model.parameters())
    image = torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device)
    with _evaluation(model), _counted(model) as counts, torch.no_grad():
        model(image)
    return sum(counts)


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and for each module the mode of before behind it."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


@contextmanager
def _counted(model: nn.Module) -> Iterator[list[int]]:
    """Multiply-accumulates of each call of a layer, as long as the context lasts."""
    counts: list[int] = []

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        counts.append(_layer_macs(module, inputs[0], output))

    kinds = (ShiftConv2d, ShiftConvTranspose2d, ShiftLinear, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    hooks = [module.register_forward_hook(count) for module in model.modules() if isinstance(module, kinds)]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def _layer_macs(module: Any, x: torch.Tensor, y: torch.Tensor) -> int:
    if isinstance(module, ShiftLinear | nn.Linear):
        return y.numel() * module.in_features
    height, width = module.kernel_size
    if isinstance(module, ShiftConvTranspose2d | nn.ConvTranspose2d):
        return x.numel() * module.out_channels // module.groups * height * width
    return y.numel() * module.in_channels // module.groups * height * width
