"""Memory words of a program: steps, weights, start values, scales."""

import numpy as np

from ..arch import ArrayConfig
from ..isa import Opcode
from .derive import hardware_bias
from .fuse import Network
from .instructions import Bases, shares_word
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
        sign, exponent = task_weights(task, config)
        starts.append(_starts(task, sign, exponent, config))
        if task.hold and shares_word(task, config.pe):
            sign, exponent = sign[:1], exponent[:1]
        codes = np.where(sign == 0, config.exponent_levels if config.zero_weights else 0,
                         exponent | (sign < 0).astype(np.int64) << config.exponent_bits)
        width = [config.code_bits] * (config.pe * config.simd)
        weights[base.weight] = pack_words(codes.reshape(-1, config.pe * config.simd), width)
    words = [weights[base] for base in sorted(weights)]
    empty = np.zeros((0, -(-config.weight_word_bits // 8)), np.uint8)
    return np.concatenate([empty, *words]), pack_words(np.concatenate(starts), config.accumulator_bits)


def task_weights(task: Task, config: ArrayConfig) -> tuple[np.ndarray, np.ndarray]:
    """Signs and exponents of a task's words: two int64[out_groups, words, pe, simd]."""
    if task.hold:
        return _diagonal(task, config)
    weight, simd = task.layer.weight, config.simd
    assert weight is not None
    low = task.run.first * simd
    high = min(low + task.out_groups * config.pe, task.out.shape[0])
    made = []
    for values in (weight.sign, weight.exponent):
        dense = _dense(values[:, low:high], task, low)
        spare = task.out_groups * config.pe - (high - low)
        dense = np.pad(dense, ((0, 0), (0, spare), (0, 0), (0, 0), (0, 0)))
        order = _packed_words(dense, task, simd) if task.packed else _plain_words(dense, task, simd)
        made.append(order.reshape(task.out_groups, config.pe, -1, simd).transpose(0, 2, 1, 3).astype(np.int64))
    return made[0], made[1]


def _dense(values: np.ndarray, task: Task, low: int) -> np.ndarray:
    """Weights with a place for every input channel of the run: [terms, outputs, channel lanes, kh, kw]."""
    simd, run = task.source.simd, task.run
    per_in = task.source.shape[0] // task.layer.groups
    per_out = task.out.shape[0] // task.layer.groups
    groups = 1 if run.advance else run.in_count
    dense = np.zeros((*values.shape[:2], groups * simd, *values.shape[3:]), values.dtype)
    output = np.arange(low, low + values.shape[1])
    first = output // per_out * per_in
    origin = output // simd * simd if run.advance else run.in_first * simd
    if run.advance:
        origin = origin + (run.in_first - run.first) * simd
    lanes = (first - origin)[:, None] + np.arange(per_in)
    dense[:, np.arange(values.shape[1])[:, None], lanes] = values
    return dense


def _plain_words(dense: np.ndarray, task: Task, simd: int) -> np.ndarray:
    """[outputs, tap, group, term, lane]."""
    terms, outputs = dense.shape[:2]
    ky, kx = task.taps[:, 0, 0], task.taps[:, 0, 1]
    chosen = dense[..., ky, kx].reshape(terms, outputs, -1, simd, len(ky))
    return chosen.transpose(1, 4, 2, 0, 3)


def _packed_words(dense: np.ndarray, task: Task, simd: int) -> np.ndarray:
    """[outputs, step, term, lane]: lane = tap in the step * channels + channel."""
    channels = task.source.shape[0]
    ky, kx = task.taps[..., 0], task.taps[..., 1]
    chosen = np.where(ky >= 0, dense[:, :, :channels][..., ky, kx], 0)  # terms, outputs, channel, step, tap
    lanes = chosen.transpose(1, 3, 0, 4, 2)
    lanes = lanes.reshape(*lanes.shape[:3], -1)
    return np.pad(lanes, ((0, 0), (0, 0), (0, 0), (0, simd - lanes.shape[-1])))


def _diagonal(task: Task, config: ArrayConfig) -> tuple[np.ndarray, np.ndarray]:
    """Unit weights from each channel to itself, then a word of zeros where there are reduce steps."""
    sign = np.zeros((task.out_groups, task.group_words, config.pe, config.simd), np.int64)
    for og in range(task.out_groups):
        outputs = np.arange(min(config.pe, task.out.shape[0] - og * config.pe))
        sign[og, 0, outputs, og % config.slots * config.pe + outputs] = 1
    return sign, np.zeros_like(sign)


def _starts(task: Task, sign: np.ndarray, exponent: np.ndarray, config: ArrayConfig) -> np.ndarray:
    """Minus all constants of the lanes and all zero points: int64[out_groups, pe]."""
    if not config.zero_weights:
        sign = np.where(sign == 0, 1, sign)
    zero = 1 << (config.activation_bits - 1) if task.source.dtype.signed else 0
    ones = (1 << (config.activation_bits + config.exponent_levels - 1)) - 1
    constant = ((sign << exponent) * zero + (sign < 0) * ones).sum(axis=-1)
    return -(constant[:, 0] * task.group_steps if task.hold else constant.sum(axis=1))


def scale_words(tasks: list[Task], network: Network, config: ArrayConfig) -> np.ndarray:
    """Scale memory: uint8[words, bytes]."""
    pairs = [np.zeros((0, 2), np.int64)]
    for task in tasks:
        if task.opcode is Opcode.POOL:
            continue
        assert task.layer.scale is not None
        low = task.run.first * config.simd
        bias = hardware_bias(task.layer, network, config.activation_bits)
        pair = np.stack([task.layer.scale.multiplier, bias], axis=1)[low:low + task.out_groups * config.pe]
        pairs.append(np.pad(pair, ((0, task.out_groups * config.pe - len(pair)), (0, 0))))
    fields = np.concatenate(pairs).reshape(-1, 2 * config.pe)
    return pack_words(fields, [config.multiplier_bits, config.bias_bits] * config.pe)
