"""The compute array: images x pixels x simd x pe shift lanes and their accumulators."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig

from .accumulator import Accumulator
from .adder_decode import AdderDecode
from .delay import Delay
from .dot import Dot
from .module_library import ModuleLibrary, place
from .operand_sum import OperandSum
from .shift_lane import WeightDecode


class ComputeArray(wiring.Component):
    """acc[b,p,o] = (start[o] if first else acc[b,p,o]) + sum_i lane(u[i,p,b], code[o,i])

    With config.adder, and u[i] counted as 0 where `adder` is 0:
    osum[b,p] = (0 if first else osum[b,p]) + sum_i u[i,p,b]

    The weights are shared by all images and pixel lanes. Free running, a step per cycle. `u` is taken
    with the decoded weights: `codes` and `adder` one cycle before `u`; the accumulators' controls and `start`
    dot_latency cycles after `u`; acc and osum one cycle later. `reduce` adds up pixel lanes of both; `adder`
    must be 0 then. Vectors, fastest last: u [channel lane][pixel lane][image], acc [output lane][image]
    [pixel lane], osum [image][pixel lane].

    Parameters
    ----------
    config : ArrayConfig
    library : ModuleLibrary or None

    Members
    -------
    codes : In(config.weight_word_bits)
    adder : In(1), if config.adder
    u : In(config.simd * config.pixels * config.images * config.activation_bits)
    start : In(config.start_word_bits)
    enable : In(1)
    first : In(1)
    reduce : In(1)
    acc : Out(config.pe * config.images * config.pixels * config.accumulator_bits)
    osum : Out(config.images * config.pixels * config.accumulator_bits), if config.adder
    """

    def __init__(self, *, config: ArrayConfig, library: ModuleLibrary | None = None) -> None:
        self.config = c = config
        self.library = library
        super().__init__({
            "codes": In(c.weight_word_bits),
            **({"adder": In(1)} if c.adder else {}),
            "u": In(c.simd * c.pixels * c.images * c.activation_bits),
            "start": In(c.start_word_bits),
            "enable": In(1),
            "first": In(1),
            "reduce": In(1),
            "acc": Out(c.pe * c.images * c.pixels * c.accumulator_bits),
            **({"osum": Out(c.images * c.pixels * c.accumulator_bits)} if c.adder else {}),
        })

    @property
    def latency(self) -> int:
        """u to acc."""
        return self.config.dot_latency + 1

    def elaborate(self, platform):
        m = Module()
        c = self.config
        decoders = [self._decoder(m, o) for o in range(c.pe)]
        places = [(o, b, p) for o in range(c.pe) for b in range(c.images) for p in range(c.pixels)]
        dots = place(m, self.library, [f"dot_{o}_{b}_{p}" for o, b, p in places], lambda: Dot(
            activation_bits=c.activation_bits, exponent_levels=c.exponent_levels, zero_weights=c.zero_weights,
            simd=c.simd, adder=c.adder))
        for (o, b, p), dot in zip(places, dots, strict=True):
            m.d.comb += dot.u.eq(self._operands(b, p))
            if c.adder:
                m.d.comb += dot.k.eq(decoders[o].k)
            if c.exponent_levels:
                m.d.comb += [dot.e.eq(decoders[o].e), dot.sign.eq(decoders[o].sign), dot.zero.eq(decoders[o].zero)]

        starts = [self.start.word_select(o, c.accumulator_bits) for o in range(c.pe) for _ in range(c.images)]
        names = [f"acc_{o}_{b}" for o in range(c.pe) for b in range(c.images)]
        m.d.comb += self.acc.eq(self._accumulators(m, names, starts, [dot.o for dot in dots]))
        if c.adder:
            self._operand_sums(m)
        return m

    def _decoder(self, m, o):
        """The controls of output lane o's lanes."""
        c = self.config
        decoder: WeightDecode | AdderDecode
        if c.adder:
            decoder = AdderDecode(lanes=c.simd, activation_bits=c.activation_bits, exponent_levels=c.exponent_levels,
                                  zero_weights=c.zero_weights)
            if c.exponent_levels:
                m.d.comb += decoder.adder.eq(self.adder)
        else:
            decoder = WeightDecode(lanes=c.simd, exponent_levels=c.exponent_levels, zero_weights=c.zero_weights)
        m.submodules[f"decode{o}"] = decoder
        m.d.comb += decoder.codes.eq(self.codes.word_select(o, c.simd * c.code_bits))
        return decoder

    def _operands(self, b, p):
        """Those of image b and pixel lane p."""
        c = self.config
        words = c.pixels * c.images
        return Cat([self.u.word_select(i * words + p * c.images + b, c.activation_bits) for i in range(c.simd)])

    def _accumulators(self, m, names, starts, terms):
        """Accumulators by the names, of all pixel lanes each; `terms` by accumulator and pixel lane."""
        c = self.config
        accumulators = place(m, self.library, names, lambda: Accumulator(
            pixels=c.pixels, dot_bits=len(terms[0]), accumulator_bits=c.accumulator_bits, lane_sum=c.lane_sum))
        for n, accumulator in enumerate(accumulators):
            m.d.comb += [
                accumulator.dot.eq(Cat(terms[n * c.pixels:(n + 1) * c.pixels])),
                accumulator.start.eq(starts[n]),
                accumulator.enable.eq(self.enable), accumulator.first.eq(self.first),
            ]
            if c.lane_sum:
                m.d.comb += accumulator.reduce.eq(self.reduce)
        return Cat(accumulator.acc for accumulator in accumulators)

    def _operand_sums(self, m):
        """Sums over the channel lanes, shared by all output lanes, and their accumulators."""
        c = self.config
        places = [(b, p) for b in range(c.images) for p in range(c.pixels)]
        sums = place(m, self.library, [f"operand_sum_{b}_{p}" for b, p in places], lambda: OperandSum(
            activation_bits=c.activation_bits, simd=c.simd))
        # `adder` comes a cycle before the operands, and is taken with their sum in its last register.
        m.submodules.delay_adder = delay = Delay(width=1, cycles=c.dot_latency)
        m.d.comb += delay.i.eq(self.adder)
        for (b, p), each in zip(places, sums, strict=True):
            m.d.comb += [each.u.eq(self._operands(b, p)), each.enable.eq(delay.o)]
        names = [f"operand_acc_{b}" for b in range(c.images)]
        m.d.comb += self.osum.eq(self._accumulators(m, names, [0] * c.images, [each.o for each in sums]))
