"""Logic functions of few inputs, placed two at a time in the two-output LUTs of Xilinx devices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from amaranth.hdl import Cat, Const, Instance, Module, Signal, Value

Rule = Callable[..., int | None]
"""An output bit from input bits; None where the inputs cannot occur."""

Source = tuple[Sequence[str | int], Rule]
"""Inputs (names of wires, or constants 0 and 1) and the rule that takes them."""

SHARED_INPUTS = 5
"""Inputs of a LUT that has two outputs."""


@dataclass(frozen=True)
class LutFunction:
    """A boolean function of the inputs that it depends on."""

    inputs: tuple[str, ...]
    table: Mapping[tuple[int, ...], int]

    @classmethod
    def of(cls, inputs: Sequence[str | int], rule: Rule) -> "LutFunction":
        """The function `rule`, without constants, repetitions and inputs without effect."""
        names = list(dict.fromkeys(name for name in inputs if isinstance(name, str)))
        table: dict[tuple[int, ...], int | None] = {}
        for bits in product((0, 1), repeat=len(names)):
            value = dict(zip(names, bits, strict=True))
            table[bits] = rule(*(value[x] if isinstance(x, str) else x for x in inputs))
        for name in list(names):
            at = names.index(name)
            smaller = _without(table, at)
            if smaller is not None:
                table = smaller
                del names[at]
        return cls(tuple(names), {bits: value or 0 for bits, value in table.items()})

    @property
    def same_as(self) -> str | int | None:
        """The input or the constant that it equals, if it is no function at all."""
        if not self.inputs:
            return self.table[()]
        if self.table == {(0,): 0, (1,): 1}:
            return self.inputs[0]
        return None

    def init(self, pins: Sequence[str]) -> int:
        """Truth table as an integer; bit n holds the output where pin k has the value of n's bit k."""
        word = 0
        for n in range(1 << len(pins)):
            word |= self.table[tuple(n >> pins.index(name) & 1 for name in self.inputs)] << n
        return word


def _without(table: Mapping[tuple[int, ...], int | None], at: int) -> dict[tuple[int, ...], int | None] | None:
    """The table without input `at`; None if the input has an effect."""
    smaller: dict[tuple[int, ...], int | None] = {}
    for bits, value in table.items():
        rest = bits[:at] + bits[at + 1:]
        if smaller.get(rest) is None:
            smaller[rest] = value
        elif value is not None and smaller[rest] != value:
            return None
    return smaller


def pair_up(functions: Mapping[str, LutFunction]) -> list[tuple[str, ...]]:
    """Names of functions, in ones and twos that fit a LUT: those with the fewest possible partners choose first."""
    partners = {
        a: [b for b in functions if b != a and len({*functions[a].inputs, *functions[b].inputs}) <= SHARED_INPUTS]
        for a in functions
    }
    groups: list[tuple[str, ...]] = []
    while partners:
        first = min(partners, key=lambda name: len(partners[name]))
        second = min(partners[first], key=lambda name: len(partners[name]), default=None)
        group = (first,) if second is None else (first, second)
        groups.append(group)
        partners = {a: [b for b in others if b not in group] for a, others in partners.items() if a not in group}
    return groups


def place_lut(
    m: Module, name: str, wires: Mapping[str, Value], o6: LutFunction, o5: LutFunction | None = None
) -> tuple[Signal, Signal]:
    """One LUT6_2 as submodule `name`: its outputs O6 and O5. With o5, at most five inputs in all."""
    pins = list(dict.fromkeys([*o6.inputs, *(o5.inputs if o5 else ())]))
    pins += [""] * (SHARED_INPUTS - len(pins))
    init = o6.init(pins)
    if o5 is not None:
        init = init << 32 | o5.init(pins)         # the highest input, at 1, keeps O6 to the upper half
    elif len(pins) == SHARED_INPUTS:
        init |= init << 32
    values = [wires[pin] if pin else Const(0, 1) for pin in pins] + [Const(1, 1)]
    outputs = Signal(name=f"{name}_o6"), Signal(name=f"{name}_o5")
    m.submodules[name] = Instance(
        "LUT6_2", p_INIT=Const(init, 64), **{f"i_I{n}": value for n, value in enumerate(values[:6])},
        o_O6=outputs[0], o_O5=outputs[1])
    return outputs


class LutNet:
    """Named bits of one moment of a pipeline, and LUTs between them."""

    def __init__(self, m: Module, name: str) -> None:
        self._m = m
        self._name = name
        self._wires: dict[str, Value] = {}
        self._same: dict[str, str | int] = {}     # each name's wire or constant

    def add(self, name: str, value: Value | int) -> None:
        """Names a bit: a signal of width 1, or a constant 0 or 1."""
        if isinstance(value, int):
            self._same[name] = value
        else:
            self._wires[name], self._same[name] = value, name

    def bits(self, names: Sequence[str]) -> Value:
        """The bits, the first lowest."""
        return Cat(Const(x, 1) if isinstance(x, int) else self._wires[x] for x in (self._same[n] for n in names))

    def compute(self, sources: Mapping[str, Source]) -> None:
        """Adds bits computed from those there are, in as few LUTs as pairs allow."""
        functions = {}
        for name, (inputs, rule) in sources.items():
            function = LutFunction.of([self._same[x] if isinstance(x, str) else x for x in inputs], rule)
            if function.same_as is not None:
                self._same[name] = function.same_as
            else:
                functions[name] = function
        for group in pair_up(functions):
            outputs = place_lut(self._m, f"{self._name}_{'_'.join(group)}", self._wires,
                                *(functions[name] for name in group))
            for name, output in zip(group, outputs, strict=False):
                self.add(name, output)

    def register(self, name: str, names: Sequence[str], clear: Value | None = None) -> "LutNet":
        """The bits a clock later, under the same names. `clear` is a synchronous reset of all."""
        later = LutNet(self._m, name)
        later._same = {each: self._same[each] for each in names}
        wires = list(dict.fromkeys(x for x in later._same.values() if isinstance(x, str)))
        # A reset that became logic would take a LUT per bit.
        attributes = {} if clear is None else {"extract_reset": "yes"}
        register = Signal(len(wires), name=name, reset_less=True, attrs=attributes)
        now = Cat(self._wires[wire] for wire in wires)
        if clear is None:
            self._m.d.sync += register.eq(now)
        else:
            with self._m.If(clear):
                self._m.d.sync += register.eq(0)
            with self._m.Else():
                self._m.d.sync += register.eq(now)
        later._wires = {wire: register[n] for n, wire in enumerate(wires)}
        return later
