"""The emitted engine against golden model, emulator and cycle model: every output integer, every cycle."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from shifthw.emit.verilog import TOP, engine_files, primitive_files
from shifthw.emulator import Emulator
from shifthw.ir import interpret
from shifthw.ir.graph import Flatten, Graph, MaxPool2d, Requantize, Rounding, SumPool2d
from shifthw.ir.types import IntType
from shifthw.isa import InstructionLayout, Opcode
from shifthw.lower import compile_graph
from shifthw.sim.build import Engine, build_simulator
from shifthw.sim.run import simulate

from ..lower.graphs import GraphBuilder, random_array, random_graph
from ..lower.networks import KINDS, NetworkBuilder, random_network


def check(graph: Graph, pictures: np.ndarray, cache: Path, engine: Engine = Engine.FAST,
          stalls: tuple[int | None, ...] = (None,), axi_data_bits: int = 64, family: str = "", **array: int) -> None:
    """One build; a run per entry of `stalls`."""
    program = compile_graph(graph, axi_data_bits=axi_data_bits, **array)
    golden = np.asarray(interpret(graph, pictures)[graph.outputs[0]])
    np.testing.assert_array_equal(Emulator(program).run(pictures).outputs, golden)
    files = engine_files(program.config) | (primitive_files(program.config, family) if family else {})
    simulator = build_simulator(files, top=TOP, engine=engine, cache=cache)
    for seed in stalls:
        result = simulate(simulator, engine, program, pictures, stalls_seed=seed)
        np.testing.assert_array_equal(result.outputs, golden)
        assert result.cycles - result.stall_cycles == program.cycles(program.batches(len(pictures)))
        assert result.batch_cycles == program.cycles_per_batch or len(pictures) <= program.config.images


def residual_network(act: int = 8) -> GraphBuilder:
    """Padded max-pool with stride 2, stride-2 convolution, two-term residual block, global pooling, classifier."""
    signed, unsigned = IntType(act, True), IntType(act, False)
    build = GraphBuilder(np.random.default_rng(21), (3, 10, 9), unsigned)
    x = build.requantize(build.conv("images", 8), unsigned)
    x = build.add(MaxPool2d((3, 3), (2, 2), (1, 1, 1, 1)), x)
    x = build.requantize(build.conv(x, 16, stride=(2, 2)), signed)
    x = build.requantize(build.conv(x, 16, terms=2), unsigned, x)
    x = build.requantize(build.add(SumPool2d(build.type(x).shape[1:], (1, 1)), x), unsigned)
    build.requantize(build.conv(x, 10, (1, 1), padding=(0, 0, 0, 0)), signed)
    return build


def odd_network() -> GraphBuilder:
    """Signed input, no padding, dilation, depthwise with two strides, stride 3, flatten and linear."""
    signed, unsigned = IntType(8, True), IntType(8, False)
    build = GraphBuilder(np.random.default_rng(22), (5, 7, 11), signed)
    x = build.requantize(build.conv("images", 10, padding=(0, 0, 0, 0), dilation=(2, 1)), signed)
    x = build.requantize(build.conv(x, 10, stride=(2, 1), padding=(1, 2, 1, 0), groups=10), unsigned)
    x = build.requantize(build.conv(x, 12, (1, 1), (3, 3), (0, 0, 0, 0)), unsigned)
    x = build.add(Flatten(), x)
    build.requantize(build.conv(x, 7, (1, 1), padding=(0, 0, 0, 0)), signed)
    return build


def test_residual_network_under_cocotb(simulator_cache: Path) -> None:
    build = residual_network()
    check(build.graph(), build.images(3), simulator_cache, Engine.COCOTB, (None, 1, 2),
          images=1, pixels=4, simd=8, pe=4)


def test_images_in_lockstep_of_fifteen_bits_on_a_wide_bus(simulator_cache: Path) -> None:
    build = residual_network(15)
    check(build.graph(), build.images(5), simulator_cache, stalls=(None, 3, 4, 5), axi_data_bits=128,
          images=2, pixels=8, simd=4, pe=2)


def test_odd_network(simulator_cache: Path) -> None:
    build = odd_network()
    check(build.graph(), build.images(4), simulator_cache, stalls=(None, 6), images=1, pixels=8, simd=8, pe=8)


def ties_network(rounding: Rounding) -> GraphBuilder:
    """Layers with other shifts and with and without multipliers, of which the second never rounds to even."""
    signed = IntType(8, True)
    build = GraphBuilder(np.random.default_rng(23), (4, 5, 6), signed)

    def layer(source: str, multiplier: int, shift: int, rounding: Rounding, residual: str = "") -> str:
        acc = build.conv(source, 8, (1, 1), padding=(0, 0, 0, 0), levels=2)
        factors, bias = np.full(8, multiplier), build.rng.integers(-20, 20, 8)
        op = Requantize((factors,) if not residual else (factors, np.full(8, 2)), bias, shift, -128, 127, rounding)
        return build.add(op, *filter(None, (acc, residual)), dtype=signed)

    x = layer("images", 1, 3, rounding)
    x = layer(x, 4, 4, Rounding.HALF_UP)
    layer(x, 3, 5, rounding, x)
    return build


def test_ties_go_to_the_even_number(simulator_cache: Path) -> None:
    build, up = (ties_network(rounding) for rounding in (Rounding.HALF_EVEN, Rounding.HALF_UP))
    pictures = build.images(3)
    even, halves_up = (interpret(each.graph(), pictures, keep="all") for each in (build, up))
    for name in (node.name for node in build.nodes if isinstance(node.op, Requantize)):
        assert (even[name] != halves_up[name]).any()
    program = compile_graph(build.graph(), images=1, pixels=2, simd=4, pe=2)
    assert [f["ties_to_even"] for f in map(InstructionLayout(program.config).decode, program.instructions)
            if f["opcode"] == Opcode.CONV] == [1, 0, 1]
    check(build.graph(), pictures, simulator_cache, stalls=(None, 7), images=1, pixels=2, simd=4, pe=2)


def shift_and_add_network(act: int = 8) -> GraphBuilder:
    """A packed shift layer, an adder layer on half-filled channel groups, stride and residual, groups, pooling."""
    signed, unsigned = IntType(act, True), IntType(act, False)
    build = GraphBuilder(np.random.default_rng(24), (3, 9, 7), unsigned)
    x = build.requantize(build.conv("images", 12), signed)
    x = build.requantize(build.adder(x, 12), unsigned, x)
    x = build.requantize(build.adder(x, 16, stride=(2, 2), groups=4), signed)
    x = build.requantize(build.conv(x, 16, terms=2), signed)
    x = build.requantize(build.add(SumPool2d(build.type(x).shape[1:], (1, 1)), x), signed)
    build.requantize(build.adder(x, 6, (1, 1), padding=(0, 0, 0, 0), reach=4.0), signed)
    return build


def test_shift_and_adder_layers_in_one_array_under_cocotb(simulator_cache: Path) -> None:
    build = shift_and_add_network()
    check(build.graph(), build.images(3), simulator_cache, Engine.COCOTB, (None, 8), images=1, pixels=4, simd=8, pe=4)


def test_adder_layers_alone(simulator_cache: Path) -> None:
    build = GraphBuilder(np.random.default_rng(25), (5, 6, 5), IntType(8, True))
    x = build.requantize(build.adder("images", 8), IntType(8, False))
    x = build.requantize(build.adder(x, 8, groups=2), IntType(7, True), x)
    build.requantize(build.add(SumPool2d((6, 5), (1, 1)), x), IntType(8, True))
    check(build.graph(), build.images(4), simulator_cache, stalls=(None, 9), images=2, pixels=8, simd=8, pe=8)


@pytest.mark.parametrize("bits", [16, 32])
def test_wide_types(bits: int, simulator_cache: Path) -> None:
    """FIX16 and FIX32 of ShiftAddNet."""
    build = shift_and_add_network(bits)
    check(build.graph(), build.images(3), simulator_cache, stalls=(None, 10), images=1, pixels=2, simd=4, pe=2)


@pytest.mark.parametrize("adders", [False, True])
@pytest.mark.parametrize("family", ["xc7", "xcup"])
def test_lanes_in_primitives(family: str, adders: bool, simulator_cache: Path) -> None:
    build = shift_and_add_network() if adders else residual_network()
    check(build.graph(), build.images(2), simulator_cache, family=family, images=1, pixels=2, simd=8, pe=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1040))
def test_random_networks(seed: int, simulator_cache: Path) -> None:
    graph, build = random_graph(seed, adders=0.0 if seed < 1030 else 0.5 if seed < 1037 else 1.0)
    check(graph, build.images(3), simulator_cache, stalls=(None, seed), axi_data_bits=64 << seed % 2,
          **small(random_array(seed), 1024))


def small(array: dict[str, int], lanes: int) -> dict[str, int]:
    """The array with its pixels and channel lanes halved until it has no more than so many lanes."""
    array = dict(array)
    while array["images"] * array["pixels"] * array["simd"] * array["pe"] > lanes:
        largest = max(("pixels", "simd"), key=lambda name: array[name])
        array[largest] //= 2
        array["pe"] = min(array["pe"], array["simd"])
    return array


@pytest.mark.parametrize("seed", [1, 4, pytest.param(10, id="10-residual_shift")])
def test_moves_products_and_tables(seed: int, simulator_cache: Path) -> None:
    kinds = ("conv", "pointwise", "excite", "multiply", "lookup", "residual", "shift", "split")
    graph, build = random_network(seed, kinds)
    check(graph, build.images(3), simulator_cache, stalls=(None, seed), **small(random_array(seed), 128))


@pytest.mark.parametrize("product", [False, True])
def test_residuals_of_tiles_of_two_cycles_wait_in_delay_lines(product: bool, simulator_cache: Path) -> None:
    """A step and the read of the residual; between them tiles of other lengths."""
    signed, unsigned = IntType(8, True), IntType(8, False)
    build = NetworkBuilder(np.random.default_rng(29), (3, 6, 7), unsigned)
    x = build.requantize(build.conv("images", 8), signed)
    for out in (8, 8, 12, 8):
        y = build.requantize(build.conv(x, out, (1, 1), padding=(0, 0, 0, 0)), signed, x if out == 8 else None)
        if product and out == 8:
            vector = build.requantize(build.add(SumPool2d((6, 7), (1, 1)), y), signed, gain=6.0)
            z = build.product(y, vector, signed)
            y = build.requantize(build.conv(z, 8, (1, 1), padding=(0, 0, 0, 0)), signed, y)
        x = build.requantize(build.conv(y, 8, (1, 1), padding=(0, 0, 0, 0)), signed, y if out == 8 else x)
    array = {"images": 1, "pixels": 4, "simd": 8, "pe": 8}
    program = compile_graph(build.graph(), **array)
    assert program.config.residual_delay
    assert {InstructionLayout(program.config).decode(word)["idle"] for word in program.instructions} == {0}
    check(build.graph(), build.images(5), simulator_cache, stalls=(None, 12), **array)


def test_vectors_are_added_to_and_multiplied_with_maps_of_adder_layers(simulator_cache: Path) -> None:
    signed, unsigned = IntType(8, True), IntType(8, False)
    build = NetworkBuilder(np.random.default_rng(26), (6, 5, 7), signed)
    x = build.requantize(build.conv("images", 12), signed)
    vector = build.requantize(build.add(SumPool2d((5, 7), (1, 1)), x), signed, gain=6.0)
    gate = build.lookup(build.requantize(build.conv(vector, 12, (1, 1), padding=(0, 0, 0, 0)), unsigned), unsigned)
    y = build.requantize(build.adder(x, 12), signed, vector)
    y = build.product(build.product(y, gate, signed), vector, unsigned)
    build.product(build.lookup(y, signed), x, signed)
    array = {"images": 2, "pixels": 4, "simd": 8, "pe": 4}
    config = compile_graph(build.graph(), **array).config
    assert config.adder and config.product and config.tables == 2
    check(build.graph(), build.images(5), simulator_cache, stalls=(None, 11), **array)


def test_a_table_that_is_loaded_a_cycle_sooner_is_too_soon(simulator_cache: Path) -> None:
    """table_load_latency is what the hardware takes; half of the codes change with the first of two words."""
    dtype, x = IntType(3, True), "images"
    build = NetworkBuilder(np.random.default_rng(27), (4, 2, 3), dtype)
    for _ in range(2):
        x = build.lookup(build.requantize(build.conv(x, 8), dtype), dtype)
    array, pictures = {"images": 1, "pixels": 2, "simd": 8, "pe": 8}, build.images(6)
    check(build.graph(), pictures, simulator_cache, **array)
    program = compile_graph(build.graph(), **array)
    layout = InstructionLayout(program.config)
    index, fields = [(n, f) for n, f in enumerate(map(layout.decode, program.instructions))
                     if f["opcode"] == Opcode.TABLE][1]
    words = list(program.instructions)
    words[index] = layout.encode(**{**fields, "delay": fields["delay"] - 1})
    simulator = build_simulator(engine_files(program.config), top=TOP, engine=Engine.FAST, cache=simulator_cache)
    early = simulate(simulator, Engine.FAST, dataclasses.replace(program, instructions=tuple(words)), pictures)
    assert (early.outputs != Emulator(program).run(pictures).outputs).any()


@pytest.mark.slow
def test_random_networks_of_the_spatial_shift_family(rtl_seed: int, simulator_cache: Path) -> None:
    """Again with `--rtl-seed FIRST`, the first of the names; every third of them of mixed types."""
    mixed = rtl_seed % 3 == 0
    graph, build = random_network(rtl_seed, tuple(kind for kind in KINDS if kind != "half" or not mixed), mixed=mixed)
    check(graph, build.images(3), simulator_cache, stalls=(None, rtl_seed), axi_data_bits=64 << rtl_seed % 2,
          **small(random_array(rtl_seed), 512))
