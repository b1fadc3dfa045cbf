"""Sums of two or three numbers in one LUT per bit, on the carry chains of Xilinx devices."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Instance, Module, Signal, Value

from .lut import LutFunction, place_lut

CARRY_BITS = {"xc7": 4, "xcup": 8}
"""Bits of a carry primitive by device family: 7 series CARRY4, UltraScale+ CARRY8."""
ADDENDS = 3
"""Numbers that `add` takes."""


@dataclass(frozen=True)
class Operand:
    """An unsigned number of at most `highest`: `bits`, all of them complemented if `invert` is there and 1."""

    bits: Value
    highest: int
    invert: Value | None = None

    def register(self, m: Module, name: str) -> "Operand":
        """The same, a clock later."""
        bits = Signal(len(self.bits), name=name, reset_less=True)
        m.d.sync += bits.eq(self.bits)
        if self.invert is None:
            return Operand(bits, self.highest)
        invert = Signal(name=f"{name}_invert", reset_less=True)
        m.d.sync += invert.eq(self.invert)
        return Operand(bits, self.highest, invert)


def add(m: Module, operands: Sequence[Operand], family: str, name: str) -> Operand:
    """The sum of two operands, or of three of which at most one has `invert`. Combinational.

    Three numbers a, b, c become two: a ^ b ^ c, and their majority one place higher, which the LUT of a place
    gives as its second output. The LUT of the place above adds the two.
    """
    highest = sum(operand.highest for operand in operands)
    select: list[Value] = []
    data: list[Value] = []
    carried: Value = Const(0, 1)
    for k in range(highest.bit_length()):
        terms = [operand for operand in operands if k < len(operand.bits)]
        wires = {f"x{i}": operand.bits[k] for i, operand in enumerate(terms)}
        wires |= {f"n{i}": operand.invert for i, operand in enumerate(terms) if operand.invert is not None}
        if not isinstance(carried, Const):
            wires["m"] = carried
        if not wires:
            break                                 # what is left is the carry out
        total = LutFunction.of(list(wires), lambda *bits: sum(bits) & 1)
        last = [f"{x}{len(terms) - 1}" for x in "xn" if f"{x}{len(terms) - 1}" in wires]
        place = f"{name}_{k}"
        if len(operands) == 3:
            data.append(carried)
            majority = _majority(wires) if len(terms) > 1 else None
            o6, carried = place_lut(m, place, wires, total, majority)
            if majority is None:
                carried = Const(0, 1)
        elif len(terms) < 2:
            data.append(Const(0, 1))
            o6, _ = place_lut(m, place, wires, total)
        elif len(last) == 1:
            data.append(wires[last[0]])
            o6, _ = place_lut(m, place, wires, total)
        else:
            o6, o5 = place_lut(m, place, wires, total, LutFunction.of(last, lambda x, n: x ^ n))
            data.append(o5)
        select.append(o6)
    return Operand(carry_chain(m, select, data, family, name)[:highest.bit_length()], highest)


def _majority(wires: dict[str, Value]) -> LutFunction:
    """1 if two or three of the operands' bits are 1."""
    names = [name for name in wires if name != "m"]

    def rule(*bits: int) -> int:
        value = dict(zip(names, bits, strict=True))
        return int(sum(bit ^ value.get(f"n{name[1:]}", 0) for name, bit in value.items() if name[0] == "x") > 1)

    return LutFunction.of(names, rule)


def carry_chain(m: Module, select: Sequence[Value], data: Sequence[Value], family: str, name: str) -> Value:
    """The sum bits and the carry out of select ^ carry, where the carry is handed on or, at select 0, is data."""
    size = CARRY_BITS[family]
    result: list[Value] = []
    carry: Value = Const(0, 1)
    for start in range(0, len(select), size):
        o, co = _carry(m, select[start:start + size], data[start:start + size], carry, family, f"{name}_", start)
        used = min(size, len(select) - start)
        result += list(o[:used])
        carry = co[used - 1]
    return Cat(*result, carry)


def _carry(m: Module, select: Sequence[Value], data: Sequence[Value], carry: Value, family: str, name: str,
           number: int, *, halves: bool = False) -> tuple[Value, Value]:
    """One carry primitive: its outputs O and CO. With `halves` that of UltraScale+ is two chains of four places."""
    size = CARRY_BITS[family]
    o, co = (Signal(size, name=f"{name}{x}{number}") for x in ("o", "co"))
    first = {"i_CYINIT": Const(0, 1)} if family == "xc7" else {
        "i_CI_TOP": Const(0, 1), "p_CARRY_TYPE": "DUAL_CY4" if halves else "SINGLE_CY8"}
    padding = Const(0, size - len(select))
    m.submodules[f"{name}carry{number}"] = Instance(
        f"CARRY{size}", **first, i_CI=carry, i_S=Cat(*select, padding), i_DI=Cat(*data, padding), o_O=o, o_CO=co)
    return o, co


def carry_outs(m: Module, chains: Sequence[tuple[Sequence[Value], Sequence[Value]]], family: str,
               name: str) -> list[Value]:
    """The carry outs of separate chains (select, data) of equal length: two to a primitive that has room for them."""
    length, half = len(chains[0][0]), CARRY_BITS["xc7"]
    if family == "xc7" or length > half:
        return [carry_chain(m, select, data, family, f"{name}{i}")[-1] for i, (select, data) in enumerate(chains)]
    outs: list[Value] = []
    padding = [Const(0, 1)] * (half - length)
    for n in range(0, len(chains), 2):
        pair = chains[n:n + 2]
        select, data = ([bit for chain in pair for bit in [*chain[side], *padding]] for side in (0, 1))
        _, co = _carry(m, select, data, Const(0, 1), family, f"{name}_", n, halves=True)
        outs += [co[half * i + length - 1] for i in range(len(pair))]
    return outs


def levels_of(count: int) -> int:
    """Levels of additions that `count` numbers take."""
    levels = 0
    while ADDENDS ** levels < count:
        levels += 1
    return levels


def add_up(m: Module, numbers: Sequence[Operand], family: str, waits: int = 0) -> Operand:
    """The sum of many: up to ADDENDS at a time, then a register, again and again.

    `waits` more registers, at most one per level, stand one behind each of the last levels: three in a row would be
    taken for a shift register, which takes LUTs.
    """
    levels = levels_of(len(numbers))
    for level in range(1, levels + 1):
        groups = [numbers[n:n + ADDENDS] for n in range(0, len(numbers), ADDENDS)]
        numbers = [(add(m, group, family, f"sum{level}_{n}") if len(group) > 1 else group[0])
                   .register(m, f"sum{level}_{n}") for n, group in enumerate(groups)]
        if levels - level < waits:
            numbers = [number.register(m, f"wait{levels - level}") for number in numbers]
    return numbers[0]
