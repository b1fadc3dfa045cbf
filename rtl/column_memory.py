"""On-chip memories with one write and one read port."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from shifthw.arch import bits_for

from .module_library import ModuleLibrary, SharedComponent, place


class Ram(SharedComponent):
    """A memory of words.

    read_data = memory[read_address];  if write_enable: memory[write_address] = write_data

    A read sees the writes of earlier cycles; the word that is written in the very cycle of its read is read as it
    was. Free running, latency 1 or 2 cycles, a read and a write per cycle. Contents are 0 at power-up and
    survive a reset. Addresses of `depth` and above are not allowed.

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
        Words.
    latency : int
        1, or 2 with the output register of a block RAM.
    style : str | None
        Vivado's ram_style ("block", "distributed"); None leaves the choice to the tool.

    Members
    -------
    write_enable : In(1)
    write_address : In(address_bits)
    write_data : In(width)
    read_address : In(address_bits)
    read_data : Out(width)
    """

    def __init__(self, *, width: int, depth: int, latency: int = 2, style: str | None = None) -> None:
        self.width = width
        self.depth = depth
        self.latency = latency
        self.style = style
        self.address_bits = bits_for(depth)
        super().__init__({
            "write_enable": In(1),
            "write_address": In(self.address_bits),
            "write_data": In(width),
            "read_address": In(self.address_bits),
            "read_data": Out(width),
        })

    @property
    def module_name(self) -> str:
        style = f"_{self.style}" if self.style else ""
        return f"ram_w{self.width}_d{self.depth}_r{self.latency}{style}"

    def elaborate(self, platform):
        m = Module()
        attributes = {"ram_style": self.style} if self.style else {}
        m.submodules.memory = memory = Memory(shape=self.width, depth=self.depth, init=[], attrs=attributes)
        write, read = memory.write_port(), memory.read_port()
        data = read.data
        if self.latency == 2:
            data = Signal(self.width, reset_less=True)
            m.d.sync += data.eq(read.data)
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.addr.eq(self.read_address),
            self.read_data.eq(data),
        ]
        return m


class ColumnMemory(wiring.Component):
    """A memory of wide words that is written in columns.

    read_data = memory[read_address];
    if write_enable: memory[write_address][column*column_bits + n] = write_data[n]

    Ports, timing and contents as in Ram. The last column may be narrower: the upper bits of its data have no effect.

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
        Words.
    column_bits : int
        Bits of a column.
    latency : int
        1, or 2 with the output register of a block RAM.
    style : str | None
        Vivado's ram_style.
    library : ModuleLibrary | None
        Where the columns are shared.

    Members
    -------
    write_enable : In(1)
    write_column : In(bits_for(columns))
    write_address : In(address_bits)
    write_data : In(column_bits)
    read_address : In(address_bits)
    read_data : Out(width)
    """

    def __init__(self, *, width: int, depth: int, column_bits: int, latency: int = 2, style: str | None = None,
                 library: ModuleLibrary | None = None) -> None:
        self.width = width
        self.depth = depth
        self.column_bits = column_bits
        self.latency = latency
        self.style = style
        self.library = library
        self.columns = -(-width // column_bits)
        self.address_bits = bits_for(depth)
        super().__init__({
            "write_enable": In(1),
            "write_column": In(bits_for(self.columns)),
            "write_address": In(self.address_bits),
            "write_data": In(column_bits),
            "read_address": In(self.address_bits),
            "read_data": Out(width),
        })

    def _place(self, m, first: int, count: int, width: int) -> list[Ram]:
        def create() -> Ram:
            return Ram(width=width, depth=self.depth, latency=self.latency, style=self.style)

        return place(m, self.library, [f"column{first + i}" for i in range(count)], create) if count else []

    def elaborate(self, platform):
        m = Module()
        whole = self.width // self.column_bits
        rams = self._place(m, 0, whole, self.column_bits)
        rams += self._place(m, whole, self.columns - whole, self.width - whole * self.column_bits)
        for column, ram in enumerate(rams):
            m.d.comb += [
                ram.write_enable.eq(self.write_enable & (self.write_column == column)),
                ram.write_address.eq(self.write_address),
                ram.write_data.eq(self.write_data),
                ram.read_address.eq(self.read_address),
            ]
        m.d.comb += self.read_data.eq(Cat(ram.read_data for ram in rams))
        return m
