"""Graph to layers: what one pass over the array does, from a stored tensor to a stored tensor."""

import dataclasses
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..errors import UnsupportedModel
from ..ir.graph import AdderConv2d, Flatten, Graph, Input, MaxPool2d, Node, Requantize, Rounding, ShiftConv2d, SumPool2d
from ..ir.types import ShiftWeight, TensorType


class Kind(Enum):
    """How a layer uses the engine."""

    CONV = "conv"
    SUM_POOL = "sum_pool"
    ADDER = "adder"
    IDENTITY = "identity"
    MAX_POOL = "max_pool"


@dataclass(frozen=True, eq=False)
class Scale:
    """y[c] = clamp((acc*multiplier[c] + residual*residual_multiplier + bias[c]) >> shift, lo, hi).

    Rounding is in the bias; common factors of two of the multipliers are divided out (that is exact,
    because floor((acc*2**k + b) / 2**s) == floor((acc + floor(b / 2**k)) / 2**(s-k))).
    ties_to_even: bit 0 of the shifted sum is cleared where the shift drops nothing but zeros; then shift > 0.
    """

    multiplier: np.ndarray
    bias: np.ndarray
    shift: int
    lo: int
    hi: int
    residual_multiplier: int = 0
    ties_to_even: bool = False


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer. Sum pools and identities have one unit weight per tap on the diagonal and no `weight`.

    sum_factor  what its accumulators hold of the exact sum: 1, or 2 (see shifthw.lower.adder)
    """

    name: str
    kind: Kind
    source: str
    output: str
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    """Top and left; bottom and right follow from the output's shape."""
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    weight: ShiftWeight | None = None
    adder_weight: np.ndarray | None = None
    """int64[out, in/groups, kh, kw], in steps of the source."""
    scale: Scale | None = None
    residual: str | None = None
    sum_factor: int = 1

    @property
    def terms(self) -> int:
        """Steps for each tap and input channel group."""
        if self.kind is Kind.ADDER:
            return 1 if self.groups == 1 else 2
        return self.weight.terms if self.weight else 1

    @property
    def diagonal(self) -> bool:
        """Whether output channel c sees input channel c alone, with weight 1."""
        return self.kind in (Kind.SUM_POOL, Kind.IDENTITY)


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in order, the types of all stored tensors, the names of input and result."""

    name: str
    layers: tuple[Layer, ...]
    tensors: dict[str, TensorType]
    source: str
    result: str
    result_shape: tuple[int, int, int]
    """Shape of an output; the result's unless the graph flattens it."""

    @property
    def activation_bits(self) -> int:
        """Bits of every stored activation: those of the widest tensor."""
        return max(2, *(tensor.dtype.bits for tensor in self.tensors.values()))

    def readers(self, tensor: str) -> tuple[Layer, ...]:
        """Layers that read `tensor`."""
        return tuple(layer for layer in self.layers if tensor in (layer.source, layer.residual))


def identity_scale(tensor: TensorType) -> Scale:
    """The requantization that changes nothing."""
    channels = tensor.channels
    return Scale(np.ones(channels, np.int64), np.zeros(channels, np.int64), 0, tensor.dtype.lo, tensor.dtype.hi)


def fuse(graph: Graph) -> Network:
    """The layers of a graph. UnsupportedModel names a node that has no mapping, and what to do."""
    return _Fuser(graph).network()


class _Fuser:
    """One walk over the nodes; accumulators and flattened tensors are resolved where they are used."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.alias: dict[str, str] = {}
        self.flat: dict[str, str] = {}
        self.tensors: dict[str, TensorType] = {}
        self.layers: list[Layer] = []

    def network(self) -> Network:
        for node in self.graph.nodes:
            self._node(node)
        if len(self.graph.outputs) != 1:
            raise UnsupportedModel(f"{self.graph.name}: {len(self.graph.outputs)} results; the engine stores one: "
                                   f"keep one output")
        name = self.graph.outputs[0]
        shape = self.graph[name].output.shape
        name = self.alias.get(name, name)
        result = self.flat.get(name, name)
        source = self.graph.nodes[0].name
        if result not in self.tensors:
            raise UnsupportedModel(f"{name}: the result is an accumulator; put a quantizer behind it")
        if result == source:
            result = self._copy(source, "result")
        return Network(self.graph.name, tuple(self.layers), self.tensors, source, result, shape)

    def _node(self, node: Node) -> None:
        match node.op:
            case Input():
                self.tensors[node.name] = node.output
            case Flatten():
                self._flatten(node)
            case MaxPool2d():
                source = self._stored(node, node.inputs[0])
                self.tensors[node.name] = node.output
                op = node.op
                stride = _stride(op.stride, node.output)
                self.layers.append(Layer(node.name, Kind.MAX_POOL, source, node.name, op.kernel, stride,
                                         op.padding[:2]))
            case Requantize():
                self._requantize(node, node.op)
            case ShiftConv2d() | AdderConv2d() | SumPool2d():
                pass
            case _:
                raise UnsupportedModel(f"{node.name}: {type(node.op).__name__} has no mapping onto the engine")

    def _resolve(self, name: str) -> str:
        return self.alias.get(name, name)

    def _flatten(self, node: Node) -> None:
        name = self._resolve(node.inputs[0])
        shape = self.graph[name].output.shape
        if name in self.flat or shape[1:] == (1, 1):
            self.alias[node.name] = name
        else:
            self.flat[node.name] = self._stored(node, name)

    def _stored(self, node: Node, name: str) -> str:
        """The stored tensor behind an operand."""
        name = self._resolve(name)
        if name in self.flat:
            raise UnsupportedModel(f"{node.name}: reads a flattened {self.graph[self.flat[name]].output.shape} map; "
                                   f"only a linear layer or the output can: move it before the flatten")
        if name not in self.tensors:
            raise UnsupportedModel(f"{node.name}: reads the accumulator {name}; put a quantizer between them")
        return name

    def _copy(self, tensor: str, suffix: str) -> str:
        name = f"{tensor}.{suffix}"
        self.tensors[name] = self.tensors[tensor]
        self.layers.append(Layer(name, Kind.IDENTITY, tensor, name, scale=identity_scale(self.tensors[tensor])))
        return name

    # -- requantize ----------------------------------------------------------------------------
    def _requantize(self, node: Node, op: Requantize) -> None:
        names = [self._resolve(name) for name in node.inputs]
        multipliers = [np.broadcast_to(np.asarray(m, np.int64), node.output.channels) for m in op.multiplier]
        wide = [name not in self.tensors and name not in self.flat for name in names]
        if len(names) > 2 or all(wide) and len(names) == 2:
            raise UnsupportedModel(f"{node.name}: adds {' and '.join(names)}, {sum(wide)} of them accumulators; the "
                                   f"engine adds one accumulator and one activation: quantize the other operand")
        if len(names) == 2 and (wide[1] or not wide[0] and _uniform(multipliers[0]) and not _uniform(multipliers[1])):
            names, multipliers, wide = names[::-1], multipliers[::-1], wide[::-1]
        residual, residual_multiplier = None, 0
        if len(names) == 2:
            if not _uniform(multipliers[1]):
                raise UnsupportedModel(f"{node.name}: residual {names[1]} has a multiplier per channel, the engine has "
                                       f"one per layer; quantize the residual with one scale for all channels")
            residual_multiplier = int(multipliers[1][0])
            residual = self._stored(node, names[1]) if residual_multiplier else None  # times 0: no residual
        self.tensors[node.name] = node.output
        scale = _scale(op, multipliers[0], residual_multiplier, node.output.channels)
        base = self._main(node, names[0]) if wide[0] else Layer(node.name, Kind.IDENTITY, self._stored(node, names[0]),
                                                                 node.name)
        self.layers.append(dataclasses.replace(base, scale=scale, residual=residual))

    def _main(self, node: Node, name: str) -> Layer:
        """The layer that makes the accumulator `name`."""
        producer = self.graph[name]
        op, operand = producer.op, self._resolve(producer.inputs[0])
        if isinstance(op, SumPool2d):
            source = self._stored(producer, operand)
            return Layer(producer.name, Kind.SUM_POOL, source, node.name, op.kernel,
                         _stride(op.stride, producer.output), op.padding[:2])
        assert isinstance(op, ShiftConv2d | AdderConv2d), op
        stride, padding, dilation = _stride(op.stride, producer.output), op.padding[:2], op.dilation
        kernel = (op.weight_shape[2], op.weight_shape[3])
        if operand in self.flat:
            source = self.flat[operand]
            shape = self.tensors[source].shape
            _check_linear(producer.name, op, shape)
            kernel, padding, dilation = (shape[1], shape[2]), (0, 0), (1, 1)
        else:
            source = self._stored(producer, operand)
        shift, adder = _shaped(op, self.tensors[source].channels // op.groups, kernel)
        return Layer(producer.name, Kind.CONV if shift else Kind.ADDER, source, node.name, kernel, stride,
                     (padding[0], padding[1]), dilation, op.groups, shift, adder)


def _uniform(values: np.ndarray) -> bool:
    return bool((values == values[0]).all())


def _stride(stride: tuple[int, int], output: TensorType) -> tuple[int, int]:
    """A stride along an axis with one output does nothing."""
    return (stride[0] if output.height > 1 else 1, stride[1] if output.width > 1 else 1)


def _check_linear(name: str, op: ShiftConv2d | AdderConv2d, shape: tuple[int, int, int]) -> None:
    """On a flattened map there can only be a linear layer: it becomes a convolution that covers the map."""
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
