"""Accumulator to activation."""

import numpy as np
from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from shifthw.arch import bits_for

from .module_library import SharedComponent


class Requantize(SharedComponent):
    """Scales, adds, shifts and saturates.

    t = a*m + (r << residual_shift)*mr + b;  with multiply: t = a * (v*mr) + b
    a = acc - less, modulo 2**accumulator_bits as a signed number, with operand_sum; else acc
    y = clamp(t >> shifts[shift_select], lo, hi) mod 2**activation_bits

    v is the signed number of r's bits if r_signed, else r; v*mr must be within multiplier_bits.
    The shift floors. With `even`, bit 0 of the shifted sum is cleared where the bits that a shift by 1 or more drops
    are all 0: with half of a step in b that rounds to nearest, ties to the even number. No intermediate value can
    overflow. m and mr are 1 without a multiplier, r is 0 without a residual. lo <= hi.

    Free running, an accumulator per cycle. Registers: operand, product (with a multiplier), sum, shift, clamp.
    Latency 5 cycles with a multiplier, else 4. acc, less, m, b, r, mr, multiply, r_signed belong to the same cycle;
    shift_select and even are taken `shift_stage` cycles and lo, hi are taken `clamp_stage` cycles after them.

    The residual's product is formed a stage early and added to b, so that each product and its addition fit
    one DSP slice (25x18 bits on 7 series, 27x18 on UltraScale+) and the two slices cascade. acc - less is the
    operand register, where a slice has a pre-adder. With multiply, v*mr takes the place of m.

    Parameters
    ----------
    activation_bits : int
        A, bits of y and r.
    accumulator_bits : int
        Bits of acc.
    multiplier_bits : int
        Bits of m and mr; 0: no multiplier.
    bias_bits : int
        Bits of b.
    shifts : tuple[int, ...]
        The right shifts to choose from, each 0 or more.
    residual : bool
        Whether there are r and mr.
    residual_shift : int
        0 or more.
    ties_to_even : bool
        Whether there is even.
    operand_sum : bool
        Whether there is less.
    product : bool
        Whether there are multiply and r_signed; then there are a residual and a multiplier.

    Members
    -------
    acc : In(signed(accumulator_bits))
    less : In(signed(accumulator_bits)), if operand_sum
    m : In(signed(multiplier_bits)), if multiplier_bits
    b : In(signed(bias_bits))
    r : In(activation_bits), if residual
    mr : In(signed(multiplier_bits)), if residual and multiplier_bits
    multiply : In(1), if product
    r_signed : In(1), if product
    shift_select : In(shift_select_bits)
    even : In(1), if ties_to_even
    lo : In(signed(activation_bits + 1))
    hi : In(signed(activation_bits + 1))
    y : Out(activation_bits)
    """

    def __init__(self, *, activation_bits: int, accumulator_bits: int, multiplier_bits: int, bias_bits: int,
                 shifts: tuple[int, ...], residual: bool, residual_shift: int = 0,
                 ties_to_even: bool = False, operand_sum: bool = False, product: bool = False) -> None:
        self.activation_bits = activation_bits
        self.accumulator_bits = accumulator_bits
        self.multiplier_bits = multiplier_bits
        self.bias_bits = bias_bits
        self.shifts = shifts
        self.residual = residual
        self.residual_shift = residual_shift
        self.ties_to_even = ties_to_even
        self.operand_sum = operand_sum
        self.product = product
        self.shift_select_bits = bits_for(len(shifts))
        super().__init__({
            "acc": In(signed(accumulator_bits)),
            **({"less": In(signed(accumulator_bits))} if operand_sum else {}),
            **({"m": In(signed(multiplier_bits))} if multiplier_bits else {}),
            "b": In(signed(bias_bits)),
            **({"r": In(activation_bits)} if residual else {}),
            **({"mr": In(signed(multiplier_bits))} if residual and multiplier_bits else {}),
            **({"multiply": In(1), "r_signed": In(1)} if product else {}),
            "shift_select": In(self.shift_select_bits),
            **({"even": In(1)} if ties_to_even else {}),
            "lo": In(signed(activation_bits + 1)),
            "hi": In(signed(activation_bits + 1)),
            "y": Out(activation_bits),
        })

    @property
    def module_name(self) -> str:
        residual = f"_r{self.residual_shift}" if self.residual else ""
        shifts = "_".join(map(str, self.shifts))
        options = "".join(mark for mark, there in (("_e", self.ties_to_even), ("_o", self.operand_sum),
                                                   ("_p", self.product)) if there)
        return (f"requantize_a{self.activation_bits}_c{self.accumulator_bits}_m{self.multiplier_bits}"
                f"_b{self.bias_bits}{residual}_s{shifts}{options}")

    @property
    def latency(self) -> int:
        """Cycles from `acc` to `y`."""
        return 5 if self.multiplier_bits else 4

    @property
    def shift_stage(self) -> int:
        """Cycles from `acc` to the `shift_select` and `even` that apply to it."""
        return self.latency - 2

    @property
    def clamp_stage(self) -> int:
        """Cycles from `acc` to the `lo` and `hi` that apply to it."""
        return self.latency - 1

    @property
    def sum_bits(self) -> int:
        """Bits of the narrowest signed number that holds every sum."""
        acc, bias = 1 << (self.accumulator_bits - 1), 1 << (self.bias_bits - 1)
        r = ((1 << self.activation_bits) - 1) << self.residual_shift if self.residual else 0
        if self.multiplier_bits:
            m = 1 << (self.multiplier_bits - 1)
            lowest, highest = -acc * (m - 1) - bias - r * m, acc * m + bias - 1 + r * (m - 1)
        else:
            lowest, highest = -acc - bias, acc - 1 + bias - 1 + r
        return max((-lowest - 1).bit_length(), highest.bit_length()) + 1

    def model(self, acc: np.ndarray, m: np.ndarray | int, b: np.ndarray | int, *, shift: int, lo: int, hi: int,
              r: np.ndarray | int = 0, mr: int = 1, even: bool = False, less: np.ndarray | int = 0,
              multiply: bool = False, r_signed: bool = False) -> np.ndarray:
        """Codes 0..2**activation_bits-1 of signed accumulators; integers that broadcast, `shift` in bits."""
        # Python's integers where 64 bits would not do.
        wide = np.int64 if self.sum_bits <= 64 else object
        half = 1 << (self.accumulator_bits - 1)
        operand = (np.asarray(acc, wide) - np.asarray(less, wide) + half) % (2 * half) - half
        if multiply:
            top = 1 << (self.activation_bits - 1)
            v = (np.asarray(r, wide) ^ top) - top if r_signed else np.asarray(r, wide)
            total = operand * (v * mr) + np.asarray(b, wide)
        else:
            total = operand * np.asarray(m, wide) + np.asarray(b, wide)
            total = total + (np.asarray(r, wide) << self.residual_shift) * mr
        shifted = total >> shift
        if even and shift:
            shifted = np.where(total & ((1 << shift) - 1) == 0, shifted & ~1, shifted)
        return np.minimum(np.maximum(shifted, lo), hi) & ((1 << self.activation_bits) - 1)

    def elaborate(self, platform):
        m = Module()
        y = Signal(self.activation_bits, reset_less=True)
        shifted = self._shift(m, self._sum(m))
        m.d.sync += y.eq(Mux(shifted < self.lo, self.lo, Mux(shifted > self.hi, self.hi, shifted)))
        m.d.comb += self.y.eq(y)
        return m

    def _sum(self, m):
        """a*m + (r << residual_shift)*mr + b, or a * (v*mr) + b."""
        acc = Signal.like(self.acc, reset_less=True)
        addend = Signal(signed(self.sum_bits), reset_less=True)
        total = Signal(signed(self.sum_bits), reset_less=True)
        m.d.sync += acc.eq(self.acc - self.less if self.operand_sum else self.acc)
        if not self.multiplier_bits:
            r = self.r.shift_left(self.residual_shift) if self.residual else 0
            m.d.sync += [addend.eq(self.b + r), total.eq(acc + addend)]
            return total
        factor = Signal.like(self.m, reset_less=True)
        product = Signal(signed(self.accumulator_bits + self.multiplier_bits), reset_less=True)
        bias = Signal.like(self.b, reset_less=True)
        scaled, added = factor, bias
        if self.residual:
            r = self._operand().shift_left(self.residual_shift)
            residual = Signal(signed(len(r) + self.multiplier_bits), reset_less=True)
            added = residual + bias
        if self.product:
            multiplies = Signal(reset_less=True)
            m.d.sync += multiplies.eq(self.multiply)
            own = residual[self.residual_shift:self.residual_shift + self.multiplier_bits].as_signed()
            scaled, added = Mux(multiplies, own, factor), Mux(multiplies, 0, residual) + bias
        m.d.sync += [
            factor.eq(self.m),
            product.eq(acc * scaled),
            bias.eq(self.b),
            total.eq(product + addend),
        ]
        if self.residual:
            m.d.sync += residual.eq(r * self.mr)
        m.d.sync += addend.eq(added)
        return total

    def _operand(self):
        """r, or with products r as the number that its bits are."""
        return Cat(self.r, self.r[-1] & self.multiply & self.r_signed).as_signed() if self.product else self.r

    def _shift(self, m, total):
        """The shifted sum, brought to activation_bits + 2 bits.

        Of a value that leaves the clamps' activation_bits + 1 bits only the side matters, so the low bits stay as
        they are and the two top bits say on which side it is.
        """
        sign, top = total[-1], self.sum_bits - 1
        low = [self._low(total, shift) for shift in self.shifts]
        above = [Cat(total[k] for k in range(self.activation_bits + shift, top)) for shift in self.shifts]
        outside = [(bits ^ sign.replicate(len(bits))).any() for bits in above]
        shifted = Signal(signed(self.activation_bits + 2), reset_less=True)
        select = self.shift_select if len(self.shifts) > 1 else 0
        m.d.sync += shifted.eq(Cat(Array(low)[select], sign ^ Array(outside)[select], sign))
        return shifted

    def _low(self, total, shift):
        """The low activation_bits of the shifted sum."""
        bits = Cat(total[min(k + shift, self.sum_bits - 1)] for k in range(self.activation_bits))
        if not self.ties_to_even or shift == 0:
            return bits
        return Cat(bits[0] & (~self.even | total[:shift].any()), bits[1:])
