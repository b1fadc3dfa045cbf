"""The graph of a QONNX model while it is being built, and what all operators ask of it."""

import math
from dataclasses import replace

import numpy as np

from ...errors import UnsupportedModel
from ...ir.graph import Flatten, Input, Node, Requantize, Rounding
from ...ir.types import TensorType
from ...ir.verify import is_accumulator
from ..deviation import deviations
from ..draft import Draft, Grid, Sum
from ..preprocess import input_metadata
from ..reference import Model, Reference, rounded_weights
from ..sums import real_value
from .reader import OnnxModel, Step, shown
from .values import Activation, Constant, RawInput, Value


class Builder:
    """Values by the names that they have in the model, and the draft that they become nodes of."""

    def __init__(self, model: OnnxModel, name: str) -> None:
        self.model, self.draft = model, Draft(name)
        self.notes: list[str] = []
        self.rounded: dict[str, float] = {}
        """Steps that rounding moves an output by, at most, which the model does not round."""
        self._values: dict[str, Value] = {}
        self._settled: dict[tuple[str, float, float, float], Activation] = {}
        self._input_metadata: dict[str, object] = {}
        self._input_range = (0, 0)

    def finish(self, outputs: tuple[str, ...]) -> Model:
        """The graph, with what was found about its exactness, and the real-valued network."""
        graph = self.draft.finish(outputs, {})
        within = deviations(self.draft, graph)
        within |= {name: within.get(name, 0.0) + steps for name, steps in self.rounded.items()}
        about = {"producer": self.model.producer, "exact": not within, "within": within, "notes": self.notes}
        graph = replace(graph, metadata={"qonnx": about} | self._input_metadata)
        return Model(graph, Reference(rounded_weights(graph.nodes), self.draft.affine()))

    # -- values --------------------------------------------------------------------------------
    def define(self, step: Step, value: Value) -> None:
        """The result of a step; it must have the shape that the file says."""
        shape = self.model.shapes[step.outputs[0]][1:]
        if isinstance(value, Sum) or (isinstance(value, Activation) and not any(value.padding)):
            found = value.shape if isinstance(value, Sum) else self.shape(value)
            if len(shape) not in (1, 3) or found != (*shape, 1, 1)[:3]:
                raise UnsupportedModel(f"{step.where}: makes a map of shape {shape}; only {found}, which it makes "
                                       f"without ceil_mode, has a mapping")
        self._values[step.outputs[0]] = value

    def define_input(self, value: Value) -> None:
        """What the network's input is before any step."""
        self._values[self.model.input] = value

    def value(self, step: Step, index: int = 0) -> Value:
        """An input of a step."""
        if not self.has(step, index):
            raise UnsupportedModel(f"{step.where}: has no input {index}")
        name = step.inputs[index]
        if name not in self._values and name not in self.model.constants:
            raise UnsupportedModel(f"{step.where}: reads {shown(name)}, a second result of a step; only the first may "
                                   f"be read")
        return self._values[name] if name in self._values else Constant(self.model.constants[name])

    def is_constant(self, name: str) -> bool:
        """Whether a tensor of the model does not depend on the network's input."""
        if name in self._values:
            return isinstance(self._values[name], Constant)
        return not any(name in step.outputs for step in self.model.steps)

    def has(self, step: Step, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(step.inputs) and bool(step.inputs[index])

    def optional(self, step: Step, index: int) -> np.ndarray | None:
        """The numbers of a constant input that may be left out."""
        return self.constant(step, index) if self.has(step, index) else None

    def constant(self, step: Step, index: int) -> np.ndarray:
        """The finite numbers of a constant input, float64[...]."""
        value = self.value(step, index)
        if not isinstance(value, Constant):
            raise UnsupportedModel(f"{step.where}: its input {index} is computed, must be constant")
        if value.values.dtype.kind not in "fiub" or not np.isfinite(value.values).all():
            raise UnsupportedModel(f"{step.where}: its constant input {index} must hold finite numbers, not NaN or Inf")
        return value.values.astype(np.float64)

    def shape(self, value: Activation) -> tuple[int, int, int]:
        """Of one image's map, without padding."""
        return self.draft[value.name].output.shape

    def activation(self, step: Step) -> Activation:
        """The integers that a convolution or pool reads."""
        value = self.value(step)
        if isinstance(value, Sum):
            value = self.settled(step, value)
        if isinstance(value, Activation):
            return value
        if isinstance(value, RawInput):
            raise UnsupportedModel(f"{step.where}: reads the network's input, which must pass a Quant first; put one "
                                   f"before it, or annotate the input with an integer type")
        raise UnsupportedModel(f"{step.where}: its input is not quantized; put a Quant before it")

    def settled(self, step: Step, value: Sum) -> Activation | Sum:
        """A limited activation whose limits are on its own grid is one again, without rounding."""
        if len(value.tensors) != 1 or is_accumulator(self.draft[value.tensors[0]]) or value.offset.any():
            return value
        factor, output = value.factors[0], self.draft[value.tensors[0]].output
        scale = float(factor[0])
        if not scale > 0 or np.any(factor != scale):
            return value
        if any(math.isfinite(end) and not (end / scale).is_integer() for end in (value.lo, value.hi)):
            return value
        key = (value.tensors[0], scale, value.lo, value.hi)
        if key not in self._settled:
            grid = Grid(output.dtype, scale, output.dtype.lo, output.dtype.hi, Rounding.FLOOR)
            self._settled[key] = Activation(self.draft.quantize(f"{step.path}.limit", value, grid), scale)
        return self._settled[key]

    def sum(self, step: Step, value: Value) -> Sum:
        """A value as a sum that waits for its quantizer."""
        if isinstance(value, Sum):
            return value
        if isinstance(value, Activation):
            self.refuse_padding(step, value)
            return real_value(self.draft, value.name, np.full(self.shape(value)[0], value.scale))
        what = "reads the network's input, which must pass a Quant first; put one before it"
        if isinstance(value, Constant):
            what = "works on a constant, must work on an activation"
        raise UnsupportedModel(f"{step.where}: {what}")

    def refuse_padding(self, step: Step, value: Activation) -> None:
        if any(value.padding):
            raise UnsupportedModel(f"{step.where}: reads the result of a Pad, which only a Quant, Conv or pool may")

    def range(self, name: str) -> tuple[int, int]:
        """Smallest and largest integer of an activation."""
        node = self.draft[name]
        if isinstance(node.op, Requantize):
            return node.op.lo, node.op.hi
        return self.range(node.inputs[0]) if node.inputs else self._input_range

    def per_channel(self, step: Step, values: np.ndarray, tensor: str) -> np.ndarray:
        """A constant that meets the model's `tensor` in an operation, as one float64 per channel."""
        shape = self.model.shapes[tensor][1:]
        if np.broadcast_shapes(values.shape, (1, *shape)) == (1, *shape):
            full = np.broadcast_to(values, (1, *shape)).reshape(shape[0], -1)
            if not np.any(full != full[:, :1]):
                return full[:, 0].astype(np.float64)
        raise UnsupportedModel(f"{step.where}: has a constant of shape {list(values.shape)}, must be one number, or "
                               f"one per channel")

    # -- grids ---------------------------------------------------------------------------------
    def network_input(self, name: str, grid: Grid, scale: float) -> Activation:
        """The one Input of the graph, of which a step is worth `scale` to the user and grid.scale to the network."""
        shape = self.model.shapes[self.model.input][1:]
        tensor = TensorType((shape[0], shape[1], shape[2]) if len(shape) == 3 else (shape[0], 1, 1), grid.dtype, scale)
        if not self.draft.nodes:
            self.draft.nodes.append(Node(name, Input(), (), tensor))
            self._input_metadata = input_metadata(replace(grid, scale=scale), tensor)
            self._input_range = grid.lo, grid.hi
        elif self.draft.nodes[0].output != tensor or self._input_range != (grid.lo, grid.hi):
            raise UnsupportedModel(f"{name}: quantizes the network's input a second way; it must have one quantizer")
        return Activation(self.draft.nodes[0].name, grid.scale)

    def quantized(self, step: Step, value: Value, grid: Grid) -> Activation:
        """The value on a grid; one that is on it already stays as it is."""
        if not isinstance(value, Activation):
            return Activation(self.draft.quantize(step.path, self.sum(step, value), grid), grid.scale)
        lo, hi = self.range(value.name)
        same = (self.draft[value.name].output.dtype, value.scale) == (grid.dtype, grid.scale)
        if same and grid.lo <= lo and hi <= grid.hi:
            return value
        inner = self.sum(step, replace(value, padding=(0, 0, 0, 0)))
        return Activation(self.draft.quantize(step.path, inner, grid), grid.scale, value.padding)

    def flattened(self, path: str, source: Activation) -> Activation:
        """(C, H, W) as (C*H*W, 1, 1)."""
        return replace(source, name=self.draft.add(path, Flatten(), source.name, source.scale))
