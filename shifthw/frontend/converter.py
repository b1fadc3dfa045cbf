"""Follows the trace of a torch module, layer by layer, into the nodes of a graph."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from torch import fx, nn

from ..errors import UnsupportedModel
from ..ir.graph import Flatten, Input, Node, Rounding, Upsample2d
from ..ir.types import IntType, TensorType
from ..nn import (
    AdderConv2d,
    AdderLinear,
    AddressShift2d,
    Affine,
    ChannelShift,
    PadShortcut,
    QuantAct,
    Quantizer,
    SelectChannels,
    ShiftConv2d,
    ShiftConvTranspose2d,
    ShiftLinear,
    ShortcutShift,
)
from . import activations, channels, norms, pools, tables
from .draft import Draft, Expanded, Grid, Pieces, Sum, Table
from .functions import ADDITIONS, AS_MODULE, CONCATENATIONS, EXPANSIONS, ITEM, MEANS, PRODUCTS, RESHAPES, SPLITS
from .layers import SPATIAL_SHIFTS, known_type, redefined
from .preprocess import input_metadata
from .rearranged import MOVES, Rearranged, moved, settled
from .sums import added, multiplied, real_value
from .trace import Trace, path_of
from .weighted import WeightedLayers

OUTPUT_BITS = 8
"""Of the quantizer that is added to an output that has none."""

SUPPORTED = ("shifthw.nn.ShiftConv2d, ShiftConvTranspose2d, ShiftLinear, AdderConv2d, AdderLinear, GroupedShift2d, "
             "ActiveShift2d, SparseShift2d, AddressShift2d, ChannelShift, SelectChannels, ShortcutShift, "
             "SqueezeExcite, PadShortcut, Affine, QuantAct, FixedPoint; torch.nn.BatchNorm1d, BatchNorm2d, ReLU, "
             "ReLU6, Hardtanh, LeakyReLU, Sigmoid, Hardsigmoid, Hardswish, SiLU, Mish, GELU, ELU, Tanh, MaxPool2d, "
             "AvgPool2d, AdaptiveAvgPool2d(1), Upsample, ChannelShuffle, Flatten, Identity, Dropout; "
             "+ and * of two tensors, cat, chunk, split, x[:, a:b], and what moves channels: view and transpose, "
             "roll, flip, index_select")


class _RawInput(NamedTuple):
    """The network's input before its quantizer."""


Value = str | Sum | Table | Pieces | Rearranged | Expanded | _RawInput | None
"""What a step of the trace became: name of an activation, value that waits for its quantizer, no tensor (None)."""
OnActivation = Callable[[str, Any, Node], str | Sum | Table]
"""Path, module and the stored activation that it reads."""
OnValue = Callable[[str, Any, Value], Value]


class Converter:
    """One conversion: `run` once, then the draft has the nodes."""

    def __init__(self, traced: Trace, name: str) -> None:
        self.trace = traced
        self.draft = Draft(name)
        self.weighted = WeightedLayers(self.draft)
        self.env: dict[fx.Node, Value] = {}
        self.calls: list[tuple[str, str]] = []
        """Path of a quantizer and name of its node, in the order of the calls."""
        self.input_metadata: dict[str, object] = {}
        self.on_activation = self._readers_of_activations()
        self.on_value: list[tuple[tuple[type, ...], OnValue]] = [
            ((Quantizer,), self._quantizer),
            ((nn.BatchNorm1d, nn.BatchNorm2d), lambda where, m, x: norms.normalized(where, m, self._sum(where, x))),
            ((Affine,), lambda where, m, x: norms.rescaled(where, m, self._sum(where, x))),
            ((nn.ReLU6, nn.Hardtanh), lambda where, m, x: self._clamp(where, x, m.min_val, m.max_val)),
            ((nn.ReLU,), lambda where, m, x: self._clamp(where, x, 0.0, math.inf)),
            ((nn.Identity, nn.Dropout, nn.Dropout2d), lambda where, m, x: x),
        ]

    def _readers_of_activations(self) -> list[tuple[tuple[type, ...], OnActivation]]:
        draft, weighted = self.draft, self.weighted
        return [
            ((ShiftConv2d,), weighted.conv), ((ShiftLinear,), weighted.linear),
            ((ShiftConvTranspose2d,), weighted.transposed), ((PadShortcut,), weighted.shortcut),
            ((AdderConv2d,), weighted.adder_conv), ((AdderLinear,), weighted.adder_linear),
            (SPATIAL_SHIFTS, partial(channels.spatially_shifted, draft)),
            ((AddressShift2d,), partial(channels.address_shifted, draft)),
            ((ChannelShift,), partial(channels.channel_shifted, draft)),
            ((SelectChannels,), partial(channels.chosen, draft)),
            ((nn.ChannelShuffle,), partial(channels.shuffled, draft)),
            ((nn.Upsample,), partial(channels.enlarged, draft)),
            ((nn.MaxPool2d,), partial(pools.max_pooled, draft)), ((nn.AvgPool2d,), partial(pools.mean_pooled, draft)),
            ((nn.AdaptiveAvgPool2d,), partial(pools.global_mean, draft)), (activations.KNOWN, tables.tabled),
        ]

    def run(self) -> tuple[str, ...]:
        """Follow the whole trace; the names of the outputs."""
        outputs: tuple[str, ...] = ()
        for node in self.trace.nodes:
            if node.op == "placeholder":
                if any(isinstance(value, _RawInput) for value in self.env.values()):
                    raise UnsupportedModel(f"{node.name}: is a second input; a model must have one")
                self.env[node] = _RawInput()
            elif node.op == "output":
                outputs = self._outputs(node)
            else:
                self.env[node] = self._step(node)
        return outputs

    def _step(self, node: fx.Node) -> Value:
        where = path_of(node)
        if not self.trace.is_tensor(node):
            return None  # sizes, whose effect is read off the shapes; parts, which are looked up where they are taken
        if node.op == "get_attr" and all(user.target in MOVES for user in node.users):
            return None     # which channels are taken
        sources = [argument for argument in node.all_input_nodes
                   if argument.op != "get_attr" and self.trace.is_tensor(argument)]
        if node.op == "call_module" and sources:
            module = self.trace.model.get_submodule(where)
            if isinstance(module, ShortcutShift):
                self._kind(where, module)
                bound = inspect.signature(module.forward).bind(*node.args, **node.kwargs)
                return self._concatenated(where, node, bound.args, 1)
            return self._module(where, module, self.env[sources[0]], self.trace.shape(node))
        if node.op in ("call_function", "call_method") and (sources or node.target is ITEM):
            return self._call(where, node, sources)
        raise self._unknown(where, node)

    def _call(self, where: str, node: fx.Node, sources: list[fx.Node]) -> Value:
        if node.target is ITEM and not sources:
            return self._part(where, node)
        if node.target in CONCATENATIONS:
            parts = node.args[0] if node.args else node.kwargs.get("tensors")
            return self._concatenated(where, node, parts, _dimension(node, 1))
        if node.target in ADDITIONS and not node.kwargs:
            return self._add(where, node)
        if node.target in PRODUCTS and not node.kwargs:
            return self._multiply(where, node)
        if node.target in MOVES:
            return self._moved(where, node, sources[0])
        if node.target in EXPANSIONS:
            return self._expanded(where, self.env[sources[0]], self.trace.shape(node))
        if node.target in MEANS:
            return self._mean(where, node, self.env[sources[0]])
        if node.target in AS_MODULE:
            return self._module(where, self._as_module(where, node), self.env[sources[0]], self.trace.shape(node))
        raise self._unknown(where, node)

    def _unknown(self, where: str, node: fx.Node) -> UnsupportedModel:
        return UnsupportedModel(f"{where} ({_target(node)}): is not supported; supported are {SUPPORTED}")

    def _as_module(self, where: str, node: fx.Node) -> nn.Module:
        args, kwargs = self.trace.arguments(node)
        try:
            return AS_MODULE[node.target](*args, **kwargs)
        except (TypeError, ValueError) as error:
            raise UnsupportedModel(f"{where}: has arguments without a mapping: {error}") from error

    def _module(self, where: str, module: nn.Module, value: Value, shape: tuple[int, ...]) -> Value:
        kind = self._kind(where, module)
        if isinstance(value, _RawInput) and not issubclass(kind, Quantizer):
            raise UnsupportedModel(f"{where} ({type(module).__name__}): reads the network's input, which must pass a "
                                   f"quantizer first; put shifthw.nn.QuantAct or FixedPoint before it")
        if issubclass(kind, nn.Flatten):
            return self._reshape(where, value, shape)
        for types, handler in self.on_activation:
            if issubclass(kind, types):
                return handler(where, module, self._activation(where, value, kind.__name__))
        return next(handler for types, handler in self.on_value if issubclass(kind, types))(where, module, value)

    def _kind(self, where: str, module: nn.Module) -> type[nn.Module]:
        """What a module is converted as."""
        kind, changed = known_type(module), redefined(module)
        label = f"{where} ({type(module).__name__})"
        if kind is None:
            raise UnsupportedModel(f"{label}: is not supported; supported are {SUPPORTED}")
        if changed:
            raise UnsupportedModel(f"{label}: redefines {changed} of {kind.__name__}, which the converter would not "
                                   f"see; use {kind.__name__} itself, and write the change into the network's forward")
        return kind

    # -- values --------------------------------------------------------------------------------
    def _activation(self, where: str, value: Value, kind: str) -> Node:
        if isinstance(value, Expanded):
            return self.draft[self.draft.add(f"{where}.expanded", Upsample2d(value.size), value.tensor)]
        if isinstance(value, Rearranged):
            raise UnsupportedModel(f"{value.step}: rearranges {value.tensor} to {list(value.shape)}, which {where} "
                                   f"reads; values can only move with their channels, or be flattened all together")
        if not isinstance(value, str):
            raise UnsupportedModel(f"{where} ({kind}): its input is not quantized; put shifthw.nn.QuantAct or "
                                   f"FixedPoint before it")
        return self.draft[value]

    def _sum(self, where: str, value: Value) -> Sum:
        if isinstance(value, Sum):
            return value
        if isinstance(value, Table | Pieces):
            what = "an activation function's result" if isinstance(value, Table) else "a concatenation"
            raise UnsupportedModel(f"{where}: reads {what} that is not quantized; put shifthw.nn.QuantAct or "
                                   f"FixedPoint before it")
        if isinstance(value, _RawInput | None):
            raise UnsupportedModel(f"{where}: reads the network's input, which must pass a quantizer first")
        source = self._activation(where, value, "quantizer")
        return real_value(self.draft, source.name, np.full(source.output.channels, source.output.scale))

    def _clamp(self, where: str, value: Value, lo: float, hi: float) -> Value:
        if isinstance(value, Pieces):
            return Pieces(tuple(self._sum(where, piece).clamped(lo, hi) for piece in value.values))
        return self._sum(where, value).clamped(lo, hi)

    # -- quantizers ----------------------------------------------------------------------------
    def _quantizer(self, where: str, module: Quantizer, value: Value) -> Value:
        if isinstance(module, QuantAct) and not module.calibrated:
            raise UnsupportedModel(f"{where} (QuantAct): is not calibrated; run the model in training mode on some "
                                   f"batches, or give it a scale")
        grid = Grid(module.dtype, float(module.scale), module.lo, module.hi, module.rounding)
        name = self._quantized(where, grid, value)
        self.calls.append((where, name))
        return name

    def _quantized(self, where: str, grid: Grid, value: Value) -> str:
        if isinstance(value, _RawInput):
            return self._input(where, grid)
        if isinstance(value, Table):
            return tables.quantized(self.draft, where, grid, value)
        if isinstance(value, Pieces):
            parts = [self._piece(f"{where}.{index}", grid, piece) for index, piece in enumerate(value.values)]
            return channels.joined(self.draft, where, parts)
        if isinstance(value, str) and value not in self.draft.pending:
            tensor = self.draft[value].output
            if isinstance(self.draft[value].op, Input) and (tensor.dtype, tensor.scale) == (grid.dtype, grid.scale):
                return value
        return self.draft.quantize(where, self._sum(where, value), grid)

    def _piece(self, where: str, grid: Grid, value: Sum | Table | str) -> str:
        """A part of a concatenation on the grid of all; one that is on it already is left as it is."""
        if isinstance(value, str):
            tensor = self.draft[value].output
            if (tensor.dtype, tensor.scale, grid.lo, grid.hi) == (grid.dtype, grid.scale, grid.dtype.lo, grid.dtype.hi):
                return value
        return self._quantized(where, grid, value)

    def _input(self, where: str, grid: Grid) -> str:
        example = next(self.trace.shape(node) for node in self.trace.nodes if node.op == "placeholder")
        shape = example if len(example) == 3 else (*example, 1, 1)
        if len(shape) != 3:
            raise UnsupportedModel(f"{where}: the example input has {len(example) + 1} dimensions, must have 4 "
                                   f"([N, C, H, W]) or 2 ([N, F])")
        tensor = TensorType(shape, grid.dtype, grid.scale)
        if self.draft.nodes:
            if self.draft.nodes[0].output == tensor:
                return self.draft.nodes[0].name
            raise UnsupportedModel(f"{where}: quantizes the network's input a second way; it must have one quantizer")
        self.draft.nodes.append(Node(where, Input(), (), tensor))
        self.input_metadata = input_metadata(grid, tensor)
        return where

    # -- sums, products ------------------------------------------------------------------------
    def _operands(self, where: str, node: fx.Node, verb: str) -> list[Value]:
        operands = [argument for argument in node.args
                    if isinstance(argument, fx.Node) and self.trace.is_tensor(argument)]
        if len(operands) != 2 or len(node.args) != 2:
            raise UnsupportedModel(f"{where} ({verb}): must {verb} two tensors; constants are shifthw.nn.Affine's")
        values = (self.env[operand] for operand in operands)
        return [value.tensor if isinstance(value, Expanded) else value for value in values]     # broadcast anyway

    def _add(self, where: str, node: fx.Node) -> Value:
        left, right = (self._sum(where, value) for value in self._operands(where, node, "add"))
        return added(self.draft, f"{where} (add)", left, right)

    def _multiply(self, where: str, node: fx.Node) -> Value:
        values = self._operands(where, node, "multiply")
        left, right = (self._activation(where, value, "multiply").name for value in values)
        return multiplied(self.draft, where, left, right)

    # -- channels ------------------------------------------------------------------------------
    def _part(self, where: str, node: fx.Node) -> Value:
        """A part of a chunk or split."""
        source, index = node.all_input_nodes[0], node.args[1]
        if source.target not in SPLITS or not isinstance(index, int):
            raise self._unknown(where, source)
        tensor, parts = source.all_input_nodes[0], self.trace.values[source]
        self._require_channels(where, "splits", _dimension(source, 2), tensor)
        first = sum(part.shape[1] for part in parts[:index % len(parts)])
        name = self._activation(where, self.env[tensor], "split").name
        return channels.selected(self.draft, where, name, first, self.trace.shape(node)[0])

    def _moved(self, where: str, node: fx.Node, source: fx.Node) -> Value:
        value = self.env[source]
        if isinstance(value, Sum | Table | Pieces) and node.target in RESHAPES:
            return self._reshape(where, value, self.trace.shape(node))
        if not isinstance(value, Rearranged):
            name = self._activation(where, value, _target(node)).name
            value = Rearranged.of(name, tuple(self.trace.values[source].shape))
        return settled(self.draft, where, moved(self.trace, node, source, value, f"{where} ({_target(node)})"))

    def _expanded(self, where: str, value: Value, shape: tuple[int, ...]) -> Value:
        """A 1x1 map that is said to be larger; sums and products enlarge it by themselves."""
        source = self._activation(where, value, "expand")
        if len(shape) != 3 or source.output.shape != (shape[0], 1, 1):
            raise UnsupportedModel(f"{where}: expands {list(source.output.shape)} to {list(shape)}; only 1x1 maps can")
        return Expanded(source.name, (shape[1], shape[2]))

    def _concatenated(self, where: str, node: fx.Node, parts: Any, dimension: Any) -> Value:
        if not isinstance(parts, tuple | list) or not all(isinstance(part, fx.Node) for part in parts):
            raise UnsupportedModel(f"{where} (cat): must be given its tensors in a list or tuple")
        self._require_channels(where, "joins", dimension, node)
        pieces: list[Sum | Table | str] = []
        for part in parts:
            value = self.env[part]
            if value is None or isinstance(value, _RawInput):
                raise UnsupportedModel(f"{where} (cat): reads the network's input, which must pass a quantizer first")
            if isinstance(value, Rearranged | Expanded):
                value = self._activation(where, value, "cat").name
            pieces += value.values if isinstance(value, Pieces) else [value]
        names = [piece for piece in pieces if isinstance(piece, str)]
        grids = {(self.draft[name].output.dtype, self.draft[name].output.scale) for name in names}
        if len(names) == len(pieces) and len(grids) == 1:
            return channels.joined(self.draft, where, names)
        return Pieces(tuple(pieces))

    def _require_channels(self, where: str, verb: str, dimension: Any, tensor: fx.Node) -> None:
        count = len(self.trace.shape(tensor)) + 1
        if not isinstance(dimension, int) or dimension % count != 1:
            raise UnsupportedModel(f"{where}: {verb} dimension {dimension}, must be the channels, dimension 1")

    # -- shapes --------------------------------------------------------------------------------
    def _mean(self, where: str, node: fx.Node, value: Value) -> Value:
        args, kwargs = self.trace.arguments(node)
        axes = args[0] if args else kwargs.get("dim")
        if not isinstance(axes, tuple | list) or sorted(axis % 4 for axis in axes) != [2, 3]:
            raise UnsupportedModel(f"{where} (mean): must be over dimensions (2, 3), not {axes}")
        return pools.global_mean(self.draft, where, nn.AdaptiveAvgPool2d(1),
                                 self._activation(where, value, "AdaptiveAvgPool2d"))

    def _reshape(self, where: str, value: Value, shape: tuple[int, ...]) -> Value:
        before = self._shape(where, value)
        if shape not in ((math.prod(before),), (math.prod(before), 1, 1)):
            raise UnsupportedModel(f"{where}: reshapes {before} to {shape}; only flattening to one dimension is "
                                   f"supported")
        if before[1:] == (1, 1):
            return value
        source = self._activation(where, value, "flatten")
        return self.draft.add(where, Flatten(), source.name)

    def _shape(self, where: str, value: Value) -> tuple[int, int, int]:
        match value:
            case Sum():
                return value.shape
            case Table():
                return self.draft[value.tensor].output.shape
            case Pieces():
                shapes = [self._shape(where, piece) for piece in value.values]
                return sum(shape[0] for shape in shapes), *shapes[0][1:]
            case _:
                return self._activation(where, value, "flatten").output.shape

    # -- outputs -------------------------------------------------------------------------------
    def _outputs(self, node: fx.Node) -> tuple[str, ...]:
        results = node.args[0] if isinstance(node.args[0], tuple | list) else (node.args[0],)
        names = []
        for result in results:
            if not isinstance(result, fx.Node) or isinstance(self.env[result], _RawInput | None):
                raise UnsupportedModel("output: must be a tensor, or a tuple of tensors, that the network computes")
            value = self.env[result]
            names.append(value if isinstance(value, str) else self._quantized_output(result, value))
        return tuple(names)

    def _quantized_output(self, result: fx.Node, value: Value) -> str:
        largest = float(self.trace.values[result].abs().max())
        if not 0 < largest < math.inf:
            raise UnsupportedModel(f"output: its largest magnitude on the example input is {largest}, which gives no "
                                   f"scale; put a shifthw.nn.QuantAct at the model's end, or use real images")
        dtype = IntType(OUTPUT_BITS, True)
        grid = Grid(dtype, largest / dtype.hi, dtype.lo, dtype.hi, Rounding.HALF_UP)
        return self._quantized("output", grid, value)


def _target(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def _dimension(node: fx.Node, place: int) -> Any:
    """The argument `dim` of a function that has it at this place; its default is 0."""
    return node.kwargs.get("dim", node.args[place] if len(node.args) > place else 0)
