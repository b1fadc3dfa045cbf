"""Program images for the loader's tests, written from the definition in docs/architecture.md."""

from collections.abc import Iterable

from shifthw.isa import Section

M32 = (1 << 32) - 1
Record = tuple[int, int, list[list[int]]]
"""Section, first word, words as lists of columns of axi_data_bits."""


def header(data_bits: int, section: int, first: int, words: int) -> list[int]:
    """Beats of a record's header."""
    value = section | first << 8 | words << 32
    return [value & M32, value >> 32] if data_bits == 32 else [value]


def checksum(beats: Iterable[int], data_bits: int) -> tuple[int, int]:
    """The two sums over the 32-bit words of `beats`."""
    a = b = 0
    for beat in beats:
        for k in range(0, data_bits, 32):
            a = (a + (beat >> k & M32)) & M32
            b = (b + a) & M32
    return a, b


def end(beats: list[int], data_bits: int, words: int = 0) -> list[int]:
    """`beats` with the END record and the checksum behind them."""
    beats = [*beats, *header(data_bits, Section.END, 0, words)]
    a, b = checksum(beats, data_bits)
    return [*beats, a, b] if data_bits == 32 else [*beats, a | b << 32]


def records(data_bits: int, content: Iterable[Record]) -> list[int]:
    """Beats of the records alone."""
    beats = []
    for section, first, words in content:
        beats += header(data_bits, section, first, len(words))
        beats += [column for word in words for column in word]
    return beats


def image_bytes(beats: Iterable[int], data_bits: int) -> bytes:
    """The image as it lies in memory."""
    return b"".join(beat.to_bytes(data_bits // 8, "little") for beat in beats)
