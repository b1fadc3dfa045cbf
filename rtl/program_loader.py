"""The program loader: a program image from the bus into the program memories."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig, bits_for
from shifthw.isa import InstructionLayout, Section

MEMORIES = tuple(section for section in Section if section not in (Section.TABLE, Section.END))
"""Sections that have a memory in every engine, in the order of their numbers, which are 0, 1, ..."""


def memories(config: ArrayConfig) -> tuple[Section, ...]:
    """Sections that have a memory, in the order of their numbers."""
    return (*MEMORIES, Section.TABLE) if config.tables else MEMORIES


def memory_shape(config: ArrayConfig, section: Section) -> tuple[int, int]:
    """(words, columns) of a program memory; a column is axi_data_bits wide."""
    words, bits = {
        Section.INSTRUCTION: (config.instruction_words, InstructionLayout(config).width),
        Section.STEP: (config.step_words, config.step_word_bits),
        Section.WEIGHT: (config.weight_words, config.weight_word_bits),
        Section.START: (config.scale_words, config.start_word_bits),
        Section.SCALE: (config.scale_words, config.scale_word_bits),
        Section.TABLE: (config.tables * config.table_words, 4 * config.activation_bits),
    }[section]
    return words, -(-bits // config.axi_data_bits)


class ProgramWriteSignature(wiring.Signature):
    """Writes one column of one word of one program memory.

    Members
    -------
    enable : Out(len(memories(config))), one bit per section, bit `Section`
    address : Out(address bits of the deepest memory), the word
    column : Out(column bits of the widest memory), 0: the word's lowest bits
    data : Out(axi_data_bits)
    """

    def __init__(self, config: ArrayConfig) -> None:
        shapes = [memory_shape(config, section) for section in memories(config)]
        super().__init__({
            "enable": Out(len(memories(config))),
            "address": Out(bits_for(max(words for words, _ in shapes))),
            "column": Out(bits_for(max(columns for _, columns in shapes))),
            "data": Out(config.axi_data_bits),
        })


class State(enum.Enum, shape=2):
    """What the next beats are."""

    IDLE = 0
    HEADER = 1
    WORDS = 2
    CHECKSUM = 3


class ProgramLoader(wiring.Component):
    """Parses the records of a program image (docs/architecture.md) and checks its checksum.

    Takes 32 bits per cycle, so a beat in axi_data_bits / 32 cycles: the checksum needs no more than
    two 32-bit adders. A column is written in the cycle after its beat was taken.

    Nothing is written outside the memories. An unknown section, a word beyond its memory, words
    in the END record, a wrong checksum, and a transfer that ends anywhere but behind the checksum are
    `error`s; the loader then takes no more beats. Words written before the error stay written.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    start : In(1), pulse: the next beat is the first of an image
    i : In(stream.Signature({"data": axi_data_bits, "last": 1}))
    write : Out(ProgramWriteSignature(config))
    done : Out(1), pulse: the image is complete and correct
    error : Out(1), pulse
    """

    def __init__(self, *, config: ArrayConfig) -> None:
        self.config = config
        super().__init__({
            "start": In(1),
            "i": In(stream.Signature(data.StructLayout({"data": config.axi_data_bits, "last": 1}))),
            "write": Out(ProgramWriteSignature(config)),
            "done": Out(1),
            "error": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        write = self.write
        beat_parts = self.config.axi_data_bits // 32
        header_parts = max(2, beat_parts)               # a header or checksum has at least 64 bits
        state = Signal(State)
        part = Signal(range(header_parts), reset_less=True)
        section = Signal(range(len(memories(self.config))), reset_less=True)
        is_end = Signal(reset_less=True)
        address = Signal(len(write.address) + 1, reset_less=True)
        column = Signal.like(write.column, reset_less=True)
        words = Signal(32, reset_less=True)             # left of the record

        word, final, beat_end = Signal(32), Signal(), Signal()
        shapes = [memory_shape(self.config, s) for s in memories(self.config)]
        inside, column_end = Signal(), Signal()
        m.d.comb += [
            word.eq(self.i.p.data.word_select(part[:max(1, beat_parts.bit_length() - 1)], 32)
                    if beat_parts > 1 else self.i.p.data),
            beat_end.eq(part[:beat_parts.bit_length() - 1].all() if beat_parts > 1 else 1),
            final.eq(part == Mux(state == State.WORDS, beat_parts - 1, header_parts - 1)),
            inside.eq(address < Array(words for words, _ in shapes)[section]),
            column_end.eq(column == Array(columns - 1 for _, columns in shapes)[section]),
        ]
        take, bad, wrong = Signal(), Signal(), Signal()
        expected = self._checksum(m, word, take & (state != State.CHECKSUM))
        m.d.comb += [
            take.eq(self.i.valid & (state != State.IDLE)),
            self.i.ready.eq(beat_end & (state != State.IDLE)),
            wrong.eq(word != Mux(part[0], expected.b, expected.a)),
        ]

        m.d.sync += [write.enable.eq(0), self.done.eq(0), self.error.eq(0)]
        with m.If(take):
            m.d.sync += part.eq(Mux(final, 0, part + 1))
            with m.Switch(state):
                with m.Case(State.HEADER):
                    self._header(m, word, part, section, is_end, address, words, bad)
                    m.d.sync += column.eq(0)
                    with m.If(final):
                        count = word if header_parts == 2 else words
                        with m.If(is_end):
                            m.d.sync += state.eq(State.CHECKSUM)
                        with m.Elif(count != 0):
                            m.d.sync += state.eq(State.WORDS)
                with m.Case(State.WORDS):
                    m.d.comb += bad.eq(~inside)
                    with m.If(final):
                        m.d.sync += [
                            write.enable.eq(inside << section), write.address.eq(address), write.column.eq(column),
                            write.data.eq(self.i.p.data), column.eq(column + 1),
                        ]
                        with m.If(column_end):
                            m.d.sync += [column.eq(0), address.eq(address + 1), words.eq(words - 1)]
                            with m.If(words == 1):
                                m.d.sync += state.eq(State.HEADER)
                with m.Case(State.CHECKSUM):
                    m.d.comb += bad.eq(wrong & (part < 2) | final & ~self.i.p.last)
                    with m.If(final & ~bad):
                        m.d.sync += [self.done.eq(1), state.eq(State.IDLE)]
            with m.If(bad | beat_end & self.i.p.last & ~((state == State.CHECKSUM) & final)):
                m.d.sync += [self.error.eq(1), state.eq(State.IDLE)]
        with m.If(self.start):
            m.d.sync += [state.eq(State.HEADER), part.eq(0)]
        return m

    def _header(self, m, word, part, section, is_end, address, words, bad):
        """Takes part 0 (section, first word) and part 1 (words) of a record's header."""
        number, first = word[:8], word[8:]
        with m.If(part == 0):
            m.d.sync += [section.eq(number), is_end.eq(number == Section.END), address.eq(first)]
            m.d.comb += bad.eq(((number >= len(memories(self.config))) & (number != Section.END))
                               | first[len(self.write.address):].any())
        with m.Elif(part == 1):
            m.d.sync += words.eq(word)
            m.d.comb += bad.eq(is_end & word.any())

    def _checksum(self, m, word, take):
        """The sums over the 32-bit words taken; `b` follows `a` one cycle later."""
        sums = data.View(data.StructLayout({"a": 32, "b": 32}), Signal(64, name="sums", reset_less=True))
        added = Signal()
        m.d.sync += added.eq(take)
        with m.If(added):
            m.d.sync += sums.b.eq(sums.b + sums.a)
        with m.If(take):
            m.d.sync += sums.a.eq(sums.a + word)
        with m.If(self.start):
            m.d.sync += [Cat(sums.a, sums.b).eq(0), added.eq(0)]
        return sums
