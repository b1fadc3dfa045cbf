"""A shift lane of few LUTs: an operand of at most a byte is rotated, then cut into two fields."""

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .lut import LutNet, Rule, Source
from .shift_lane import lane_product

BYTE = 8
MAX_LEVELS = 8


class RotateLane(wiring.Component):
    """ShiftLane's equation, in LUT primitives.

    v = u << e;  o ^ (2**output_bits - 1 if invert else 0) = 0 if zero else (2**output_bits - 1 - v if sign else v)

    Free running, an operand per cycle, latency `stages` cycles. Exponents of exponent_levels and above are
    allowed only with `zero`.

    The operand as a byte is rotated left by e: two halves of LUTs for bits 0 and 1 of e, and a register if there
    are two stages. Then the low field takes the rotated bits k >= e, the high field those with k < e, each field
    the sign elsewhere; bit 2 of e rotates by four in the same LUTs, which have both fields' bits as their two
    outputs.

    Parameters
    ----------
    activation_bits : int
        Bits of the operand (2..8).
    exponent_levels : int
        Shifts are 0..exponent_levels-1 (1..8).
    exponent_bits : int
        Bits of `e`, enough for exponent_levels-1.
    stages : int
        1 or 2.
    defer_sign : bool
        Whether the complement is left to `invert`, which saves a LUT. Otherwise `invert` is 0.

    Members
    -------
    u : In(activation_bits)
    e : In(exponent_bits)
    sign : In(1)
    zero : In(1)
    o : Out(output_bits)
    invert : Out(1)
    """

    def __init__(
        self, *, activation_bits: int, exponent_levels: int, exponent_bits: int, stages: int, defer_sign: bool
    ) -> None:
        self.activation_bits = activation_bits
        self.exponent_levels = exponent_levels
        self.exponent_bits = exponent_bits
        self.stages = stages
        self.defer_sign = defer_sign
        self.output_bits = activation_bits + exponent_levels - 1
        super().__init__({
            "u": In(activation_bits),
            "e": In(exponent_bits),
            "sign": In(1),
            "zero": In(1),
            "o": Out(self.output_bits),
            "invert": Out(1),
        })

    @property
    def latency(self) -> int:
        """Cycles from the operands to the outputs."""
        return self.stages

    def model(self, u: np.ndarray, e: np.ndarray, sign: np.ndarray, zero: np.ndarray) -> np.ndarray:
        """The lane on integer arrays (int64) of equal shape, `invert` applied."""
        return lane_product(u, e, sign, zero, self.output_bits)

    def elaborate(self, platform):
        m = Module()
        net = LutNet(m, "rotate")
        for k in range(BYTE):
            net.add(f"u{k}", self.u[k] if k < self.activation_bits else 0)
        for k in range(3):
            net.add(f"e{k}", self.e[k] if 1 << k < self.exponent_levels else 0)
        net.add("s", 0 if self.defer_sign else self.sign)
        net.add("invert", self.sign if self.defer_sign else 0)
        net.add("none", 0)
        net.compute({f"a{k}": ((f"u{k}", f"u{(k - 1) % BYTE}", "e0", "s"), lambda u, v, e, s: (v if e else u) ^ s)
                     for k in range(BYTE)})
        net.compute({f"r{k}": ((f"a{k}", f"a{(k - 2) % BYTE}", "e1"), lambda a, b, e: b if e else a)
                     for k in range(BYTE)})
        zero = self.zero
        if self._folded:
            net.compute({"any": (("e0", "e1"), lambda a, b: a | b), "all": (("e0", "e1"), lambda a, b: a & b)})
        if self.stages == 2:
            net = net.register("rotated", [*(f"r{k}" for k in range(BYTE)), "e0", "e1", "e2", "s", "invert", "none",
                                           *(("any", "all") if self._folded else ())])
            zero = Signal(name="zeroed", reset_less=True)
            m.d.sync += zero.eq(self.zero)
        net.compute({f"o{n}": self._field_bit(n) for n in range(self.output_bits)})
        result = net.register("fields", [*(f"o{n}" for n in range(self.output_bits)), "invert"], clear=zero)
        m.d.comb += [self.o.eq(result.bits([f"o{n}" for n in range(self.output_bits)])),
                     self.invert.eq(result.bits(["invert"]))]
        return m

    @property
    def _folded(self) -> bool:
        """Whether the fields' LUTs have no room for bits 0 and 1 of e, but for one bit made of them."""
        return self.exponent_levels > 4 and not self.defer_sign

    def _field_bit(self, n: int) -> Source:
        """Bit n of the shifted operand from the byte rotated by e modulo 4."""
        k = n % BYTE
        if self._folded:
            below = ("any", "e1", "all", "none")[k % 4]          # whether k % 4 < e % 4
            selectors: tuple[str, ...] = (below, "e2")
        else:
            selectors = ("e0", "e1", "e2")
        return (f"r{k}", f"r{(k + 4) % BYTE}", "s", *selectors), self._field_rule(n)

    def _field_rule(self, n: int) -> Rule:
        k = n % BYTE

        def selected(e: int) -> tuple[int, ...]:
            return (int(k % 4 < e % 4), e >> 2) if self._folded else (e & 1, e >> 1 & 1, e >> 2)

        def rule(near: int, far: int, s: int, *selectors: int) -> int | None:
            values = set()
            for e in range(self.exponent_levels):
                rotated = far if e >> 2 else near
                unused = (k - e) % BYTE >= self.activation_bits          # a 0 above the operand, rotated
                if selected(e) == selectors and not (unused and rotated != s):
                    values.add(rotated if e <= n < e + self.activation_bits else s)
            return values.pop() if values else None

        return rule


def rotates(activation_bits: int, exponent_levels: int) -> bool:
    """Whether there is a RotateLane for these."""
    return activation_bits <= BYTE and exponent_levels <= MAX_LEVELS
