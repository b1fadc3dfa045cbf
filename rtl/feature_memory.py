"""The feature memory: one bank per pixel lane and channel lane."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig, bits_for

from .module_library import ModuleLibrary, SharedComponent, place


class FeatureBank(SharedComponent):
    """A memory of `depth` words of images*width bits, one read and one write port.

    read_data = memory[read_address], latency 2 (memory and output register); a write is seen by
    reads whose address comes in a later cycle. One write enable per image; image 0 is lowest.

    Parameters
    ----------
    width : int, bits of an activation
    images : int
    depth : int

    Members
    -------
    read_address : In(address_bits)
    read_data : Out(images * width)
    write_address : In(address_bits)
    write_data : In(images * width)
    write_enable : In(images)
    """

    def __init__(self, *, width: int, images: int, depth: int) -> None:
        self.width = width
        self.images = images
        self.depth = depth
        self.address_bits = bits_for(depth)
        super().__init__({
            "read_address": In(self.address_bits),
            "read_data": Out(images * width),
            "write_address": In(self.address_bits),
            "write_data": In(images * width),
            "write_enable": In(images),
        })

    @property
    def module_name(self) -> str:
        return f"feature_bank_{self.images}x{self.width}x{self.depth}"

    @property
    def latency(self) -> int:
        """Read address to data."""
        return 2

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=self.images * self.width, depth=self.depth, init=[], attrs={"ram_style": "block"})
        write = memory.write_port(granularity=self.width)
        read = memory.read_port()
        m.d.comb += [
            read.addr.eq(self.read_address), read.en.eq(1),
            write.addr.eq(self.write_address), write.data.eq(self.write_data), write.en.eq(self.write_enable),
        ]
        data = Signal.like(self.read_data, reset_less=True)
        m.d.sync += data.eq(read.data)
        m.d.comb += self.read_data.eq(data)
        return m


class FeatureMemory(wiring.Component):
    """pixels x simd banks. Vectors are [channel lane][pixel lane], pixel lane (bank) fastest.

    Latency 2, see FeatureBank. The write address belongs to the bank of a pixel lane and is the
    same in all its channel lanes.

    Parameters
    ----------
    config : ArrayConfig
    library : ModuleLibrary or None

    Members
    -------
    read_address : In(banks * config.row_bits)
    read_data : Out(banks * word)
    write_address : In(config.pixels * config.row_bits)
    write_data : In(banks * word)
    write_enable : In(banks)
    write_images : In(config.images)
    """

    def __init__(self, *, config: ArrayConfig, library: ModuleLibrary | None = None) -> None:
        self.config = config
        self.library = library
        self.banks = config.simd * config.pixels
        self.word = config.images * config.activation_bits
        super().__init__({
            "read_address": In(self.banks * config.row_bits),
            "read_data": Out(self.banks * self.word),
            "write_address": In(config.pixels * config.row_bits),
            "write_data": In(self.banks * self.word),
            "write_enable": In(self.banks),
            "write_images": In(config.images),
        })

    @property
    def latency(self) -> int:
        """Read address to data."""
        return 2

    def elaborate(self, platform):
        m = Module()
        config = self.config
        names = [f"bank_{i}_{p}" for i in range(config.simd) for p in range(config.pixels)]
        banks = place(m, self.library, names, lambda: FeatureBank(
            width=config.activation_bits, images=config.images, depth=config.feature_rows))
        for n, bank in enumerate(banks):
            m.d.comb += [
                bank.read_address.eq(self.read_address.word_select(n, config.row_bits)),
                bank.write_address.eq(self.write_address.word_select(n % config.pixels, config.row_bits)),
                bank.write_data.eq(self.write_data.word_select(n, self.word)),
                bank.write_enable.eq(self.write_images & self.write_enable[n].replicate(config.images)),
            ]
        m.d.comb += self.read_data.eq(Cat(bank.read_data for bank in banks))
        return m
