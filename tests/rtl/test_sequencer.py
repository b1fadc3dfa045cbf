"""The sequencer against its model: every step of every cycle, waits and counters."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from shifthw.arch import ArrayConfig
from shifthw.isa import PER_INSTRUCTION_CYCLES, InstructionLayout, Opcode
from shifthw.rtl.sequencer import Sequencer

from .harness import check_members

SEED = 15
FLAGS = ("array", "pool", "residual", "store", "first", "last", "last_pool", "reduce", "direct")
TABLE_MEMBERS = ("table_write", "table_address", "table_entry")


def run(config: ArrayConfig, program: list[dict[str, int]], batches: int = 1, *, load_busy=lambda cycle: 0,
        store=lambda cycle: 1, cycles: int = 100_000) -> list[dict[str, int]]:
    """What the sequencer presents, cycle by cycle, until it is done or illegal."""
    layout = InstructionLayout(config)
    words = [layout.encode(**fields) for fields in program]
    dut = Sequencer(config=config)
    records: list[dict[str, int]] = []

    async def memory(ctx):
        while True:
            _, _, pc = await ctx.tick().sample(dut.pc)
            ctx.set(dut.word, words[pc] if pc < len(words) else 0)

    async def bench(ctx):
        ctx.set(dut.batches, batches)
        ctx.set(dut.run, 1)
        await ctx.tick()
        ctx.set(dut.run, 0)
        for cycle in range(cycles):
            ctx.set(dut.load_busy, load_busy(cycle))
            ctx.set(dut.store_ready, store(cycle))
            ctx.set(dut.store_busy, 1 - store(cycle))
            ctx.set(dut.store_taken, ctx.get(dut.step.store))
            record = {name: ctx.get(getattr(dut, name)) for name in
                      ("pc", "load_start", "load_row", "load_rows_last", "stalled", "batch_end", "done", "illegal",
                       "running")}
            record |= {name: ctx.get(getattr(dut.step, name)) for name in dut.step_shape.members}
            if config.tables:
                record |= {name: ctx.get(getattr(dut, name)) for name in TABLE_MEMBERS}
            records.append(record)
            if not record["running"]:
                return
            await ctx.tick()
        raise AssertionError("not done")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(memory, background=True)
    simulator.add_testbench(bench)
    simulator.run()
    return records


def random_layer(rng: np.random.Generator, config: ArrayConfig) -> dict[str, int]:
    pool = bool(rng.integers(0, 4) == 0)
    reduce = int(not pool and rng.integers(0, 3) == 0)
    ranges = {"delay": 5, "out_groups_last": 6, "tiles_last": 4, "taps_last": 4, "in_groups_last": 3, "terms_last": 3,
              "idle": 4, "step_base": 8, "in_row": 64, "in_group_stride": 64, "in_advance": 2, "in_signed": 2,
              "weight_base": 16, "weight_stride": 16, "scale_base": 8, "residual_row": 64,
              "residual_group_stride": 64, "residual_signed": 2, "out_row": 64, "out_group_stride": 64}
    if config.adder:
        ranges["adder"] = 2
    if config.product:
        ranges |= {"product": 2, "broadcast": 2}
    fields = {name: int(rng.integers(0, top)) for name, top in ranges.items()}
    return {"opcode": Opcode.POOL if pool else Opcode.CONV, "reduce": reduce, "weight_hold": reduce,
            "residual": int(not pool and rng.integers(0, 2)), **fields}


@pytest.mark.parametrize(("pixels", "simd", "pe", "options"), [
    (4, 8, 8, {}), (8, 8, 2, {}), (2, 4, 4, {"adder": True}), (4, 8, 4, {"product": True}),
    (2, 4, 4, {"adder": True, "product": True, "tables": 2}),
])
def test_every_step_of_random_layers(pixels: int, simd: int, pe: int, options: dict[str, int]) -> None:
    rng = np.random.default_rng(SEED)
    config = ArrayConfig(pixels=pixels, simd=simd, pe=pe, feature_rows=64, weight_words=64, step_words=16,
                         scale_words=16, instruction_words=32, residual=True, max_pool=True, lane_sum=True,
                         **options)
    dut = Sequencer(config=config)
    check_members(dut)
    layers = [random_layer(rng, config) for _ in range(25)]
    program = [*layers, {"opcode": Opcode.LOOP}]
    records = run(config, program)
    layout = InstructionLayout(config)
    expected: list[dict[str, int]] = []
    for layer in layers:
        expected += [{}] * (PER_INSTRUCTION_CYCLES + layer["delay"])
        expected += dut.model(layout.decode(layout.encode(**layer)))
    # The step is registered: it is presented one cycle after the state that makes it.
    presented = records[1:len(expected) + 1]
    for cycle, (got, want) in enumerate(zip(presented, expected, strict=True)):
        flags = FLAGS + ("adder",) * config.adder + ("broadcast",) * config.product
        assert {name: got[name] for name in flags} == {name: want.get(name, 0) for name in flags}, f"cycle {cycle}"
        shown = [name for name in want if name not in ("row", "entry") or not want.get("reduce")]
        assert {name: got[name] for name in shown} == {name: want[name] for name in shown}, f"cycle {cycle}"
    assert len(records) == len(expected) + PER_INSTRUCTION_CYCLES + 1
    assert records[-2]["done"] and records[-2]["batch_end"]


SMALL = ArrayConfig(pixels=4, simd=4, pe=4, feature_rows=64, residual=True, max_pool=True)


def test_batches_loop_and_waits_are_stalls() -> None:
    program = [{"opcode": Opcode.LOAD, "out_row": 9, "tiles_last": 4},
               {"opcode": Opcode.CONV, "wait_load": 1, "tiles_last": 2},
               {"opcode": Opcode.LOAD, "out_row": 9, "tiles_last": 4, "delay": 3},
               {"opcode": Opcode.STORE, "in_row": 5, "tiles_last": 1},
               {"opcode": Opcode.LOOP, "target": 1}]
    quiet = run(SMALL, program, batches=3)
    busy = run(SMALL, program, batches=3, load_busy=lambda cycle: int(cycle < 40), store=lambda cycle: int(cycle > 90))

    def worked(records):
        return sum(record["running"] and not record["stalled"] for record in records)

    assert worked(quiet) == worked(busy)
    assert sum(record["stalled"] for record in quiet) == 3        # each batch: row 2 waits until row 1 is taken
    assert sum(record["stalled"] for record in busy) > 60
    for records in (quiet, busy):
        assert sum(record["batch_end"] for record in records) == 3
        assert [record["row"] for record in records if record["store"]] == [5, 6] * 3
        loads = [record for record in records if record["load_start"]]
        assert len(loads) == 4
        assert all((record["load_row"], record["load_rows_last"]) == (9, 4) for record in loads)


@pytest.mark.parametrize(("bits", "tables", "numbers"), [(4, 3, (2, 0, 1)), (8, 1, (0, 0)), (3, 2, (1, 0))])
def test_tables_go_out_word_by_word(bits: int, tables: int, numbers: tuple[int, ...]) -> None:
    config = ArrayConfig(pixels=4, simd=4, pe=4, feature_rows=64, activation_bits=bits, tables=tables)
    check_members(Sequencer(config=config))
    words, program, expected = config.table_words, [], []
    for n, number in enumerate(numbers):
        program += [{"opcode": Opcode.TABLE, "table": number, "delay": n}, {"opcode": Opcode.CONV, "tiles_last": n}]
        expected += [(0,)] * (PER_INSTRUCTION_CYCLES + n)
        expected += [(1, number * words + entry, entry) for entry in range(words)]
        expected += [(0,)] * (PER_INSTRUCTION_CYCLES + n + 1)
    records = run(config, [*program, {"opcode": Opcode.LOOP}])
    presented = records[1:len(expected) + 1]
    assert [tuple(r[name] for name in TABLE_MEMBERS)[:1 + 2 * r["table_write"]] for r in presented] == expected
    assert not any(r["stalled"] or r["array"] for r in presented if r["table_write"])
    assert sum(r["last"] for r in presented) == sum(range(1, len(numbers) + 1))
    assert len(records) == len(expected) + PER_INSTRUCTION_CYCLES + 1


@pytest.mark.parametrize("opcode", [0, 6, 7])
def test_illegal_instruction_stops(opcode: int) -> None:
    records = run(SMALL, [{"opcode": Opcode.CONV}, {"opcode": opcode}])
    assert records[-2]["illegal"] and not records[-1]["running"]
