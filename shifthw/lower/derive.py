"""The ArrayConfig that a network needs, and nothing more."""

import dataclasses

import numpy as np

from ..arch import ArrayConfig
from ..errors import UnsupportedModel
from ..ir.types import ShiftWeight
from ..isa import Opcode
from ..tensor_layout import TensorLayout
from .allocate import rows_used
from .instructions import Bases, Draft, bits_of, draft_program, shares_word
from .network import Kind, Layer, Network
from .scaling import fitting_bias, multiplier_bits, residual_shift, signed_bits
from .tables import tables_of
from .task import Task

MAX_LEVELS = 16
"""Exponents that lanes may have."""

_SIGNED = frozenset(("xq0", "xq1"))
_ROW_FIELDS = frozenset(("tiles_last", "in_groups_last", "in_row", "in_group_stride", "residual_row",
                         "residual_group_stride", "out_row", "out_group_stride", "plane_rows"))
_COORDINATE_FIELDS = frozenset(("out_width", "out_height", "x_step", "x_wrap", "y_step", "xq0", "xq1", "out_pitch"))


def depth(words: int) -> int:
    """Words of a memory that costs no more than one of `words`: a power of two up to 512, then multiples of 512."""
    return max(16, 1 << (words - 1).bit_length()) if words <= 512 else -(-words // 512) * 512


def skeleton(images: int, pixels: int, simd: int, pe: int, axi_data_bits: int) -> ArrayConfig:
    """A configuration of which only the shape of the array counts."""
    return ArrayConfig(images=images, pixels=pixels, simd=simd, pe=pe, axi_data_bits=axi_data_bits,
                       input_channels=1)


def derive(network: Network, layouts: dict[str, TensorLayout], tasks: list[Task],
           numbers: ArrayConfig) -> tuple[ArrayConfig, list[Bases]]:
    """The configuration, `numbers` being what derive_numbers gives, and where each task's words are."""
    bases, words = _place_words(tasks, numbers.pe, all_shifts(network))
    shifting = [task for task in tasks if task.opcode is Opcode.CONV and not task.adder and numbers.exponent_levels]
    config = dataclasses.replace(
        numbers, zero_weights=any(_needs_zero(task) for task in shifting),
        lane_sum=any(task.reduce_steps for task in tasks),
        max_stride=max(max(task.layer.spread[1], *task.out.stride) for task in tasks),
        input_channels=layouts[network.source].wire_channels,
        feature_rows=depth(rows_used(layouts)), weight_words=depth(words.weight), step_words=depth(words.step),
        scale_words=depth(max(words.scale, *(task.out_groups for task in tasks))))
    drafts = draft_program(network, layouts, tasks, bases, config)
    return _with_field_widths(config, drafts, tasks), bases


def all_shifts(network: Network) -> tuple[int, ...]:
    """The right shifts of all layers, ascending."""
    return tuple(sorted({layer.scale.shift for layer in network.layers if layer.scale})) or (0,)


def derive_numbers(network: Network, shape: ArrayConfig) -> ArrayConfig:
    """`shape` with what depends on the network alone: the widths of numbers, the units."""
    layers = network.layers
    bits = network.activation_bits
    return dataclasses.replace(
        shape, activation_bits=bits, exponent_levels=_levels(layers),
        adder=any(layer.kind is Kind.ADDER for layer in layers),
        accumulator_bits=max([2, *(signed_bits(*span) for span in accumulator_ranges(network).values())]),
        multiplier_bits=multiplier_bits(layers), shifts=all_shifts(network),
        bias_bits=max([2, *(_bias_bits(layer, bits) for layer in layers if layer.scale)]),
        residual=any(layer.residual for layer in layers), product=needs_products(network),
        tables=len(tables_of(network)[0]),
        residual_shift=residual_shift(layers),
        ties_to_even=any(layer.scale.ties_to_even for layer in layers if layer.scale),
        max_pool=any(layer.kind is Kind.MAX_POOL for layer in layers),
        output_pixels=1 if network.tensors[network.result].shape[1:] == (1, 1) else shape.pixels)


def needs_products(network: Network) -> bool:
    """Whether residuals are multiplied, or are 1x1 maps."""
    return any(layer.broadcast or layer.scale and layer.scale.factor for layer in network.layers)


def _with_field_widths(config: ArrayConfig, drafts: list[Draft], tasks: list[Task]) -> ArrayConfig:
    row_bits = max(bits_of(drafts, _ROW_FIELDS.__contains__, _SIGNED),
                   bits_of(drafts, lambda name: name in ("yb0", "yb1") or name.endswith("_yb"), _SIGNED)
                   - config.pixel_bits)
    rows = config.feature_rows if config.row_bits >= row_bits else 1 << row_bits
    coordinate = bits_of(drafts, lambda name: name in _COORDINATE_FIELDS or name.endswith(("_x", "_y", "_xq")),
                         _SIGNED)
    reach = max(max(task.tiles * config.pixels // task.pitch, int(task.steps[..., 2:].max())) for task in tasks)
    return dataclasses.replace(config, feature_rows=rows, instruction_words=depth(len(drafts)),
                               coordinate_bits=max(coordinate, reach.bit_length()))


def accumulator_ranges(network: Network) -> dict[str, tuple[int, int]]:
    """Least and greatest number in the accumulators of each layer that has some, by the layer's output; exact."""
    stored = {network.source: (network.tensors[network.source].dtype.lo, network.tensors[network.source].dtype.hi)}
    sums = {}
    for layer in network.layers:
        ends = [stored[name] for name in layer.source.names]
        count = layer.source.per_pixel ** 2
        lo, hi = min(lo for lo, _ in ends) * count, max(hi for _, hi in ends) * count
        stored[layer.output] = _stored_range(layer, (lo, hi))
        if layer.kind is Kind.MAX_POOL:
            continue
        least, greatest = _sums(layer, min(lo, 0), max(hi, 0))
        sums[layer.output] = layer.sum_factor * least, layer.sum_factor * greatest
    return sums


def _stored_range(layer: Layer, source: tuple[int, int]) -> tuple[int, int]:
    """Least and greatest activation that a layer can make."""
    if layer.scale is None:
        return source
    if layer.lookup is None or layer.between is None:
        return layer.scale.lo, layer.scale.hi
    reached = layer.lookup.table[layer.scale.lo - layer.between.lo:layer.scale.hi - layer.between.lo + 1]
    return int(reached.min()), int(reached.max())


def _sums(layer: Layer, lo: int, hi: int) -> tuple[int, int]:
    """Least and greatest sum of a layer over all inputs within lo..hi."""
    if layer.adder_weight is not None:
        weight = layer.adder_weight
        farthest = np.maximum(np.abs(weight - lo), np.abs(weight - hi)).sum(axis=(1, 2, 3))
        nearest = np.abs(weight - np.clip(weight, lo, hi)).sum(axis=(1, 2, 3))
        return -int(farthest.max()), -int(nearest.min())
    up, down = _weight_sums(layer)
    return int((up * lo - down * hi).min()), int((up * hi - down * lo).max())


def _weight_sums(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Per output channel the sum of the positive weights and minus that of the negative ones."""
    if layer.weight is None:
        return np.array([layer.kernel[0] * layer.kernel[1]]), np.array([0])
    weight = layer.weight.integer
    axes = (1, 2, 3)
    return np.maximum(weight, 0).sum(axis=axes), np.maximum(-weight, 0).sum(axis=axes)


def hardware_bias(layer: Layer, activation_bits: int) -> np.ndarray:
    """The bias as the requantize unit adds it: the zero point of a signed residual is in it.

    UnsupportedModel, naming the layer, if it needs too many bits.
    """
    assert layer.scale is not None
    added = layer.residual is not None and layer.residual.stored.signed and not layer.scale.factor
    zero = 1 << (activation_bits - 1) if added else 0
    return fitting_bias(layer.scale.bias.astype(object) - zero * layer.scale.residual_multiplier, layer.name)


def _bias_bits(layer: Layer, activation_bits: int) -> int:
    bias = hardware_bias(layer, activation_bits)
    return signed_bits(int(bias.min()), int(bias.max()))


def _levels(layers: tuple[Layer, ...]) -> int:
    """Exponents from 0 on; none if all layers with weights are adder layers, which take exponent 1 of others' lanes."""
    exponents = [_largest_exponent(layer, layer.weight) for layer in layers if layer.weight]
    if any(layer.kind is Kind.ADDER for layer in layers):
        return max(1, *exponents) + 1 if exponents else 0
    return max([0, *exponents]) + 1


def _largest_exponent(layer: Layer, weight: ShiftWeight) -> int:
    """Of the weights, as lanes take them: the whole pixels of a half-pixel shift count up to four times."""
    exponent = int(weight.exponent.max()) + 2 * (layer.source.per_pixel == 2)
    if exponent >= MAX_LEVELS:
        raise UnsupportedModel(f"{layer.name}: has weights of 2**{weight.exponent.max()} behind a half-pixel shift, "
                               f"must have 2**{MAX_LEVELS - 3} at most; use weights of a narrower range")
    return exponent


def _needs_zero(task: Task) -> bool:
    """Whether a lane that is not off has no weight."""
    weight = task.layer.weight
    if weight is None or task.layer.groups > 1 or bool((weight.sign == 0).any()):
        return True
    on = np.repeat(task.words.used, task.in_groups, axis=0)
    return bool((on & (task.picks < 0)).any())


@dataclasses.dataclass
class _Words:
    step: int = 0
    weight: int = 0
    scale: int = 0


def _place_words(tasks: list[Task], pe: int, shifts: tuple[int, ...]) -> tuple[list[Bases], _Words]:
    """Addresses of all tasks' words; equal step tables and equal diagonals are stored once."""
    words = _Words()
    tables: dict[bytes, int] = {}
    diagonals: dict[tuple[int, bytes], int] = {}
    bases = []
    for task in tasks:
        key = task.steps.tobytes()
        if key not in tables:
            tables[key] = words.step
            words.step += len(task.steps)
        weight, scale = words.weight, words.scale
        if task.opcode is Opcode.CONV:
            words.scale += task.out_groups
            groups = 1 if task.hold and shares_word(task, pe) else task.out_groups
            diagonal = (task.group_words, (task.outputs[:groups] >= 0).tobytes())
            if task.hold and diagonal in diagonals:
                weight = diagonals[diagonal]
            else:
                words.weight += groups * task.group_words
                if task.hold:
                    diagonals[diagonal] = weight
        select = shifts.index(task.layer.scale.shift) if task.layer.scale else 0
        bases.append(Bases(tables[key], weight if task.opcode is Opcode.CONV else 0,
                           scale if task.opcode is Opcode.CONV else 0, select))
    return bases, words
