"""ProgramLoader: records in, memory writes out; everything malformed is an error and writes nothing outside."""

import random

import pytest

from shifthw.arch import ArrayConfig
from shifthw.isa import Section
from shifthw.rtl.program_loader import ProgramLoader, memories, memory_shape

from .axi_model import run
from .program_image import Record, end, header, records

WIDTHS = [32, 64, 128]


def config(data_bits: int, tables: int = 0) -> ArrayConfig:
    """Memories of different, partly odd depths; every word but a table's has several columns, the last not full."""
    return ArrayConfig(pixels=2, simd=4, pe=4, axi_data_bits=data_bits, weight_words=37, step_words=5,
                       scale_words=8, instruction_words=16, activation_bits=7 if tables else 8, tables=tables)


def random_record(c: ArrayConfig, section: Section, source: random.Random, first: int, count: int) -> Record:
    columns = memory_shape(c, section)[1]
    return section, first, [[source.getrandbits(c.axi_data_bits) for _ in range(columns)] for _ in range(count)]


def full_program(c: ArrayConfig, seed: int) -> list[Record]:
    """Every memory in full, in parts, an empty record among them."""
    source = random.Random(seed)
    content: list[Record] = [(Section.STEP, 0, [])]
    for section in memories(c):
        depth = memory_shape(c, section)[0]
        split = source.randrange(1, depth)
        content += [random_record(c, section, source, split, depth - split),
                    random_record(c, section, source, 0, split)]
    return content


def writes_of(content: list[Record]) -> list[tuple[int, int, int, int]]:
    """(enable, address, column, data) that the records stand for."""
    return [(1 << section, first + k, n, column) for section, first, words in content
            for k, word in enumerate(words) for n, column in enumerate(word)]


def load(dut: ProgramLoader, *images: list[int], stall: float = 0.0, last: int | None = None):
    """Feeds each image until the verdict; (writes, verdicts). `last` is the beat marked as the transfer's last."""
    source, writes, verdicts = random.Random(1), [], []

    async def watch(ctx):
        names = ("enable", "address", "column", "data")
        async for _, _, *write in ctx.tick().sample(*(getattr(dut.write, name) for name in names)):
            if write[0]:
                writes.append(tuple(write))

    async def bench(ctx):
        for beats in images:
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            position, verdict = 0, None
            for _ in range(20 * len(beats) + 20):
                valid = position < len(beats) and source.random() >= stall
                ctx.set(dut.i.valid, valid)
                if valid:
                    ctx.set(dut.i.p.data, beats[position])
                    ctx.set(dut.i.p.last, position == (len(beats) - 1 if last is None else last))
                while True:
                    _, _, ready, done, error = await ctx.tick().sample(dut.i.ready, dut.done, dut.error)
                    if done or error:
                        verdict = "done" if done else "error"
                    if ready or not valid or verdict:
                        break
                position += bool(valid and ready)
                if verdict:
                    break
            ctx.set(dut.i.valid, 0)
            await ctx.tick()
            verdicts.append(verdict)
            assert not ctx.get(dut.i.ready) and not ctx.get(dut.done) and not ctx.get(dut.error)

    run(dut, bench=bench, background=[watch])
    return writes, verdicts


@pytest.mark.parametrize("tables", [0, 3])
@pytest.mark.parametrize("data_bits", WIDTHS)
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_writes_every_memory(data_bits: int, stall: float, tables: int) -> None:
    c = config(data_bits, tables)
    assert len(memories(c)) == 5 + (tables > 0)
    first, second = full_program(c, 1), full_program(c, 2)
    images = [end(records(data_bits, content), data_bits) for content in (first, second)]
    writes, verdicts = load(ProgramLoader(config=c), *images, stall=stall)
    assert verdicts == ["done", "done"]
    assert writes == writes_of(first) + writes_of(second)


@pytest.mark.parametrize("data_bits", WIDTHS)
def test_rests_anywhere(data_bits: int) -> None:
    c = config(data_bits)
    image = end(records(data_bits, [random_record(c, Section.STEP, random.Random(7), 1, 2)]), data_bits)
    assert load(ProgramLoader(config=c), *[image] * 12, stall=0.5)[1] == ["done"] * 12


@pytest.mark.parametrize("data_bits", WIDTHS)
def test_empty_image(data_bits: int) -> None:
    assert load(ProgramLoader(config=config(data_bits)), end([], data_bits)) == ([], ["done"])


@pytest.mark.parametrize("data_bits", WIDTHS)
def test_any_flipped_bit_is_an_error(data_bits: int) -> None:
    c = config(data_bits)
    image = end(records(data_bits, [random_record(c, Section.SCALE, random.Random(3), 2, 2)]), data_bits)
    good = load(ProgramLoader(config=c), image)
    assert good[1] == ["done"]
    source = random.Random(4)
    unused = range(64, 128)     # of the checksum's beat, the only bits without a meaning
    faulty = []
    for position in range(len(image)):
        for bit in source.sample(range(data_bits), 4):
            if position == len(image) - 1 and bit in unused:
                continue
            faulty.append([*image[:position], image[position] ^ 1 << bit, *image[position + 1:]])
    writes, verdicts = load(ProgramLoader(config=c), *faulty)
    for verdict, beats in zip(verdicts, faulty, strict=True):
        assert verdict == "error", f"accepted {beats}"
    assert_inside(c, writes)


def assert_inside(c: ArrayConfig, writes: list[tuple[int, int, int, int]]) -> None:
    """Every write hits one memory, at an address and column that it has."""
    for enable, address, column, _ in writes:
        words, columns = memory_shape(c, Section(enable.bit_length() - 1))
        assert enable.bit_count() == 1 and address < words and column < columns


@pytest.mark.parametrize("data_bits", WIDTHS)
def test_malformed_records(data_bits: int) -> None:
    c = config(data_bits)
    source = random.Random(5)
    depth, columns = memory_shape(c, Section.WEIGHT)
    word = [source.getrandbits(data_bits) for _ in range(columns)]
    bad = [
        [*header(data_bits, 5, 0, 0)], [*header(data_bits, 254, 0, 0)], [*header(data_bits, 128, 0, 0)],
        [*header(data_bits, Section.WEIGHT, depth, 1), *word],
        [*header(data_bits, Section.WEIGHT, depth - 1, 2), *word, *word],
        [*header(data_bits, Section.WEIGHT, 1 << 23, 1), *word],
        [*header(data_bits, Section.WEIGHT, 64, 1), *word],
        [*header(data_bits, Section.STEP, 5, 1), *[0] * memory_shape(c, Section.STEP)[1]],
        [*header(data_bits, Section.WEIGHT, 0, 3), *word],
        [*header(data_bits, Section.WEIGHT, 0, (1 << 32) - 1), *word],
    ]
    images = [end(beats, data_bits) for beats in bad] + [end([], data_bits, words=1)]
    writes, verdicts = load(ProgramLoader(config=c), *images)
    assert verdicts == ["error"] * len(images)
    assert_inside(c, writes)
    assert writes == [(1 << Section.WEIGHT, depth - 1, n, column) for n, column in enumerate(word)] + [
        write for write in writes[columns:] if write[1] < 4]


@pytest.mark.parametrize("data_bits", WIDTHS)
def test_tables_lie_within_their_memory(data_bits: int) -> None:
    c = config(data_bits, tables=3)
    depth, columns = memory_shape(c, Section.TABLE)
    assert (depth, columns) == (96, 1)
    bad = [[*header(data_bits, Section.TABLE, depth, 1), 1], [*header(data_bits, Section.TABLE, depth - 1, 2), 1, 2],
           [*header(data_bits, 6, 0, 0)]]
    writes, verdicts = load(ProgramLoader(config=c), *(end(beats, data_bits) for beats in bad))
    assert verdicts == ["error"] * len(bad)
    assert writes == [(1 << Section.TABLE, depth - 1, 0, 1)]


@pytest.mark.parametrize("data_bits", WIDTHS)
def test_end_must_be_the_end(data_bits: int) -> None:
    c = config(data_bits)
    image = end(records(data_bits, [random_record(c, Section.START, random.Random(6), 0, 2)]), data_bits)
    for length in range(1, len(image)):
        assert load(ProgramLoader(config=c), image[:length])[1] == ["error"], f"{length} of {len(image)} beats"
    assert load(ProgramLoader(config=c), [*image, 0])[1] == ["error"]
    assert load(ProgramLoader(config=c), image, image[:3], image)[1] == ["done", "error", "done"]
