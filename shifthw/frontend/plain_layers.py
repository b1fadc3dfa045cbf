"""A plain network as layers that the engine has: what the steps of an exported program become."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .exported import Step, Stored


@dataclass(frozen=True, eq=False)
class Layer:
    """One operation of the engine.

    name     of its result
    kind     conv, transposed, linear, adder, adder_linear, batch_norm, affine, clamp, function, add, multiply,
             max_pool, average_pool, global_pool, flatten, subsample, select, concat, upsample or bilinear; until the
             network is arranged also pad, mean, move and pixels (a map whose rows are joined to one)
    step     of the exported program that it comes from
    inputs   names of the results that it reads
    shape    of its result, with the batch
    options  numbers, and constants as Stored or tensors
    """

    name: str
    kind: str
    step: Step
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """How a message names it."""
        return self.step.where

    @property
    def module_path(self) -> str:
        """That of the module which it is in the user's network, or of the one with the weights that a function is
        called with; "" if there is none."""
        if self.step.is_module and self.step.path:
            return self.step.path
        weight = self.options.get("weight") or self.options.get("running_mean")
        return weight.owner if isinstance(weight, Stored) else ""

    @property
    def path(self) -> str:
        """That of its module, or of the forward that calls the function, and the function's name."""
        name = self.kind if self.kind in ("flatten", "select") else self.step.kind  # either is a view, a select, ...
        return self.module_path or (f"{self.step.path}.{name}" if self.step.path else name)

    @property
    def is_spatial(self) -> bool:
        """Whether its result has more than one pixel."""
        return math.prod(self.shape[2:]) > 1


@dataclass(frozen=True, eq=False)
class PlainNetwork:
    """Layers in order; `dropped` are the steps at the end that do not change the order of the outputs."""

    name: str
    layers: tuple[Layer, ...]
    input: str
    input_shape: tuple[int, ...]
    outputs: tuple[str, ...]
    dropped: tuple[str, ...]

    @cached_property
    def by_name(self) -> dict[str, Layer]:
        """The layers by the names of their results."""
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def readers(self) -> dict[str, tuple[Layer, ...]]:
        """The layers that read each result."""
        found: dict[str, tuple[Layer, ...]] = dict.fromkeys((self.input, *self.by_name), ())
        for layer in self.layers:
            for name in dict.fromkeys(layer.inputs):
                found[name] += (layer,)
        return found

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Of a result, with the batch."""
        return self.input_shape if name == self.input else self.by_name[name].shape

    @property
    def weighted(self) -> tuple[str, ...]:
        """Paths of the convolutions and linear layers, in order; each once."""
        kinds = ("conv", "transposed", "linear")
        return tuple(dict.fromkeys(layer.path for layer in self.layers if layer.kind in kinds))
