"""The registers of shifthw.registers, the run control and the counters."""

from amaranth.hdl import Cat, Const, Module, Signal, ValueLike
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig
from shifthw.registers import BEATS_BITS, ID, VERSION, Control, ErrorCode, Register, Status

from .axi import AxiLiteSignature
from .axi_lite import AxiLitePort

DRAIN_CYCLES = 64
"""Longer than any pipeline of the engine: what it still held when the sequencer stopped has then come out."""


class State(enum.Enum, shape=3):
    """What the engine is busy with."""

    IDLE = 0
    LOAD = 1
    RUN = 2
    FINISH = 3
    RESET = 4


class ControlRegisters(wiring.Component):
    """AXI4-Lite registers; starts program loads and runs, and stops the engine after an error.

    A run is complete (DONE) when `memory_busy` is low, DRAIN_CYCLES after the sequencer's `done` or
    later. An error, like Control.RESET, raises `abort` until the buses are drained (`bus_busy` is
    low), for at least DRAIN_CYCLES; the engine is idle afterwards. Of errors in one cycle BUS_READ comes first.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    bus : In(AxiLiteSignature())
    irq : Out(1), level
    abort : Out(1), level
    load : Out(1), pulse: read the program image
    run : Out(1), pulse: the first cycle of a run is the next one
    loading : Out(1), a program load is on
    program_address, input_address, output_address : Out(32), constant while the engine is not idle
    program_beats : Out(BEATS_BITS)
    batches : Out(32)
    loaded : In(1), pulse: the program load succeeded
    done : In(1), pulse: the sequencer has run all batches
    running, stalled : In(1), counted in CYCLES and (both together) STALL_CYCLES
    batch_end : In(1), pulse: this cycle is the last one of a batch
    memory_busy : In(1), a loader, storer or bus is busy
    bus_busy : In(1), transfers are on their way
    read_error, write_error, checksum_error, illegal : In(1), pulses
    """

    def __init__(self, *, config: ArrayConfig) -> None:
        self.config = config
        super().__init__({
            "bus": In(AxiLiteSignature()), "irq": Out(1), "abort": Out(1),
            "load": Out(1), "run": Out(1), "loading": Out(1),
            "program_address": Out(32), "input_address": Out(32), "output_address": Out(32),
            "program_beats": Out(BEATS_BITS), "batches": Out(32),
            "loaded": In(1), "done": In(1), "running": In(1), "stalled": In(1), "batch_end": In(1),
            "memory_busy": In(1), "bus_busy": In(1),
            "read_error": In(1), "write_error": In(1), "checksum_error": In(1), "illegal": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.port = port = AxiLitePort(offsets=Register)
        wiring.connect(m, wiring.flipped(self.bus), port.bus)
        state, error = Signal(State), Signal(ErrorCode)
        idle, program_loaded, finished, irq_enable = Signal(), Signal(), Signal(), Signal()
        status = Cat(idle, program_loaded, finished, error != ErrorCode.NONE)   # as in registers.Status
        m.d.comb += [
            idle.eq(state == State.IDLE),
            self.loading.eq(state == State.LOAD),
            self.abort.eq(state == State.RESET),
            self.irq.eq(irq_enable & (finished | (error != ErrorCode.NONE))),
        ]
        read: dict[Register, ValueLike] = {
            Register.ID: ID, Register.VERSION: VERSION, Register.CONFIG: self.config.digest,
            Register.STATUS: status, Register.ERROR: error, Register.IRQ_ENABLE: irq_enable,
            **self._parameters(m, port, idle),
            **self._counters(m),
        }
        with m.Switch(port.read_address):
            for register, value in read.items():
                with m.Case(register // 4):
                    m.d.comb += port.read_data.eq(value)

        def written(register):
            return port.write & port.write_strobe[0] & (port.write_address == register // 4)

        with m.If(written(Register.IRQ_ENABLE)):
            m.d.sync += irq_enable.eq(port.write_data)
        with m.If(written(Register.STATUS) & (port.write_data & Status.DONE).any()):
            m.d.sync += finished.eq(0)
        command = Signal(Control)
        with m.If(written(Register.CONTROL)):
            m.d.comb += command.eq(port.write_data)
        self._run_control(m, command, state, error, program_loaded, finished)
        return m

    def _parameters(self, m, port, idle):
        """The RW registers that describe a load or run; they can be written while idle."""
        low = (self.config.axi_data_bits // 8).bit_length() - 1
        registers = {
            Register.PROGRAM_ADDRESS: self.program_address[low:], Register.PROGRAM_BEATS: self.program_beats,
            Register.INPUT_ADDRESS: self.input_address[low:], Register.OUTPUT_ADDRESS: self.output_address[low:],
            Register.BATCHES: self.batches,
        }
        shown = {}
        for register, value in registers.items():
            first = 0 if register in (Register.PROGRAM_BEATS, Register.BATCHES) else low
            with m.If(port.write & idle & (port.write_address == register // 4)):
                for byte in range(4):
                    lo, hi = max(8 * byte - first, 0), min(8 * byte + 8 - first, len(value))
                    if hi > lo:
                        with m.If(port.write_strobe[byte]):
                            m.d.sync += value[lo:hi].eq(port.write_data[lo + first:hi + first])
            shown[register] = Cat(Const(0, first), value)
        return shown

    def _counters(self, m):
        """Cycle counters of the run; they are cleared when the next one begins."""
        cycles, stall_cycles = Signal(64), Signal(64)
        batch, batch_cycles, batches_done = Signal(32), Signal(32), Signal(32)
        stalled, working = Signal(), Signal()
        m.d.comb += [stalled.eq(self.running & self.stalled), working.eq(self.running & ~self.stalled)]
        m.d.sync += [
            cycles.eq(cycles + self.running), stall_cycles.eq(stall_cycles + stalled), batch.eq(batch + working),
        ]
        with m.If(self.batch_end):
            m.d.sync += [batch.eq(0), batch_cycles.eq(batch + working), batches_done.eq(batches_done + 1)]
        with m.If(self.run):
            m.d.sync += [counter.eq(0) for counter in (cycles, stall_cycles, batch, batch_cycles, batches_done)]
        return {
            Register.CYCLES: cycles[:32], Register.CYCLES_HIGH: cycles[32:],
            Register.STALL_CYCLES: stall_cycles[:32], Register.STALL_CYCLES_HIGH: stall_cycles[32:],
            Register.BATCH_CYCLES: batch_cycles, Register.BATCHES_DONE: batches_done,
        }

    def _run_control(self, m, command, state, error, program_loaded, finished):
        """Idle, loading, running, resetting; errors end what is on."""
        code = Signal(ErrorCode)
        refused, empty = Signal(), Signal()
        drain = Signal(range(DRAIN_CYCLES))
        with m.Switch(state):
            with m.Case(State.IDLE):
                with m.If(error != ErrorCode.NONE):
                    pass
                with m.Elif(command[0]):
                    m.d.comb += [empty.eq(self.program_beats == 0), self.load.eq(~empty)]
                    m.d.sync += [program_loaded.eq(0), state.eq(State.LOAD)]
                with m.Elif(command[1]):
                    m.d.comb += [refused.eq(~program_loaded | (self.batches == 0)), self.run.eq(~refused)]
                    m.d.sync += [finished.eq(0), state.eq(State.RUN)]
            with m.Case(State.LOAD):
                with m.If(self.loaded):
                    m.d.sync += [program_loaded.eq(1), state.eq(State.IDLE)]
            with m.Case(State.RUN):
                with m.If(self.done):
                    m.d.sync += [drain.eq(DRAIN_CYCLES - 1), state.eq(State.FINISH)]
            with m.Case(State.FINISH):
                m.d.sync += drain.eq(drain - (drain != 0))
                with m.If((drain == 0) & ~self.memory_busy):
                    m.d.sync += [finished.eq(1), state.eq(State.IDLE)]
            with m.Case(State.RESET):
                m.d.sync += drain.eq(drain - (drain != 0))
                with m.If((drain == 0) & ~self.bus_busy):
                    m.d.sync += state.eq(State.IDLE)

        with m.If(self.read_error):
            m.d.comb += code.eq(ErrorCode.BUS_READ)
        with m.Elif(self.write_error):
            m.d.comb += code.eq(ErrorCode.BUS_WRITE)
        with m.Elif(self.checksum_error | empty):
            m.d.comb += code.eq(ErrorCode.CHECKSUM)
        with m.Elif(self.illegal | refused):
            m.d.comb += code.eq(ErrorCode.ILLEGAL_INSTRUCTION)
        with m.If((code != ErrorCode.NONE) & (state != State.RESET)):
            m.d.sync += [error.eq(code), drain.eq(DRAIN_CYCLES - 1), state.eq(State.RESET)]
        with m.If(command[2]):
            m.d.sync += [
                error.eq(ErrorCode.NONE), finished.eq(0), drain.eq(DRAIN_CYCLES - 1), state.eq(State.RESET),
            ]
