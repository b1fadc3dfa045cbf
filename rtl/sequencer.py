"""The sequencer: runs the program, one instruction after another, as nested loop counters."""

import numpy as np
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig, bits_for
from shifthw.isa import PER_INSTRUCTION_CYCLES, InstructionLayout, Opcode

from .lane_position import LanePosition, position_layout

assert PER_INSTRUCTION_CYCLES == 3, "fetch, setup and wait take one cycle each"


class State(enum.Enum, shape=4):
    """What the sequencer does in a cycle."""

    IDLE = 0
    FETCH = 1
    SETUP = 2
    WAIT = 3
    STEP = 4
    REDUCE = 5
    RESIDUAL = 6
    PAUSE = 7
    STORE = 8


def step_layout(config: ArrayConfig) -> data.StructLayout:
    """What goes down the pipeline with each step."""
    return data.StructLayout({
        "array": 1,          # the accumulators take this step
        "pool": 1,           # the maximum unit takes it
        "residual": 1,       # the operands go to the residual register
        "store": 1,          # the operands go to the output storer
        "first": 1,          # of a tile
        "last": 1,           # of a tile: its results leave
        "last_pool": 1,
        "reduce": 1,         # add up the pixel lanes instead of a dot product
        "direct": 1,         # read `row` as it is: no offset, rotation or mask
        "flip": 1,           # the tensor is signed: invert the operands' top bit
        "mask_high": 1,
        "entry": bits_for(config.step_words),
        "row": config.row_bits,
        "weight": bits_for(config.weight_words),
        "scale": bits_for(config.scale_words),
        "slot": bits_for(config.slots),
        "out_row": config.row_bits,
    })


class Sequencer(wiring.Component):
    """Executes instructions and presents at most one step per cycle.

    Free running once started; timing as in docs/architecture.md: FETCH, SETUP and WAIT take
    PER_INSTRUCTION_CYCLES + delay cycles, then one step per cycle. Cycles spent waiting for the
    loader or the storer raise `stalled`.

    `run` (pulse) starts at instruction 0 for `batches` batches, `abort` goes back to idle. `word` is
    the instruction at `pc`, one cycle later. `position` is aligned with `step`. load_start, batch_end,
    done and illegal (unknown opcode; idle again) are pulses; load_row and load_rows_last are valid with
    load_start. store_ready: the storer can take a row; store_taken (pulse): it took the one on its way.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    run : In(1)
    abort : In(1)
    batches : In(32)
    pc : Out(bits_for(config.instruction_words))
    word : In(layout.width)
    step : Out(step_shape)
    position : Out(position_shape)
    load_start : Out(1)
    load_row : Out(config.row_bits)
    load_rows_last : Out(config.row_bits)
    load_busy : In(1)
    store_ready : In(1)
    store_taken : In(1)
    store_busy : In(1)
    running : Out(1)
    stalled : Out(1)
    batch_end : Out(1)
    done : Out(1)
    illegal : Out(1)
    """

    def __init__(self, *, config: ArrayConfig) -> None:
        self.config = config
        self.layout = InstructionLayout(config)
        self.step_shape = step_layout(config)
        self.position_shape = data.ArrayLayout(position_layout(config), config.pixels)
        super().__init__({
            "run": In(1),
            "abort": In(1),
            "batches": In(32),
            "pc": Out(bits_for(config.instruction_words)),
            "word": In(self.layout.width),
            "step": Out(self.step_shape),
            "position": Out(self.position_shape),
            "load_start": Out(1),
            "load_row": Out(config.row_bits),
            "load_rows_last": Out(config.row_bits),
            "load_busy": In(1),
            "store_ready": In(1),
            "store_taken": In(1),
            "store_busy": In(1),
            "running": Out(1),
            "stalled": Out(1),
            "batch_end": Out(1),
            "done": Out(1),
            "illegal": Out(1),
        })

    def model(self, fields: dict[str, int]) -> list[dict[str, int]]:
        """Step fields of every cycle from the first step of a CONV or POOL to its last cycle (idle: {}).

        `fields` are an instruction's, as InstructionLayout.decode gives them; they must be in range.
        """
        cycles = []
        pool = fields["opcode"] == Opcode.POOL
        row_mask, weight_mask = (1 << self.config.row_bits) - 1, (1 << bits_for(self.config.weight_words)) - 1
        slots = 1 if pool else self.config.slots
        for og in range(fields["out_groups_last"] + 1):
            channel_group, slot = divmod(og, slots)
            weight = fields["weight_base"] + og * fields["weight_stride"]
            group = {"slot": slot, "scale": fields["scale_base"] + og,
                     "out_row": fields["out_row"] + channel_group * fields["out_group_stride"] & row_mask}
            in_row = fields["in_row"] + fields["in_advance"] * channel_group * fields["in_group_stride"]
            for tile in range(fields["tiles_last"] + 1):
                steps = [
                    {"array": int(not pool), "pool": int(pool), "first": int(k == 0), "flip": fields["in_signed"],
                     "row": in_row + tile + g * fields["in_group_stride"] & row_mask,
                     "entry": fields["step_base"] + tap,
                     "weight": weight + k * (1 - fields["weight_hold"]) & weight_mask}
                    for k, (tap, g, _) in enumerate(np.ndindex(
                        fields["taps_last"] + 1, fields["in_groups_last"] + 1, fields["terms_last"] + 1))]
                steps += [{"array": 1, "reduce": 1, "weight": weight + 1 & weight_mask}
                          for _ in range(fields["reduce"] * (self.config.pixels - 1))]
                steps[-1]["last_pool" if pool else "last"] = 1
                steps += [{"residual": 1, "direct": 1, "flip": fields["residual_signed"],
                           "row": fields["residual_row"] + tile
                           + channel_group * fields["residual_group_stride"] & row_mask}] * fields["residual"]
                cycles += [step | group for step in steps] + [{}] * fields["idle"]
        return cycles

    def _field(self, name):
        f = self.layout.fields[name]
        bits = self.word[f.offset:f.offset + f.width]
        return bits.as_signed() if f.signed else bits

    def elaborate(self, platform):
        m = Module()
        field = self._field
        config = self.config
        state = Signal(State)
        pool = Signal()
        m.d.comb += pool.eq(field("opcode") == Opcode.POOL)

        # Loop counters count down to 0; each reloads when the loop around it moves on.
        def counter(name, last):
            count = Signal(len(field(last)), reset_less=True, name=name)
            done = Signal(name=f"{name}_done")
            m.d.comb += done.eq(count == 0)
            return count, done

        og, og_done = counter("og", "out_groups_last")
        tile, tile_done = counter("tile", "tiles_last")
        tap, tap_done = counter("tap", "taps_last")
        group, group_done = counter("group", "in_groups_last")
        term, term_done = counter("term", "terms_last")
        wait = Signal(len(field("delay")), reset_less=True)
        extra = Signal(max(len(field("idle")), bits_for(config.pixels)), reset_less=True)
        batch = Signal(32, reset_less=True)

        # Addresses: *_og at the start of an output group, the others where the current step is.
        row_bits, weight_bits = config.row_bits, bits_for(config.weight_words)
        row_og, row_tile, row_now = (Signal(row_bits, reset_less=True, name=n) for n in ("row_og", "row_tile", "row_now"))
        residual_og, residual_tile = (Signal(row_bits, reset_less=True, name=n) for n in ("residual_og", "residual_tile"))
        out_row = Signal(row_bits, reset_less=True)
        weight_og, weight_now = (Signal(weight_bits, reset_less=True, name=n) for n in ("weight_og", "weight_now"))
        entry = Signal(bits_for(config.step_words), reset_less=True)
        scale = Signal(bits_for(config.scale_words), reset_less=True)
        slot = Signal(bits_for(config.slots), reset_less=True)
        first = Signal(reset_less=True)

        m.submodules.lanes = lanes = LanePosition(config=config)
        m.d.comb += lanes.word.eq(self.word)

        step = Signal(step_layout(config))
        tile_end = Signal()
        store_pending = Signal()

        def start_tile(weights):
            return [tap.eq(field("taps_last")), group.eq(field("in_groups_last")), term.eq(field("terms_last")),
                    entry.eq(field("step_base")), weight_now.eq(weights), first.eq(1)]

        def after_steps(m):
            """Where a tile goes after its last step or reduce step."""
            if config.residual:
                with m.If(field("residual")):
                    m.d.sync += state.eq(State.RESIDUAL)
                with m.Else():
                    after_residual(m)
            else:
                after_residual(m)

        def after_residual(m):
            m.d.sync += extra.eq(field("idle") - 1)
            with m.If(field("idle") != 0):
                m.d.sync += state.eq(State.PAUSE)
            with m.Else():
                m.d.comb += tile_end.eq(1)
                m.d.sync += state.eq(State.STEP)

        with m.Switch(state):
            with m.Case(State.IDLE):
                m.d.sync += [self.pc.eq(0), batch.eq(self.batches)]
                with m.If(self.run):
                    m.d.sync += state.eq(State.FETCH)

            with m.Case(State.FETCH):
                m.d.sync += state.eq(State.SETUP)

            with m.Case(State.SETUP):
                m.d.comb += lanes.load.eq(1)
                m.d.sync += [
                    state.eq(State.WAIT),
                    wait.eq(field("delay")),
                    og.eq(field("out_groups_last")), tile.eq(field("tiles_last")),
                    row_og.eq(field("in_row")), row_tile.eq(field("in_row")), row_now.eq(field("in_row")),
                    residual_og.eq(field("residual_row")), residual_tile.eq(field("residual_row")),
                    out_row.eq(field("out_row")), weight_og.eq(field("weight_base")),
                    scale.eq(field("scale_base")), slot.eq(0),
                    *start_tile(field("weight_base")),
                ]

            with m.Case(State.WAIT):
                held = Signal()
                opcode = field("opcode")
                m.d.comb += held.eq(
                    (field("wait_load") & self.load_busy) | (field("wait_store") & self.store_busy)
                    | ((opcode == Opcode.LOAD) & self.load_busy)
                    | ((opcode == Opcode.LOOP) & (batch == 1) & (self.store_busy | store_pending)))
                with m.If(wait != 0):
                    m.d.sync += wait.eq(wait - 1)
                with m.Elif(held):
                    m.d.comb += self.stalled.eq(1)
                with m.Else():
                    self._dispatch(m, state, batch)

            with m.Case(State.STEP):
                m.d.comb += [
                    step.array.eq(~pool), step.pool.eq(pool), step.first.eq(first),
                    step.flip.eq(field("in_signed")), step.row.eq(row_now),
                ]
                m.d.sync += first.eq(0)
                with m.If(~field("weight_hold")):
                    m.d.sync += weight_now.eq(weight_now + 1)
                m.d.sync += term.eq(term - 1)
                with m.If(term_done):
                    m.d.sync += [term.eq(field("terms_last")), group.eq(group - 1),
                                 row_now.eq(row_now + field("in_group_stride"))]
                    with m.If(group_done):
                        m.d.sync += [group.eq(field("in_groups_last")), tap.eq(tap - 1), entry.eq(entry + 1),
                                     row_now.eq(row_tile)]
                        with m.If(tap_done):
                            if config.lane_sum:
                                with m.If(field("reduce")):
                                    m.d.sync += [state.eq(State.REDUCE), extra.eq(config.pixels - 2),
                                                 weight_now.eq(weight_og + 1)]
                                with m.Else():
                                    m.d.comb += [step.last.eq(~pool), step.last_pool.eq(pool)]
                                    after_steps(m)
                            else:
                                m.d.comb += [step.last.eq(~pool), step.last_pool.eq(pool)]
                                after_steps(m)

            if config.lane_sum:
                with m.Case(State.REDUCE):
                    m.d.comb += [step.array.eq(1), step.reduce.eq(1), step.row.eq(row_tile)]
                    m.d.sync += extra.eq(extra - 1)
                    with m.If(extra == 0):
                        m.d.comb += step.last.eq(1)
                        after_steps(m)

            if config.residual:
                with m.Case(State.RESIDUAL):
                    m.d.comb += [step.residual.eq(1), step.direct.eq(1), step.flip.eq(field("residual_signed")),
                                 step.row.eq(residual_tile)]
                    after_residual(m)

            with m.Case(State.PAUSE):
                m.d.sync += extra.eq(extra - 1)
                with m.If(extra == 0):
                    m.d.comb += tile_end.eq(1)
                    m.d.sync += state.eq(State.STEP)

            with m.Case(State.STORE):
                with m.If(self.store_ready & ~store_pending):
                    m.d.comb += [step.store.eq(1), step.direct.eq(1), step.row.eq(row_tile)]
                    m.d.sync += [store_pending.eq(1), row_tile.eq(row_tile + 1), tile.eq(tile - 1)]
                    with m.If(tile_done):
                        m.d.sync += [state.eq(State.FETCH), self.pc.eq(self.pc + 1)]
                with m.Else():
                    m.d.comb += self.stalled.eq(1)

        with m.If(self.store_taken):
            m.d.sync += store_pending.eq(0)

        next_row, next_weight = Signal(row_bits), Signal(weight_bits)
        group_end = Signal()
        m.d.comb += [
            group_end.eq(pool | (slot == config.slots - 1)),
            next_row.eq(row_og + Mux(group_end & field("in_advance"), field("in_group_stride"), 0)),
            next_weight.eq(weight_og + field("weight_stride")),
        ]
        with m.If(tile_end):
            m.d.sync += [tile.eq(tile - 1), row_tile.eq(row_tile + 1), row_now.eq(row_tile + 1),
                         residual_tile.eq(residual_tile + 1), *start_tile(weight_og)]
            m.d.comb += lanes.advance.eq(1)
            with m.If(tile_done):
                m.d.comb += lanes.load.eq(1)
                m.d.sync += [og.eq(og - 1), tile.eq(field("tiles_last")), scale.eq(scale + 1),
                             row_og.eq(next_row), row_tile.eq(next_row), row_now.eq(next_row),
                             weight_og.eq(next_weight), *start_tile(next_weight),
                             residual_tile.eq(residual_og), slot.eq(slot + 1)]
                with m.If(group_end):
                    residual_next = Signal(row_bits)
                    m.d.comb += residual_next.eq(residual_og + field("residual_group_stride"))
                    m.d.sync += [slot.eq(0), out_row.eq(out_row + field("out_group_stride")),
                                 residual_og.eq(residual_next), residual_tile.eq(residual_next)]
                with m.If(og_done):
                    m.d.sync += [state.eq(State.FETCH), self.pc.eq(self.pc + 1)]

        m.d.comb += [
            self.running.eq(state != State.IDLE),
            step.mask_high.eq(field("mask_high")), step.entry.eq(entry), step.weight.eq(weight_now),
            step.scale.eq(scale), step.slot.eq(slot), step.out_row.eq(out_row),
            self.load_row.eq(field("out_row")), self.load_rows_last.eq(field("tiles_last")),
        ]
        m.d.sync += [self.step.eq(step), self.position.eq(lanes.o)]
        with m.If(self.abort):
            m.d.sync += [state.eq(State.IDLE), store_pending.eq(0)]
        return m

    def _dispatch(self, m, state, batch):
        """Leaves WAIT: what each opcode does first."""
        with m.Switch(self._field("opcode")):
            with m.Case(Opcode.CONV, Opcode.POOL):
                m.d.sync += state.eq(State.STEP)
            with m.Case(Opcode.LOAD):
                m.d.comb += self.load_start.eq(1)
                m.d.sync += [state.eq(State.FETCH), self.pc.eq(self.pc + 1)]
            with m.Case(Opcode.STORE):
                m.d.sync += state.eq(State.STORE)
            with m.Case(Opcode.LOOP):
                m.d.comb += self.batch_end.eq(1)
                m.d.sync += [state.eq(State.FETCH), self.pc.eq(self._field("target")), batch.eq(batch - 1)]
                with m.If(batch == 1):
                    m.d.comb += self.done.eq(1)
                    m.d.sync += state.eq(State.IDLE)
            with m.Default():
                m.d.comb += self.illegal.eq(1)
                m.d.sync += state.eq(State.IDLE)
