"""PrimitiveDot: simulated with models of the primitives against Dot.model, and proven equal to Dot."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig, bits_for
from shifthw.emit.verilog import engine_files, primitive_files
from shifthw.rtl.carry_adder import CARRY_BITS
from shifthw.rtl.dot import Dot
from shifthw.rtl.dot_primitive import PrimitiveDot, has_primitives
from shifthw.rtl.minimum_lane import MinimumLane
from shifthw.rtl.minimum_primitive import PrimitiveMinima
from shifthw.rtl.module_library import emit_module
from shifthw.rtl.rotate_lane import RotateLane
from shifthw.rtl.shift_lane import ShiftLane
from shifthw.sim.primitive_models import primitive_models
from shifthw.sim.toolchain import find_toolchain

from .harness import check_members, model_only

VECTORS = 200_000
FLUSH = 16


def dot(activation_bits: int, levels: int, simd: int, family: str, adder: bool = False) -> PrimitiveDot:
    return model_only(PrimitiveDot(activation_bits=activation_bits, exponent_levels=levels,
                                   zero_weights=True, simd=simd, adder=adder, family=family))


Case = tuple[int, int, int, str] | tuple[int, int, int, str, bool]
SIMULATED: list[Case] = [(8, 8, 16, "xc7"), (8, 7, 8, "xcup"), (6, 5, 4, "xc7"), (8, 8, 8, "xcup", True),
                         (9, 0, 4, "xc7", True)]
ALSO_SIMULATED: list[Case] = [(8, 7, 16, "xcup"), (8, 8, 8, "xcup"), (4, 4, 2, "xcup"),
                  (8, 7, 32, "xc7"), (8, 8, 32, "xcup"), (7, 6, 64, "xc7"), (8, 8, 64, "xcup"), (8, 7, 8, "xc7"),
                  (4, 8, 16, "xc7"), (5, 3, 16, "xcup"), (3, 2, 8, "xc7"), (2, 1, 128, "xcup"),
                              (8, 8, 16, "xc7", True), (8, 0, 16, "xcup", True), (8, 0, 16, "xc7", True),
                              (5, 6, 64, "xcup", True), (16, 0, 8, "xcup", True), (32, 0, 2, "xc7", True),
                              (2, 2, 128, "xc7", True), (3, 8, 2, "xcup", True)]


def vectors(dut: Dot, seed: int) -> dict[str, np.ndarray]:
    """The operands of the model [VECTORS, simd], random; first, for each lane, all exponents with each sign and
    extreme operands, the other lanes all at zero or all at their most."""
    rng = np.random.default_rng(seed)
    shape, top = (VECTORS, dut.simd), (1 << dut.activation_bits) - 1
    u, e = rng.integers(0, top + 1, shape), rng.integers(0, max(1, dut.exponent_levels), shape)
    sign, zero = rng.integers(0, 2, shape), rng.integers(0, 6, shape) == 0
    others = np.arange(VECTORS) % 3 == 2        # with weights of one sign the sums come near their bounds
    sign[others], u[others] = sign[others, :1], np.where(rng.integers(0, 4, shape) == 0, u, top * sign ^ top)[others]
    corners = list(product(range(dut.simd), range(dut.exponent_levels), (0, 1), (0, 1, top, top // 2 + 1, 0x55 & top),
                           (0, 1), (0, 1)))
    for n, (lane, exponent, lane_sign, operand, others_zero, lane_zero) in enumerate(corners):
        u[n], e[n], sign[n], zero[n] = 0, dut.exponent_levels - 1, 1, others_zero
        u[n, lane], e[n, lane], sign[n, lane], zero[n, lane] = operand, exponent, lane_sign, lane_zero
    if dut.exponent_levels < 1 << dut.exponent_bits:
        e[zero] = rng.integers(0, 1 << dut.exponent_bits, shape)[zero]
    fields = {"u": u, "e": e, "sign": sign, "zero": zero.astype(np.int64)} if dut.exponent_levels else {"u": u}
    return fields | ({"k": partners(u, top, rng)} if dut.adder else {})


def partners(u: np.ndarray, top: int, rng: np.random.Generator) -> np.ndarray:
    """What operands are compared with: the extremes, numbers that differ in one bit or not at all, any number."""
    kind = rng.integers(0, 6, u.shape)
    k = rng.integers(0, top + 1, u.shape)
    k = np.where(kind < 2, u ^ (rng.integers(0, 2, u.shape) << rng.integers(0, top.bit_length(), u.shape)), k)
    return np.where(kind == 2, top, np.where(kind == 3, 0, k))


def inputs_of(dut: Dot) -> list[str]:
    return [name for name in dut.signature.members if name != "o"]


def words_of(dut: Dot, fields: dict[str, np.ndarray]) -> np.ndarray:
    """The inputs as uint32 [VECTORS + FLUSH, words], the first from the lowest bit on."""
    bits = []
    for name in inputs_of(dut):
        values = np.pad(fields[name], ((0, FLUSH), (0, 0)))
        if dut.adder and name not in ("u", "k"):
            values = np.roll(values, 1, axis=0)      # they meet the minimum
        width = len(getattr(dut, name)) // dut.simd
        bits.append(((values[:, :, None] >> np.arange(width)) & 1).astype(np.uint8).reshape(len(values), -1))
    used = sum(part.shape[1] for part in bits)
    padding = np.zeros((len(bits[0]), words(dut) * 32 - used), np.uint8)
    return np.packbits(np.concatenate([*bits, padding], axis=1), axis=1, bitorder="little").view(np.uint32)


def words(dut: Dot) -> int:
    """32-bit words of a set of inputs; at least three, so that Verilator makes an array of them."""
    return max(3, -(-sum(len(getattr(dut, name)) for name in inputs_of(dut)) // 32))


def bench_top(duts: list[PrimitiveDot]) -> str:
    """A Verilog module with all the dots, each with one vector of inputs."""
    lines, ports = [], []
    for n, dut in enumerate(duts):
        ports += [f"input wire [{words(dut) * 32 - 1}:0] i{n}", f"output wire [63:0] o{n}"]
        connections, low = [], 0
        for name in inputs_of(dut):
            width = len(getattr(dut, name))
            connections.append(f".{name}(i{n}[{low + width - 1}:{low}])")
            low += width
        lines += [f"wire [{dut.output_bits - 1}:0] s{n};", f"assign o{n} = s{n};",
                  f"{dut.module_name} dut{n} (.clk(clk), .rst(1'b0), .o(s{n}), {', '.join(connections)});"]
    return "\n".join([f"module bench(input wire clk, {', '.join(ports)});", *lines, "endmodule", ""])


def bench_main(duts: list[PrimitiveDot]) -> str:
    """A program: inputs of each clock from standard input, outputs before each clock to standard output."""
    read = [f"if (std::fread(top.i{n}.data(), 4, {words(dut)}, stdin) != {words(dut)}) return 0;"
            for n, dut in enumerate(duts)]
    write = [f"std::fwrite(&top.o{n}, 8, 1, stdout);" for n in range(len(duts))]
    return "\n".join([
        "#include <cstdio>", '#include "Vbench.h"', "int main() {", "static Vbench top;", "for (;;) {", *read,
        "top.clk = 0; top.eval();", *write, "top.clk = 1; top.eval();", "}", "}", ""])


@pytest.mark.parametrize("cases", [SIMULATED, pytest.param(ALSO_SIMULATED, marks=pytest.mark.slow)],
                         ids=["usual", "more"])
def test_simulation(cases: list[Case], tmp_path: Path) -> None:
    duts = [dot(*each) for each in cases]
    files = {f"{dut.module_name}.v": emit_module(dut, dut.module_name) for dut in duts}
    files |= primitive_models(files) | {"bench.v": bench_top(duts), "main.cpp": bench_main(duts)}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    tools = find_toolchain()
    commands = [
        [tools.perl, tools.verilator, "--cc", "--exe", "--top-module", "bench", "-Wno-fatal", "-Wno-WIDTH",
         "-Wno-UNOPTFLAT", "--output-split", "20000", *files],
        [tools.make, "-C", "obj_dir", "-f", "Vbench.mk", "-j", "2", "CFG_CXXFLAGS_PCH_I=-include", "OPT_FAST=-O1"]]
    for command in commands:
        done = subprocess.run(list(map(str, command)), cwd=tmp_path, env=tools.environment(), capture_output=True,
                              text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    fields = [vectors(dut, seed) for seed, dut in enumerate(duts)]
    inputs = np.concatenate([words_of(dut, each) for dut, each in zip(duts, fields, strict=True)], axis=1)
    done = subprocess.run([tmp_path / "obj_dir" / "Vbench"], input=inputs.tobytes(), capture_output=True, check=True)
    outputs = np.frombuffer(done.stdout, np.uint64).reshape(-1, len(duts)).astype(np.int64)
    for n, (dut, each) in enumerate(zip(duts, fields, strict=True)):
        np.testing.assert_array_equal(outputs[dut.latency:dut.latency + VECTORS, n], dut.model(**each),
                                      err_msg=dut.module_name)


class Guarded(wiring.Component):
    """A dot or a lane as it is used: exponents that are not allowed come with zero, `invert` is applied. Its
    operands are `wait` cycles late."""

    def __init__(self, dut: Dot | ShiftLane | RotateLane, wait: int = 0) -> None:
        self.dut = dut
        self.wait = wait
        super().__init__({name: member for name, member in dut.signature.members.items() if name != "invert"})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        values = {name: getattr(self, name) for name in self.signature.members if name != "o"}
        if "zero" in values:
            illegal = [self.e.word_select(n, dut.exponent_bits) >= dut.exponent_levels for n in range(len(dut.zero))]
            values["zero"] = self.zero | Cat(illegal)
        for name, value in values.items():
            for n in range(self.wait):
                later = Signal(len(value), name=f"{name}{n}", reset_less=True)
                m.d.sync += later.eq(value)
                value = later
            m.d.comb += getattr(dut, name).eq(value)
        m.d.comb += self.o.eq(dut.o ^ dut.invert.replicate(len(dut.o)) if isinstance(dut, RotateLane) else dut.o)
        return m


PROVE = """
import sys
from pyosys import libyosys as ys
latency = int(sys.argv[1])
for number in range(int(sys.argv[2])):
    design = ys.Design()
    for command in (f"read_verilog {number}/*.v", "hierarchy -check", "proc", "flatten",
                    "miter -equiv -flatten gold gate miter", "hierarchy -top miter", "opt -full",
                    f"sat -verify -set in_rst 0 -seq {latency + 1} -prove-skip {latency} -prove trigger 0 miter"):
        ys.run_pass(command, design)
    print(f"proven {number}")
"""


def prove_equal(pairs: Sequence[tuple[wiring.Component, wiring.Component]], latency: int, folder: Path) -> None:
    """Proves by SAT that pairs of pipelines give equal outputs from cycle `latency` on, whatever they begin with."""
    for number, pair in enumerate(pairs):
        files = {f"{name}.v": emit_module(each, name) for name, each in zip(("gold", "gate"), pair, strict=True)}
        (folder / str(number)).mkdir()
        for name, text in (files | primitive_models(files)).items():
            (folder / str(number) / name).write_text(text)
    done = subprocess.run([sys.executable, "-c", PROVE, str(latency), str(len(pairs))], cwd=folder,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert done.stdout.count("no model found: SUCCESS!") == len(pairs)


LANES = product((8,), (4, 7, 8), (False, True), (2,))
MORE_LANES = product((2, 3, 4, 5, 6, 7, 8), (1, 2, 3, 4, 5, 6, 7, 8), (False, True), (1, 2))


@pytest.mark.parametrize("cases", [LANES, pytest.param(MORE_LANES, marks=pytest.mark.slow)], ids=["usual", "all"])
def test_lanes_are_proven(cases: Iterable[tuple[int, int, bool, int]], tmp_path: Path) -> None:
    pairs = []
    for activation_bits, levels, defer_sign, stages in cases:
        parameters = dict(activation_bits=activation_bits, exponent_levels=levels, exponent_bits=bits_for(levels + 1))
        lane = RotateLane(**parameters, stages=stages, defer_sign=defer_sign)
        pairs.append((Guarded(ShiftLane(**parameters), stages - 1), Guarded(lane)))
    prove_equal(pairs, 2, tmp_path)


class PlainMinima(wiring.Component):
    """MinimumLanes in the ports of PrimitiveMinima."""

    def __init__(self, *, activation_bits: int, lanes: int) -> None:
        self.activation_bits = activation_bits
        self.lanes = lanes
        super().__init__({name: Out(width) if name == "o" else In(width)
                          for name, width in dict.fromkeys(("u", "k", "o"), lanes * activation_bits).items()})

    def elaborate(self, platform):
        m = Module()
        for n in range(self.lanes):
            m.submodules[f"lane{n}"] = lane = MinimumLane(activation_bits=self.activation_bits)
            u, k, o = (port.word_select(n, self.activation_bits) for port in (self.u, self.k, self.o))
            m.d.comb += [lane.u.eq(u), lane.k.eq(k), o.eq(lane.o)]
        return m


MINIMA = [(8, 3, "xc7"), (8, 3, "xcup"), (9, 2, "xcup")]
MORE_MINIMA = list(product((2, 3, 4, 5, 6, 7, 9, 16, 31, 32), (1, 2), CARRY_BITS))


@pytest.mark.parametrize("cases", [MINIMA, pytest.param(MORE_MINIMA, marks=pytest.mark.slow)], ids=["usual", "all"])
def test_minima_are_proven(cases: list[tuple[int, int, str]], tmp_path: Path) -> None:
    prove_equal([(PlainMinima(activation_bits=bits, lanes=lanes),
                  PrimitiveMinima(activation_bits=bits, lanes=lanes, family=family))
                 for bits, lanes, family in cases], 1, tmp_path)


@pytest.mark.parametrize(("activation_bits", "levels", "simd", "family", "adder"), [
    (4, 4, 4, "xc7", False), (5, 7, 2, "xcup", False), (4, 4, 2, "xc7", True), (8, 0, 2, "xcup", True),
    *(pytest.param(*case, marks=pytest.mark.slow)
      for case in ((8, 8, 4, "xc7", False), (8, 7, 4, "xcup", False), (4, 8, 8, "xc7", False),
                   (8, 8, 8, "xcup", False), (8, 8, 2, "xcup", True), (8, 7, 4, "xc7", True), (4, 0, 8, "xc7", True),
                   (16, 0, 2, "xcup", True))),
])
def test_dots_are_proven(activation_bits: int, levels: int, simd: int, family: str, adder: bool,
                         tmp_path: Path) -> None:
    gate = dot(activation_bits, levels, simd, family, adder)
    gold = model_only(Dot(activation_bits=activation_bits, exponent_levels=levels, zero_weights=True, simd=simd,
                          adder=adder))
    prove_equal([(Guarded(gold), Guarded(gate))], gate.latency, tmp_path)


@pytest.mark.parametrize("family", CARRY_BITS)
def test_contract_is_that_of_dot(family: str) -> None:
    for simd in (2, 4, 8, 32):
        dut = dot(8, 8, simd, family)
        check_members(dut)
        plain = model_only(Dot(activation_bits=8, exponent_levels=8, zero_weights=True, simd=simd))
        assert dut.signature.members == plain.signature.members
        assert dut.latency == plain.latency == ArrayConfig(simd=simd, pe=1, input_channels=1).dot_latency
        assert dut.lane_stages == (1 if simd < 8 else 2)
        assert dut.module_name == plain.module_name


@pytest.mark.parametrize("levels", [0, 2, 8])
def test_contract_is_that_of_dot_with_minima(levels: int) -> None:
    for simd in (2, 4, 16):
        dut = dot(8, levels, simd, "xcup", adder=True)
        check_members(dut)
        plain = model_only(Dot(activation_bits=8, exponent_levels=levels, zero_weights=True, simd=simd, adder=True))
        assert dut.signature.members == plain.signature.members
        assert (dut.latency, dut.module_name) == (plain.latency, plain.module_name)
        assert dut.lane_stages == (0 if levels == 0 else 1 if simd < 8 else 2)


def test_lane_members() -> None:
    check_members(model_only(PrimitiveMinima(activation_bits=5, lanes=3, family="xc7")))
    check_members(model_only(RotateLane(activation_bits=5, exponent_levels=7, exponent_bits=3, stages=2,
                                        defer_sign=True)))


@pytest.mark.parametrize(("activation_bits", "levels", "simd", "luts", "adder"), [
    (8, 8, 16, 401, False), (8, 7, 16, 377, False), (8, 8, 8, 197, False), (8, 7, 8, 185, False),
    (4, 8, 16, 321, False), (8, 8, 16, 401 + 8 * 16, True), (8, 0, 16, 207, True)])
def test_luts(activation_bits: int, levels: int, simd: int, luts: int, adder: bool) -> None:
    for family, size in CARRY_BITS.items():
        dut = dot(activation_bits, levels, simd, family, adder)
        text = emit_module(dut, dut.module_name)
        assert text.count("LUT6_2 ") == luts
        assert f"CARRY{size} " in text


def test_where_there_are_primitives() -> None:
    assert has_primitives("xc7", 8, 8) and has_primitives("xcup", 2, 1)
    assert has_primitives("xc7", 32, 0)
    assert not has_primitives("xc7", 9, 8) and not has_primitives("xcup", 8, 9) and not has_primitives("ice40", 8, 8)


@pytest.mark.parametrize("family", CARRY_BITS)
def test_files_of_an_engine(family: str) -> None:
    config = ArrayConfig(pixels=2, simd=2, pe=1, feature_rows=16, weight_words=16, step_words=4, scale_words=4,
                         instruction_words=4, input_channels=2)
    files = primitive_files(config, family)
    assert list(files) == ["dot_a8_l8_e4_i2.v"]
    assert set(files) < set(engine_files(config))
    assert sorted(primitive_models(files)) == [f"CARRY{CARRY_BITS[family]}.v", "LUT6_2.v"]
    assert not primitive_models(engine_files(config))
    assert not primitive_files(dataclasses.replace(config, exponent_levels=9), family)
    config = dataclasses.replace(config, adder=True, activation_bits=9, exponent_levels=0)
    assert list(primitive_files(config, family)) == ["dot_a9_l0_e0_i2_adder.v"]
    assert set(primitive_files(config, family)) < set(engine_files(config))
