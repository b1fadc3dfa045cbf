"""The energy model: counts by hand, accesses as sequencer and emulator make them, and what the reports say."""

import json
from typing import Any

import numpy as np
import pytest

from shifthw import cli_energy, zoo
from shifthw.boards import load as load_board
from shifthw.emulator import Emulator
from shifthw.energy import MODEL, energy_report
from shifthw.energy.accesses import TRANSFER, program_accesses
from shifthw.energy.operations import LayerOperations, layer_operations
from shifthw.energy.units import Counts, Format, Memory, Operation, Platform, format_for, memory_pj, operations_pj
from shifthw.flow import build_report, compile_model
from shifthw.ir.graph import Graph, MaxPool2d, ShiftConv2d, SpatialShift2d, SumPool2d
from shifthw.ir.types import IntType, ShiftWeight
from shifthw.isa import InstructionLayout, Opcode
from shifthw.lower import compile_graph
from shifthw.lower.compile import prepare
from shifthw.program import Program
from shifthw.report import report_page
from shifthw.rtl.sequencer import Sequencer
from shifthw.tile_loop import TileLoop

from .lower.graphs import GraphBuilder, random_array, random_graph
from .lower.networks import NetworkBuilder, random_network

ARRAY = {"images": 1, "pixels": 2, "simd": 4, "pe": 4}
NO_PADDING = (0, 0, 0, 0)
ADD, SHIFT, MULTIPLY = Operation.ADD, Operation.SHIFT, Operation.MULTIPLY
U8 = IntType(8, False)


def builder(channels: int = 4, height: int = 4, width: int = 6, bits: int = 8, *,
            unit_scales: bool = False) -> NetworkBuilder:
    return NetworkBuilder(np.random.default_rng(1), (channels, height, width), IntType(bits, False), zeros=False,
                        unit_scales=unit_scales)


def made(build: GraphBuilder) -> tuple[Graph, Program]:
    return build.graph(), compile_graph(build.graph(), **ARRAY)


def operations(build: GraphBuilder) -> list[LayerOperations]:
    graph, program = made(build)
    network = prepare(graph)
    return [layer_operations(layer, network, program.config) for layer in network.layers]


# -- operations ----------------------------------------------------------------------------------

@pytest.mark.parametrize("terms", [1, 2, 3, 4])
@pytest.mark.parametrize(("groups", "weights"), [(1, 4 * 8 * 9), (2, 2 * 8 * 9), (4, 1 * 8 * 9)])
def test_a_shift_layer_takes_a_shift_and_an_addition_per_term(groups: int, weights: int, terms: int) -> None:
    build = builder()
    build.requantize(build.conv("images", 8, groups=groups, terms=terms), U8)
    (layer,) = operations(build)
    count = weights * 4 * 6                                         # padding keeps the map
    assert layer.array == {(SHIFT, Format.FIX8): count * terms, (ADD, Format.FIX8): count * terms}
    assert layer.multiplying == {(MULTIPLY, Format.FIX8): count, (ADD, Format.FIX8): count}
    assert layer.zero_terms == 0


@pytest.mark.parametrize(("groups", "weights"), [(1, 4 * 8 * 9), (2, 2 * 8 * 9), (4, 1 * 8 * 9)])
def test_an_adder_layer_takes_two_additions_per_weight(groups: int, weights: int) -> None:
    build = builder()
    build.requantize(build.adder("images", 8, stride=(2, 2), groups=groups), U8)
    (layer,) = operations(build)
    count = weights * 2 * 3
    assert layer.array == {(ADD, Format.FIX8): 2 * count}
    assert layer.multiplying == {(MULTIPLY, Format.FIX8): count, (ADD, Format.FIX8): count}


def test_terms_of_0_are_counted_and_told() -> None:
    build = builder(2, 3, 3)
    sign = np.array([[[1, 1], [1, -1]], [[0, 0], [0, 1]]], np.int8).reshape(2, 2, 2, 1, 1)
    weight = ShiftWeight(sign, np.zeros_like(sign))
    build.requantize(build.add(ShiftConv2d(weight), "images"), U8)
    (layer,) = operations(build)
    assert layer.array[SHIFT, Format.FIX8] == 8 * 9
    assert layer.zero_terms == 3 * 9
    assert layer.multiplying[MULTIPLY, Format.FIX8] == 4 * 9


def test_a_convolution_that_only_copies_computes_nothing() -> None:
    build = builder(2, 3, 3)
    sign = np.eye(2, dtype=np.int8).reshape(1, 2, 2, 1, 1)
    build.requantize(build.add(ShiftConv2d(ShiftWeight(sign, np.zeros_like(sign))), "images"), U8)
    graph, program = made(build)
    row = energy_report(graph, program)["layers"][0]
    assert row["kind"] == "copy"
    assert set(row["operations"].values()) == {0}
    assert row["zero_terms"] == 0
    assert row["requantize"]["add"] == 2 * 9


def test_pooling_takes_an_addition_per_position() -> None:
    build = builder(4, 4, 6)
    build.add(MaxPool2d((2, 3), (2, 3)), "images")
    build.requantize(build.add(SumPool2d((2, 2), (2, 2)), "maxpool2d1"), U8)
    most, total = operations(build)
    assert most.array == most.multiplying == {(ADD, Format.FIX8): 4 * 2 * 2 * 6}
    assert most.requantize == {}
    assert total.array == total.multiplying == {(ADD, Format.FIX8): 4 * 1 * 1 * 4}


def test_requantize_multiplies_and_adds_every_operand() -> None:
    build = builder(4, 4, 6)
    first = build.requantize(build.conv("images", 4), U8)
    build.requantize(build.conv(first, 4), U8, residual=first)
    alone, with_residual = operations(build)
    outputs = 4 * 4 * 6
    assert alone.requantize == {(MULTIPLY, Format.FIX32): outputs, (ADD, Format.FIX32): outputs,
                                (SHIFT, Format.FIX32): outputs}
    assert with_residual.requantize == {(MULTIPLY, Format.FIX32): 2 * outputs, (ADD, Format.FIX32): 2 * outputs,
                                        (SHIFT, Format.FIX32): outputs}


def test_an_engine_without_multipliers_does_not_multiply() -> None:
    build = builder(unit_scales=True)
    build.requantize(build.conv("images", 4), U8)
    graph, program = made(build)
    assert program.config.multiplier_bits == 0
    assert energy_report(graph, program)["layers"][0]["requantize"]["multiply"] == 0


def test_a_factor_takes_a_multiplication() -> None:
    for other in ("images", "pixel"):
        build = builder(4, 4, 6)
        if other == "pixel":
            other = build.requantize(build.add(SumPool2d((4, 6), (4, 6)), "images"), U8)
        build.product("images", other, U8)
        graph, program = made(build)
        row = energy_report(graph, program)["layers"][-2]       # the last are the transfers
        assert row["kind"] == "product"
        assert set(row["operations"].values()) == {0}
        assert row["requantize"] == {"multiply": 2 * 96, "add": 96, "shift": 96}


def test_a_table_computes_nothing_and_is_loaded_once() -> None:
    build = builder()
    build.lookup(build.requantize(build.conv("images", 4), U8), U8)
    build.lookup(build.nodes[-1].name, U8)
    graph, program = made(build)
    with_table, alone, transfer = energy_report(graph, program)["layers"]
    assert (with_table["kind"], alone["kind"]) == ("shift", "table")
    assert set(alone["operations"].values()) == {0}
    instructions = [InstructionLayout(program.config).decode(word)["opcode"] for word in program.instructions[1:]]
    assert instructions.count(Opcode.TABLE) == 2
    assert transfer["bits_per_batch"]["control"] == (
        2 * 8 * 256 + (len(instructions) - 2) * InstructionLayout(program.config).width)


@pytest.mark.parametrize(("bits", "form"), [(2, "FIX8"), (8, "FIX8"), (9, "FIX32"), (16, "FIX32"), (32, "FIX32"),
                                            (40, "FIX32")])
def test_the_next_wider_format_counts(bits: int, form: str) -> None:
    assert format_for(bits).value == form


def test_a_layer_counts_in_the_format_of_its_operands() -> None:
    build = builder(bits=16)
    build.requantize(build.conv("images", 4), U8)
    build.requantize(build.conv(build.nodes[-1].name, 4), U8)
    assert [layer.format for layer in operations(build)] == ["FIX32", "FIX8"]


def test_weights_read_between_pixels_count_for_each_pixel() -> None:
    build = builder()
    displacement = np.array([[0, 0], [2, -4], [1, 0], [-3, 1]])     # 1, 1, 2 and 4 pixels
    wide = build.add(SpatialShift2d(displacement, 2), "images", dtype=IntType(10, False))
    build.requantize(build.conv(wide, 8, (1, 1), padding=NO_PADDING, terms=2), U8)
    (layer,) = operations(build)
    count = (1 + 1 + 2 + 4) * 8 * 24
    assert layer.array == {(SHIFT, Format.FIX8): 2 * count, (ADD, Format.FIX8): 2 * count}
    assert layer.multiplying == {(MULTIPLY, Format.FIX8): count, (ADD, Format.FIX8): count}


def test_moves_of_whole_pixels_and_channels_add_nothing() -> None:
    plain, moving = builder(), builder()
    plain.requantize(plain.conv("images", 8), U8)
    moved = moving.shuffle(moving.address("images"))
    moving.requantize(moving.conv(moving.concat(moving.shift(moved)), 8, (1, 1), padding=NO_PADDING), U8)
    (layer,) = operations(plain)
    assert layer.array[SHIFT, Format.FIX8] == 9 * 4 * 8 * 24
    assert sum(each.array[SHIFT, Format.FIX8] for each in operations(moving)) == 4 * 8 * 24


@pytest.mark.parametrize(("factor", "kernel", "padding", "met"), [
    ((2, 2), (4, 4), (2, 2, 1, 1), 2 * 2 * 8 * 12), ((2, 1), (2, 1), (1, 0, 0, 0), 8 * 6),
    ((2, 2), (3, 3), (1, 1, 1, 1), 24 * (1 + 2 + 2 + 4)), ((3, 3), (1, 1), NO_PADDING, 24)])
def test_weights_on_zeros_between_pixels_do_not_count(factor: tuple[int, int], kernel: tuple[int, int],
                                                      padding: tuple[int, int, int, int], met: int) -> None:
    build = builder()
    build.requantize(build.conv(build.upsample("images", factor, zeros=True), 8, kernel, padding=padding), U8)
    (layer,) = operations(build)
    assert layer.array[SHIFT, Format.FIX8] == layer.multiplying[MULTIPLY, Format.FIX8] == 4 * 8 * met


def test_an_enlargement_between_pixels_adds_up_four() -> None:
    build = builder()
    build.requantize(build.bilinear("images"), U8)
    graph, program = made(build)
    row, outputs = energy_report(graph, program)["layers"][0], 4 * 8 * 12
    assert row["kind"] == "shift"
    assert row["operations"] == {"multiply": 0, "add": 8 * outputs, "shift": 8 * outputs}
    assert row["multiplying_operations"] == {"multiply": 4 * outputs, "add": 4 * outputs, "shift": 0}
    assert row["zero_terms"] == outputs


# -- energies ------------------------------------------------------------------------------------

def test_energies_by_hand() -> None:
    counts = Counts({(SHIFT, Format.FIX8): 1000, (ADD, Format.FIX8): 1000, (MULTIPLY, Format.FIX32): 10})
    assert operations_pj(counts, Platform.ASIC) == pytest.approx(24 + 30 + 31)
    assert operations_pj(counts, Platform.FPGA) == pytest.approx(25 + 100 + 196)
    assert memory_pj({Memory.DRAM: 16, Memory.GLOBAL_BUFFER: 32, Memory.NOC: 8, Memory.REGISTERS: 16}) == pytest.approx(
        200 + 2 * 22.2 + 3.7 + 3.7)


def test_ratios_of_single_layers_are_those_of_the_table() -> None:
    build = builder()
    build.requantize(build.conv("images", 8, terms=2), U8)
    graph, program = made(build)
    count = 4 * 8 * 9 * 24
    requantize = 8 * 24 * (3.1 + 0.1 + 0.13)
    row = energy_report(graph, program)["layers"][0]["asic_45nm"]
    assert row["shift_pj"] == pytest.approx(2 * 0.024 * count)
    assert row["add_pj"] == pytest.approx(2 * 0.03 * count)
    assert row["requantize_pj"] == pytest.approx(requantize)
    assert row["multiplying_pj"] == pytest.approx(0.23 * count + requantize)
    assert row["ratio"] == pytest.approx((0.23 * count + requantize) / (0.108 * count + requantize))


def networks(seed: int) -> tuple[Graph, GraphBuilder]:
    """Random ones, of convolutions and of moves, products and tables."""
    return random_graph(seed, adders=0.4) if seed < 12 else random_network(seed)


@pytest.mark.parametrize("seed", range(30))
def test_totals_are_those_of_the_layers(seed: int) -> None:
    graph, _ = networks(seed)
    program = compile_graph(graph, **random_array(seed))
    energy = energy_report(graph, program)
    layers, total = energy["layers"], energy["total"]
    for group in ("operations", "requantize", "multiplying_operations", "bits_per_batch", "multiplying_bits_per_batch"):
        for name, value in total[group].items():
            assert value == sum(layer[group][name] for layer in layers)
    assert total["memory_pj"] == pytest.approx(sum(layer["memory_pj"] for layer in layers), abs=0.1)
    for platform in ("asic_45nm", "fpga_zc706"):
        summed = sum(layer[platform]["total_pj"] for layer in layers)
        assert total[platform]["total_pj"] == pytest.approx(summed, abs=0.1)
        assert sum(layer[platform]["share"] for layer in layers) == pytest.approx(total[platform]["share"])
        assert sum(energy["shares"][platform].values()) == pytest.approx(1)
        both = energy["with_memory"][platform]
        assert both["total_pj"] == pytest.approx(total[platform]["total_pj"] + total["memory_pj"], abs=0.01)
    assert json.loads(json.dumps(energy)) == energy


@pytest.mark.parametrize("seed", range(30))
def test_shifts_and_distances_are_the_useful_work(seed: int) -> None:
    graph, _ = networks(seed)
    program = compile_graph(graph, **random_array(seed))
    *layers, _ = energy_report(graph, program)["layers"]
    work = [layer["operations"]["add"] // 2 if layer["kind"] == "adder" else layer["operations"]["shift"]
            for layer in layers]
    assert work == [layer.macs for layer in program.layers]


def test_without_any_sum() -> None:
    build = builder()
    build.add(MaxPool2d((2, 2), (2, 2)), "images")
    energy = energy_report(*made(build))
    assert energy["total"]["requantize"] == {"multiply": 0, "add": 0, "shift": 0}
    assert energy["total"]["asic_45nm"]["ratio"] == 1
    assert energy["shares"]["asic_45nm"] == {"shift": 0, "adder": 0, "pool": 1, "requantize": 0}
    assert energy["total"]["bits_per_batch"]["accumulators"] == 0
    assert [layer["asic_45nm"]["ratio"] for layer in energy["layers"]] == [1, None]


def test_the_same_in_floats() -> None:
    build = builder()
    build.requantize(build.conv("images", 8, terms=3), U8)
    energy = energy_report(*made(build))
    count, outputs = 4 * 8 * 9 * 24, 8 * 24
    assert energy["multiplying_fp32_pj"]["asic_45nm"] == pytest.approx((count + outputs) * (3.7 + 0.9))
    assert energy["multiplying_fp32_pj"]["fpga_zc706"] == pytest.approx((count + outputs) * (18.8 + 0.4))


# -- accesses ------------------------------------------------------------------------------------

def test_accesses_by_hand() -> None:
    build = builder(4, 2, 2)
    build.requantize(build.conv("images", 8, (1, 1), padding=NO_PADDING, terms=2), U8)
    program = compile_graph(build.graph(), images=3, pixels=2, simd=4, pe=4)
    c = program.config
    accesses = program_accesses(program)
    layer, transfer = accesses[program.layers[0].output], accesses[TRANSFER]
    tiles = 2 * 2                                                   # two output groups, two rows of two pixels
    assert layer.features_read == tiles * 2 * 2 * 4 * 3 * 8         # two terms, two pixels, four channels, three images
    assert layer.features_written == 8 * 4 * 3 * 8
    assert layer.weights == tiles * 2 * 4 * 4 * c.code_bits
    assert layer.accumulators == tiles * 2 * 3 * 2 * 4 * c.accumulator_bits * 2
    assert layer.array == layer.features_read + layer.features_written + layer.weights
    assert layer.control == (tiles * 2 * c.step_word_bits + tiles * (c.start_word_bits + c.scale_word_bits)
                             + InstructionLayout(c).width)
    assert layer.dram == 0
    assert transfer.dram == 8 * (program.input_batch_bytes + program.output_batch_bytes)
    assert transfer.features_written == 2 * 2 * 4 * 3 * 8
    assert transfer.features_read == 2 * 2 * 2 * 4 * 3 * 8          # two channel groups of results
    assert transfer.control == 3 * InstructionLayout(c).width       # LOAD, STORE, LOOP


def test_with_multiplications_one_pass_and_wider_weights() -> None:
    build = builder(4, 2, 2)
    build.requantize(build.conv("images", 8, (1, 1), padding=NO_PADDING, terms=3), U8)
    program = compile_graph(build.graph(), **ARRAY)
    output = program.layers[0].output
    layer, multiplying = program_accesses(program)[output], program_accesses(program, multiplying=True)[output]
    assert layer.features_read == 3 * multiplying.features_read
    assert layer.accumulators == 3 * multiplying.accumulators
    assert layer.features_written == multiplying.features_written
    assert multiplying.weights * 3 * program.config.code_bits == layer.weights * 8


def test_copies_of_the_channels_are_loaded() -> None:
    build = builder(1, 4, 4)
    build.requantize(build.conv("images", 4), U8)
    program = compile_graph(build.graph(), **ARRAY)
    assert program.config.input_channels == 1
    assert program_accesses(program)[TRANSFER].features_written == program.source.rows * 2 * 4 * 8


@pytest.mark.parametrize("seed", range(30))
def test_accesses_are_those_of_the_sequencer(seed: int) -> None:
    """Steps as it presents them, one by one."""
    graph, _ = networks(seed)
    program = compile_graph(graph, **random_array(seed))
    c = program.config
    sequencer, layout = Sequencer(config=c), InstructionLayout(c)
    rows, words = dict.fromkeys(program.targets, 0), dict.fromkeys(program.targets, 0)
    for word, target in zip(program.instructions, program.targets, strict=True):
        fields = layout.decode(word)
        if fields["opcode"] in (Opcode.CONV, Opcode.POOL):
            cycles = sequencer.model(fields)
            rows[target] += sum("row" in step for step in cycles)
            words[target] += sum(step.get("array", 0) for step in cycles)
    accesses = program_accesses(program)
    for layer in program.layers:
        moved = accesses[layer.output]
        assert moved.features_read == rows[layer.output] * c.pixels * c.simd * c.images * c.activation_bits
        assert moved.weights == words[layer.output] * c.weight_word_bits


@pytest.mark.parametrize("seed", [*range(8), *range(12, 24)])
def test_written_bits_are_those_of_the_emulator(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, build = networks(seed)
    program = compile_graph(graph, **random_array(seed))
    written: dict[str, int] = {}
    write = TileLoop._write

    def count(self: TileLoop, og: int, tiles: np.ndarray, codes: np.ndarray, low: int = 0) -> None:
        written[self.target] = written.get(self.target, 0) + codes[self.inside[tiles]].size
        write(self, og, tiles, codes, low)

    monkeypatch.setattr(TileLoop, "_write", count)
    Emulator(program).run(build.images(program.config.images))
    accesses = program_accesses(program)
    for layer in program.layers:
        assert accesses[layer.output].features_written == written[layer.output] * program.config.activation_bits


# -- reports -------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("model") / "digits.pt"
    zoo.write("digits", path)
    return build_report(compile_model(path, load_board("zc706"), pins=ARRAY))


def test_energy_never_stands_without_the_words(values: dict[str, Any]) -> None:
    assert values["energy"]["mark"] == MODEL == "model, not measurement"
    page = report_page(values)
    headings = [line for line in page.splitlines() if line.startswith(("<h2", "<h3", '  <div class="card"'))]
    energies = [line for line in headings if "nJ" in line or "nergy" in line or "Operations, " in line]
    assert len(energies) == 8                                       # the section, four sums, three tables of energies
    assert all(f'<span class="mark">{MODEL}</span>' in line for line in energies)
    assert "<td>block.conv1</td>" in page.split("Energy per image")[1]


def test_the_printed_table_says_so_too(values: dict[str, Any]) -> None:
    columns, rows = cli_energy.columns(values["energy"]), list(cli_energy.rows(values["energy"]))
    assert columns[0] == f"energy per image ({MODEL})"
    assert all(len(row) == len(columns) for row in rows)
    assert [row[:2] for row in rows[-2:]] == [("total", ""), ("total with memory", "")]
    assert float(rows[-1][4].replace(",", "")) > float(rows[-2][4].replace(",", "")) > 0
