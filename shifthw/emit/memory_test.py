"""A program that moves patterns through an engine: memory -> feature rows -> memory, no layer between.

The driver runs it before the first inference. What comes back wrong points at the bus, its width or the buffers,
while a network's results would only be wrong. Rows of pixels and results leave bits of a beat unused; so the program
also carries patterns over all bits of the bus, in weights that nothing uses, which the engine's checksum compares.
"""

import dataclasses

import numpy as np

from ..arch import ArrayConfig
from ..ir.types import IntType
from ..isa import PER_INSTRUCTION_CYCLES, InstructionLayout, Opcode
from ..program import Program
from ..tensor_layout import TensorLayout

MOST_ROWS = 128
"""Of the feature memory that the patterns fill."""
MOST_WEIGHT_WORDS = 64
"""Of the weight memory that patterns fill."""
NAME = "memory_test"


def memory_test(program: Program) -> Program:
    """LOAD, then per batch STORE of the same rows and LOAD of the next batch, on the engine of `program`."""
    config = program.config
    rows = min(config.feature_rows, MOST_ROWS)
    source, result = _layouts(program, rows)
    # As in a network's program: the rows may be overwritten when the last read of them is under way.
    reload = max(0, config.address_latency - PER_INSTRUCTION_CYCLES)
    drafts: list[tuple[Opcode, dict[str, int], int]] = [
        (Opcode.LOAD, {"tiles_last": rows - 1}, 0),
        (Opcode.STORE, {"tiles_last": rows - 1, "wait_load": 1}, rows),
        (Opcode.LOAD, {"tiles_last": rows - 1, "delay": reload}, 0),
        (Opcode.LOOP, {"target": 1}, 0),
    ]
    layout = InstructionLayout(config)
    cycles = [PER_INSTRUCTION_CYCLES + fields.get("delay", 0) + steps for _, fields, steps in drafts]
    return dataclasses.replace(
        program, name=NAME, instructions=tuple(layout.encode(opcode=opcode, **fields) for opcode, fields, _ in drafts),
        targets=(source.name, "", source.name, ""),
        **{name: getattr(program, name)[:0] for name in ("step_words", "start_words", "scale_words", "table_words")},
        weight_words=_bus_patterns(program),
        source=source, result=result, result_shape=result.shape, tensors={source.name: source, result.name: result},
        layers=(), rows_used=rows, cycles_prologue=cycles[0], cycles_per_batch=sum(cycles[1:]), metadata={})


def patterns(program: Program) -> np.ndarray:
    """Images int64[n, c, h, w] for memory_test(program): a batch each of alternating bits, of a one that walks, of
    numbers that no two neighbours share, and of noise."""
    dtype, shape = program.source.dtype, program.source.shape
    size, images = int(np.prod(shape)), program.config.images
    mask = (1 << dtype.bits) - 1
    place = np.arange(size)
    batches = [
        [np.where(place % 2, 0x55555555, 0xAAAAAAAA) & mask] * images,
        [1 << (place + image) % dtype.bits for image in range(images)],
        [(place * 2654435761 >> 7) + 37 * image & mask for image in range(images)],
        list(np.random.default_rng(0).integers(0, mask, (images, size), endpoint=True)),
    ]
    return np.array([image for batch in batches for image in batch], np.int64).reshape(-1, *shape)


def _bus_patterns(program: Program) -> np.ndarray:
    """Weight words uint8[words, bytes] whose beats are alternating bits, a one that walks over the bus, and noise."""
    c = program.config
    beat, columns = c.axi_data_bits // 8, -(-c.weight_word_bits // c.axi_data_bits)
    words = min(c.weight_words, MOST_WEIGHT_WORDS)
    walking = [(1 << bit).to_bytes(beat, "little") for bit in range(c.axi_data_bits)]
    fixed = np.frombuffer(b"".join([b"\x55" * beat, b"\xaa" * beat, *walking]), np.uint8).reshape(-1, beat)
    noise = np.random.default_rng(0).integers(0, 256, (words * columns, beat), dtype=np.uint8)
    return np.concatenate([fixed, noise])[:words * columns].reshape(words, -1)


def _layouts(program: Program, rows: int) -> tuple[TensorLayout, TensorLayout]:
    """All that the loader writes of `rows` rows, and all that the storer sends of them."""
    c: ArrayConfig = program.config
    result = TensorLayout(name="moved", shape=(c.simd, rows, c.output_pixels), dtype=IntType(c.activation_bits, False),
                          pixels=c.pixels, simd=c.simd, pitch=c.pixels)
    source = dataclasses.replace(result, name="pattern", shape=(c.input_channels, rows, c.pixels),
                                 copies=program.source.copies)
    return source, result
