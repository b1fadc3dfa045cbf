"""The output storer: rows of results to the bus."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig, bits_for

from .axi_bursts import command_layout


class OutputStorer(wiring.Component):
    """Sends each row as images * image_beats beats in wire format (docs/architecture.md), upper bits 0.

    The first row after `run` goes to `address`, every other one behind the one before it. There is
    room for one row: store_ready rises when the row before it has been handed to the bus.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    run : In(1), pulse: a run begins
    address : In(32), multiple of the data width, read when the first row is taken
    store_valid : In(1)
    store_ready : Out(1), does not depend on store_valid
    store_data : In(images * output_pixels * simd * activation_bits), [image][pixel lane][channel lane]
    command : Out(stream.Signature(command_layout(beats_bits)))
    o : Out(stream.Signature(axi_data_bits))
    busy : Out(1), a row is not yet handed to the bus
    """

    def __init__(self, *, config: ArrayConfig) -> None:
        self.config = c = config
        super().__init__({
            "run": In(1), "address": In(32),
            "store_valid": In(1), "store_ready": Out(1),
            "store_data": In(c.images * c.output_pixels * c.simd * c.activation_bits),
            "command": Out(stream.Signature(command_layout(self.beats_bits))),
            "o": Out(stream.Signature(c.axi_data_bits)),
            "busy": Out(1),
        })

    @property
    def image_beats(self) -> int:
        """Beats of one row of one image: its bytes are a power of two."""
        c = self.config
        return max(1, c.output_pixels * c.simd * c.wire_bits // c.axi_data_bits)

    @property
    def beats_bits(self) -> int:
        """Bits of the number of beats of a row."""
        return bits_for(self.config.images * self.image_beats + 1)

    def elaborate(self, platform):
        m = Module()
        c = self.config
        beats = c.images * self.image_beats
        row = Signal(len(self.store_data), reset_less=True)
        full, commanded, first = Signal(), Signal(), Signal()
        beat = Signal(range(beats))
        m.d.comb += [
            self.busy.eq(full),
            self.store_ready.eq(~full),
            self.command.valid.eq(full & ~commanded),
            self.command.p.address.eq(self.address),
            self.command.p.beats.eq(beats),
            self.command.p.resume.eq(~first),
            self.o.valid.eq(commanded),
            self.o.p.eq(self._wire(row).word_select(beat, c.axi_data_bits)),
        ]
        with m.If(self.store_valid & self.store_ready):
            m.d.sync += [full.eq(1), row.eq(self.store_data)]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += [commanded.eq(1), first.eq(0)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += beat.eq(beat + 1)
            with m.If(beat == beats - 1):
                m.d.sync += [beat.eq(0), full.eq(0), commanded.eq(0)]
        with m.If(self.run):
            m.d.sync += first.eq(1)
        return m

    def _wire(self, row):
        """A row of codes in wire format."""
        c = self.config
        per_image = c.output_pixels * c.simd
        padding = self.image_beats * c.axi_data_bits - per_image * c.wire_bits

        def image(codes):
            return [Cat(codes.word_select(k, c.activation_bits), Const(0, c.wire_bits - c.activation_bits))
                    for k in range(per_image)]

        return Cat(Cat(image(row.word_select(b, per_image * c.activation_bits)), Const(0, padding))
                   for b in range(c.images))
