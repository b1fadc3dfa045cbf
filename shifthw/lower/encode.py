"""Memory words of a program: steps, weights, start values, scales."""

import numpy as np

from ..arch import ArrayConfig
from ..isa import Opcode
from .adder import adder_words
from .arrange import arrange, exponents, per_output
from .derive import hardware_bias
from .instructions import Bases, shares_word
from .network import Kind
from .task import Task


def pack_words(fields: np.ndarray, widths: list[int] | int) -> np.ndarray:
    """Words of little-endian bit fields, first field lowest: uint8[words, bytes].

    fields  int64[words, n], taken modulo 2**width;  widths  one for all, or n of them
    """
    count = fields.shape[1]
    width = np.broadcast_to(np.asarray(widths, np.int64), count)
    field = np.repeat(np.arange(count), width)
    bit = np.arange(len(field)) - np.repeat(np.cumsum(width) - width, width)
    words = np.zeros((len(fields), -(-len(field) // 8)), np.uint8)
    for start in range(0, len(fields), 64):  # in pieces: a bit takes a whole number here
        piece = fields[start:start + 64]
        words[start:start + 64] = np.packbits((piece[:, field] >> bit & 1).astype(np.uint8), axis=1, bitorder="little")
    return words


def step_words(tasks: list[Task], bases: list[Bases], config: ArrayConfig) -> np.ndarray:
    """Step memory: uint8[words, bytes]."""
    used = max(base.step + len(task.steps) for task, base in zip(tasks, bases, strict=True))
    steps = np.zeros((used, config.simd, 6), np.int64)
    for task, base in zip(tasks, bases, strict=True):
        steps[base.step:base.step + len(task.steps)] = task.steps
    widths = [config.row_bits, config.pixel_bits, *[config.coordinate_bits] * 4] * config.simd
    return pack_words(steps.reshape(used, -1), widths)


def weight_and_start_words(tasks: list[Task], bases: list[Bases],
                           config: ArrayConfig) -> tuple[np.ndarray, np.ndarray]:
    """Weight and start memory: two uint8[words, bytes]."""
    weights: dict[int, np.ndarray] = {}
    starts = [np.zeros((0, config.pe), np.int64)]
    for task, base in zip(tasks, bases, strict=True):
        if task.opcode is Opcode.POOL:
            continue
        if task.layer.kind is Kind.ADDER:
            codes, start = adder_words(task, config)
        else:
            codes, start = shift_words(task, config)
        starts.append(start)
        width = [config.code_bits] * (config.pe * config.simd)
        weights[base.weight] = pack_words(codes.reshape(-1, config.pe * config.simd), width)
    words = [weights[base] for base in sorted(weights)]
    empty = np.zeros((0, -(-config.weight_word_bits // 8)), np.uint8)
    return np.concatenate([empty, *words]), pack_words(np.concatenate(starts), config.accumulator_bits)


def shift_words(task: Task, config: ArrayConfig) -> tuple[np.ndarray, np.ndarray]:
    """Codes and start values of a shift layer: int64[out_groups or 1, words, pe, simd], int64[out_groups, pe]."""
    sign, exponent = task_weights(task, config)
    start = _starts(task, sign, exponent, config)
    if task.hold and shares_word(task, config.pe):
        sign, exponent = sign[:1], exponent[:1]
    if not config.exponent_levels:      # a minimum with the largest operand changes nothing, with the smallest it is 0
        return sign * ((1 << config.activation_bits) - 1), start
    codes = np.where(sign == 0, config.exponent_levels if config.zero_weights else 0,
                     exponent | (sign < 0).astype(np.int64) << config.exponent_bits)
    return codes, start


def task_weights(task: Task, config: ArrayConfig) -> tuple[np.ndarray, np.ndarray]:
    """Signs and exponents of a task's words: two int64[out_groups, words, pe, simd]."""
    if task.hold:
        return _diagonal(task, config)
    weight = task.layer.weight
    assert weight is not None
    sign, exponent = arrange(weight.sign, task), arrange(weight.exponent, task)
    return sign, np.where(sign == 0, 0, exponent + exponents(task))


def _diagonal(task: Task, config: ArrayConfig) -> tuple[np.ndarray, np.ndarray]:
    """Unit weights from each channel to itself, then a word of zeros where there are reduce steps."""
    sign = np.zeros((task.out_groups, task.group_words, config.pe, config.simd), np.int64)
    og, output = np.nonzero(task.outputs >= 0)
    sign[og, 0, output, og % config.slots * config.pe + output] = 1
    return sign, np.zeros_like(sign)


def _starts(task: Task, sign: np.ndarray, exponent: np.ndarray, config: ArrayConfig) -> np.ndarray:
    """Minus all constants of the lanes and all zero points: int64[out_groups, pe]."""
    if config.exponent_levels and not config.zero_weights:
        sign = np.where(sign == 0, 1, sign)
    zero = 1 << (config.activation_bits - 1) if task.source.dtype.signed else 0
    ones = (1 << config.lane_bits) - 1
    constant = task.layer.sum_factor * ((sign << exponent) * zero + (sign < 0) * ones).sum(axis=-1)
    return -(constant[:, 0] * task.group_steps if task.hold else constant.sum(axis=1))


def scale_words(tasks: list[Task], config: ArrayConfig) -> np.ndarray:
    """Scale memory: uint8[words, bytes]."""
    pairs = [np.zeros((0, 2), np.int64)]
    for task in tasks:
        if task.opcode is Opcode.POOL:
            continue
        assert task.layer.scale is not None
        bias = hardware_bias(task.layer, config.activation_bits)
        pairs.append(np.stack([per_output(values, task).ravel() for values in (task.layer.scale.multiplier, bias)],
                              axis=1))
    fields = np.concatenate(pairs).reshape(-1, 2 * config.pe)
    return pack_words(fields, [config.multiplier_bits, config.bias_bits] * config.pe)


def table_words(tables: list[np.ndarray], config: ArrayConfig) -> np.ndarray:
    """Table memory: uint8[words, bytes]; a word has the entries of one code of each quarter of the codes.

    tables  codes, int64[2**activation_bits] each
    """
    quarters = [table.reshape(4, -1).T for table in tables]
    fields = np.concatenate([np.zeros((0, 4), np.int64), *quarters])
    return pack_words(fields, config.activation_bits)
