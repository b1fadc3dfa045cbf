"""The emulator against the golden model, and its eyes for broken programs."""

import dataclasses

import numpy as np
import pytest

from shifthw.arch import ArrayConfig
from shifthw.emulator import EmulationError, Emulator
from shifthw.ir.graph import Flatten, Graph, Lookup, MaxPool2d, Rounding, ShiftConv2d, SumPool2d
from shifthw.ir.interpret import interpret
from shifthw.ir.types import IntType, ShiftWeight
from shifthw.isa import InstructionLayout, Opcode
from shifthw.lower import compile_graph
from shifthw.program import Program

from .lower.graphs import GraphBuilder, random_array, random_graph
from .lower.networks import NetworkBuilder, random_network

U8, S8 = IntType(8, False), IntType(8, True)
RANDOM_GRAPHS = 150


def check(graph: Graph, inputs: np.ndarray, **array: int) -> Program:
    """Every stored tensor equals the golden model's; cycles equal the cycle model's."""
    program = compile_graph(graph, **array)
    golden = interpret(graph, inputs, keep="all")
    names = tuple(name for name in program.tensors if name in golden and name != program.source.name)
    run = Emulator(program).run(inputs, capture=names)
    for name in names:
        np.testing.assert_array_equal(run.tensors[name], golden[name], err_msg=name)
    np.testing.assert_array_equal(run.outputs, golden[graph.outputs[0]])
    assert set(run.cycles_per_batch) == {program.cycles_per_batch}
    assert run.cycles == program.cycles(len(run.cycles_per_batch))
    return program


@pytest.mark.parametrize("first", range(0, RANDOM_GRAPHS, 10))
def test_random_graphs_on_random_arrays(first: int) -> None:
    for seed in range(first, first + 10):
        graph, build = random_graph(seed)
        check(graph, build.images(4), **random_array(seed + 7))


@pytest.mark.parametrize("adders", [0.5, 1.0])
@pytest.mark.parametrize("first", range(1000, 1000 + RANDOM_GRAPHS, 30))
def test_random_graphs_with_adder_layers(first: int, adders: float) -> None:
    for seed in range(first, first + 30):
        graph, build = random_graph(seed, adders)
        check(graph, build.images(4), **random_array(seed + 7))


@pytest.mark.parametrize("dtype", [U8, S8, IntType(2, True), IntType(3, False), IntType(16, True), IntType(16, False)],
                         ids=str)
@pytest.mark.parametrize("extreme", ["lo", "hi"])
def test_accumulator_holds_the_extremes(dtype: IntType, extreme: str) -> None:
    build = GraphBuilder(np.random.default_rng(1), (16, 5, 5), dtype)
    sign = np.ones((1, 8, 16, 3, 3), np.int8)
    sign[:, 4:] = -1
    acc = build.add(ShiftConv2d(ShiftWeight(sign, np.full_like(sign, 15)), (1, 1), (1, 1, 1, 1)), "images")
    build.requantize(acc, dtype, gain=0.01)
    graph = build.graph()
    images = np.full((2, 16, 5, 5), getattr(dtype, extreme))
    check(graph, images, images=1, pixels=4, simd=8, pe=4)


def test_sums_of_opposite_signs_reach_both_ends_of_a_modular_accumulator() -> None:
    build = GraphBuilder(np.random.default_rng(2), (32, 3, 3), S8)
    build.requantize(build.conv("images", 16, levels=8), S8)
    graph = build.graph()
    sign = graph["shiftconv2d1"].op.weight.sign[0, 0]
    images = np.where(sign < 0, -128, 127)[None, :, :, :]
    check(graph, np.concatenate([images, -1 - images]), images=2, pixels=4, simd=16, pe=16)


@pytest.mark.parametrize(("pixels", "size"), [(8, (8, 8)), (8, (7, 7)), (4, (5, 3)), (16, (4, 4)), (2, (1, 9))])
def test_global_pooling_adds_the_pixel_lanes(pixels: int, size: tuple[int, int]) -> None:
    build = GraphBuilder(np.random.default_rng(3), (20, *size), S8)
    build.requantize(build.add(SumPool2d(size, (1, 1)), "images"), S8)
    program = check(build.graph(), build.images(3), images=2, pixels=pixels, simd=16, pe=4)
    assert program.config.lane_sum == (-(-size[0] * size[1] // pixels) + pixels - 1 < size[0] * size[1])


def test_first_layer_packs_taps() -> None:
    build = GraphBuilder(np.random.default_rng(4), (3, 9, 11), U8)
    build.requantize(build.conv("images", 16), U8)
    program = check(build.graph(), build.images(2), images=1, pixels=8, simd=16, pe=16)
    assert program.config.input_channels == 3
    assert len(program.step_words) == 2  # 9 taps, 5 per step


def test_linear_layer_absorbs_flatten() -> None:
    build = GraphBuilder(np.random.default_rng(5), (4, 3, 5), S8)
    build.add(Flatten(), "images")
    build.requantize(build.conv("flatten1", 10, (1, 1), padding=(0, 0, 0, 0)), IntType(16, True))
    check(build.graph(), build.images(3), images=1, pixels=4, simd=4, pe=4)


def test_flattened_result_is_channel_major() -> None:
    build = GraphBuilder(np.random.default_rng(6), (5, 3, 4), S8)
    build.requantize(build.conv("images", 6), S8)
    build.add(Flatten(), build.nodes[-1].name)
    graph = build.graph()
    images = build.images(2)
    run = Emulator(compile_graph(graph, images=1, pixels=4, simd=8, pe=8)).run(images)
    np.testing.assert_array_equal(run.outputs, interpret(graph, images)[graph.outputs[0]])


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_random_products_and_tables(first: int) -> None:
    for seed in range(first, first + 10):
        graph, build = random_network(seed, ("conv", "adder", "residual", "excite", "multiply", "lookup"))
        check(graph, build.images(5), **random_array(seed + 7))


@pytest.mark.parametrize("own", [U8, S8], ids=str)
@pytest.mark.parametrize("other", [(8, 5, 4), (8, 1, 1)], ids=["map", "vector"])
def test_products_of_extremes(own: IntType, other: tuple[int, int, int]) -> None:
    """Factors that are the least and the largest of their bits, of a map and of a vector for all pixels."""
    build = NetworkBuilder(np.random.default_rng(11), (8, 5, 4), own)
    left = build.requantize("images", own)
    right = build.requantize("images", own) if other == (8, 5, 4) else build.requantize(
        build.add(SumPool2d((5, 4), (1, 1)), "images"), own, gain=20.0)
    build.product(left, right, S8)
    images = np.stack([np.full((8, 5, 4), own.lo), np.full((8, 5, 4), own.hi), *build.images(2)])
    program = check(build.graph(), images, images=2, pixels=4, simd=8, pe=4)
    assert program.config.product and fields_of(program, Opcode.CONV)[-1]["broadcast"] == (other != (8, 5, 4))


def test_depthwise_takes_one_instruction() -> None:
    build = GraphBuilder(np.random.default_rng(7), (40, 6, 6), S8)
    build.requantize(build.conv("images", 40, groups=40), S8)
    program = check(build.graph(), build.images(2), images=1, pixels=8, simd=16, pe=8)
    assert program.layers[0].instructions == 1


def test_residual_of_one_map_read_with_two_strides() -> None:
    build = GraphBuilder(np.random.default_rng(8), (8, 9, 9), S8)
    trunk = build.requantize(build.conv("images", 8), S8)
    added = build.requantize(build.conv(trunk, 8), S8, trunk, rounding=Rounding.FLOOR)
    build.requantize(build.conv(added, 12, stride=(2, 2)), S8)
    small = build.nodes[-1].name
    pooled = build.add(MaxPool2d((3, 3), (2, 2), (1, 1, 1, 1)), trunk)
    build.requantize(build.conv(pooled, 12), S8, small)
    program = check(build.graph(), build.images(3), images=2, pixels=8, simd=8, pe=4)
    assert not any(layer.copy for layer in program.layers)      # the stride-1 reader follows the phase planes


def test_unit_scales_need_no_multiplier() -> None:
    build = GraphBuilder(np.random.default_rng(9), (4, 6, 6), S8, unit_scales=True)
    for _ in range(3):
        build.requantize(build.conv(build.nodes[-1].name, 4), S8)
    for node in build.nodes:
        if node.name.startswith("requantize"):
            node.op.multiplier[0][:] = 1 << min(3, node.op.shift)
    program = check(build.graph(), build.images(2), images=1, pixels=4, simd=4, pe=4)
    assert program.config.multiplier_bits == 0


# -- tables ----------------------------------------------------------------------------------------
def fields_of(program: Program, opcode: Opcode) -> list[dict[str, int]]:
    """Fields of the instructions with this opcode, and their `index` in the program."""
    decoded = [{**InstructionLayout(program.config).decode(word), "index": index}
               for index, word in enumerate(program.instructions)]
    return [fields for fields in decoded if fields["opcode"] == opcode]


def three_tables(bits: int = 4) -> tuple[Program, np.ndarray]:
    """Looks up results in a table, in none, in another table, in the first one and in a third one; three batches."""
    dtype, x = IntType(bits, True), "images"
    build = NetworkBuilder(np.random.default_rng(12), (6, 3, 4), dtype)
    tables = [Lookup(build.rng.integers(dtype.lo, dtype.hi, 1 << bits, endpoint=True)) for _ in range(3)]
    for table in (tables[0], None, tables[1], tables[0], tables[2]):
        x = build.requantize(build.conv(x, 8), dtype)
        x = build.add(table, x, dtype=dtype) if table else x
    return check(build.graph(), build.images(3), images=1, pixels=4, simd=8, pe=8), build.images(3)


def test_a_table_is_loaded_ahead_of_the_layers_that_need_it() -> None:
    program, _ = three_tables()
    decoded = [InstructionLayout(program.config).decode(word) for word in program.instructions]
    shown = [(f["opcode"], f["lookup"] or f["table"]) for f in decoded if f["opcode"] in (Opcode.TABLE, Opcode.CONV)]
    assert program.config.tables == 3 and shown == [
        (Opcode.TABLE, 0), (Opcode.CONV, 1), (Opcode.CONV, 0), (Opcode.TABLE, 1), (Opcode.CONV, 1),
        (Opcode.TABLE, 0), (Opcode.CONV, 1), (Opcode.TABLE, 2), (Opcode.CONV, 1)]


def test_tables_wait_for_lookups() -> None:
    program, images = three_tables()
    waiting = [fields for fields in fields_of(program, Opcode.TABLE) if fields["delay"]]
    assert len(waiting) == 2    # those right behind a layer that looks up its results
    for fields in waiting:
        with pytest.raises(EmulationError, match="TABLE changes a table that results are looked up in"):
            Emulator(patched(program, fields["index"], delay=fields["delay"] - 1)).run(images)


def test_lookups_wait_for_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a way to the pipelines so long that the next instruction is there first."""
    monkeypatch.setattr(ArrayConfig, "table_load_latency", 60)
    program, images = three_tables()
    for fields in fields_of(program, Opcode.CONV):
        if fields["lookup"]:
            with pytest.raises(EmulationError, match="looks up results before its table is loaded"):
                Emulator(patched(program, fields["index"], delay=fields["delay"] - 1)).run(images)


def test_lookups_need_a_table() -> None:
    program, images = three_tables()
    with pytest.raises(EmulationError, match="table 3 is not in table memory"):
        Emulator(patched(program, 1, table=3)).run(images)
    without = dataclasses.replace(program, instructions=(program.instructions[0], *program.instructions[2:]),
                                  targets=(program.targets[0], *program.targets[2:]))
    with pytest.raises(EmulationError, match="of which none is loaded"):
        Emulator(without).run(images)


def test_factors_have_the_bits_of_multipliers() -> None:
    build = NetworkBuilder(np.random.default_rng(13), (4, 3, 3), S8)
    build.product(build.requantize("images", S8), "images", S8)
    program = check(build.graph(), build.images(2), images=1, pixels=4, simd=4, pe=4)
    most = 2 ** (program.config.multiplier_bits - 1) - 1
    index = fields_of(program, Opcode.CONV)[-1]["index"]
    with pytest.raises(EmulationError, match="a factor needs more than"):
        Emulator(patched(program, index, residual_multiplier=most)).run(build.images(2))


# -- broken programs -------------------------------------------------------------------------------
def patched(program: Program, index: int, **fields: int) -> Program:
    layout = InstructionLayout(program.config)
    word = layout.encode(**{**layout.decode(program.instructions[index]), **fields})
    return dataclasses.replace(program, instructions=(*program.instructions[:index], word,
                                                      *program.instructions[index + 1:]))


def test_every_delay_is_needed() -> None:
    tried = 0
    for seed in range(25):
        graph, build = random_graph(seed)
        program, images = compile_graph(graph, **random_array(seed + 7)), build.images(4)
        layout = InstructionLayout(program.config)
        for index, word in enumerate(program.instructions):
            fields = layout.decode(word)
            if fields["delay"] and fields["opcode"] != Opcode.LOAD:
                tried += 1
                with pytest.raises(EmulationError, match=r"on its way|meet those"):
                    Emulator(patched(program, index, delay=fields["delay"] - 1)).run(images)
    assert tried > 20


@pytest.fixture(scope="module")
def broken() -> tuple[Program, np.ndarray]:
    build = GraphBuilder(np.random.default_rng(10), (20, 8, 8), S8)
    build.requantize(build.conv("images", 20), S8)
    build.requantize(build.add(SumPool2d((8, 8), (1, 1)), build.nodes[-1].name), S8)
    return compile_graph(build.graph(), images=1, pixels=8, simd=16, pe=8), build.images(2)


@pytest.mark.parametrize(("index", "fields", "message"), [
    (1, {"opcode": 7}, "illegal"),
    (1, {"wait_load": 0}, "nobody wrote"),
    (1, {"in_row": 45}, "nobody wrote"),
    (1, {"lane3_xq": 0}, "one bank twice"),
    (1, {"tiles_last": 40}, "range of coordinates"),
    (3, {"weight_base": 0}, "reduce steps are not 0"),
    (4, {"in_row": 55}, "nobody wrote"),
])
def test_broken_programs_are_noticed(broken: tuple[Program, np.ndarray], index: int, fields: dict[str, int],
                                     message: str) -> None:
    program, images = broken
    with pytest.raises(EmulationError, match=message):
        Emulator(patched(program, index, **fields)).run(images)


def test_weight_codes_without_meaning_are_noticed(broken: tuple[Program, np.ndarray]) -> None:
    program, images = broken
    words = np.full_like(program.weight_words, 255)
    with pytest.raises(EmulationError, match="a code has no meaning"):
        Emulator(dataclasses.replace(program, weight_words=words)).run(images)
