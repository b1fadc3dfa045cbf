"""Weights in the order in which the steps and lanes of a task take them."""

import numpy as np

from ..arch import ArrayConfig
from .task import Task


def arrange(values: np.ndarray, task: Task, config: ArrayConfig) -> np.ndarray:
    """A value per weight, [terms, out, in/groups, kh, kw], as int64[out_groups, words, pe, simd].

    A word is a step of an output group: tap, input channel group, term. Lanes without a weight have 0.
    """
    low = task.run.first * config.simd
    high = min(low + task.out_groups * config.pe, task.out.shape[0])
    dense = _dense(values[:, low:high], task, low)
    spare = task.out_groups * config.pe - (high - low)
    dense = np.pad(dense, ((0, 0), (0, spare), (0, 0), (0, 0), (0, 0)))
    order = _packed_words(dense, task, config.simd) if task.packed else _plain_words(dense, task, config.simd)
    return order.reshape(task.out_groups, config.pe, -1, config.simd).transpose(0, 2, 1, 3).astype(np.int64)


def per_output(values: np.ndarray, task: Task, config: ArrayConfig) -> np.ndarray:
    """A value per output channel of the layer as int64[out_groups, pe] of the task; 0 where there is no channel."""
    low = task.run.first * config.simd
    chosen = values[low:low + task.out_groups * config.pe]
    return np.pad(chosen, (0, task.out_groups * config.pe - len(chosen))).reshape(-1, config.pe)


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
