"""An activation function as a table of its results."""

import numpy as np
from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .module_library import SharedComponent


class LookupTable(SharedComponent):
    """One activation's code through a table of 2**activation_bits entries, or past it.

    o = table[code] if lookup else code
    if write_enable: table[k * 2**(activation_bits - 2) + write_address] = write_data[k], k = 0..3

    Free running, a code per cycle: latency 1 from `code` and `lookup`. An entry that is written in a cycle is there
    for codes of later cycles. The entries lie in distributed memory, a quarter of the codes in each of four.

    Parameters
    ----------
    activation_bits : int
        A, bits of a code: 3..8.

    Members
    -------
    code : In(activation_bits)
    lookup : In(1)
    write_enable : In(1)
    write_address : In(activation_bits - 2)
    write_data : In(4 * activation_bits)
    o : Out(activation_bits)
    """

    def __init__(self, *, activation_bits: int) -> None:
        self.activation_bits = activation_bits
        super().__init__({
            "code": In(activation_bits),
            "lookup": In(1),
            "write_enable": In(1),
            "write_address": In(activation_bits - 2),
            "write_data": In(4 * activation_bits),
            "o": Out(activation_bits),
        })

    @property
    def module_name(self) -> str:
        return f"lookup_table_a{self.activation_bits}"

    @property
    def latency(self) -> int:
        """Cycles from `code` to `o`."""
        return 1

    def model(self, code: np.ndarray, table: np.ndarray, *, lookup: bool = True) -> np.ndarray:
        """The codes behind the table, of the shape of `code`."""
        return np.asarray(table)[code] if lookup else code

    def elaborate(self, platform):
        m = Module()
        bits = self.activation_bits
        found = []
        for k in range(4):
            memory = Memory(shape=bits, depth=1 << (bits - 2), init=[], attrs={"ram_style": "distributed"})
            m.submodules[f"quarter{k}"] = memory
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [
                write.en.eq(self.write_enable),
                write.addr.eq(self.write_address),
                write.data.eq(self.write_data.word_select(k, bits)),
                read.addr.eq(self.code[:bits - 2]),
            ]
            found.append(read.data)
        o = Signal(bits, reset_less=True)
        m.d.sync += o.eq(Mux(self.lookup, Array(found)[Cat(self.code[bits - 2:])], self.code))
        m.d.comb += self.o.eq(o)
        return m
