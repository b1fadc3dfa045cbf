"""Functions of torch and methods of tensors that the converter knows."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def _dropout(p: float = 0.5, training: bool = True, inplace: bool = False) -> nn.Module:
    """The module of functional.dropout, which drops in evaluation mode too unless it is told not to."""
    if training:
        raise ValueError("drops values in evaluation mode too; pass training=self.training")
    return nn.Dropout(p, inplace)


def _upsample(size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
              recompute_scale_factor: bool | None = None, antialias: bool = False) -> nn.Module:
    """The module of functional.interpolate, which has one option more: without a meaning where maps are enlarged."""
    return nn.Upsample(size, scale_factor, mode, align_corners, recompute_scale_factor)


AS_MODULE: dict[Any, Callable[..., nn.Module]] = {
    functional.relu: nn.ReLU, torch.relu: nn.ReLU, torch.relu_: nn.ReLU, "relu": nn.ReLU, "relu_": nn.ReLU,
    functional.relu6: nn.ReLU6, functional.hardtanh: nn.Hardtanh, functional.max_pool2d: nn.MaxPool2d,
    functional.avg_pool2d: nn.AvgPool2d, functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    functional.dropout: _dropout, functional.channel_shuffle: nn.ChannelShuffle,
    functional.leaky_relu: nn.LeakyReLU, functional.hardsigmoid: nn.Hardsigmoid, functional.hardswish: nn.Hardswish,
    functional.silu: nn.SiLU, functional.mish: nn.Mish, functional.gelu: nn.GELU,
    functional.elu: nn.ELU, functional.sigmoid: nn.Sigmoid, functional.tanh: nn.Tanh,
    torch.sigmoid: nn.Sigmoid, "sigmoid": nn.Sigmoid, torch.tanh: nn.Tanh, "tanh": nn.Tanh,
    functional.interpolate: _upsample,
}
"""Functions and tensor methods that are a module with the same arguments."""
ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
RESHAPES = (torch.flatten, torch.reshape, "flatten", "view", "reshape")
EXPANSIONS = ("expand", "expand_as")
MEANS = (torch.mean, "mean")
PRODUCTS = (operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_")
CONCATENATIONS = (torch.cat, torch.concat, torch.concatenate)
SPLITS = (torch.chunk, torch.split, torch.tensor_split, "chunk", "split", "tensor_split")
ITEM = operator.getitem
