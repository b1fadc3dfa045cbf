"""Graph to layers: what one pass over the array does, from stored tensors to a stored tensor."""

import dataclasses

import numpy as np

from ..errors import UnsupportedModel
from ..ir.graph import (
    AdderConv2d,
    AddressShift2d,
    BilinearUpsample2d,
    Concat,
    Flatten,
    Graph,
    Input,
    Lookup,
    MaxPool2d,
    Move,
    Multiply,
    Node,
    Requantize,
    Rounding,
    SelectChannels,
    ShiftConv2d,
    SpatialShift2d,
    SumPool2d,
    Upsample2d,
    WindowSum,
)
from ..ir.types import ShiftWeight, TensorType
from .network import Kind, Layer, Network, Scale, copy_layer, identity_scale, pass_layer, unused
from .view import View, joined


def fuse(graph: Graph) -> Network:
    """The layers of a graph. UnsupportedModel names a node that has no mapping, and what to do."""
    return _Fuser(graph).network()


class _Fuser:
    """One walk over the nodes; accumulators and flattened tensors are resolved where they are used."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.views: dict[str, View] = {}
        self.flat: dict[str, str] = {}
        """Flattened tensors whose map is larger than a pixel: the tensor before."""
        self.tensors: dict[str, TensorType] = {}
        self.copies: dict[str, View] = {}
        """Displaced or enlarged tensors that are stored as well."""
        self.layers: list[Layer] = []

    def network(self) -> Network:
        for node in self.graph.nodes:
            self._node(node)
        if len(self.graph.outputs) != 1:
            raise UnsupportedModel(f"{self.graph.name}: {len(self.graph.outputs)} results; the engine stores one: "
                                   f"keep one output")
        name = self.graph.outputs[0]
        shape, before = self.graph[name].output.shape, self.flat.get(name, name)
        source = self.graph.nodes[0].name
        if before not in self.views:
            raise UnsupportedModel(f"{name}: the result is an accumulator; put a quantizer behind it")
        view = self.views[before]
        if not view.single or view.names == (source,) or self.tensors[view.names[0]].channels != view.channels:
            view = self._copy(before, view, "the result must be stored as a tensor of its own", "result")
        return Network(self.graph.name, tuple(self.layers), self.tensors, source, view.names[0], shape)

    def _node(self, node: Node) -> None:
        match node.op:
            case Input():
                self._store(node.name, node.output)
            case MaxPool2d() as op:
                layer = Layer(node.name, Kind.MAX_POOL, self._still(node, node.inputs[0]), node.name, op.kernel,
                              _stride(op.stride, node.output), op.padding[:2])
                self._append(layer, node.output)
            case Requantize():
                self._requantize(node, node.op)
            case Lookup():
                self._lookup(node, node.op)
            case Flatten():
                self._flatten(node)
            case SpatialShift2d() | AddressShift2d() | SelectChannels() | Concat() | Upsample2d():
                self.views[node.name] = self._moved(node, node.op)
            case ShiftConv2d() | AdderConv2d() | SumPool2d() | BilinearUpsample2d() | Multiply():
                pass
            case _:
                raise UnsupportedModel(f"{node.name}: {type(node.op).__name__} has no mapping onto the engine")

    # -- stored tensors and views --------------------------------------------------------------
    def _store(self, name: str, tensor: TensorType) -> View:
        self.tensors[name] = tensor
        self.views[name] = View.of(name, tensor)
        return self.views[name]

    def _append(self, layer: Layer, tensor: TensorType) -> View:
        self.layers.append(layer)
        return self._store(layer.output, tensor)

    def _view(self, node: Node, name: str) -> View:
        """What an operand reads."""
        if name in self.flat:
            raise UnsupportedModel(f"{node.name}: reads a flattened {self.graph[self.flat[name]].output.shape} map; "
                                   f"only a linear layer or the output can: move it before the flatten")
        if name not in self.views:
            raise UnsupportedModel(f"{node.name}: reads the accumulator {name}; put a quantizer between them")
        return self.views[name]

    def _copy(self, name: str, view: View, why: str, suffix: str = "copy") -> View:
        """The tensor `name` of the graph, stored."""
        tensor = self.graph[name].output
        stored = unused(f"{name}.{suffix}", self.tensors.keys() | {node.name for node in self.graph.nodes})
        return self._append(copy_layer(stored, view, tensor, why), tensor)

    def _still(self, node: Node, name: str) -> View:
        """What an operand reads, in its place: copied if it is displaced or enlarged."""
        view = self._view(node, name)
        if view.still:
            return view
        if name not in self.copies:
            self.copies[name] = self._copy(name, view, f"{node.name} needs every pixel of {name} in its own place")
        return self.copies[name]

    def _flatten(self, node: Node) -> None:
        name = node.inputs[0]
        if name in self.flat:
            self.flat[node.name] = self.flat[name]
        elif self.graph[name].output.shape[1:] == (1, 1) and name in self.views:
            self.views[node.name] = self.views[name]
        else:
            self._view(node, name)
            self.flat[node.name] = name

    def _moved(self, node: Node, op: Move) -> View:
        match op:
            case SpatialShift2d() | AddressShift2d():
                return self._still(node, node.inputs[0]).shifted(op)
            case Upsample2d():
                return self._still(node, node.inputs[0]).enlarged(op)
            case SelectChannels():
                return self._view(node, node.inputs[0]).selected(op.channels)
            case _:
                views = [self._view(node, name) for name in node.inputs]
                whole = joined(views)
                return whole or joined([self._still(node, name) for name in node.inputs]) or views[0]

    # -- activation functions ------------------------------------------------------------------
    def _lookup(self, node: Node, op: Lookup) -> None:
        """Behind the scale of the layer that makes its operand if nobody else reads that, else in a pass of its own."""
        name, source = node.inputs[0], self.graph[node.inputs[0]].output.dtype
        alone = self.graph.consumers(name) == (node,) and name not in self.graph.outputs
        last = self.layers[-1] if self.layers else None
        if alone and last and last.output == name and last.scale and not last.lookup and not last.copy:
            self.layers.pop()
            del self.tensors[name]
            base = last
        else:
            base = pass_layer(node.name, self._view(node, name), node.name, identity_scale(self.graph[name].output))
        self._append(dataclasses.replace(base, output=node.name, lookup=op, between=source), node.output)

    # -- requantize ----------------------------------------------------------------------------
    def _requantize(self, node: Node, op: Requantize) -> None:
        names = list(node.inputs)
        multipliers = [np.broadcast_to(np.asarray(m, np.int64), node.output.channels) for m in op.multiplier]
        wide = [name not in self.views and name not in self.flat for name in names]
        if len(names) > 2 or all(wide) and len(names) == 2:
            raise UnsupportedModel(f"{node.name}: adds {' and '.join(names)}, {sum(wide)} of them accumulators; the "
                                   f"engine adds one accumulator and one activation: quantize the other operand")
        if wide[0] and isinstance(self.graph[names[0]].op, Multiply):
            self._product(node, op, multipliers)
            return
        broadcast = len(names) == 2 and self.graph[names[1]].output.shape != node.output.shape
        swap = not wide[0] and _uniform(multipliers[0]) and not _uniform(multipliers[-1]) and not broadcast
        if len(names) == 2 and (wide[1] or swap):
            names, multipliers, wide = names[::-1], multipliers[::-1], wide[::-1]
        residual, residual_multiplier = None, 0
        if len(names) == 2:
            if not _uniform(multipliers[1]):
                raise UnsupportedModel(f"{node.name}: residual {names[1]} has a multiplier per channel, the engine has "
                                       f"one per layer; quantize the residual with one scale for all channels")
            residual_multiplier = int(multipliers[1][0])
            residual = self._still(node, names[1]) if residual_multiplier else None  # times 0: no residual
        scale = _scale(op, multipliers[0], residual_multiplier, node.output.channels)
        base = self._main(node, names[0]) if wide[0] else pass_layer(node.name, self._view(node, names[0]), node.name,
                                                                     scale)
        self._append(dataclasses.replace(base, scale=scale, residual=residual,
                                         broadcast=broadcast and residual is not None), node.output)

    def _product(self, node: Node, op: Requantize, multipliers: list[np.ndarray]) -> None:
        """acc * residual: one operand goes through the array, the other in the residual's place."""
        if len(node.inputs) > 1 or not _uniform(multipliers[0]):
            raise UnsupportedModel(f"{node.name}: scales the product {node.inputs[0]} with a multiplier per channel "
                                   f"or adds to it; quantize the product alone, with one scale for all channels")
        producer = self.graph[node.inputs[0]]
        residual = self._still(producer, producer.inputs[1])
        channels = node.output.channels
        scale = dataclasses.replace(_scale(op, np.zeros(channels, np.int64), int(multipliers[0][0]), channels),
                                    factor=residual.stored)
        source = self._view(producer, producer.inputs[0])
        if source.per_pixel == 2:
            source = self._still(producer, producer.inputs[0])
        broadcast = residual.size != source.size
        self._append(Layer(producer.name, Kind.IDENTITY, source, node.name, scale=scale, residual=residual,
                           broadcast=broadcast), node.output)

    def _main(self, node: Node, name: str) -> Layer:
        """The layer that makes the accumulator `name`."""
        producer = self.graph[name]
        op, operand = producer.op, producer.inputs[0]
        if isinstance(op, BilinearUpsample2d):
            source = self._still(producer, operand)
            return Layer(producer.name, Kind.BILINEAR, source, node.name, (3, 3), groups=source.channels,
                         weight=bilinear_weight(source.channels))
        assert isinstance(op, WindowSum), op
        stride, padding = _stride(op.stride, producer.output), op.padding[:2]
        if operand in self.flat:
            return self._linear(node, producer, op)
        source = self._seen(producer, operand, op, stride)
        if isinstance(op, SumPool2d):
            return Layer(producer.name, Kind.SUM_POOL, source, node.name, op.kernel, stride, padding)
        kernel = (op.weight_shape[2], op.weight_shape[3])
        shift, adder = _shaped(op, source.channels // op.groups, kernel)
        return Layer(producer.name, Kind.CONV if shift else Kind.ADDER, source, node.name, kernel, stride,
                     padding, op.dilation, op.groups, shift, adder)

    def _linear(self, node: Node, producer: Node, op: WindowSum) -> Layer:
        """A linear layer on a flattened map: a convolution that covers the map."""
        before = self.flat[producer.inputs[0]]
        shape = self.graph[before].output.shape
        _check_linear(producer.name, op, shape)
        assert isinstance(op, ShiftConv2d | AdderConv2d)
        source, kernel = self._seen(producer, before, op, (1, 1)), (shape[1], shape[2])
        shift, adder = _shaped(op, shape[0], kernel)
        return Layer(producer.name, Kind.CONV if shift else Kind.ADDER, source, node.name, kernel,
                     weight=shift, adder_weight=adder)

    def _seen(self, node: Node, name: str, op: WindowSum, stride: tuple[int, int]) -> View:
        """The view that a layer with windows reads; a copy where its lanes cannot look at it so."""
        view = self._view(node, name)
        halves = view.per_pixel == 2 and not isinstance(op, ShiftConv2d)
        enlarged = view.factor != (1, 1) and stride != (1, 1)
        whole = isinstance(op, SumPool2d) and op.kernel == view.size    # of a map in place the lanes can add up rows
        return self._still(node, name) if halves or enlarged or whole else view


def bilinear_weight(channels: int) -> ShiftWeight:
    """(3, 1, 1) x (3, 1, 1) in two terms: of a pixel, its neighbour, and itself again where the border repeats it."""
    signs = np.array([[[1, 1, 1], [1, 1, 1], [1, 1, 1]], [[1, 1, 1], [1, 0, 0], [1, 0, 0]]], np.int8)
    exponents = np.array([[[3, 1, 1], [1, 0, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]], np.int8)
    shape = (2, channels, 1, 3, 3)
    return ShiftWeight(np.broadcast_to(signs[:, None, None], shape).copy(),
                       np.broadcast_to(exponents[:, None, None], shape).copy())


def _uniform(values: np.ndarray) -> bool:
    return bool((values == values[0]).all())


def _stride(stride: tuple[int, int], output: TensorType) -> tuple[int, int]:
    """A stride along an axis with one output does nothing."""
    return (stride[0] if output.height > 1 else 1, stride[1] if output.width > 1 else 1)


def _check_linear(name: str, op: WindowSum, shape: tuple[int, int, int]) -> None:
    """On a flattened map there can only be a linear layer."""
    if isinstance(op, SumPool2d):
        raise UnsupportedModel(f"{name}: reads a flattened {shape} map; only a linear layer or the output can: move it "
                               f"before the flatten")
    _, channels, *kernel = op.weight_shape
    if op.groups != 1 or kernel != [1, 1] or any(op.padding) or channels != int(np.prod(shape)):
        raise UnsupportedModel(f"{name}: reads a flattened {shape} map with groups={op.groups}, kernel {kernel}, "
                               f"padding {op.padding}; only a plain linear layer can")


def _shaped(op: ShiftConv2d | AdderConv2d, channels: int,
            kernel: tuple[int, int]) -> tuple[ShiftWeight | None, np.ndarray | None]:
    """The weights, of shift or of adder lanes, of a convolution of so many channels per group."""
    if isinstance(op, AdderConv2d):
        return None, op.weight.reshape(len(op.weight), channels, *kernel)
    sign, exponent = (values.reshape(*values.shape[:2], channels, *kernel)
                      for values in (op.weight.sign, op.weight.exponent))
    return ShiftWeight(sign, exponent), None


def _scale(op: Requantize, multiplier: np.ndarray, residual_multiplier: int, channels: int) -> Scale:
    bias = np.broadcast_to(np.asarray(op.bias, np.int64), channels) + op.half
    bits = int(np.bitwise_or.reduce(multiplier)) | residual_multiplier
    factor = min(op.shift, (bits & -bits).bit_length() - 1) if bits else op.shift
    ties = bias & ((1 << factor) - 1) == 0  # where it is not, the bias alone keeps the sum off a tie
    even = op.rounding is Rounding.HALF_EVEN and op.shift > 0 and bool(ties.any())
    if even:
        # One factor stays, as an odd bias, where only some channels can have ties; a tie needs a shift to be seen.
        factor = min(factor - (not ties.all()), op.shift - 1)
    bias = bias >> factor | (even & ~ties)
    return Scale(multiplier >> factor, bias, op.shift - factor, op.lo, op.hi, residual_multiplier >> factor, even)
