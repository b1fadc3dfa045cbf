"""From the banks of a channel lane to the operands of its pixel lanes."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib.wiring import In, Out

from .module_library import SharedComponent
from .rotate import Rotate


class OperandLane(SharedComponent):
    """Rotates, masks and offsets what the banks of one channel lane delivered.

        o[p][b] = zero_point if mask[p] else i[(p + rotation) mod P][b] ^ (flip << (A-1))
        zero_point = mask_high << (A-1)

    Free running, latency 1. In the vectors the image is fastest, then the bank or pixel lane.

    Parameters
    ----------
    pixels : int, a power of two
    images : int
    width : int, activation bits A

    Members
    -------
    i : In(pixels * images * width)
    rotation : In(rotation_bits)
    mask : In(pixels)
    flip : In(1)
    mask_high : In(1)
    o : Out(pixels * images * width)
    """

    def __init__(self, *, pixels: int, images: int, width: int) -> None:
        self.pixels = pixels
        self.images = images
        self.width = width
        self.rotation_bits = pixels.bit_length() - 1
        super().__init__({
            "i": In(pixels * images * width),
            "rotation": In(self.rotation_bits),
            "mask": In(pixels),
            "flip": In(1),
            "mask_high": In(1),
            "o": Out(pixels * images * width),
        })

    @property
    def module_name(self) -> str:
        return f"operand_lane_{self.pixels}x{self.images}x{self.width}"

    @property
    def latency(self) -> int:
        """Input to output."""
        return 1

    def model(self, i: Sequence[Sequence[int]], rotation: int, mask: Sequence[int], flip: int,
              mask_high: int) -> list[list[int]]:
        """o[p][b] from i[bank][b]."""
        top = self.width - 1
        return [[mask_high << top] * self.images if mask[p]
                else [code ^ (flip << top) for code in i[(p + rotation) % self.pixels]]
                for p in range(self.pixels)]

    def elaborate(self, platform):
        m = Module()
        word = self.images * self.width
        m.submodules.rotate = rotate = Rotate(lanes=self.pixels, lane_bits=word)
        m.d.comb += [rotate.i.eq(self.i), rotate.k.eq(self.rotation)]
        flip = Cat(Const(0, self.width - 1), self.flip).replicate(self.images)
        zero_point = Cat(Const(0, self.width - 1), self.mask_high).replicate(self.images)
        operands = []
        for p in range(self.pixels):
            operand = Signal(word, reset_less=True, name=f"operand{p}")
            m.d.sync += operand.eq(rotate.o.word_select(p, word) ^ flip)
            with m.If(self.mask[p]):
                m.d.sync += operand.eq(zero_point)
            operands.append(operand)
        m.d.comb += self.o.eq(Cat(operands))
        return m
