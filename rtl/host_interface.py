"""Everything between the engine and the buses: registers, program loader, input loader, output storer."""

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig, bits_for

from .axi import AxiLiteSignature, AxiReadSignature, AxiSignature, AxiWriteSignature
from .axi_reader import AxiReader
from .axi_writer import AxiWriter
from .control_registers import ControlRegisters
from .input_loader import InputLoader
from .output_storer import OutputStorer
from .program_loader import ProgramLoader, ProgramWriteSignature


class HostInterface(wiring.Component):
    """The memory side of the engine; the sequencer, the feature memory and the program memories are outside.

    Parameters
    ----------
    config : ArrayConfig
    outstanding : int, bursts on their way per direction

    Members
    -------
    s_axi : In(AxiLiteSignature()), the registers of shifthw.registers
    m_axi : Out(AxiSignature(axi_data_bits))
    irq : Out(1), level
    program_enable, program_address, program_column, program_data : Out, see ProgramWriteSignature; written only
        while no run is on
    abort : Out(1), level, at least DRAIN_CYCLES long: the sequencer goes idle
    run : Out(1), pulse: the sequencer starts
    batches : Out(32), constant during a run
    running, stalled : In(1), counted
    batch_end, done, illegal : In(1), pulses of the sequencer
    load_start, load_row, load_rows_last, load_busy : see InputLoader
    load_valid, load_ready, write_row, write_image, write_data : see InputLoader
    store_valid, store_ready, store_data : see OutputStorer
    store_busy : Out(1), until the bus has answered for every row taken
    """

    def __init__(self, *, config: ArrayConfig, outstanding: int = 4) -> None:
        self.config = c = config
        self.outstanding = outstanding
        super().__init__({
            "s_axi": In(AxiLiteSignature()), "m_axi": Out(AxiSignature(c.axi_data_bits)), "irq": Out(1),
            **{f"program_{name}": member for name, member in ProgramWriteSignature(c).members.items()},
            "abort": Out(1), "run": Out(1), "batches": Out(32),
            "running": In(1), "stalled": In(1), "batch_end": In(1), "done": In(1), "illegal": In(1),
            "load_start": In(1), "load_row": In(c.row_bits), "load_rows_last": In(c.row_bits), "load_busy": Out(1),
            "load_valid": Out(1), "load_ready": In(1), "write_row": Out(c.row_bits),
            "write_image": Out(bits_for(c.images)),
            "write_data": Out(c.pixels * c.input_channels * c.activation_bits),
            "store_valid": In(1), "store_ready": Out(1), "store_busy": Out(1),
            "store_data": In(c.images * c.output_pixels * c.simd * c.activation_bits),
        })

    def elaborate(self, platform):
        m = Module()
        c = self.config
        resettable = ResetInserter(self.abort)
        m.submodules.registers = registers = ControlRegisters(config=c)
        program, loader, storer = ProgramLoader(config=c), InputLoader(config=c), OutputStorer(config=c)
        m.submodules.program = resettable(program)
        m.submodules.loader = resettable(loader)
        m.submodules.storer = resettable(storer)
        m.submodules.reader = reader = AxiReader(data_bits=c.axi_data_bits, outstanding=self.outstanding)
        m.submodules.writer = writer = AxiWriter(
            data_bits=c.axi_data_bits, beats_bits=storer.beats_bits, outstanding=self.outstanding)

        wiring.connect(m, wiring.flipped(self.s_axi), registers.bus)
        wiring.connect(m, storer.command, writer.command)
        wiring.connect(m, storer.o, writer.i)
        for part, signature in ((reader.bus, AxiReadSignature), (writer.bus, AxiWriteSignature)):
            for name, member in signature(c.axi_data_bits).members.items():
                inside, outside = getattr(part, name), getattr(self.m_axi, name)
                m.d.comb += outside.eq(inside) if member.flow is Out else inside.eq(outside)

        for name in ("load_start", "load_row", "load_rows_last", "load_ready"):
            m.d.comb += getattr(loader, name).eq(getattr(self, name))
        for name in ("load_busy", "load_valid", "write_row", "write_image", "write_data"):
            m.d.comb += getattr(self, name).eq(getattr(loader, name))
        for name in ("running", "stalled", "batch_end", "done", "illegal"):
            m.d.comb += getattr(registers, name).eq(getattr(self, name))
        for name in ("irq", "abort", "run", "batches"):
            m.d.comb += getattr(self, name).eq(getattr(registers, name))
        for name in program.write.signature.members:
            m.d.comb += getattr(self, f"program_{name}").eq(getattr(program.write, name))
        m.d.comb += [
            storer.store_valid.eq(self.store_valid), storer.store_data.eq(self.store_data),
            self.store_ready.eq(storer.store_ready),
            self.store_busy.eq(storer.busy | writer.busy),
            loader.run.eq(registers.run), loader.address.eq(registers.input_address),
            loader.batches.eq(registers.batches),
            storer.run.eq(registers.run), storer.address.eq(registers.output_address),
            program.start.eq(registers.load), registers.loaded.eq(program.done),
            registers.checksum_error.eq(program.error),
            registers.read_error.eq(reader.error), registers.write_error.eq(writer.error),
            registers.memory_busy.eq(self.load_busy | self.store_busy),
            registers.bus_busy.eq(reader.busy | writer.busy),
            reader.abort.eq(self.abort), writer.abort.eq(self.abort),
        ]
        self._share_reader(m, registers, reader, program, loader)
        return m

    def _share_reader(self, m, registers, reader, program, loader):
        """The reader serves the program loader while a program load is on, otherwise the input loader."""
        m.d.comb += [
            program.i.p.eq(reader.o.p), loader.i.p.eq(reader.o.p),
            program.i.valid.eq(reader.o.valid & registers.loading),
            loader.i.valid.eq(reader.o.valid & ~registers.loading),
            reader.o.ready.eq(program.i.ready | loader.i.ready),
        ]
        with m.If(registers.load):
            m.d.comb += [
                reader.command.valid.eq(1), reader.command.p.address.eq(registers.program_address),
                reader.command.p.beats.eq(registers.program_beats), reader.command.p.resume.eq(0),
            ]
        with m.Else():
            m.d.comb += [
                reader.command.valid.eq(loader.command.valid), reader.command.p.eq(loader.command.p),
                loader.command.ready.eq(reader.command.ready),
            ]
