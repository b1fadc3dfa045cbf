"""The compute array: images x pixels x simd x pe shift lanes and their accumulators."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig

from .accumulator import Accumulator
from .dot import Dot
from .module_library import ModuleLibrary, place
from .shift_lane import WeightDecode


class ComputeArray(wiring.Component):
    """acc[b,p,o] = (start[o] if first else acc[b,p,o]) + sum_i lane(u[i,p,b], code[o,i])

    The weights are shared by all images and pixel lanes. Free running, a step per cycle. `u` is taken
    with the decoded weights: `codes` one cycle before `u`; the accumulators' controls and `start`
    dot_latency cycles after `u`; acc one cycle later. Vectors, fastest last: u [channel lane][pixel lane]
    [image], acc [output lane][image][pixel lane].

    Parameters
    ----------
    config : ArrayConfig
    library : ModuleLibrary or None

    Members
    -------
    codes : In(config.weight_word_bits)
    u : In(config.simd * config.pixels * config.images * config.activation_bits)
    start : In(config.start_word_bits)
    enable : In(1)
    first : In(1)
    reduce : In(1)
    acc : Out(config.pe * config.images * config.pixels * config.accumulator_bits)
    """

    def __init__(self, *, config: ArrayConfig, library: ModuleLibrary | None = None) -> None:
        self.config = c = config
        self.library = library
        super().__init__({
            "codes": In(c.weight_word_bits),
            "u": In(c.simd * c.pixels * c.images * c.activation_bits),
            "start": In(c.start_word_bits),
            "enable": In(1),
            "first": In(1),
            "reduce": In(1),
            "acc": Out(c.pe * c.images * c.pixels * c.accumulator_bits),
        })

    @property
    def latency(self) -> int:
        """u to acc."""
        return self.config.dot_latency + 1

    def elaborate(self, platform):
        m = Module()
        c = self.config
        decoders = [WeightDecode(lanes=c.simd, exponent_levels=c.exponent_levels, zero_weights=c.zero_weights)
                    for _ in range(c.pe)]
        for o, decoder in enumerate(decoders):
            m.submodules[f"decode{o}"] = decoder
            m.d.comb += decoder.codes.eq(self.codes.word_select(o, c.simd * c.code_bits))

        places = [(o, b, p) for o in range(c.pe) for b in range(c.images) for p in range(c.pixels)]
        dots = place(m, self.library, [f"dot_{o}_{b}_{p}" for o, b, p in places], lambda: Dot(
            activation_bits=c.activation_bits, exponent_levels=c.exponent_levels, zero_weights=c.zero_weights,
            simd=c.simd))
        words = c.pixels * c.images
        for (o, b, p), dot in zip(places, dots, strict=True):
            operands = [self.u.word_select(i * words + p * c.images + b, c.activation_bits) for i in range(c.simd)]
            m.d.comb += [dot.u.eq(Cat(operands)), dot.e.eq(decoders[o].e), dot.sign.eq(decoders[o].sign),
                         dot.zero.eq(decoders[o].zero)]

        dot_bits = len(dots[0].o)
        accumulators = place(m, self.library, [f"acc_{o}_{b}" for o in range(c.pe) for b in range(c.images)],
                             lambda: Accumulator(pixels=c.pixels, dot_bits=dot_bits,
                                                 accumulator_bits=c.accumulator_bits, lane_sum=c.lane_sum))
        for n, accumulator in enumerate(accumulators):
            m.d.comb += [
                accumulator.dot.eq(Cat(dot.o for dot in dots[n * c.pixels:(n + 1) * c.pixels])),
                accumulator.start.eq(self.start.word_select(n // c.images, c.accumulator_bits)),
                accumulator.enable.eq(self.enable), accumulator.first.eq(self.first),
            ]
            if c.lane_sum:
                m.d.comb += accumulator.reduce.eq(self.reduce)
        m.d.comb += self.acc.eq(Cat(accumulator.acc for accumulator in accumulators))
        return m
