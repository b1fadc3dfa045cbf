"""Follows the trace of a torch module, layer by layer, into the nodes of a graph."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx, nn

from ..errors import UnsupportedModel
from ..ir.graph import (
    AdderConv2d,
    Flatten,
    Input,
    Lookup,
    MaxPool2d,
    Node,
    Rounding,
    ShiftConv2d,
    SumPool2d,
    Upsample2d,
)
from ..ir.types import IntType, ShiftWeight, TensorType
from ..ir.verify import MAX_LOOKUP_BITS
from ..nn import AdderConv2d as AdderConv2dLayer
from ..nn import AdderLinear as AdderLinearLayer
from ..nn import (
    AddressShift2d,
    Affine,
    ChannelShift,
    PadShortcut,
    QuantAct,
    Quantizer,
    ShiftConvTranspose2d,
    ShortcutShift,
)
from ..nn import ShiftConv2d as ShiftConv2dLayer
from ..nn import ShiftLinear as ShiftLinearLayer
from . import activations, channels
from .draft import Draft, Grid, Pieces, Sum, Table
from .functions import ADDITIONS, AS_MODULE, CONCATENATIONS, ITEM, MEANS, PRODUCTS, RESHAPES, SPLITS
from .layers import SPATIAL_SHIFTS, known_type, redefined
from .preprocess import input_metadata
from .sums import added, averaged, convolved, enlarged, multiplied, real_value
from .trace import Trace, path_of

OUTPUT_BITS = 8
"""Of the quantizer that is added to an output that has none."""

SUPPORTED = ("shifthw.nn.ShiftConv2d, ShiftConvTranspose2d, ShiftLinear, AdderConv2d, AdderLinear, GroupedShift2d, "
             "ActiveShift2d, SparseShift2d, AddressShift2d, ChannelShift, ShortcutShift, SqueezeExcite, PadShortcut, "
             "Affine, QuantAct, FixedPoint; torch.nn.BatchNorm1d, BatchNorm2d, ReLU, ReLU6, Hardtanh, LeakyReLU, "
             "Sigmoid, Hardsigmoid, Hardswish, SiLU, Mish, Tanh, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d(1), Upsample, "
             "ChannelShuffle, Flatten, Identity, Dropout; + and * of two tensors, cat, chunk, split, x[:, a:b]")


class _RawInput(NamedTuple):
    """The network's input before its quantizer."""


Value = str | Sum | Table | Pieces | _RawInput | None
"""What a step of the trace became: name of an activation, value that waits for its quantizer, no tensor (None)."""


class Converter:
    """One conversion: `run` once, then the draft has the nodes."""

    def __init__(self, traced: Trace, name: str) -> None:
        self.trace = traced
        self.draft = Draft(name)
        self.env: dict[fx.Node, Value] = {}
        self.calls: list[tuple[str, str]] = []
        """Path of a quantizer and name of its node, in the order of the calls."""
        self.latent: dict[str, np.ndarray] = {}
        """Unrounded weights by node, each channel in the unit that its accumulators have with the smallest factor."""
        self.input_metadata: dict[str, object] = {}
        self.steps: dict[str, float] | None = None
        """Steps that adder layers are given, by path; None: they must have them."""
        self.modules: list[tuple[tuple[type, ...], Callable[[str, Any, Value], Value]]] = [
            ((Quantizer,), self._quantizer), ((ShiftConv2dLayer,), self._conv), ((ShiftLinearLayer,), self._linear),
            ((AdderConv2dLayer,), self._adder_conv), ((AdderLinearLayer,), self._adder_linear),
            ((ShiftConvTranspose2d,), self._transposed), (SPATIAL_SHIFTS, self._move("spatially_shifted")),
            ((AddressShift2d,), self._move("address_shifted")), ((ChannelShift,), self._move("channel_shifted")),
            ((nn.ChannelShuffle,), self._move("shuffled")), (activations.KNOWN, self._function),
            ((PadShortcut,), self._shortcut), ((nn.BatchNorm1d, nn.BatchNorm2d), self._batch_norm),
            ((Affine,), self._affine),
            ((nn.ReLU6, nn.Hardtanh), lambda where, m, x: self._clamp(where, x, m.min_val, m.max_val)),
            ((nn.ReLU,), lambda where, m, x: self._clamp(where, x, 0.0, math.inf)),
            ((nn.MaxPool2d,), self._max_pool), ((nn.AvgPool2d,), self._average_pool),
            ((nn.AdaptiveAvgPool2d,), self._global_pool), ((nn.Identity, nn.Dropout, nn.Dropout2d), lambda w, m, x: x),
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
        if node.target in SPLITS or not self.trace.is_tensor(node):
            return None  # parts, which are looked up where they are taken; sizes, whose effect is read off the shapes
        if node.target is ITEM:
            return self._item(where, node)
        if node.target in CONCATENATIONS or self._joins(node):
            return self._concatenated(where, node)
        sources = [self.env[argument] for argument in node.all_input_nodes if self.trace.is_tensor(argument)]
        if node.op == "call_module" and sources:
            module = self.trace.model.get_submodule(where)
            return self._module(where, module, sources[0], self.trace.shape(node))
        if node.op in ("call_function", "call_method") and sources:
            if node.target in ADDITIONS and not node.kwargs:
                return self._add(where, node)
            if node.target in PRODUCTS and not node.kwargs:
                return self._multiply(where, node)
            if node.target in RESHAPES:
                return self._reshape(where, sources[0], self.trace.shape(node))
            if node.target in MEANS:
                return self._mean(where, node, sources[0])
            if node.target in AS_MODULE:
                return self._module(where, self._as_module(where, node), sources[0], self.trace.shape(node))
        target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        raise UnsupportedModel(f"{where} ({target}): is not supported; supported are {SUPPORTED}")

    def _as_module(self, where: str, node: fx.Node) -> nn.Module:
        args, kwargs = self.trace.arguments(node)
        try:
            return AS_MODULE[node.target](*args, **kwargs)
        except (TypeError, ValueError) as error:
            raise UnsupportedModel(f"{where}: has arguments without a mapping: {error}") from error

    def _module(self, where: str, module: nn.Module, value: Value, shape: tuple[int, ...]) -> Value:
        kind, changed = known_type(module), redefined(module)
        label = f"{where} ({type(module).__name__})"
        if kind is None:
            raise UnsupportedModel(f"{label}: is not supported; supported are {SUPPORTED}")
        if changed:
            raise UnsupportedModel(f"{label}: redefines {changed} of {kind.__name__}, which the converter would not "
                                   f"see; use {kind.__name__} itself, and write the change into the network's forward")
        if isinstance(value, _RawInput) and not issubclass(kind, Quantizer):
            raise UnsupportedModel(f"{label}: reads the network's input, which must pass a quantizer first; put "
                                   f"shifthw.nn.QuantAct or FixedPoint before it")
        if issubclass(kind, nn.Flatten):
            return self._reshape(where, value, shape)
        if isinstance(module, nn.Upsample):
            return self._upsample(where, module, value, shape)
        return next(handler for types, handler in self.modules if issubclass(kind, types))(where, module, value)

    # -- values --------------------------------------------------------------------------------
    def _activation(self, where: str, value: Value, kind: str) -> Node:
        if not isinstance(value, str):
            raise UnsupportedModel(f"{where} ({kind}): its input is not quantized; put shifthw.nn.QuantAct or "
                                   f"FixedPoint before it")
        return self.draft[value]

    def _features(self, where: str, kind: str, count: int, value: Value) -> Node:
        source = self._activation(where, value, kind)
        if source.output.shape != (count, 1, 1):
            raise UnsupportedModel(f"{where} ({kind}): its input has shape {source.output.shape}, must be {count} "
                                   f"features; flatten it first")
        return source

    def _sum(self, where: str, value: Value) -> Sum:
        if isinstance(value, Sum):
            return value
        if isinstance(value, Table | Pieces):
            what = "an activation function's result" if isinstance(value, Table) else "a concatenation"
            raise UnsupportedModel(f"{where}: reads {what} that is not quantized; put shifthw.nn.QuantAct or "
                                   f"FixedPoint before it")
        if not isinstance(value, str):
            raise UnsupportedModel(f"{where}: reads the network's input, which must pass a quantizer first")
        tensor = self.draft[value].output
        return real_value(self.draft, value, np.full(tensor.channels, tensor.scale))

    # -- layers --------------------------------------------------------------------------------
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
            return self._table(where, grid, value)
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

    def _table(self, where: str, grid: Grid, value: Table) -> str:
        """The quantized results of a function of each of an activation's values."""
        source = self.draft[value.tensor].output
        steps = np.arange(source.dtype.lo, source.dtype.hi + 1)
        results = activations.function(value.function)(torch.from_numpy(steps * np.float64(source.scale))).tolist()
        op = Lookup(np.array([grid.step_of(result) for result in results], np.int64), value.function)
        return self.draft.add_typed(where, op, value.tensor, grid.dtype, grid.scale)

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

    def _conv(self, where: str, module: ShiftConv2dLayer, value: Value) -> Value:
        source = self._activation(where, value, "ShiftConv2d")
        weight, unit = module.integer_weight(where)
        op = ShiftConv2d(weight, module.stride, module.padding, module.dilation, module.groups)
        return self._shift_layer(where, module, op, source, unit)

    def _linear(self, where: str, module: ShiftLinearLayer, value: Value) -> Value:
        source = self._features(where, "ShiftLinear", module.in_features, value)
        weight, unit = module.integer_weight(where)
        return self._shift_layer(where, module, ShiftConv2d(weight), source, unit)

    def _shift_layer(self, where: str, module: ShiftConv2dLayer | ShiftConvTranspose2d | ShiftLinearLayer,
                     op: ShiftConv2d, source: Node, unit: np.ndarray) -> Sum:
        bias = module.rounded_bias()
        value = convolved(self.draft, where, op, source.name, source.output.scale * unit,
                          None if bias is None else bias.detach().double().numpy())
        latent = module.latent_weight().detach().double().numpy().reshape(op.weight.sign.shape[1:])
        self.latent[value.tensors[0]] = latent / (unit / unit.min())[:, None, None, None]
        return value

    def _transposed(self, where: str, module: ShiftConvTranspose2d, value: Value) -> Value:
        """Zeros between the pixels, and a convolution with the turned kernel."""
        source = self._activation(where, value, "ShiftConvTranspose2d")
        weight, unit = module.integer_weight(where)
        top, left = (d * (k - 1) - p for d, k, p in zip(module.dilation, module.kernel_size, module.padding,
                                                        strict=True))
        bottom, right = (before + added - (step - 1) for before, added, step in zip(
            (top, left), module.output_padding, module.stride, strict=True))
        if min(top, left, bottom, right) < 0:
            raise UnsupportedModel(f"{where} (ShiftConvTranspose2d): has padding {module.padding} and stride "
                                   f"{module.stride} that cut the kernel {module.kernel_size} off at the border; use "
                                   f"less padding or a larger kernel")
        stuffed = source.name if module.stride == (1, 1) else self.draft.add(
            f"{where}.zeros", Upsample2d(module.stride, zeros=True), source.name)
        op = ShiftConv2d(weight, (1, 1), (top, left, bottom, right), module.dilation, module.groups)
        return self._shift_layer(where, module, op, self.draft[stuffed], unit)

    def _adder_conv(self, where: str, module: AdderConv2dLayer, value: Value) -> Value:
        source = self._activation(where, value, "AdderConv2d")
        weight = self._adder_weight(where, module, source)
        op = AdderConv2d(weight, module.stride, module.padding, module.dilation, module.groups)
        return self._adder_layer(where, module, op, source)

    def _adder_linear(self, where: str, module: AdderLinearLayer, value: Value) -> Value:
        source = self._features(where, "AdderLinear", module.in_features, value)
        return self._adder_layer(where, module, AdderConv2d(self._adder_weight(where, module, source)), source)

    def _adder_weight(self, where: str, module: AdderConv2dLayer | AdderLinearLayer, source: Node) -> np.ndarray:
        label, scale = f"{where} ({type(module).__name__})", source.output.scale
        if self.steps is not None:
            if self.steps.setdefault(where, scale) != scale:
                raise UnsupportedModel(f"{label}: is fed by quantizers of steps {self.steps[where]:.6g} and "
                                       f"{scale:.6g}; give both one scale, or use two layers")
            module.set_step(scale)
        elif float(module.step) not in (0.0, scale):
            raise UnsupportedModel(f"{label}: its weights are multiples of {float(module.step):.6g}, must be of its "
                                   f"input's step {scale:.6g}; call shifthw.frontend.round_adders(model, "
                                   f"example_input) again")
        return module.integer_weight(label)

    def _adder_layer(self, where: str, module: AdderConv2dLayer | AdderLinearLayer, op: AdderConv2d,
                     source: Node) -> Sum:
        bias = None if module.b is None else module.b.detach().double().numpy()
        value = convolved(self.draft, where, op, source.name, np.full(len(op.weight), source.output.scale), bias)
        self.latent[value.tensors[0]] = module.adder.detach().double().numpy().reshape(op.weight_shape)
        return value

    def _shortcut(self, where: str, module: PadShortcut, value: Value) -> Value:
        """A 1x1 convolution with one-hot weights, and the same grid behind it: an exact copy."""
        source = self._activation(where, value, "PadShortcut")
        tensor = source.output
        sign = np.zeros((1, module.out_channels, module.in_channels, 1, 1), np.int8)
        for channel in range(module.in_channels):
            sign[0, module.before + channel, channel] = 1
        op = ShiftConv2d(ShiftWeight(sign, np.zeros_like(sign)), (module.stride, module.stride))
        copied = convolved(self.draft, where, op, source.name, np.full(module.out_channels, tensor.scale))
        self.draft.copies.append(copied.tensors[0])
        grid = Grid(tensor.dtype, tensor.scale, tensor.dtype.lo, tensor.dtype.hi, Rounding.FLOOR)
        return self.draft.quantize(f"{where}.quantize", copied, grid)

    def _batch_norm(self, where: str, module: nn.BatchNorm1d | nn.BatchNorm2d, value: Value) -> Value:
        before = self._unclamped(where, module, value)
        if module.running_mean is None or module.running_var is None:
            raise UnsupportedModel(f"{where} ({type(module).__name__}): has no running statistics; it must have "
                                   f"track_running_stats=True")
        gain = 1.0 / np.sqrt(module.running_var.double().numpy() + module.eps)
        if module.affine:
            gain = gain * module.weight.detach().double().numpy()
        offset = (before.offset - module.running_mean.double().numpy()) * gain
        if module.affine:
            offset = offset + module.bias.detach().double().numpy()
        return replace(before, factors=tuple(factor * gain for factor in before.factors), offset=offset)

    def _affine(self, where: str, module: Affine, value: Value) -> Value:
        before, gain = self._unclamped(where, module, value), module.gain.numpy()
        return replace(before, factors=tuple(factor * gain for factor in before.factors),
                       offset=before.offset * gain + module.offset.numpy())

    def _unclamped(self, where: str, module: nn.Module, value: Value) -> Sum:
        before = self._sum(where, value)
        if before.is_clamped:
            raise UnsupportedModel(f"{where} ({type(module).__name__}): follows an activation function; put a "
                                   f"quantizer between them, or this layer right behind its convolution")
        return before

    def _clamp(self, where: str, value: Value, lo: float, hi: float) -> Value:
        if isinstance(value, Pieces):
            return Pieces(tuple(self._sum(where, piece).clamped(lo, hi) for piece in value.values))
        return self._sum(where, value).clamped(lo, hi)

    def _add(self, where: str, node: fx.Node) -> Value:
        operands = [argument for argument in node.args
                    if isinstance(argument, fx.Node) and self.trace.is_tensor(argument)]
        if len(operands) != 2 or len(node.args) != 2:
            raise UnsupportedModel(f"{where} (add): must add two tensors")
        left, right = (self._sum(where, self.env[operand]) for operand in operands)
        return added(self.draft, f"{where} (add)", left, right)

    def _multiply(self, where: str, node: fx.Node) -> Value:
        operands = [argument for argument in node.args
                    if isinstance(argument, fx.Node) and self.trace.is_tensor(argument)]
        if len(operands) != 2 or len(node.args) != 2:
            raise UnsupportedModel(f"{where} (multiply): must multiply two tensors")
        names = [self._activation(where, self.env[operand], "multiply").name for operand in operands]
        return multiplied(self.draft, f"{where} (multiply)", names[0], names[1])

    # -- channels, activation functions --------------------------------------------------------
    def _move(self, name: str) -> Callable[[str, Any, Value], Value]:
        """A handler of modules that move a quantized map: the function of shifthw.frontend.channels."""
        def handler(where: str, module: nn.Module, value: Value) -> Value:
            source = self._activation(where, value, type(module).__name__)
            return str(getattr(channels, name)(self.draft, where, module, source.name))
        return handler

    def _function(self, where: str, module: nn.Module, value: Value) -> Value:
        source = self._activation(where, value, type(module).__name__)
        bits = source.output.dtype.bits
        if bits > MAX_LOOKUP_BITS:
            raise UnsupportedModel(f"{where} ({type(module).__name__}): reads activations of {bits} bits, must be "
                                   f"at most {MAX_LOOKUP_BITS}; give the quantizer before it fewer bits")
        return Table(source.name, activations.name_of(module))

    def _upsample(self, where: str, module: nn.Upsample, value: Value, shape: tuple[int, ...]) -> Value:
        source, mode = self._activation(where, value, "Upsample"), module.mode
        doubled = shape[1:] == tuple(2 * size for size in source.output.shape[1:])
        if mode == "bilinear" and not module.align_corners and doubled:
            return enlarged(self.draft, where, source.name)
        if mode != "nearest":
            raise UnsupportedModel(f"{where} (Upsample): has mode {mode!r}, must be 'nearest', or 'bilinear' by 2 with "
                                   f"align_corners=False")
        return channels.repeated(self.draft, where, source.name, (shape[1], shape[2]))

    def _item(self, where: str, node: fx.Node) -> Value:
        """A part of a chunk or split, or x[:, a:b]."""
        source, index = node.args
        assert isinstance(source, fx.Node)
        tensor, first = source, 0
        if source.target in SPLITS and isinstance(index, int):
            tensor = source.all_input_nodes[0]
            dim = source.kwargs.get("dim", source.args[2] if len(source.args) > 2 else 0)
            if dim not in (1, -3):
                raise UnsupportedModel(f"{where}: splits dimension {dim}, must be the channels, dimension 1")
            parts = self.trace.values[source]
            first = sum(part.shape[1] for part in parts[:index % len(parts)])
        else:
            first = channels.channel_slice(where, index).indices(self.trace.shape(source)[0])[0]
        name = self._activation(where, self.env[tensor], "split").name
        return channels.selected(self.draft, where, name, first, self.trace.shape(node)[0])

    def _joins(self, node: fx.Node) -> bool:
        return node.op == "call_module" and isinstance(self.trace.model.get_submodule(str(node.target)), ShortcutShift)

    def _concatenated(self, where: str, node: fx.Node) -> Value:
        module = self._joins(node)
        parts = node.args if module else node.args[0] if node.args else node.kwargs.get("tensors")
        dim = 1 if module else node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        if dim not in (1, -3) or not isinstance(parts, tuple | list):
            raise UnsupportedModel(f"{where} (cat): joins dimension {dim}, must be the channels, dimension 1")
        values = [self.env[part] for part in parts if isinstance(part, fx.Node)]
        pieces: list[Sum | Table | str] = []
        for value in values:
            if value is None or isinstance(value, _RawInput):
                raise UnsupportedModel(f"{where} (cat): reads the network's input, which must pass a quantizer first")
            pieces += value.values if isinstance(value, Pieces) else [value]
        names = [piece for piece in pieces if isinstance(piece, str)]
        grids = {(self.draft[name].output.dtype, self.draft[name].output.scale) for name in names}
        if len(names) == len(pieces) and len(grids) == 1:
            return channels.joined(self.draft, where, names)
        return Pieces(tuple(pieces))

    # -- pools and shapes ----------------------------------------------------------------------
    def _max_pool(self, where: str, module: nn.MaxPool2d, value: Value) -> Value:
        source = self._activation(where, value, "MaxPool2d")
        if module.ceil_mode or _pair(module.dilation) != (1, 1) or module.return_indices:
            raise UnsupportedModel(f"{where} (MaxPool2d): must have ceil_mode=False, dilation=1, return_indices=False")
        kernel, padding = _pair(module.kernel_size), _pair(module.padding)
        op = MaxPool2d(kernel, _pair(module.stride or kernel), padding * 2)
        return self.draft.add(where, op, source.name, source.output.scale)

    def _average_pool(self, where: str, module: nn.AvgPool2d, value: Value) -> Value:
        source = self._activation(where, value, "AvgPool2d")
        kernel, padding = _pair(module.kernel_size), _pair(module.padding)
        if module.ceil_mode or (padding != (0, 0) and not module.count_include_pad):
            raise UnsupportedModel(f"{where} (AvgPool2d): must have ceil_mode=False and, with padding, "
                                   f"count_include_pad=True")
        op = SumPool2d(kernel, _pair(module.stride or kernel), padding * 2)
        divisor = module.divisor_override or kernel[0] * kernel[1]
        return averaged(self.draft, where, op, source.name, source.output.scale, divisor)

    def _global_pool(self, where: str, module: nn.AdaptiveAvgPool2d, value: Value) -> Value:
        if module.output_size not in (1, (1, 1), [1, 1]):
            raise UnsupportedModel(f"{where} (AdaptiveAvgPool2d): must have output size 1, not {module.output_size}")
        source = self._activation(where, value, "AdaptiveAvgPool2d")
        size = source.output.shape[1:]
        return averaged(self.draft, where, SumPool2d(size, size), source.name, source.output.scale, size[0] * size[1])

    def _mean(self, where: str, node: fx.Node, value: Value) -> Value:
        args, kwargs = self.trace.arguments(node)
        axes = args[0] if args else kwargs.get("dim")
        if not isinstance(axes, tuple | list) or sorted(axis % 4 for axis in axes) != [2, 3]:
            raise UnsupportedModel(f"{where} (mean): must be over dimensions (2, 3), not {axes}")
        return self._global_pool(where, nn.AdaptiveAvgPool2d(1), value)

    def _reshape(self, where: str, value: Value, shape: tuple[int, ...]) -> Value:
        before = value.shape if isinstance(value, Sum) else self._activation(where, value, "flatten").output.shape
        if shape not in ((math.prod(before),), (math.prod(before), 1, 1)):
            raise UnsupportedModel(f"{where}: reshapes {before} to {shape}; only flattening to one dimension is "
                                   f"supported")
        if before[1:] == (1, 1):
            return value
        source = self._activation(where, value, "flatten")
        return self.draft.add(where, Flatten(), source.name, source.output.scale)

    # -- outputs -------------------------------------------------------------------------------
    def _outputs(self, node: fx.Node) -> tuple[str, ...]:
        results = node.args[0] if isinstance(node.args[0], tuple | list) else (node.args[0],)
        names = []
        for result in results:
            if not isinstance(result, fx.Node) or isinstance(self.env[result], _RawInput):
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


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
