"""Taps: where a layer's windows meet the stored maps, channel by channel."""

from dataclasses import dataclass

import numpy as np

from ..tensor_layout import TensorLayout
from .network import Kind, Layer
from .view import View

ROW, ROTATION, X_LO, X_HI, Y_LO, Y_HI = range(6)
"""Columns of step words."""

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Parts:
    """What is read of a view's channels: one part of each, or the neighbours of half-pixel displacements.

    channel       int64[parts]: channel of the view
    displacement  int64[parts, 2]: whole pixels
    exponent      int64[parts]: what the part counts, as a power of two
    """

    channel: np.ndarray
    displacement: np.ndarray
    exponent: np.ndarray


def parts_of(view: View, in_line: bool) -> Parts:
    """The parts of a view in the order of its channels; `in_line`: its map is taken as one line."""
    channel = np.arange(view.channels)
    if view.lines and not in_line:
        return _two_lines(view)
    if view.per_pixel == 1:
        return Parts(channel, view.displacement, np.zeros_like(channel))
    found = [(c, (y, x), ey + ex) for c, (dy, dx) in enumerate(view.displacement.tolist())
             for y, ey in _neighbours(dy) for x, ex in _neighbours(dx)]
    return Parts(np.array([c for c, _, _ in found]), np.array([d for _, d, _ in found]),
                 np.array([e for _, _, e in found]))


def _neighbours(half_pixels: int) -> list[tuple[int, int]]:
    """Pixels, and exponents that make their sum twice the mean."""
    if half_pixels % 2 == 0:
        return [(half_pixels // 2, 1)]
    return [(half_pixels // 2, 0), (half_pixels // 2 + 1, 0)]


def _two_lines(view: View) -> Parts:
    """Address shifts as displacements: within the line, and into the next one for its last pixels."""
    lines, rest = np.divmod(view.displacement[:, 1], view.map[1])
    channel = np.arange(view.channels)
    wraps = np.flatnonzero(rest)
    displacement = np.concatenate([np.stack([lines, rest], axis=1),
                                   np.stack([lines + 1, rest - view.map[1]], axis=1)[wraps]])
    channel = np.concatenate([channel, wraps])
    order = np.argsort(channel, kind="stable")
    return Parts(channel[order], displacement[order], np.zeros_like(channel))


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of taps: at position i of the loop, tap k reads pixel i*stride + offset[k] where lo[k] <= i < hi[k].

    int64[taps, parts] each; lo = hi = 0 where a tap meets nothing
    """

    offset: np.ndarray
    lo: np.ndarray
    hi: np.ndarray


def axis_of(layer: Layer, axis: int, size: int, length: int, phase: int, displacement: np.ndarray) -> Axis:
    """An axis (0: y, 1: x) of a loop over `length` positions, on maps of `size` pixels."""
    if layer.kind is Kind.BILINEAR:
        return _bilinear_axis(size, length, phase, len(displacement))
    view, stride = layer.source, layer.stride[axis]
    window = np.arange(layer.kernel[axis])[:, None] * layer.dilation[axis] - layer.padding[axis]
    factor = view.factor[axis]
    if factor > 1:
        offset, rest = np.divmod(window + phase, factor)
        met = (rest == 0) if view.zeros else np.ones_like(rest, bool)
        lo, hi = _interval(offset, 1, size, length)
        return _broadcast(offset, lo, np.where(met, hi, lo), len(displacement))
    apart, window, stride = view.stride[axis], window + phase * stride, stride * layer.phases[axis]
    offset = window * apart + displacement
    lo, hi = _interval(offset, stride * apart, size, length)
    seen = _interval(window, stride, (size - 1) // apart + 1, length)
    return Axis(offset, *_closed(np.maximum(lo, seen[0]), np.minimum(hi, seen[1])))


def _interval(offset: np.ndarray, stride: int, size: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions i of 0..length-1 with 0 <= i*stride + offset < size."""
    return np.maximum(0, -(offset // stride)), np.minimum(length, -((offset - size) // stride))


def _closed(lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(lo < hi, lo, 0), np.where(lo < hi, hi, 0)


def _broadcast(offset: np.ndarray, lo: np.ndarray, hi: np.ndarray, parts: int) -> Axis:
    shape = (len(offset), parts)
    lo, hi = _closed(lo, hi)
    return Axis(np.broadcast_to(offset, shape), np.broadcast_to(lo, shape), np.broadcast_to(hi, shape))


def _bilinear_axis(size: int, length: int, phase: int, parts: int) -> Axis:
    """The pixel, its neighbour on the phase's side, and the pixel again where the border has no neighbour."""
    beyond = 0 if phase == 0 else size - 1
    offset = np.array([[0], [2 * phase - 1], [0]])
    lo, hi = _interval(offset, 1, size, length)
    lo[2], hi[2] = beyond, beyond + 1
    return _broadcast(offset, lo, hi, parts)


def tap_steps(layer: Layer, parts: Parts, phase: Size, loop: Size, in_line: bool,
              layouts: list[TensorLayout], places: np.ndarray) -> np.ndarray:
    """What a channel lane needs for each tap of each part: int64[kernel positions, parts, 6], all 0 where it is off.

    layouts  of the view's tensors;  places  position of each of the view's channels in its tensor
    """
    view = layer.source
    height, width = (1, view.map[0] * view.map[1]) if in_line else view.map
    y = axis_of(layer, 0, height, loop[0], phase[0], parts.displacement[:, 0])
    x = axis_of(layer, 1, width, loop[1], phase[1], parts.displacement[:, 1])
    taps = len(y.offset), len(x.offset), len(parts.channel)
    steps = np.zeros((*taps, 6), np.int64)
    for index, layout in enumerate(layouts):
        mine = view.tensor[parts.channel] == index
        row, rotation = _cells(layout, y.offset[:, None, mine], x.offset[None, :, mine])
        group = places[parts.channel[mine]] // layout.simd
        steps[:, :, mine, ROW] = layout.row + group * layout.group_rows + row
        steps[:, :, mine, ROTATION] = rotation
    for column, ends in ((Y_LO, y.lo[:, None]), (Y_HI, y.hi[:, None]), (X_LO, x.lo[None]), (X_HI, x.hi[None])):
        steps[..., column] = ends
    steps[(steps[..., X_LO] >= steps[..., X_HI]) | (steps[..., Y_LO] >= steps[..., Y_HI])] = 0
    return steps.reshape(-1, taps[2], 6)


def _cells(layout: TensorLayout, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row offset and rotation of pixel offsets (y, x)."""
    (sy, sx), pixels = layout.stride, layout.pixels
    offset = (y // sy) * layout.pitch + x // sx
    plane = (y % sy) * sx + x % sx
    return plane * layout.plane_rows + offset // pixels, offset % pixels
