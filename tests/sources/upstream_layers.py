"""The source frameworks' layers, written anew from what they compute: plain float32 torch, nothing of shifthw.

Parameters have the frameworks' names, and change in place where the frameworks change them. Files are written
as the frameworks' scripts write them.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

Convert = Callable[[str, nn.Conv2d | nn.Linear], nn.Module | None]


def round_to_fixed(x: torch.Tensor, integer: int = 16, fraction: int = 16) -> torch.Tensor:
    """Floor to 2**-fraction, then clamp; the upper limit is a whole number."""
    delta, bound = math.pow(2.0, -fraction), math.pow(2.0, integer - 1)
    return torch.clamp(torch.floor(x / delta) * delta, -bound, bound - 1)


class _Conv(nn.Module):
    def __init__(self, plain: nn.Conv2d, names: tuple[str, ...]) -> None:
        super().__init__()
        self.geometry = (plain.stride, plain.padding, plain.dilation, plain.groups)
        for name in names:
            self.register_parameter(name, nn.Parameter(torch.zeros_like(plain.weight)))
        self.bias = None if plain.bias is None else nn.Parameter(plain.bias.detach().clone())

    def convolve(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return functional.conv2d(x, weight, bias, *self.geometry)


class _Linear(nn.Module):
    def __init__(self, plain: nn.Linear, names: tuple[str, ...]) -> None:
        super().__init__()
        for name in names:
            self.register_parameter(name, nn.Parameter(torch.zeros_like(plain.weight)))
        self.bias = None if plain.bias is None else nn.Parameter(plain.bias.detach().clone())


def ps_weight(layer: Any, bits: int, threshold: float | None = None) -> torch.Tensor:
    """2**round(shift) * sign(round(sign)): the shift is clamped in place, the sign replaced by its threshold's."""
    layer.shift.data = layer.shift.data.clamp(-(2 ** (bits - 1) - 2), 0)
    if threshold is None:
        sign = torch.sign(torch.round(layer.sign.data))
    else:
        layer.sign.data = (layer.sign.data > threshold).float() - (layer.sign.data < -threshold).float()
        sign = layer.sign.data
    return 2.0 ** torch.round(layer.shift.data) * sign


def q_weight(layer: Any, bits: int) -> torch.Tensor:
    """sign * 2**round(log2|w|), of magnitudes clamped in place to the smallest power and 1; 0 stays 0."""
    smallest = 2.0 ** -(2 ** (bits - 1) - 1)
    weight = layer.weight.data
    clamped = weight.abs().clamp(smallest, 1.0) * weight.sign()
    layer.weight.data = clamped
    exponent = torch.round(torch.log(clamped.abs()) / math.log(2))
    return torch.where(clamped == 0, 0.0, 2.0**exponent * clamped.sign())


class Conv2dShift(_Conv):
    """DeepShift's, and with its threshold and own fraction bits those of ShiftAddNet and torchshiftadd."""

    def __init__(self, plain: nn.Conv2d, bits: int = 5, act: tuple[int, int] = (16, 16),
                 threshold: float | None = None) -> None:
        super().__init__(plain, ("shift", "sign"))
        self.bits, self.act, self.threshold = bits, act, threshold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = ps_weight(self, self.bits, self.threshold)
        bias = None if self.bias is None else round_to_fixed(self.bias, *self.act)
        return self.convolve(round_to_fixed(x, *self.act), weight, bias)


class Conv2dShiftQ(_Conv):
    """DeepShift's."""

    def __init__(self, plain: nn.Conv2d, bits: int = 5, act: tuple[int, int] = (16, 16)) -> None:
        super().__init__(plain, ("weight",))
        self.bits, self.act = bits, act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = None if self.bias is None else round_to_fixed(self.bias, *self.act)
        return self.convolve(round_to_fixed(x, *self.act), q_weight(self, self.bits), bias)


class LinearShift(_Linear):
    """DeepShift's: takes its input and its bias as they are."""

    def __init__(self, plain: nn.Linear, bits: int = 5) -> None:
        super().__init__(plain, ("shift", "sign"))
        self.bits = bits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, ps_weight(self, self.bits), self.bias)


class LinearShiftQ(_Linear):
    """DeepShift's: rounds its input, takes its bias as it is."""

    def __init__(self, plain: nn.Linear, bits: int = 5, act: tuple[int, int] = (16, 16)) -> None:
        super().__init__(plain, ("weight",))
        self.bits, self.act = bits, act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = round_to_fixed(x, *self.act).mm(q_weight(self, self.bits).t())
        return y if self.bias is None else y + self.bias


class SEConv2d(_Conv):
    """ShiftAddNet's fixed-shift layer: `weight` is what p and s made of it; 15 fraction bits, to nearest."""

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__(plain, ("weight", "p", "s"))
        self.register_buffer("mask", torch.ones_like(plain.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolve(torch.round(x * 2**15) / 2**15, self.weight, self.bias)


class Adder2d(nn.Module):
    """AdderNet's layer: -sum |w - x| of the unfolded, zero-padded input."""

    def __init__(self, weight: torch.Tensor, stride: int, padding: int) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.adder = nn.Parameter(weight.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs, _, kernel, _ = self.adder.shape
        columns = functional.unfold(x, kernel, padding=self.padding, stride=self.stride)
        matrix = columns.permute(1, 2, 0).reshape(columns.shape[1], -1)
        y = -(self.adder.reshape(outputs, -1, 1) - matrix[None]).abs().sum(1)
        size = (x.shape[2] + 2 * self.padding - kernel) // self.stride + 1
        return y.reshape(outputs, size, -1, len(x)).permute(3, 0, 1, 2).contiguous()


def converted(model: nn.Module, convert: Convert) -> nn.Module:
    """The model with each convolution and linear layer replaced by what `convert` makes of it, if anything."""
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            layer = convert(path, module)
            if layer is not None:
                model.set_submodule(path, layer)
    return model


def deepshift(form: str, bits: int = 5, act: tuple[int, int] = (16, 16)) -> Convert:
    """As convert_to_shift converts all layers to form "Q" or "PS"."""
    def convert(path: str, plain: nn.Conv2d | nn.Linear) -> nn.Module:
        if isinstance(plain, nn.Linear):
            return LinearShift(plain, bits) if form == "PS" else LinearShiftQ(plain, bits, act)
        return Conv2dShift(plain, bits, act) if form == "PS" else Conv2dShiftQ(plain, bits, act)
    return convert


def seed(model: nn.Module, number: int, zeros: float = 0.3, shifts: tuple[float, float] = (-9.0, 0.6)) -> nn.Module:
    """Latent parameters as training leaves them, batch norms with statistics of their own; in evaluation mode."""
    generator = torch.Generator().manual_seed(number)

    def uniform(tensor: torch.Tensor, lo: float, hi: float) -> torch.Tensor:
        return torch.rand(tensor.shape, generator=generator) * (hi - lo) + lo

    for name, tensor in model.named_parameters():
        kind = name.rpartition(".")[2]
        if kind == "shift":
            tensor.data = uniform(tensor, *shifts)
        elif kind == "sign":
            reach = 0.5 / zeros         # |sign| up to 0.5 is weight 0
            tensor.data = uniform(tensor, -reach, reach)
        elif kind == "weight" and tensor.ndim > 1:
            magnitude = torch.exp2(uniform(tensor, *shifts))
            kept = torch.rand(tensor.shape, generator=generator) >= zeros
            tensor.data = magnitude * kept * torch.sign(uniform(tensor, -1, 1))
        elif kind == "adder":
            tensor.data = uniform(tensor, -2, 2)
        elif kind == "bias":
            tensor.data = uniform(tensor, -0.4, 0.4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data = uniform(module.weight, 0.5, 1.5)
            module.running_mean = uniform(module.running_mean, -0.5, 0.5)
            module.running_var = uniform(module.running_var, 0.5, 2.0)
    return model.eval()


def calibrated(model: nn.Module, images: torch.Tensor) -> nn.Module:
    """Batch norms with the statistics of these images, as after training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def rounded(model: nn.Module, fraction: int = 16) -> nn.Module:
    """As round_shift_weights leaves the model: whole shifts, signs -1, 0, 1, powers of two, biases on the grid."""
    for module in model.modules():
        if isinstance(module, Conv2dShift | LinearShift):
            module.shift.data = module.shift.data.round()
            module.sign.data = module.sign.data.round().sign()
        elif isinstance(module, Conv2dShiftQ | LinearShiftQ):
            exponent = torch.round(torch.log(module.weight.data.abs()) / math.log(2))
            module.weight.data = torch.where(module.weight.data == 0, 0.0, 2.0**exponent * module.weight.data.sign())
        else:
            continue
        if module.bias is not None:
            module.bias.data = round_to_fixed(module.bias.data, 16, fraction)
    return model


def checkpoint(model: nn.Module, parallel: bool = False) -> dict[str, Any]:
    """checkpoint.pth.tar: latent state, the optimizer's, and the scheduler as an object, as DeepShift writes it."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    state = model.state_dict()
    prefix = "module." if parallel else ""
    return {"epoch": 3, "arch": "net", "state_dict": {prefix + key: value for key, value in state.items()},
            "best_acc1": 91.0, "optimizer": optimizer.state_dict(),
            "lr_scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [80, 120])}
