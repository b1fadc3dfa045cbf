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
    STORE = 8       # also: a TABLE's words go out


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
        **({"broadcast": 1} if config.product else {}),  # the residual is that of pixel lane 0 for all
        **({"adder": 1} if config.adder else {}),  # the codes are operands, the operands are summed up
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
    loader or the storer raise `stalled`. TABLE goes through the words of a table, one per cycle: table_address is the
    word in table memory, table_entry its number in the table.

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
    table_write : Out(1), if config.tables
    table_address : Out(bits_for(config.tables * config.table_words)), if config.tables
    table_entry : Out(config.activation_bits - 2), if config.tables
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
            **({"table_write": Out(1), "table_address": Out(bits_for(config.tables * config.table_words)),
                "table_entry": Out(config.activation_bits - 2)} if config.tables else {}),
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
                     "weight": weight + k * (1 - fields["weight_hold"]) & weight_mask,
                     **({"adder": fields["adder"]} if self.config.adder else {})}
                    for k, (tap, g, _) in enumerate(np.ndindex(
                        fields["taps_last"] + 1, fields["in_groups_last"] + 1, fields["terms_last"] + 1))]
                steps += [{"array": 1, "reduce": 1, "weight": weight + 1 & weight_mask}
                          for _ in range(fields["reduce"] * (self.config.pixels - 1))]
                steps[-1]["last_pool" if pool else "last"] = 1
                broadcast = fields["broadcast"]
                steps += [{"residual": 1, "direct": 1,
                           "flip": fields["residual_signed"] & ~fields["product"] & 1,
                           "row": fields["residual_row"] + tile * (1 - broadcast)
                           + channel_group * fields["residual_group_stride"] & row_mask,
                           **({"broadcast": broadcast} if self.config.product else {})}] * fields["residual"]
                cycles += [step | group for step in steps] + [{}] * fields["idle"]
        return cycles

    def _field(self, name):
        f = self.layout.fields[name]
        bits = self.word[f.offset:f.offset + f.width]
        return bits.as_signed() if f.signed else bits

    def elaborate(self, platform):
        m = Module()
        self._registers()
        m.submodules.lanes = self.lanes = LanePosition(config=self.config)
        m.d.comb += self.lanes.word.eq(self.word)
        with m.Switch(self.state):
            with m.Case(State.IDLE):
                m.d.sync += [self.pc.eq(0), self.batch.eq(self.batches)]
                with m.If(self.run):
                    m.d.sync += self.state.eq(State.FETCH)
            with m.Case(State.FETCH):
                m.d.sync += self.state.eq(State.SETUP)
            with m.Case(State.SETUP):
                self._setup(m)
            with m.Case(State.WAIT):
                self._wait(m)
            with m.Case(State.STEP):
                self._step(m)
            with m.Case(State.REDUCE):
                self._reduce(m)
            with m.Case(State.RESIDUAL):
                self._residual(m)
            with m.Case(State.PAUSE):
                self._pause(m)
            with m.Case(State.STORE):
                if self.config.tables:
                    with m.If(self.is_table):
                        self._table(m)
                    with m.Else():
                        self._store(m)
                else:
                    self._store(m)
        with m.If(self.store_taken):
            m.d.sync += self.store_pending.eq(0)
        with m.If(self.tile_end):
            self._next_tile(m)
        self._present(m)
        with m.If(self.abort):
            m.d.sync += [self.state.eq(State.IDLE), self.store_pending.eq(0)]
        return m

    def _registers(self):
        """Loop counters count down to 0; each reloads when the loop around it moves on.

        Addresses: *_og at the start of an output group, *_tile of a tile, the others where the current step is.
        """
        def register(name, width):
            signal = Signal(width, reset_less=True, name=name)
            setattr(self, name, signal)

        config = self.config
        for name, last in (("og", "out_groups_last"), ("tile", "tiles_last"), ("tap", "taps_last"),
                           ("group", "in_groups_last"), ("term", "terms_last"), ("wait", "delay")):
            register(name, len(self._field(last)))
        register("extra", max(len(self._field("idle")), bits_for(config.pixels)))
        register("batch", 32)
        for name in ("row_og", "row_tile", "row_now", "residual_og", "residual_tile", "out_row"):
            register(name, config.row_bits)
        for name in ("weight_og", "weight_now"):
            register(name, bits_for(config.weight_words))
        register("entry", bits_for(config.step_words))
        register("scale", bits_for(config.scale_words))
        register("slot", bits_for(config.slots))
        register("first", 1)
        self.state = Signal(State)
        self.next_step = Signal(self.step_shape)
        self.tile_end = Signal()
        self.store_pending = Signal()
        if config.tables:
            self.is_table = self._field("opcode") == Opcode.TABLE
            register("word_left", bits_for(config.table_words))
            register("word_now", bits_for(config.tables * config.table_words))
        self.is_pool = self._field("opcode") == Opcode.POOL

    def _start_tile(self, weights):
        """Counters and addresses of a tile's first step."""
        field = self._field
        return [self.tap.eq(field("taps_last")), self.group.eq(field("in_groups_last")),
                self.term.eq(field("terms_last")), self.entry.eq(field("step_base")),
                self.weight_now.eq(weights), self.first.eq(1)]

    def _setup(self, m):
        field = self._field
        m.d.comb += self.lanes.load.eq(1)
        m.d.sync += [
            self.state.eq(State.WAIT), self.wait.eq(field("delay")),
            self.og.eq(field("out_groups_last")), self.tile.eq(field("tiles_last")),
            *(row.eq(field("in_row")) for row in (self.row_og, self.row_tile, self.row_now)),
            *(row.eq(field("residual_row")) for row in (self.residual_og, self.residual_tile)),
            self.out_row.eq(field("out_row")), self.weight_og.eq(field("weight_base")),
            self.scale.eq(field("scale_base")), self.slot.eq(0),
            *self._start_tile(field("weight_base")),
        ]

    def _wait(self, m):
        """The instruction's delay, then whatever it has to wait for."""
        field, opcode = self._field, self._field("opcode")
        held = Signal()
        m.d.comb += held.eq(
            (field("wait_load") & self.load_busy) | (field("wait_store") & self.store_busy)
            | ((opcode == Opcode.LOAD) & self.load_busy)
            | ((opcode == Opcode.LOOP) & (self.batch == 1) & (self.store_busy | self.store_pending)))
        with m.If(self.wait != 0):
            m.d.sync += self.wait.eq(self.wait - 1)
        with m.Elif(held):
            m.d.comb += self.stalled.eq(1)
        with m.Else():
            self._dispatch(m)

    def _step(self, m):
        """One step; terms inside channel groups inside taps."""
        field = self._field
        m.d.comb += [
            self.next_step.array.eq(~self.is_pool), self.next_step.pool.eq(self.is_pool),
            self.next_step.first.eq(self.first), self.next_step.flip.eq(field("in_signed")),
            self.next_step.row.eq(self.row_now),
        ]
        if self.config.adder:
            m.d.comb += self.next_step.adder.eq(field("adder"))
        m.d.sync += [self.first.eq(0), self.term.eq(self.term - 1)]
        with m.If(~field("weight_hold")):
            m.d.sync += self.weight_now.eq(self.weight_now + 1)
        with m.If(self.term == 0):
            m.d.sync += [self.term.eq(field("terms_last")), self.group.eq(self.group - 1),
                         self.row_now.eq(self.row_now + field("in_group_stride"))]
            with m.If(self.group == 0):
                m.d.sync += [self.group.eq(field("in_groups_last")), self.tap.eq(self.tap - 1),
                             self.entry.eq(self.entry + 1), self.row_now.eq(self.row_tile)]
                with m.If(self.tap == 0):
                    self._last_step(m)

    def _last_step(self, m):
        """After the steps come the reduce steps, if there are any."""
        with m.If(self._field("reduce") if self.config.lane_sum else 0):
            m.d.sync += [self.state.eq(State.REDUCE), self.extra.eq(self.config.pixels - 2),
                         self.weight_now.eq(self.weight_og + 1)]
        with m.Else():
            m.d.comb += [self.next_step.last.eq(~self.is_pool), self.next_step.last_pool.eq(self.is_pool)]
            self._after_steps(m)

    def _reduce(self, m):
        m.d.comb += [self.next_step.array.eq(1), self.next_step.reduce.eq(1), self.next_step.row.eq(self.row_tile)]
        m.d.sync += self.extra.eq(self.extra - 1)
        with m.If(self.extra == 0):
            m.d.comb += self.next_step.last.eq(1)
            self._after_steps(m)

    def _after_steps(self, m):
        """The residual's read, if there is one."""
        with m.If(self._field("residual") if self.config.residual else 0):
            m.d.sync += self.state.eq(State.RESIDUAL)
        with m.Else():
            self._after_reads(m)

    def _residual(self, m):
        m.d.comb += [self.next_step.residual.eq(1), self.next_step.direct.eq(1),
                     self.next_step.flip.eq(self._field("residual_signed")),
                     self.next_step.row.eq(self.residual_tile)]
        if self.config.product:
            m.d.comb += [self.next_step.broadcast.eq(self._field("broadcast")),
                         self.next_step.flip.eq(self._field("residual_signed") & ~self._field("product"))]
        self._after_reads(m)

    def _after_reads(self, m):
        """Idle cycles, then the next tile."""
        m.d.sync += self.extra.eq(self._field("idle") - 1)
        with m.If(self._field("idle") != 0):
            m.d.sync += self.state.eq(State.PAUSE)
        with m.Else():
            m.d.comb += self.tile_end.eq(1)
            m.d.sync += self.state.eq(State.STEP)

    def _pause(self, m):
        m.d.sync += self.extra.eq(self.extra - 1)
        with m.If(self.extra == 0):
            m.d.comb += self.tile_end.eq(1)
            m.d.sync += self.state.eq(State.STEP)

    def _store(self, m):
        """A row whenever the storer has room and none is on its way."""
        with m.If(self.store_ready & ~self.store_pending):
            m.d.comb += [self.next_step.store.eq(1), self.next_step.direct.eq(1),
                         self.next_step.row.eq(self.row_tile)]
            m.d.sync += [self.store_pending.eq(1), self.row_tile.eq(self.row_tile + 1), self.tile.eq(self.tile - 1)]
            with m.If(self.tile == 0):
                self._next_instruction(m)
        with m.Else():
            m.d.comb += self.stalled.eq(1)

    def _table(self, m):
        """A word of the table a cycle."""
        m.d.sync += [self.word_left.eq(self.word_left - 1), self.word_now.eq(self.word_now + 1)]
        with m.If(self.word_left == 0):
            self._next_instruction(m)

    def _next_instruction(self, m):
        m.d.sync += [self.state.eq(State.FETCH), self.pc.eq(self.pc + 1)]

    def _next_tile(self, m):
        """One tile further; behind the last one, one output group further; behind the last, the next instruction."""
        m.d.comb += self.lanes.advance.eq(1)
        residual_step = ~self._field("broadcast") if self.config.product else 1
        m.d.sync += [self.tile.eq(self.tile - 1), self.row_tile.eq(self.row_tile + 1),
                     self.row_now.eq(self.row_tile + 1), self.residual_tile.eq(self.residual_tile + residual_step),
                     *self._start_tile(self.weight_og)]
        with m.If(self.tile == 0):
            self._next_group(m)
            with m.If(self.og == 0):
                self._next_instruction(m)

    def _next_group(self, m):
        field = self._field
        group_end, next_row, next_weight = Signal(), Signal.like(self.row_og), Signal.like(self.weight_og)
        m.d.comb += [
            group_end.eq(self.is_pool | (self.slot == self.config.slots - 1)),
            next_row.eq(self.row_og + Mux(group_end & field("in_advance"), field("in_group_stride"), 0)),
            next_weight.eq(self.weight_og + field("weight_stride")),
            self.lanes.load.eq(1),
        ]
        m.d.sync += [
            self.og.eq(self.og - 1), self.tile.eq(field("tiles_last")), self.scale.eq(self.scale + 1),
            *(row.eq(next_row) for row in (self.row_og, self.row_tile, self.row_now)),
            self.weight_og.eq(next_weight), *self._start_tile(next_weight),
            self.residual_tile.eq(self.residual_og), self.slot.eq(self.slot + 1),
        ]
        with m.If(group_end):
            residual_next = Signal.like(self.residual_og)
            m.d.comb += residual_next.eq(self.residual_og + field("residual_group_stride"))
            m.d.sync += [self.slot.eq(0), self.out_row.eq(self.out_row + field("out_group_stride")),
                         self.residual_og.eq(residual_next), self.residual_tile.eq(residual_next)]

    def _present(self, m):
        """What leaves, a register behind the states for the step and the positions."""
        step = self.next_step
        m.d.comb += [
            self.running.eq(self.state != State.IDLE),
            step.mask_high.eq(self._field("mask_high")), step.entry.eq(self.entry),
            step.weight.eq(self.weight_now), step.scale.eq(self.scale), step.slot.eq(self.slot),
            step.out_row.eq(self.out_row),
            self.load_row.eq(self._field("out_row")), self.load_rows_last.eq(self._field("tiles_last")),
        ]
        m.d.sync += [self.step.eq(step), self.position.eq(self.lanes.o)]
        if self.config.tables:
            m.d.sync += [self.table_write.eq((self.state == State.STORE) & self.is_table),
                         self.table_address.eq(self.word_now), self.table_entry.eq(self.word_now)]

    def _dispatch(self, m):
        """Leaves WAIT: what each opcode does first."""
        with m.Switch(self._field("opcode")):
            with m.Case(Opcode.CONV, Opcode.POOL):
                m.d.sync += self.state.eq(State.STEP)
            with m.Case(Opcode.LOAD):
                m.d.comb += self.load_start.eq(1)
                self._next_instruction(m)
            with m.Case(Opcode.STORE):
                m.d.sync += self.state.eq(State.STORE)
            if self.config.tables:
                with m.Case(Opcode.TABLE):
                    m.d.sync += [self.state.eq(State.STORE), self.word_left.eq(self.config.table_words - 1),
                                 self.word_now.eq(self._field("table") * self.config.table_words)]
            with m.Case(Opcode.LOOP):
                m.d.comb += self.batch_end.eq(1)
                m.d.sync += [self.state.eq(State.FETCH), self.pc.eq(self._field("target")),
                             self.batch.eq(self.batch - 1)]
                with m.If(self.batch == 1):
                    m.d.comb += self.done.eq(1)
                    m.d.sync += self.state.eq(State.IDLE)
            with m.Default():
                m.d.comb += self.illegal.eq(1)
                m.d.sync += self.state.eq(State.IDLE)
