"""Layers of plain networks that tests draw by hand: they compute nothing, and read x or each other."""

import torch

from shifthw.frontend.exported import Step, Stored
from shifthw.frontend.plain_layers import Layer, PlainNetwork

MAP = (2, 4, 8, 8)


def layer(name: str, kind: str, *inputs: str, shape: tuple[int, ...] = MAP, **options: object) -> Layer:
    step = Step(name, kind, "", False, "", shape, inputs, (), {})
    return Layer(name, kind, step, inputs or ("x",), shape, options)


def conv(name: str, source: str = "x", size: int = 3) -> Layer:
    return layer(name, "conv", source, weight=Stored("", torch.zeros(4, 4, size, size)))


def relu(name: str, source: str) -> Layer:
    return layer(name, "clamp", source, lo=0.0, hi=torch.inf)


def affine(name: str, source: str, *gain: float, offset: float = 0.0) -> Layer:
    return layer(name, "affine", source, gain=torch.tensor(gain), offset=torch.full((len(gain),), offset))


def network(*layers: Layer, outputs: tuple[str, ...] = ()) -> PlainNetwork:
    return PlainNetwork("net", layers, "x", MAP, outputs or (layers[-1].name,), ())


def function(name: str, source: str, called: str = "silu") -> Layer:
    return layer(name, "function", source, function=called)
