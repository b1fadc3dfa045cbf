"""Tasks: the CONV and POOL instructions of a layer, with their steps, before anything is encoded."""

from dataclasses import dataclass

import numpy as np

from ..isa import Opcode
from ..tensor_layout import TensorLayout, ceil_div
from .fuse import Kind, Layer, Network
from .layout import covers_map, iteration_tiles

ROW, ROTATION, X_LO, X_HI, Y_LO, Y_HI = range(6)
"""Columns of Task.steps."""


@dataclass(frozen=True)
class Run:
    """Consecutive output channel groups that read the same input channel groups, or (advance) each its own."""

    first: int
    count: int
    in_first: int
    in_count: int
    advance: bool = False


@dataclass(frozen=True, eq=False)
class Task:
    """One CONV or POOL instruction.

    steps  int64[words, simd, 6]: per step word and channel lane ROW (signed), ROTATION and the window
    taps   int64[words, packed, 2]: kernel position (ky, kx) of each tap in a step word; -1: none
    """

    layer: Layer
    run: Run
    opcode: Opcode
    steps: np.ndarray
    taps: np.ndarray
    pitch: int
    """Pixels from one output line to the next in the order of iteration."""
    tiles: int
    out_groups: int
    reduce_steps: int
    idle: int
    in_groups: int
    """Turns of the loop over input channel groups; 1 where the step words go through them."""
    source: TensorLayout
    out: TensorLayout
    residual: TensorLayout | None

    @property
    def adder(self) -> bool:
        """Whether it is an adder layer's."""
        return self.layer.kind is Kind.ADDER

    @property
    def packed(self) -> bool:
        """Whether a step word serves several taps."""
        return self.source.copies > 1

    @property
    def group_steps(self) -> int:
        """Steps of a tile without reduce steps."""
        return len(self.steps) * self.in_groups * self.layer.terms

    @property
    def last_step(self) -> int:
        """Cycle of a tile's last step, from its first."""
        return self.group_steps + self.reduce_steps - 1

    @property
    def duration(self) -> int:
        """Cycles of a tile."""
        return self.last_step + 1 + (self.residual is not None) + self.idle

    @property
    def cycles(self) -> int:
        """Cycles of the instruction, those before its first step not counted."""
        return self.out_groups * self.tiles * self.duration

    @property
    def hold(self) -> bool:
        """Whether all steps of an output group use one weight word."""
        return self.layer.diagonal

    @property
    def group_words(self) -> int:
        """Weight words of an output group."""
        if self.opcode is Opcode.POOL:
            return 0
        return 1 + (self.reduce_steps > 0) if self.hold else self.group_steps

    def slots(self, pe: int) -> int:
        """Output groups per channel group."""
        return 1 if self.opcode is Opcode.POOL else self.source.simd // pe

    def positions(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Output positions y, x of the pixel lanes in the given tiles: two int64[tiles, pixels]."""
        n = tiles[:, None] * self.source.pixels + np.arange(self.source.pixels)
        return n // self.pitch, n % self.pitch


def tasks(network: Network, layouts: dict[str, TensorLayout], pe: int, residual_period: int) -> list[Task]:
    """All CONV and POOL instructions in order."""
    return [task for layer in network.layers for task in _layer_tasks(layer, network, layouts, pe, residual_period)]


def _layer_tasks(layer: Layer, network: Network, layouts: dict[str, TensorLayout], pe: int,
                 residual_period: int) -> list[Task]:
    source, out = layouts[layer.source], layouts[layer.output]
    residual = layouts[layer.residual] if layer.residual else None
    pixels, simd = source.pixels, source.simd
    pool = layer.kind is Kind.MAX_POOL
    slots = 1 if pool else simd // pe
    lane_sum = _sums_lanes(layer, network, source)
    taps, lanes = _lane_sum_taps(source) if lane_sum else _window_taps(layer, source, out)
    made = []
    for run in _runs(layer, source, out):
        steps, packed = _pack(taps, lanes, source) if source.copies > 1 else _broadcast(taps, lanes, source, run)
        in_groups = run.in_count
        if layer.kind is Kind.ADDER and in_groups > 1 and source.shape[0] < (run.in_first + in_groups) * simd:
            steps, in_groups = _unrolled(steps, source, run), 1
        channels = out.shape[0] - run.first * simd
        reduce_steps = pixels - 1 if lane_sum else 0
        busy = len(steps) * in_groups * layer.terms + reduce_steps + (residual is not None)
        duration = max(busy, out.planes, residual_period if residual else 0)
        made.append(Task(layer, run, Opcode.POOL if pool else Opcode.CONV, steps, packed,
                         pixels if lane_sum else source.pitch,
                         1 if lane_sum else iteration_tiles(layer, network, source.pitch, pixels),
                         min(run.count * slots, ceil_div(channels, simd if pool else pe)),
                         reduce_steps, duration - busy, in_groups, source, out, residual))
    return made


def _sums_lanes(layer: Layer, network: Network, source: TensorLayout) -> bool:
    """Whether a global sum goes through the sum of the pixel lanes: all lanes add rows of the map, then each other."""
    _, height, width = source.shape
    steps = ceil_div(height * width, source.pixels) + source.pixels - 1
    return (covers_map(layer, network) and source.pitch == width and source.stride == (1, 1)
            and steps < height * width)


def _lane_sum_taps(source: TensorLayout) -> tuple[np.ndarray, np.ndarray]:
    size = source.shape[1] * source.shape[2]
    rows = np.arange(ceil_div(size, source.pixels))
    lanes = np.zeros((len(rows), 6), np.int64)
    lanes[:, ROW] = rows
    lanes[:, X_HI] = np.minimum(source.pixels, size - rows * source.pixels)
    lanes[:, Y_HI] = 1
    return np.stack([np.zeros_like(rows), rows], axis=1), lanes


def _window_taps(layer: Layer, source: TensorLayout, out: TensorLayout) -> tuple[np.ndarray, np.ndarray]:
    """Kernel positions that meet the map and what a channel lane needs for each: int64[taps, 2], int64[taps, 6]."""
    (sy, sx), (_, height, width) = source.stride, source.shape
    ky, kx = (axis.ravel() for axis in np.mgrid[: layer.kernel[0], : layer.kernel[1]])
    oy = ky * layer.dilation[0] - layer.padding[0]
    ox = kx * layer.dilation[1] - layer.padding[1]
    offset = (oy // sy) * source.pitch + ox // sx
    plane = (oy % sy) * sx + ox % sx
    lanes = np.stack([plane * source.plane_rows + offset // source.pixels, offset % source.pixels,
                      np.maximum(0, -(ox // sx)), np.minimum(out.shape[2], -((ox - width) // sx)),
                      np.maximum(0, -(oy // sy)), np.minimum(out.shape[1], -((oy - height) // sy))], axis=1)
    meets = (lanes[:, X_LO] < lanes[:, X_HI]) & (lanes[:, Y_LO] < lanes[:, Y_HI])
    if not meets.any():
        meets[0] = True
        lanes[0] = 0
    return np.stack([ky, kx], axis=1)[meets], lanes[meets]


def _broadcast(taps: np.ndarray, lanes: np.ndarray, source: TensorLayout,
               run: Run) -> tuple[np.ndarray, np.ndarray]:
    """One tap per step word, the same in all channel lanes; lanes without a channel are off if that is possible."""
    steps = np.repeat(lanes[:, None], source.simd, axis=1)
    channels = source.shape[0] - run.in_first * source.simd
    if run.in_count == 1 and channels < source.simd:
        steps[:, channels:] = 0
    return steps, taps[:, None]


def _unrolled(steps: np.ndarray, source: TensorLayout, run: Run) -> np.ndarray:
    """A step word for each tap and channel group, in which lanes without a channel are off."""
    group = np.arange(run.in_count)
    unrolled = np.repeat(steps[:, None], run.in_count, axis=1)
    unrolled[..., ROW] += (group * source.group_rows)[:, None]
    channel = ((run.in_first + group) * source.simd)[:, None] + np.arange(source.simd)
    unrolled[:, channel >= source.shape[0]] = 0
    return unrolled.reshape(-1, *steps.shape[1:])


def _pack(taps: np.ndarray, lanes: np.ndarray, source: TensorLayout) -> tuple[np.ndarray, np.ndarray]:
    """As many taps per step word as there are copies of the channels."""
    words = ceil_div(len(taps), source.copies)
    free = words * source.copies - len(taps)
    lanes = np.pad(lanes, ((0, free), (0, 0))).reshape(words, source.copies, 6)
    steps = np.repeat(lanes, source.shape[0], axis=1)
    steps = np.pad(steps, ((0, 0), (0, source.simd - steps.shape[1]), (0, 0)))
    return steps, np.pad(taps, ((0, free), (0, 0)), constant_values=-1).reshape(words, source.copies, 2)


def _runs(layer: Layer, source: TensorLayout, out: TensorLayout) -> list[Run]:
    """Output channel groups by the input channel groups that they need."""
    if layer.diagonal or layer.kind is Kind.MAX_POOL:
        return [Run(0, out.groups, 0, 1, advance=True)]
    simd = source.simd
    per_in, per_out = source.shape[0] // layer.groups, out.shape[0] // layer.groups
    runs: list[Run] = []
    for group in range(out.groups):
        last = min((group + 1) * simd, out.shape[0]) - 1
        lo = group * simd // per_out * per_in // simd
        hi = ((last // per_out + 1) * per_in - 1) // simd
        run = Run(group, 1, lo, hi - lo + 1)
        if runs and (joined := _join(runs[-1], run)):
            runs[-1] = joined
        else:
            runs.append(run)
    return runs


def _join(run: Run, group: Run) -> Run | None:
    """`run` with one more output channel group, if one instruction can do both."""
    if group.in_count != run.in_count:
        return None
    if not run.advance and group.in_first == run.in_first:
        return Run(run.first, run.count + 1, run.in_first, run.in_count)
    if run.in_count == 1 and (run.advance or run.count == 1) and group.in_first == run.in_first + run.count:
        return Run(run.first, run.count + 1, run.in_first, 1, advance=True)
    return None
