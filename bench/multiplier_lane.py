"""The yardstick of bench.lanes: a lane that multiplies, in the place of one that shifts. Not part of the engine."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib.wiring import In, Out

from shifthw.rtl.adder_tree import adder_tree
from shifthw.rtl.carry_adder import Operand, add_up, carry_chain
from shifthw.rtl.lut import LutFunction, place_lut
from shifthw.rtl.module_library import ModuleLibrary, SharedComponent, place


class MultiplierLane(SharedComponent):
    """A signed product, made unsigned for the adder tree.

    o = x * w + 2**(2*bits - 1)

    Free running, latency 1 cycle, a pair per cycle; not pipelined inside. With a family in LUT and carry primitives:
    radix-4 Booth digits, whose multiple and addition are one LUT a bit, bits + 2 of them for two bits of w. That is
    about the smallest multiplier that these devices have room for; without a family it is whatever the synthesizer
    makes of `x * w`.

    Parameters
    ----------
    bits : int
        Bits of x and w, even.
    family : str
        Key of CARRY_BITS, or empty.

    Members
    -------
    x : In(bits)
    w : In(bits)
    o : Out(2 * bits)
    """

    def __init__(self, *, bits: int, family: str) -> None:
        self.bits = bits
        self.family = family
        super().__init__({"x": In(bits), "w": In(bits), "o": Out(2 * bits)})

    @property
    def module_name(self) -> str:
        return f"multiplier_lane_{self.bits}{self.family}"

    @property
    def latency(self) -> int:
        """Cycles from the operands to `o`."""
        return 1

    def elaborate(self, platform):
        m = Module()
        product = self._booth(m) if self.family else (self.x.as_signed() * self.w.as_signed()).as_unsigned()
        o = Signal(2 * self.bits, reset_less=True)
        m.d.sync += o.eq(product ^ (1 << (2 * self.bits - 1)))
        m.d.comb += self.o.eq(o)
        return m

    def _booth(self, m):
        """The product: rows of (partial sum >> 2) + digit * x, two bits of the product each, the last all of its."""
        product, partial = [], []
        for low in range(0, self.bits, 2):
            row = self._row(m, low, partial)
            product += row[:2]
            partial = row[2:]
        return Cat(product, partial)

    def _row(self, m, low, partial):
        """partial + digit * x, bits + 2 bits; a negative digit is a complement and a carry."""
        top = self.bits - 1
        wires = {f"x{i}": self.x[i] for i in range(self.bits)} | {f"w{i}": self.w[i] for i in range(self.bits)}
        digit = [f"w{low + 1}", f"w{low}", f"w{low - 1}" if low else 0]
        select, data = [Const(0, 1)], [self.w[low + 1]]
        for i in range(self.bits + 2):
            addend = partial[min(i, len(partial) - 1)] if partial else None
            near, below = (f"x{min(i, top)}", f"x{min(i - 1, top)}" if i else 0)
            inputs = [*digit, near, below, "a" if partial else 0]
            function = LutFunction.of(inputs, _booth_bit)
            select.append(place_lut(m, f"row{low}_{i}", wires | ({"a": addend} if partial else {}), function)[0])
            data.append(addend if partial else Const(0, 1))
        return list(carry_chain(m, select, data, self.family, f"row{low}"))[1:-1]


def _booth_bit(negative: int, w: int, w_below: int, x: int, x_below: int, addend: int) -> int:
    """A bit of the digit's multiple, complemented if the digit is negative, added to the partial sum's."""
    digit = w + w_below - 2 * negative
    multiple = {0: 0, 1: x, 2: x_below}[abs(digit)]
    return multiple ^ negative ^ addend


class MultiplierDot(SharedComponent):
    """Dot with MultiplierLanes, and the same adder tree.

    o = sum over i < simd of x[i] * w[i] + 2**(2*bits - 1)

    Free running, a set of operands per cycle; the tree in primitives has fewer levels.

    Parameters
    ----------
    bits : int
        Bits of x and w.
    simd : int
        Lanes, a power of two.
    family : str
        Key of CARRY_BITS, or empty.
    library : ModuleLibrary or None
        Where the lanes are modules of their own.

    Members
    -------
    x : In(simd * bits)
    w : In(simd * bits)
    o : Out(output_bits)
    """

    def __init__(self, *, bits: int, simd: int, family: str, library: ModuleLibrary | None = None) -> None:
        self.bits = bits
        self.simd = simd
        self.family = family
        self.library = library
        self.levels = simd.bit_length() - 1
        self.output_bits = 2 * bits + self.levels
        super().__init__({"x": In(simd * bits), "w": In(simd * bits), "o": Out(self.output_bits)})

    @property
    def module_name(self) -> str:
        return f"multiplier_dot_{self.bits}{self.family}"

    @property
    def latency(self) -> int:
        """Cycles from the operands to `o`, as plain logic."""
        return 1 + self.levels

    def elaborate(self, platform):
        m = Module()
        lanes = place(m, self.library, [f"lane{i}" for i in range(self.simd)],
                      lambda: MultiplierLane(bits=self.bits, family=self.family))
        for i, lane in enumerate(lanes):
            m.d.comb += [lane.x.eq(self.x.word_select(i, self.bits)), lane.w.eq(self.w.word_select(i, self.bits))]
        highest = (1 << 2 * self.bits) - 1
        if self.family:
            total = add_up(m, [Operand(lane.o, highest) for lane in lanes], self.family).bits
        else:
            total = adder_tree(m, [lane.o for lane in lanes], highest, self.levels)
        m.d.comb += self.o.eq(total)
        return m
