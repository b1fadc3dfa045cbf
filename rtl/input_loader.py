"""The input loader: batches of images from the bus into the feature memory."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig, bits_for
from shifthw.registers import BEATS_BITS

from .axi_bursts import command_layout


def shift_add(value, factor: int):
    """Value * factor as a sum of shifts, so that no synthesizer spends a multiplier on it."""
    return sum(value << bit for bit in range(factor.bit_length()) if factor >> bit & 1)


class InputLoader(wiring.Component):
    """Each start loads the next batch: for every image the rows load_row .. load_row + load_rows_last.

    The first batch after `run` is at `address`, every other one behind the one before it. After
    `batches` batches a start does nothing. A row of P*G activations is assembled from
    `row_beats` beats (wire format: docs/architecture.md), then offered to the feature memory until it
    is taken, however long that lasts: row_beats + 1 cycles per row at best.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    run : In(1), pulse: a run begins
    address : In(32), multiple of the data width, read at the first start
    batches : In(32), read at `run`
    load_start : In(1), pulse, only while `load_busy` is low
    load_row, load_rows_last : In(row_bits), valid with load_start
    load_busy : Out(1), from the cycle after load_start until the last row is taken
    command : Out(stream.Signature(command_layout(BEATS_BITS)))
    i : In(stream.Signature({"data": axi_data_bits, "last": 1}))
    load_valid : Out(1)
    load_ready : In(1)
    write_row : Out(row_bits)
    write_image : Out(image number)
    write_data : Out(pixels * input_channels * activation_bits), [pixel lane][channel]
    """

    def __init__(self, *, config: ArrayConfig) -> None:
        self.config = c = config
        if self.row_beats * c.images * c.feature_rows >= 1 << BEATS_BITS:
            raise ValueError(f"a batch must have fewer than 2**{BEATS_BITS} beats, not up to "
                             f"{self.row_beats * c.images * c.feature_rows}")
        super().__init__({
            "run": In(1), "address": In(32), "batches": In(32),
            "load_start": In(1), "load_row": In(c.row_bits), "load_rows_last": In(c.row_bits), "load_busy": Out(1),
            "command": Out(stream.Signature(command_layout(BEATS_BITS))),
            "i": In(stream.Signature(data.StructLayout({"data": c.axi_data_bits, "last": 1}))),
            "load_valid": Out(1), "load_ready": In(1), "write_row": Out(c.row_bits),
            "write_image": Out(bits_for(c.images)),
            "write_data": Out(c.pixels * c.input_channels * c.activation_bits),
        })

    @property
    def row_beats(self) -> int:
        """Beats of one row of one image."""
        c = self.config
        return -(-c.pixels * c.input_channels * c.wire_bits // c.axi_data_bits)

    def elaborate(self, platform):
        m = Module()
        c = self.config
        batches = Signal(32)                            # left of the run
        first = Signal()
        commanded = Signal()                            # the bus has got the batch's command
        row_first, rows_last, left = (Signal(c.row_bits, reset_less=True, name=n) for n in ("row", "last", "left"))
        beat = Signal(range(self.row_beats))

        command = self.command.p
        m.d.comb += [
            self.command.valid.eq(self.load_busy & ~commanded),
            command.address.eq(self.address),
            command.resume.eq(~first),
            command.beats.eq(shift_add(rows_last + 1, self.row_beats * c.images)),
            self.i.ready.eq(commanded & ~self.load_valid),
        ]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += [commanded.eq(1), first.eq(0)]

        take = Signal()
        m.d.comb += take.eq(self.i.valid & self.i.ready)
        self._assemble(m, beat, take)
        with m.If(take):
            m.d.sync += beat.eq(beat + 1)
            with m.If(beat == self.row_beats - 1):
                m.d.sync += [beat.eq(0), self.load_valid.eq(1)]

        with m.If(self.load_valid & self.load_ready):
            m.d.sync += [self.load_valid.eq(0), self.write_row.eq(self.write_row + 1), left.eq(left - 1)]
            with m.If(left == 0):
                m.d.sync += [self.write_row.eq(row_first), left.eq(rows_last),
                             self.write_image.eq(self.write_image + 1)]
                with m.If(self.write_image == c.images - 1):
                    m.d.sync += [self.load_busy.eq(0), commanded.eq(0), self.write_image.eq(0)]

        with m.If(self.load_start & (batches != 0)):
            m.d.sync += [
                self.load_busy.eq(1), batches.eq(batches - 1),
                row_first.eq(self.load_row), self.write_row.eq(self.load_row),
                rows_last.eq(self.load_rows_last), left.eq(self.load_rows_last),
            ]
        with m.If(self.run):
            m.d.sync += [batches.eq(self.batches), first.eq(1)]
        return m

    def _assemble(self, m, beat, take):
        """Keeps the activations of each beat in their place of the row."""
        c = self.config
        row = Signal(len(self.write_data), reset_less=True)
        m.d.comb += self.write_data.eq(row)
        per_beat = c.axi_data_bits // c.wire_bits
        for index in range(self.row_beats):
            count = min(per_beat, c.pixels * c.input_channels - index * per_beat)
            codes = Cat(self.i.p.data.word_select(k, c.wire_bits)[:c.activation_bits] for k in range(count))
            start = index * per_beat * c.activation_bits
            with m.If(take & (beat == index)):
                m.d.sync += row[start:start + len(codes)].eq(codes)
