"""Operations of a layer per image, of the network as it is and of the same network with multiplications.

Counted as usual: every weight at every output position, those of 0 and those that meet padding included, as the array
runs them. Per weight:

    shift layer of n terms       n shifts, n additions
    adder layer                  2 additions: the difference, and its accumulation (its absolute value is free)
    either with multiplications  1 multiplication, 1 addition

as NASA counts (Shi et al., ICCAD 2022, Table 2: MobileNetV2 with 39.6 M shifts or adder weights and 3.3 M
multiplications has 42.9 M or 82.5 M additions), all in the format of the layer's operands, accumulation included.
Pooling: 1 addition per position of the window. Convolutions that only copy: nothing. A map with zeros between its
pixels: weights that meet one of these are not run and do not count. An enlargement between pixels: a shift layer of 4
weights per output, of two terms. Pixels between two or four that a weight reads: it counts once for each of these.

Requantize, the same with multiplications: per output 1 multiplication if the engine has multipliers, 1 addition (the
bias), 1 shift if there are right shifts, and with a residual 1 multiplication and 1 addition more, where the residual
is a factor 1 multiplication; in the format of accumulator and multiplier. Tables compute nothing.
"""

from dataclasses import dataclass
from math import prod

from ..arch import ArrayConfig
from ..lower.network import Kind, Layer, Network
from ..lower.work import layer_uses
from .units import Counts, Format, Operation, format_for


@dataclass(frozen=True)
class LayerOperations:
    """Operations of one layer, per image."""

    format: str
    """Of the operands; "" where there are none, or several."""
    array: Counts
    """What the lanes do, or the maximum unit."""
    requantize: Counts
    multiplying: Counts
    """`array` of the same layer with multiplications."""
    zero_terms: int
    """How many of the shifts, and of the additions behind them, belong to terms of 0."""

    def __add__(self, other: "LayerOperations") -> "LayerOperations":
        return LayerOperations("", self.array + other.array, self.requantize + other.requantize,
                               self.multiplying + other.multiplying, self.zero_terms + other.zero_terms)

    @property
    def all(self) -> Counts:
        return self.array + self.requantize

    @property
    def all_multiplying(self) -> Counts:
        return self.multiplying + self.requantize


NO_OPERATIONS = LayerOperations("", Counts(), Counts(), Counts(), 0)


def layer_operations(layer: Layer, network: Network, config: ArrayConfig) -> LayerOperations:
    """What a layer takes in an engine of this configuration."""
    outputs = prod(network.tensors[layer.output].shape)
    form = format_for(layer.source.stored.bits)
    array, multiplying = Counts(), Counts()
    uses = layer_uses(layer, network)
    if layer.kind in (Kind.SUM_POOL, Kind.MAX_POOL):
        array[Operation.ADD, form] = multiplying[Operation.ADD, form] = outputs * prod(layer.kernel)
    elif uses.weights:
        multiplying[Operation.MULTIPLY, form] = multiplying[Operation.ADD, form] = uses.weights
        if layer.kind is Kind.ADDER:
            array[Operation.ADD, form] = 2 * uses.weights
        else:
            array[Operation.SHIFT, form] = array[Operation.ADD, form] = uses.weights * layer.terms
    return LayerOperations(form.value, array, _requantize(layer, outputs, config), multiplying, uses.zero_terms)


def in_floats(counts: Counts) -> Counts:
    """The same with FP32 numbers, which are not shifted."""
    floats = Counts()
    for (operation, _), count in counts.items():
        if operation is not Operation.SHIFT:
            floats[operation, Format.FP32] += count
    return floats


def _requantize(layer: Layer, outputs: int, config: ArrayConfig) -> Counts:
    if layer.scale is None:
        return Counts()
    form = format_for(max(config.accumulator_bits, config.multiplier_bits))
    operands = 2 if layer.residual else 1
    added = operands if layer.scale.factor is None else 1
    return +Counts({(Operation.MULTIPLY, form): outputs * operands * bool(config.multiplier_bits),
                    (Operation.ADD, form): outputs * added, (Operation.SHIFT, form): outputs * any(config.shifts)})
