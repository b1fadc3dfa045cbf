"""Tasks: the CONV and POOL instructions of a layer, with their steps, before anything is encoded."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..isa import Opcode
from ..tensor_layout import TensorLayout, ceil_div
from .layout import Size, covers_map, tiles_over, write_beats
from .network import Kind, Layer, Network
from .taps import ROW, X_HI, Y_HI, parts_of, tap_steps
from .view import View
from .words import Words, fill_lanes, make_words


@dataclass(frozen=True, eq=False)
class Task:
    """One CONV or POOL instruction: consecutive output channel groups of a layer that take the same steps, or
    (advance) each its own, `in_group_stride` rows further.

    in_row  feature memory row that the rows of `words` count from
    picks, exponents   as Words has them, of every output channel group: int64[groups, steps, lanes]; of one where
                       all are the same
    """

    layer: Layer
    opcode: Opcode
    first: int
    """First output channel group."""
    count: int
    advance: bool
    in_row: int
    in_group_stride: int
    words: Words
    picks: np.ndarray
    exponents: np.ndarray
    pitch: int
    """Pixels from one output line to the next in the order of iteration."""
    size: Size
    """Lines and columns of the loop's map that are written."""
    tiles: int
    out_groups: int
    lanes: int
    """Output lanes: pe, or simd of a POOL."""
    reduce_steps: int
    idle: int
    phase: Size
    source: TensorLayout
    """Of the first tensor that is read; all have its stride and pitch."""
    out: TensorLayout
    residual: TensorLayout | None
    residual_row: int
    residual_stride: int
    """Rows from one channel group's residual to the next one's."""

    @property
    def steps(self) -> np.ndarray:
        """int64[words, simd, 6]: per step word and channel lane ROW (signed), ROTATION and the window."""
        return self.words.steps

    @property
    def in_groups(self) -> int:
        """Turns of the loop over input channel groups; 1 where the step words go through them."""
        return self.words.in_groups

    @property
    def adder(self) -> bool:
        """Whether it is an adder layer's."""
        return self.layer.kind is Kind.ADDER

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

    def waiting(self, residual_period: int) -> "Task":
        """The task with the idle cycles that give its tiles, if they have a residual, so many cycles."""
        idle = max(0, residual_period - self.duration) if self.residual else 0
        return dataclasses.replace(self, idle=self.idle + idle) if idle else self

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

    @property
    def beats(self) -> int:
        """Write beats of a tile."""
        return write_beats(self.out.stride, self.out.pixels, self.layer.spread)

    @cached_property
    def outputs(self) -> np.ndarray:
        """Output channel of every output group and lane, -1 for none: int64[out_groups, pe] (POOL: [groups, simd])."""
        simd = self.out.simd
        return self.out.order[self.first * simd:].reshape(-1, self.lanes)[:self.out_groups]

    @property
    def group_of(self) -> np.ndarray:
        """Channel group, counted from the first, of every output group."""
        return np.arange(self.out_groups) // (self.source.simd // self.lanes)

    def per_output_group(self, values: np.ndarray) -> np.ndarray:
        """Picks or exponents of every output group: int64[out_groups, steps, lanes]."""
        if len(values) > 1:
            return values[self.group_of]
        return np.broadcast_to(values, (self.out_groups, *values.shape[1:]))

    def slots(self, pe: int) -> int:
        """Output groups per channel group."""
        return 1 if self.opcode is Opcode.POOL else self.source.simd // pe

    def positions(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions y, x of the pixel lanes in the loop's map in the given tiles: two int64[tiles, pixels]."""
        n = tiles[:, None] * self.source.pixels + np.arange(self.source.pixels)
        return n // self.pitch, n % self.pitch


def tasks(network: Network, layouts: dict[str, TensorLayout], pe: int) -> list[Task]:
    """All CONV and POOL instructions in order, without idle cycles for residuals."""
    return [task for layer in network.layers for task in LayerTasks(layer, network, layouts, pe).run()]


@dataclass
class _Run:
    """Consecutive channel groups that one instruction can do; rows of `words` count from row 0."""

    first: int
    words: Words
    in_row: int
    groups: list[Words]
    """Each channel group's own."""
    residual_row: int
    delta: int = 0
    """Rows from one channel group's operands to the next one's."""
    residual_delta: int = 0

    def taken(self, other: "_Run", *, idle_off: bool) -> bool:
        """Whether `other`, the group behind, joins this run, which then has it; idle_off: see make_words."""
        count = len(self.groups)
        delta = self.delta if count > 1 else self.words.distance(other.words)
        residual_delta = self.residual_delta if count > 1 else other.residual_row - self.residual_row
        fits = (delta >= 0 and residual_delta >= 0 and (delta == 0 or self.words.in_groups == 1)
                and other.residual_row == self.residual_row + count * residual_delta
                and self.words.matches(other.words, count * delta)
                and not (idle_off and (self.words.used != other.words.used).any()))
        if fits:
            self.words = self.words.joined(other.words, count * delta)
            self.groups += other.groups
            self.delta, self.residual_delta = delta, residual_delta
        return fits


class LayerTasks:
    """The tasks of one layer."""

    def __init__(self, layer: Layer, network: Network, layouts: dict[str, TensorLayout], pe: int) -> None:
        self.layer, self.network, self.pe = layer, network, pe
        self.sources = [layouts[name] for name in layer.source.names]
        self.out = layouts[layer.output]
        self.residuals = [layouts[name] for name in layer.residual.names] if layer.residual else []
        self.source = self.sources[0]
        self.pixels, self.simd = self.source.pixels, self.source.simd
        self.places = _places(layer.source, self.sources)
        self.in_line = self._goes_in_line()
        self.lane_sum = self._sums_lanes()
        self.parts = parts_of(layer.source, self.in_line)

    def run(self) -> list[Task]:
        """All of them, phase by phase, channel group by channel group."""
        fy, fx = self.layer.spread
        _, height, width = self.out.shape
        phases = [(y, x) for y in range(min(fy, height)) for x in range(min(fx, width))]
        return [task for phase in phases for task in self._phase(phase)]

    def _phase(self, phase: Size) -> list[Task]:
        (fy, fx), (_, height, width) = self.layer.spread, self.out.shape
        size = ceil_div(height - phase[0], fy), ceil_div(width - phase[1], fx)
        if self.in_line:
            size = (1, height * width)
        taps = self._lane_sum_taps() if self.lane_sum else \
            tap_steps(self.layer, self.parts, phase, size, self.in_line, self.sources, self.places)
        runs: list[_Run] = []
        made: dict[tuple[int, ...], tuple[Words, int]] = {}
        for group in range(self.out.groups):
            channels = self._read(group)
            if channels not in made:
                made[channels] = self._words(np.array(channels), taps)
            words, in_row = made[channels]
            run = _Run(group, words, in_row, [words], self._residual_row(group, phase))
            if not (runs and runs[-1].taken(run, idle_off=self.layer.kind is Kind.ADDER)):
                runs.append(run)
        return [self._task(run, phase, size) for run in runs]

    # -- which channels ------------------------------------------------------------------------
    def _read(self, group: int) -> tuple[int, ...]:
        """Channels of the view that an output channel group needs."""
        layer, simd = self.layer, self.simd
        outputs = self.out.order[group * simd:(group + 1) * simd]
        outputs = outputs[outputs >= 0]
        if layer.keeps_lanes:
            return tuple(outputs.tolist())
        if layer.copy and layer.weight:
            return tuple(np.flatnonzero(layer.weight.integer[outputs].any(axis=(0, 2, 3))).tolist())
        per_in, per_out = layer.source.channels // layer.groups, layer.outputs // layer.groups
        return tuple((np.unique(outputs // per_out)[:, None] * per_in + np.arange(per_in)).ravel().tolist())

    def _words(self, channels: np.ndarray, taps: np.ndarray) -> tuple[Words, int]:
        """Their step words, and the row of the first channel group read."""
        if self.source.copies > 1:
            return self._packed(taps), self.source.row
        mine = np.flatnonzero(np.isin(self.parts.channel, channels))
        places, tensor = self.places[self.parts.channel[mine]], self.layer.source.tensor[self.parts.channel[mine]]
        order = np.lexsort((mine, places // self.simd, tensor))
        filled = fill_lanes(mine[order], places[order] % self.simd, self.simd)
        kind = self.layer.kind
        words = make_words(filled, taps, self.parts.channel, self.parts.exponent,
                           masked_count=self.layer.diagonal or kind in (Kind.ADDER, Kind.MAX_POOL),
                           idle_off=kind is Kind.ADDER)
        first = self.sources[tensor[order[0]]]
        return words, first.row + int(places[order[0]]) // self.simd * first.group_rows

    def _packed(self, taps: np.ndarray) -> Words:
        """As many taps per step word as there are copies of the channels."""
        met = np.flatnonzero((taps[..., X_HI] > 0).any(axis=1))
        met = met if len(met) else np.zeros(1, np.int64)
        copies, channels = self.source.copies, self.source.shape[0]
        words = ceil_div(len(met), copies)
        tap = np.pad(met, (0, words * copies - len(met)), constant_values=-1).reshape(words, copies)
        tap = np.pad(np.repeat(tap, channels, axis=1), ((0, 0), (0, self.simd - copies * channels)), constant_values=-1)
        channel = np.arange(self.simd) % channels
        steps = np.where((tap >= 0)[..., None], taps[tap, channel], 0)
        picks = np.where(tap >= 0, channel * len(taps) + tap, -1)
        return Words(steps, tap >= 0, picks, np.zeros_like(picks))

    def _residual_row(self, group: int, phase: Size) -> int:
        """Row of an output channel group's residual."""
        view = self.layer.residual
        if not view:
            return 0
        channel = next(int(c) for c in self.out.order[group * self.simd:(group + 1) * self.simd] if c >= 0)
        layout = self.residuals[view.tensor[channel]]
        place = int(layout.places[view.channel[channel]])
        plane = 0 if self.layer.broadcast else phase[0] * self.layer.spread[1] + phase[1]
        return layout.row + place // self.simd * layout.group_rows + plane * layout.plane_rows

    # -- special loops -------------------------------------------------------------------------
    def _goes_in_line(self) -> bool:
        """Whether an address shift can be taken as a step along one line: no tensor has gaps between its lines."""
        layer, view = self.layer, self.layer.source
        plain = layer.kernel == layer.stride == (1, 1) and layer.padding == (0, 0)
        together = self.sources + [self.out] + self.residuals * (not layer.broadcast)
        return view.lines and plain and all(t.pitch == view.map[1] and t.stride == (1, 1) for t in together)

    def _sums_lanes(self) -> bool:
        """Whether a global sum goes through the sum of the pixel lanes: all lanes add rows of the map, then each
        other."""
        height, width = self.layer.source.map
        steps = ceil_div(height * width, self.pixels) + self.pixels - 1
        return (covers_map(self.layer, self.network) and self.layer.source.still and steps < height * width
                and all(source.pitch == width and source.stride == (1, 1) for source in self.sources))

    def _lane_sum_taps(self) -> np.ndarray:
        """As tap_steps: the rows of the map."""
        size = self.layer.source.map[0] * self.layer.source.map[1]
        rows = np.arange(ceil_div(size, self.pixels))[:, None]
        steps = np.zeros((len(rows), len(self.places), 6), np.int64)
        for index, layout in enumerate(self.sources):
            mine = self.layer.source.tensor == index
            steps[:, mine, ROW] = layout.row + self.places[mine] // self.simd * layout.group_rows + rows
        steps[..., X_HI] = np.minimum(self.pixels, size - rows * self.pixels)
        steps[..., Y_HI] = 1
        return steps

    # -- the task ------------------------------------------------------------------------------
    def _task(self, run: _Run, phase: Size, size: Size) -> Task:
        layer, pool = self.layer, self.layer.kind is Kind.MAX_POOL
        count, words = len(run.groups), run.words
        steps = np.where(words.used[..., None], _rows_less(words.steps, run.in_row), 0)
        words = dataclasses.replace(words, steps=steps)
        lanes = self.simd if pool else self.pe
        order = self.out.order[run.first * self.simd:(run.first + count) * self.simd]
        out_groups = ceil_div(int(np.flatnonzero(order >= 0).max()) + 1, lanes)
        reduce_steps = self.pixels - 1 if self.lane_sum else 0
        residual = self.residuals[0] if self.residuals else None
        busy = len(words.steps) * words.in_groups * layer.terms + reduce_steps + (residual is not None)
        beats = write_beats(self.out.stride, self.pixels, layer.spread)
        pitch = self.pixels if self.lane_sum else size[1] if self.in_line else self.source.pitch
        tiles = 1 if self.lane_sum else tiles_over(size, pitch, self.pixels)
        stride = words.stride if words.in_groups > 1 else run.delta
        groups = run.groups[:1] if all(group is run.groups[0] for group in run.groups) else run.groups
        picks, exponents = np.array([group.picks for group in groups]), np.array([group.exponent for group in groups])
        return Task(layer, Opcode.POOL if pool else Opcode.CONV, run.first, count, pool or run.delta > 0, run.in_row,
                    stride, words, picks, exponents, pitch, size, tiles, out_groups, lanes, reduce_steps,
                    max(0, beats - busy), phase, self.source, self.out, residual, run.residual_row,
                    run.residual_delta)


def _places(view: View, layouts: list[TensorLayout]) -> np.ndarray:
    """Position of each channel of a view in its tensor."""
    places = np.zeros(view.channels, np.int64)
    for index, layout in enumerate(layouts):
        mine = view.tensor == index
        places[mine] = layout.places[view.channel[mine]]
    return places


def _rows_less(steps: np.ndarray, rows: int) -> np.ndarray:
    less = steps.copy()
    less[..., ROW] -= rows
    return less
