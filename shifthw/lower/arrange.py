"""Weights in the order in which the steps and lanes of a task take them."""

import numpy as np

from .task import Task


def arrange(values: np.ndarray, task: Task) -> np.ndarray:
    """A value per weight, [terms, out, in/groups, kh, kw], as int64[out_groups, words, pe, simd].

    A word is a step of an output group: tap, input channel group, term. Lanes without a weight have 0.
    """
    layer, outputs = task.layer, task.outputs
    terms, positions = len(values), values.shape[3] * values.shape[4]
    per_in, per_out = layer.source.channels // layer.groups, layer.outputs // layer.groups
    channel, position = np.divmod(task.per_output_group(task.picks), positions)             # out_groups, steps, lanes
    output = outputs[:, None, :, None]
    column = channel[:, :, None, :] - output // per_out * per_in        # out_groups, steps, pe, lanes
    there = (channel[:, :, None, :] >= 0) & (output >= 0) & (column >= 0) & (column < per_in)
    flat = values.reshape(terms, len(values[0]), per_in * positions)
    index = np.where(there, column, 0) * positions + np.where(there, position[:, :, None, :], 0)
    chosen = np.where(there, flat[:, np.where(there, output, 0), index], 0)
    words = chosen.transpose(1, 2, 0, 3, 4)
    return words.reshape(len(outputs), -1, *words.shape[3:]).astype(np.int64)


def exponents(task: Task) -> np.ndarray:
    """What the weights of `arrange` are to be multiplied with, as powers of two: int64[out_groups, words, 1, lanes]."""
    return np.repeat(task.per_output_group(task.exponents), task.layer.terms, axis=1)[:, :, None]


def per_output(values: np.ndarray, task: Task) -> np.ndarray:
    """A value per output channel of the layer as int64[out_groups, pe] of the task; 0 where there is no channel."""
    return np.where(task.outputs >= 0, values[task.outputs], 0)
