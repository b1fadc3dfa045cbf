"""Dot product in LUT and carry primitives of Xilinx devices."""

from amaranth.hdl import Cat, Const, Module

from .carry_adder import ADDENDS, CARRY_BITS, Operand, add_up, levels_of
from .dot import Dot
from .minimum_primitive import PrimitiveMinima
from .rotate_lane import RotateLane, rotates


def has_primitives(family: str, activation_bits: int, exponent_levels: int) -> bool:
    """Whether there is a PrimitiveDot for these."""
    return family in CARRY_BITS and (exponent_levels == 0 or rotates(activation_bits, exponent_levels))


class PrimitiveDot(Dot):
    """Another body of Dot: the same module name, ports and contract, and about two thirds of the LUTs.

    o = sum over i < simd of lane(v[i], e[i], sign[i], zero[i]), the lane as in ShiftLane; exact.
    v[i] = min(u[i], k[i]) if adder else u[i]

    Without exponent levels (then with adder) nothing shifts: o = sum of 2 min(u[i], k[i]).

    Free running, a set of operands per cycle, latency 1 + log2(simd) cycles, with adder one more: then e, sign and
    zero are taken one cycle after u and k.

    The minima are PrimitiveMinima. The lanes are RotateLanes, of two stages where the tree leaves a level for it.
    The adders take three numbers in a LUT per bit. That LUT has an input to spare, which complements one of the
    three: a lane of each group of three, and all lanes of a smaller group, leave their sign to it.

    Parameters
    ----------
    activation_bits : int
        Bits of an operand (2..8; without exponent levels up to 32).
    exponent_levels : int
        Shifts are 0..exponent_levels-1 (1..8; with adder also 0).
    zero_weights : bool
        Whether weight 0 exists: gives exponent_bits as in ArrayConfig.
    simd : int
        Lanes, a power of two (2..128).
    adder : bool
        Whether there are minima.
    family : str
        Key of CARRY_BITS.

    Members
    -------
    u : In(simd * activation_bits)
    k : In(simd * activation_bits), if adder
    e : In(simd * exponent_bits), if exponent_levels
    sign : In(simd), if exponent_levels
    zero : In(simd), if exponent_levels
    o : Out(output_bits)
    """

    def __init__(
        self, *, activation_bits: int, exponent_levels: int, zero_weights: bool, simd: int, family: str,
        adder: bool = False
    ) -> None:
        self.family = family
        self.adder_levels = levels_of(simd)
        super().__init__(activation_bits=activation_bits, exponent_levels=exponent_levels,
                         zero_weights=zero_weights, simd=simd, adder=adder)

    @property
    def lane_stages(self) -> int:
        """Stages of the lanes, minima not counted."""
        return min(2, self.latency - self.adder - self.adder_levels) if self.exponent_levels else 0

    def elaborate(self, platform):
        m = Module()
        operands = self._operands(m)
        numbers = [self._lane(m, i, operands.word_select(i, self.activation_bits)) for i in range(self.simd)]
        total = add_up(m, numbers, self.family, self.latency - self.adder - self.lane_stages - self.adder_levels)
        m.d.comb += self.o.eq(total.bits if self.exponent_levels else Cat(Const(0, 1), total.bits))
        return m

    def _operands(self, m):
        """What the lanes shift."""
        if not self.adder:
            return self.u
        m.submodules.minima = minima = PrimitiveMinima(activation_bits=self.activation_bits, lanes=self.simd,
                                                       family=self.family)
        m.d.comb += [minima.u.eq(self.u), minima.k.eq(self.k)]
        return minima.o

    def _lane(self, m, i, u):
        """Lane i's result as an operand of the tree."""
        if not self.exponent_levels:
            return Operand(u, (1 << self.activation_bits) - 1)
        group_size = min(ADDENDS, self.simd - i // ADDENDS * ADDENDS)
        defer_sign = i % ADDENDS == 0 or group_size < ADDENDS
        m.submodules[f"lane{i}"] = lane = RotateLane(
            activation_bits=self.activation_bits, exponent_levels=self.exponent_levels,
            exponent_bits=self.exponent_bits, stages=self.lane_stages, defer_sign=defer_sign)
        m.d.comb += [
            lane.u.eq(u),
            lane.e.eq(self.e.word_select(i, self.exponent_bits)),
            lane.sign.eq(self.sign[i]),
            lane.zero.eq(self.zero[i]),
        ]
        return Operand(lane.o, (1 << self.lane_bits) - 1, lane.invert if defer_sign else None)
