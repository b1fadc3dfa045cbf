"""Layers with weights as convolutions of the graph, and what is to be known of their weights besides."""

import numpy as np

from ..errors import UnsupportedModel
from ..ir.graph import AdderConv2d, Node, Rounding, ShiftConv2d, Upsample2d
from ..ir.types import ShiftWeight
from ..nn import AdderConv2d as AdderConv2dLayer
from ..nn import AdderLinear as AdderLinearLayer
from ..nn import PadShortcut, ShiftConvTranspose2d
from ..nn import ShiftConv2d as ShiftConv2dLayer
from ..nn import ShiftLinear as ShiftLinearLayer
from .draft import Draft, Grid, Sum
from .sums import convolved


class WeightedLayers:
    """Appends convolutions to a draft. Each method takes the layer's path, its module and the node that it reads.

    latent  unrounded weights by node, each channel in the unit that its accumulators have with the smallest factor
    steps   steps that adder layers are given, by path; None: they must have them
    """

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.latent: dict[str, np.ndarray] = {}
        self.steps: dict[str, float] | None = None

    def conv(self, where: str, module: ShiftConv2dLayer, source: Node) -> Sum:
        """A convolution of the same geometry."""
        weight, unit = module.integer_weight(where)
        op = ShiftConv2d(weight, module.stride, module.padding, module.dilation, module.groups)
        return self._shift_layer(where, module, op, source, unit)

    def linear(self, where: str, module: ShiftLinearLayer, source: Node) -> Sum:
        """A convolution of a map of one pixel."""
        _require_features(f"{where} (ShiftLinear)", module.in_features, source)
        weight, unit = module.integer_weight(where)
        return self._shift_layer(where, module, ShiftConv2d(weight), source, unit)

    def transposed(self, where: str, module: ShiftConvTranspose2d, source: Node) -> Sum:
        """Zeros between the pixels, and a convolution with the turned kernel."""
        weight, unit = module.integer_weight(where)
        top, left = (spread * (size - 1) - cut for spread, size, cut in
                     zip(module.dilation, module.kernel_size, module.padding, strict=True))
        bottom, right = (before + added - (step - 1) for before, added, step in
                         zip((top, left), module.output_padding, module.stride, strict=True))
        if min(top, left, bottom, right) < 0:
            raise UnsupportedModel(f"{where} (ShiftConvTranspose2d): has padding {module.padding} and stride "
                                   f"{module.stride} that cut the kernel {module.kernel_size} off at the border; use "
                                   f"less padding or a larger kernel")
        if module.stride != (1, 1):
            source = self.draft[self.draft.add(f"{where}.zeros", Upsample2d(module.stride, zeros=True), source.name)]
        op = ShiftConv2d(weight, (1, 1), (top, left, bottom, right), module.dilation, module.groups)
        return self._shift_layer(where, module, op, source, unit)

    def _shift_layer(self, where: str, module: ShiftConv2dLayer | ShiftConvTranspose2d | ShiftLinearLayer,
                     op: ShiftConv2d, source: Node, unit: np.ndarray) -> Sum:
        bias = module.rounded_bias()
        value = convolved(self.draft, where, op, source.name, source.output.scale * unit,
                          None if bias is None else bias.detach().double().numpy())
        latent = module.latent_weight().detach().double().numpy().reshape(op.weight.sign.shape[1:])
        self.latent[value.tensors[0]] = latent / (unit / unit.min())[:, None, None, None]
        return value

    def adder_conv(self, where: str, module: AdderConv2dLayer, source: Node) -> Sum:
        """Sums of distances, of the same geometry."""
        weight = self._adder_weight(where, module, source)
        op = AdderConv2d(weight, module.stride, module.padding, module.dilation, module.groups)
        return self._adder_layer(where, module, op, source)

    def adder_linear(self, where: str, module: AdderLinearLayer, source: Node) -> Sum:
        """Sums of distances on a map of one pixel."""
        _require_features(f"{where} (AdderLinear)", module.in_features, source)
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

    def shortcut(self, where: str, module: PadShortcut, source: Node) -> str:
        """A 1x1 convolution with one-hot weights, and the same grid behind it: an exact copy."""
        tensor = source.output
        sign = np.zeros((1, module.out_channels, module.in_channels, 1, 1), np.int8)
        for channel in range(module.in_channels):
            sign[0, module.before + channel, channel] = 1
        op = ShiftConv2d(ShiftWeight(sign, np.zeros_like(sign)), (module.stride, module.stride))
        copied = convolved(self.draft, where, op, source.name, np.full(module.out_channels, tensor.scale))
        self.draft.copies.append(copied.tensors[0])
        grid = Grid(tensor.dtype, tensor.scale, tensor.dtype.lo, tensor.dtype.hi, Rounding.FLOOR)
        return self.draft.quantize(f"{where}.quantize", copied, grid)


def _require_features(label: str, count: int, source: Node) -> None:
    if source.output.shape != (count, 1, 1):
        raise UnsupportedModel(f"{label}: its input has shape {source.output.shape}, must be {count} features; "
                               f"flatten it first")
