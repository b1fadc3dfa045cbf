"""Shared by the RTL tests: drive a component every cycle, pack vectors, check documented members."""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from amaranth.hdl import ClockDomain, Fragment, Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from shifthw.arch import bits_for

Cycle = Mapping[str, int]
C = TypeVar("C", bound=wiring.Component)


def simulate(dut: wiring.Component, inputs: Sequence[Cycle], flush: int = 0) -> list[dict[str, int]]:
    """The outputs during each cycle; `inputs` sets members for a cycle, members not named keep their value.

    `flush` cycles with the last inputs follow.
    """
    names = [name for name, member in dut.signature.members.items() if member.flow is Out]
    records: list[dict[str, int]] = []

    async def bench(ctx):
        for cycle in [*inputs, *({} for _ in range(flush))]:
            for name, value in cycle.items():
                ctx.set(getattr(dut, name), int(value))
            _, _, *values = await ctx.tick().sample(*(getattr(dut, name) for name in names))
            records.append(dict(zip(names, values, strict=True)))

    top = Module()
    top.domains.sync = ClockDomain()  # not every component has a register
    top.submodules.dut = dut
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return records


def check_pipeline(dut: wiring.Component, inputs: Sequence[Cycle], expected: Sequence[Cycle]) -> None:
    """Drives `inputs` at full rate; `expected` holds the outputs of each, `dut.latency` cycles later."""
    records = simulate(dut, inputs, flush=dut.latency)[dut.latency:]
    for cycle, (got, want) in enumerate(zip(records, expected, strict=True)):
        assert {name: got[name] for name in want} == dict(want), f"cycle {cycle}: inputs {inputs[cycle]}"


def later(inputs: Sequence[Cycle], delays: Mapping[str, int]) -> list[dict[str, int]]:
    """The inputs, with the members named in `delays` that many cycles later; the list grows as needed."""
    moved: list[dict[str, int]] = [{} for _ in range(len(inputs) + max(delays.values(), default=0))]
    for cycle, values in enumerate(inputs):
        for name, value in values.items():
            moved[cycle + delays.get(name, 0)][name] = value
    return moved


def model_only(dut: C) -> C:
    """The component, elaborated: Amaranth warns of those that never are."""
    Fragment.get(dut, None)
    return dut


def pack(values: Any, width: int) -> int:
    """A flat vector of `width`-bit elements, the first lowest; negative values in two's complement."""
    word = 0
    for n, value in enumerate(np.asarray(values).reshape(-1)):
        word |= (int(value) & ((1 << width) - 1)) << (n * width)
    return word


def unpack(word: int, width: int, count: int) -> np.ndarray:
    """The `count` unsigned elements of a flat vector, int64."""
    return np.array([(word >> (n * width)) & ((1 << width) - 1) for n in range(count)], np.int64)


def documented_members(component: wiring.Component) -> dict[str, Any]:
    """The members of the docstring's Members section, evaluated with the component's attributes.

    A line reads `name : In(shape)` or `name : In(shape), if condition`.
    """
    section = (inspect.getdoc(type(component)) or "").split("Members\n-------\n")[1].split("\n\n")[0]
    scope = {name: getattr(component, name) for name in dir(component) if not name.startswith("_")}
    scope |= {"In": In, "Out": Out, "signed": signed, "bits_for": bits_for}
    members = {}
    for line in section.splitlines():
        match = re.fullmatch(r"(\w+) : (.*?)(?:, if (.*))?", line)
        assert match, f"{type(component).__name__}: not a member: {line!r}"
        name, member, condition = match.groups()
        if condition is None or eval(condition, {}, scope):
            members[name] = eval(member, {}, scope)
    return members


def check_members(component: wiring.Component) -> None:
    """Documented and built members are the same: names, directions, shapes, order."""
    assert list(documented_members(component).items()) == list(component.signature.members.items())
