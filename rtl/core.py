"""The core: sequencer, memories, array and what lies between them; wiring only.

Cycle numbers in comments count from the one in which the sequencer presents a step.
"""

import numpy as np
from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig, bits_for
from shifthw.isa import InstructionLayout, Section

from .address import AddressGenerator
from .column_memory import ColumnMemory
from .compute_array import ComputeArray
from .delay import Delay
from .feature_memory import FeatureMemory
from .lookup_table import LookupTable
from .max_pool import MaxPool
from .module_library import ModuleLibrary, place
from .operand_lane import OperandLane
from .program_loader import memories
from .requantize import Requantize
from .sequencer import Sequencer
from .writer import Writer, token_layout


class Core(wiring.Component):
    """Runs a program on the feature memory. Timing and arithmetic: docs/architecture.md.

    program_*: write bus of the program memories, the enable one-hot by isa.Section. run to load_busy: see
    Sequencer. load_valid to write_data: rows from the input loader, see Writer. store_valid (pulse) gives a
    row [image][pixel lane][channel lane]; it only comes after store_ready.

    Parameters
    ----------
    config : ArrayConfig
    library : ModuleLibrary or None

    Members
    -------
    program_enable : In(len(memories(config)))
    program_address : In(24)
    program_column : In(16)
    program_data : In(config.axi_data_bits)
    run : In(1)
    abort : In(1)
    batches : In(32)
    running : Out(1)
    stalled : Out(1)
    batch_end : Out(1)
    done : Out(1)
    illegal : Out(1)
    load_start : Out(1)
    load_row : Out(config.row_bits)
    load_rows_last : Out(config.row_bits)
    load_busy : In(1)
    load_valid : In(1)
    load_ready : Out(1)
    write_row : In(config.row_bits)
    write_image : In(bits_for(config.images))
    write_data : In(config.pixels * config.input_channels * config.activation_bits)
    store_valid : Out(1)
    store_ready : In(1)
    store_busy : In(1)
    store_data : Out(config.images * config.output_pixels * config.simd * config.activation_bits)
    """

    def __init__(self, *, config: ArrayConfig, library: ModuleLibrary | None = None) -> None:
        self.config = c = config
        self.library = library
        super().__init__({
            "program_enable": In(len(memories(c))),
            "program_address": In(24),
            "program_column": In(16),
            "program_data": In(c.axi_data_bits),
            "run": In(1),
            "abort": In(1),
            "batches": In(32),
            "running": Out(1),
            "stalled": Out(1),
            "batch_end": Out(1),
            "done": Out(1),
            "illegal": Out(1),
            "load_start": Out(1),
            "load_row": Out(c.row_bits),
            "load_rows_last": Out(c.row_bits),
            "load_busy": In(1),
            "load_valid": In(1),
            "load_ready": Out(1),
            "write_row": In(c.row_bits),
            "write_image": In(bits_for(c.images)),
            "write_data": In(c.pixels * c.input_channels * c.activation_bits),
            "store_valid": Out(1),
            "store_ready": In(1),
            "store_busy": In(1),
            "store_data": Out(c.images * c.output_pixels * c.simd * c.activation_bits),
        })

    def elaborate(self, platform):
        m = Module()
        c = self.config
        m.submodules.sequencer = self.sequencer = Sequencer(config=c)
        self.step = self.sequencer.step
        self._run_control(m)
        instruction = self._memory(m, "instruction", Section.INSTRUCTION, InstructionLayout(c).width,
                                   c.instruction_words, 1, self.sequencer.pc)
        m.d.comb += self.sequencer.word.eq(instruction)

        u = self._operands(m)
        array, scale = self._array(m, u)
        self._writes(m, u, self._requantize(m, u, array, scale))
        return m

    # -- helpers -------------------------------------------------------------------------------
    def _delay(self, m, name, value, cycles):
        """`value`, `cycles` later."""
        m.submodules[f"delay_{name}"] = delay = Delay(width=len(value), cycles=cycles)
        m.d.comb += delay.i.eq(value)
        return delay.o

    def _memory(self, m, name, section, width, depth, latency, address):
        """A program memory; its read word."""
        m.submodules[f"{name}_memory"] = memory = ColumnMemory(
            width=width, depth=depth, column_bits=self.config.axi_data_bits, latency=latency, library=self.library)
        m.d.comb += [
            memory.write_enable.eq(self.program_enable[section]),
            memory.write_column.eq(self.program_column),
            memory.write_address.eq(self.program_address),
            memory.write_data.eq(self.program_data),
            memory.read_address.eq(address),
        ]
        return memory.read_data

    def _run_control(self, m):
        """The sequencer's ports to the memory side."""
        for name in ("run", "abort", "batches", "load_busy", "store_ready", "store_busy"):
            m.d.comb += getattr(self.sequencer, name).eq(getattr(self, name))
        for name in ("running", "stalled", "batch_end", "done", "illegal", "load_start", "load_row",
                     "load_rows_last"):
            m.d.comb += getattr(self, name).eq(getattr(self.sequencer, name))

    # -- stages --------------------------------------------------------------------------------
    def _operands(self, m):
        """Addresses, banks, rotation, mask: the operands, valid in cycle read_latency."""
        c, step, position = self.config, self.step, self.sequencer.position
        m.submodules.address = address = AddressGenerator(config=c, library=self.library)
        step_word = self._memory(m, "step", Section.STEP, c.step_word_bits, c.step_words, 1, step.entry)
        m.d.comb += [
            address.row.eq(step.row), address.direct.eq(step.direct), address.step_word.eq(step_word),
            address.x.eq(Cat(position[p].x for p in range(c.pixels))),
            address.y.eq(Cat(position[p].y for p in range(c.pixels))),
        ]
        m.submodules.features = self.features = FeatureMemory(config=c, library=self.library)
        m.d.comb += self.features.read_address.eq(address.address)

        # Rotation and mask have latency 2; the data are there in cycle read_latency - 1.
        rotation = self._delay(m, "rotation", address.rotation, c.read_latency - 1 - 2)
        mask = self._delay(m, "mask", address.mask, c.read_latency - 1 - 2)
        signs = self._delay(m, "signs", Cat(step.flip, step.mask_high), c.read_latency - 1)
        lanes = place(m, self.library, [f"operands{i}" for i in range(c.simd)], lambda: OperandLane(
            pixels=c.pixels, images=c.images, width=c.activation_bits))
        word = c.pixels * c.images * c.activation_bits
        for i, lane in enumerate(lanes):
            m.d.comb += [
                lane.i.eq(self.features.read_data.word_select(i, word)),
                lane.rotation.eq(rotation.word_select(i, c.pixel_bits)),
                lane.mask.eq(mask.word_select(i, c.pixels)),
                lane.flip.eq(signs[0]), lane.mask_high.eq(signs[1]),
            ]
        return Cat(lane.o for lane in lanes)

    def _array(self, m, u):
        """The array, its accumulators valid in cycle accumulate_latency, and the scale word for them."""
        c, step = self.config, self.step
        m.submodules.array = array = ComputeArray(config=c, library=self.library)
        dot_done = c.read_latency + c.dot_latency
        weight_address = self._delay(m, "weight", step.weight, c.read_latency - 2)
        start_address = self._delay(m, "start", step.scale, dot_done - 2)
        scale_address = self._delay(m, "scale", start_address, 1)
        control = self._delay(m, "control", Cat(step.array, step.first, step.reduce), dot_done)
        start = self._memory(m, "start", Section.START, c.start_word_bits, c.scale_words, 2, start_address)
        m.d.comb += [
            array.codes.eq(self._memory(m, "weight", Section.WEIGHT, c.weight_word_bits, c.weight_words, 1,
                                        weight_address)),
            array.u.eq(u), array.start.eq(start),
            array.enable.eq(control[0]), array.first.eq(control[1]), array.reduce.eq(control[2]),
        ]
        if c.adder:
            m.d.comb += array.adder.eq(self._delay(m, "adder", step.adder, c.read_latency - 1))
        scale = self._memory(m, "scale", Section.SCALE, c.scale_word_bits, c.scale_words, 2, scale_address)
        return array, scale

    def _operand(self, u, i, p, b):
        """The operand of channel lane i, pixel lane p, image b."""
        c = self.config
        return u.word_select((i * c.pixels + p) * c.images + b, c.activation_bits)

    def _residuals(self, m, u, places):
        """The residual operand of each pipeline, there when its accumulator is."""
        c = self.config
        chosen = [self._residual(m, u, b, p, o) for b, p, o in places]
        if not c.residual_delay:
            return chosen
        line = self._delay(m, "residual_operands", Cat(chosen), c.residual_latency)
        return [line.word_select(n, c.activation_bits) for n in range(len(chosen))]

    def _residual(self, m, u, b, p, o):
        """The residual operand or, with `broadcast`, pixel lane 0's; held from the cycle after its read, if need be."""
        c = self.config
        choices = [self._operand(u, slot * c.pe + o, p, b) for slot in range(c.slots)]
        chosen = Signal(c.activation_bits, reset_less=True, name=f"residual_{b}_{p}_{o}")
        with m.If(self.residual_now):
            with m.Switch(self.residual_slot):
                for slot, choice in enumerate(choices):
                    with m.Case(slot):
                        m.d.sync += chosen.eq(choice)
            if c.product and p:
                with m.If(self.residual_broadcast):
                    m.d.sync += chosen.eq(self.first_operands[b, o])
        return chosen

    def _first_operands(self, m, u):
        """Pixel lane 0's operands in the lanes of the slot, by image and output lane."""
        c = self.config
        found = {}
        for b, o in np.ndindex(c.images, c.pe):
            found[b, o] = Signal(c.activation_bits, name=f"first_operand_{b}_{o}")
            operands = [self._operand(u, slot * c.pe + o, 0, b) for slot in range(c.slots)]
            m.d.comb += found[b, o].eq(Array(operands)[self.residual_slot])
        return found

    def _requantize(self, m, u, array, scale):
        """Activations [image][pixel lane][output lane], valid in cycle conv_result_latency."""
        c, step = self.config, self.step
        word = InstructionLayout(c).fields
        def field(name):
            f = word[name]
            return self.sequencer.word[f.offset:f.offset + f.width]

        units = place(m, self.library, [f"requantize_{b}_{p}_{o}" for b in range(c.images) for p in range(c.pixels)
                                        for o in range(c.pe)], lambda: Requantize(
            activation_bits=c.activation_bits, accumulator_bits=c.accumulator_bits,
            multiplier_bits=c.multiplier_bits, bias_bits=c.bias_bits, shifts=c.shifts, residual=c.residual,
            residual_shift=c.residual_shift, ties_to_even=c.ties_to_even, operand_sum=c.adder, product=c.product))
        # The instruction may change one cycle after its last step: what it says travels with the tile.
        clamp_stage = c.accumulate_latency + c.requantize_latency - 1
        multiplier = self._delay(m, "residual_multiplier", field("residual_multiplier"), c.accumulate_latency)
        shift_select = self._delay(m, "shift_select", field("shift_select"), clamp_stage - 1)
        if c.ties_to_even:
            even = self._delay(m, "ties_to_even", field("ties_to_even"), clamp_stage - 1)
        bounds = self._delay(m, "bounds", Cat(field("clamp_lo"), field("clamp_hi")), clamp_stage)
        if c.residual:
            residual = self._delay(m, "residual", Cat(step.residual, step.slot), c.read_latency)
            self.residual_now, self.residual_slot = residual[0], residual[1:]
        if c.product:
            self.residual_broadcast = self._delay(m, "broadcast", step.broadcast, c.read_latency)
            self.first_operands = self._first_operands(m, u)
            product = self._delay(m, "product", Cat(field("product"), field("residual_signed")), c.accumulate_latency)

        places = [(b, p, o) for b in range(c.images) for p in range(c.pixels) for o in range(c.pe)]
        bound_bits = c.activation_bits + 1
        residuals = self._residuals(m, u, places) if c.residual else []
        for n, ((b, p, o), unit) in enumerate(zip(places, units, strict=True)):
            lane = scale.word_select(o, c.multiplier_bits + c.bias_bits)
            m.d.comb += [
                unit.acc.eq(array.acc.word_select((o * c.images + b) * c.pixels + p, c.accumulator_bits)),
                unit.b.eq(lane[c.multiplier_bits:]),
                unit.shift_select.eq(shift_select),
                unit.lo.eq(bounds[:bound_bits]), unit.hi.eq(bounds[bound_bits:]),
            ]
            if c.adder:
                m.d.comb += unit.less.eq(array.osum.word_select(b * c.pixels + p, c.accumulator_bits))
            if c.ties_to_even:
                m.d.comb += unit.even.eq(even)
            if c.multiplier_bits:
                m.d.comb += unit.m.eq(lane[:c.multiplier_bits])
            if c.residual:
                m.d.comb += unit.r.eq(residuals[n])
                if c.multiplier_bits:
                    m.d.comb += unit.mr.eq(multiplier)
                if c.product:
                    m.d.comb += [unit.multiply.eq(product[0]), unit.r_signed.eq(product[1])]
        return self._lookups(m, [unit.y for unit in units]) if c.tables else Cat(unit.y for unit in units)

    def _lookups(self, m, codes):
        """Codes behind the table that is loaded, for layers that look up theirs."""
        c, sequencer = self.config, self.sequencer
        entries = self._memory(m, "table", Section.TABLE, 4 * c.activation_bits, c.tables * c.table_words, 1,
                               sequencer.table_address)
        # The bus to all pipelines gets a register of its own.
        bus = self._delay(m, "table_entries", entries, 1)
        writes = self._delay(m, "table_write", Cat(sequencer.table_write, sequencer.table_entry), 2)
        f = InstructionLayout(c).fields["lookup"]
        lookup = self._delay(m, "lookup", sequencer.word[f.offset:f.offset + f.width], c.code_latency)
        units = place(m, self.library, [f"lookup{n}" for n in range(len(codes))],
                      lambda: LookupTable(activation_bits=c.activation_bits))
        for unit, code in zip(units, codes, strict=True):
            m.d.comb += [unit.code.eq(code), unit.lookup.eq(lookup), unit.write_enable.eq(writes[0]),
                         unit.write_address.eq(writes[1:]), unit.write_data.eq(bus)]
        return Cat(unit.o for unit in units)

    def _writes(self, m, u, conv):
        """Results, loaded rows and stored rows."""
        c, step = self.config, self.step
        m.submodules.writer = writer = Writer(config=c)
        m.d.comb += writer.conv.eq(conv)
        # The token is made in cycle 1 and waits for the results.
        pool_token = self._delay(m, "pool_token", self._token(m), c.pool_result_latency - 1)
        conv_token = self._delay(m, "conv_token", pool_token, c.conv_result_latency - c.pool_result_latency)
        m.d.comb += [writer.pool_token.as_value().eq(pool_token), writer.conv_token.as_value().eq(conv_token)]
        m.d.comb += writer.conv_done.eq(self._delay(m, "conv_done", step.last, c.conv_result_latency))
        if c.max_pool:
            self._max_pool(m, u, writer)

        m.d.comb += [
            writer.load_valid.eq(self.load_valid), self.load_ready.eq(writer.load_ready),
            writer.load_row.eq(self.write_row), writer.load_image.eq(self.write_image),
            writer.load_data.eq(self.write_data),
        ]
        for name in ("write_address", "write_data", "write_enable", "write_images"):
            m.d.comb += getattr(self.features, name).eq(getattr(writer, name))

        m.d.comb += [
            self.store_valid.eq(self._delay(m, "store", step.store, c.read_latency)),
            self.sequencer.store_taken.eq(self.store_valid),
            self.store_data.eq(Cat(self._operand(u, i, p, b) for b in range(c.images)
                                   for p in range(c.output_pixels) for i in range(c.simd))),
        ]

    def _max_pool(self, m, u, writer):
        """The maximum unit; its codes are valid in cycle pool_result_latency."""
        c, step = self.config, self.step
        lanes = place(m, self.library, [f"max_pool{p}" for p in range(c.pixels)], lambda: MaxPool(
            lanes=c.images * c.simd, activation_bits=c.activation_bits))
        control = self._delay(m, "pool", Cat(step.pool, step.first), c.read_latency)
        flip = self._delay(m, "pool_flip", step.flip, c.pool_result_latency)
        top = flip.shift_left(c.activation_bits - 1)
        for p, lane in enumerate(lanes):
            m.d.comb += [
                lane.u.eq(Cat(self._operand(u, i, p, b) for b in range(c.images) for i in range(c.simd))),
                lane.enable.eq(control[0]), lane.first.eq(control[1]),
            ]
        m.d.comb += [
            writer.pool.eq(Cat(lanes[p].maximum.word_select(b * c.simd + i, c.activation_bits) ^ top
                               for b in range(c.images) for p in range(c.pixels) for i in range(c.simd))),
            writer.pool_done.eq(self._delay(m, "pool_done", step.last_pool, c.pool_result_latency)),
        ]

    def _token(self, m):
        """Where the tile's results go; valid in cycle 1."""
        c, step = self.config, self.step
        word = InstructionLayout(c).fields
        def field(name):
            f = word[name]
            return self.sequencer.word[f.offset:f.offset + f.width]

        token = Signal(token_layout(c), reset_less=True)
        m.d.sync += [
            token.row.eq(step.out_row), token.plane_rows.eq(field("plane_rows")), token.slot.eq(step.slot),
            token.beats_last.eq(field("beats_last")), token.stride_x.eq(field("stride_x")),
        ]
        for p in range(c.pixels):
            position = self.sequencer.position[p]
            m.d.sync += [
                token.lanes[p].valid.eq((position.x < field("out_width")) & (position.y < field("out_height"))),
                token.lanes[p].index.eq(position.yb + position.xq),
                token.lanes[p].xr.eq(position.xr), token.lanes[p].yr.eq(position.yr),
            ]
        return token.as_value()
