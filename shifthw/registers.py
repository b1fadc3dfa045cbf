"""The engine's register map: used by the RTL, the simulation bench and the driver on the board.

The driver gets a copy of this file, so that it must run on the Python of board images (3.8).

Registers are 32 bits wide; `Register` holds their byte offsets. Bits that a register does not have
are read as 0 and ignored when written. Any other offset answers SLVERR and is read as 0.
"""

from enum import IntEnum, IntFlag

ID = 0x53485731
"""Contents of Register.ID: "SHW1"."""
VERSION = 1
"""Version of this register map and of the program image."""
ADDRESS_BITS = 12
"""Bits of a byte offset on the AXI4-Lite port."""
BEATS_BITS = 24
"""Bits of PROGRAM_BEATS, and of every other number of beats in one transfer."""


class Register(IntEnum):
    """Byte offsets. RO: writes are ignored; WO: read as 0. The RW registers from PROGRAM_ADDRESS on
    ignore writes while the engine is not idle; addresses are multiples of the AXI data width in bytes (their
    lower bits do not exist)."""

    ID = 0x000
    """RO."""
    VERSION = 0x004
    """RO."""
    CONFIG = 0x008
    """RO: ArrayConfig.digest."""
    CONTROL = 0x00C
    """WO: see Control."""
    STATUS = 0x010
    """See Status; writing 1 to DONE clears it."""
    ERROR = 0x014
    """RO: ErrorCode of the first error since the last reset."""
    IRQ_ENABLE = 0x018
    """RW, bit 0: the interrupt line is high while DONE or ERROR is set."""
    PROGRAM_ADDRESS = 0x020
    """RW: byte address of the program image."""
    PROGRAM_BEATS = 0x024
    """RW, 24 bits: beats of the program image."""
    INPUT_ADDRESS = 0x028
    """RW: byte address of the first batch; the others follow it."""
    OUTPUT_ADDRESS = 0x02C
    """RW: byte address of the first batch's results; the others follow them."""
    BATCHES = 0x030
    """RW: batches of a run, at least 1."""
    CYCLES = 0x040
    """RO: cycles of the run, low word; stable while the engine is idle, as are the counters below."""
    CYCLES_HIGH = 0x044
    STALL_CYCLES = 0x048
    """RO: cycles of the run spent waiting for the bus, low word."""
    STALL_CYCLES_HIGH = 0x04C
    BATCH_CYCLES = 0x050
    """RO: cycles without stalls of the last complete batch."""
    BATCHES_DONE = 0x054
    """RO: complete batches of the run."""


class Control(IntFlag):
    """Commands in CONTROL. LOAD_PROGRAM and START are ignored unless the engine is idle without an error."""

    LOAD_PROGRAM = 1
    """Read the program image; clears PROGRAM_LOADED until the image has been read without an error."""
    START = 2
    """Run BATCHES batches; clears DONE and the counters. Without a program, or with BATCHES = 0, it is the
    error ILLEGAL_INSTRUCTION. Ignored together with LOAD_PROGRAM."""
    RESET = 4
    """Abort, clear DONE and the error; the engine is idle again once its bus transfers are over. Wins
    over the others. A completely loaded program stays loaded."""


class Status(IntFlag):
    """Bits of STATUS."""

    IDLE = 1
    PROGRAM_LOADED = 2
    DONE = 4
    """The run is complete and its results are in memory."""
    ERROR = 8
    """The engine stopped; ERROR tells why. Only Control.RESET clears it."""


class ErrorCode(IntEnum):
    """Contents of ERROR."""

    NONE = 0
    BUS_READ = 1
    """The memory answered a read with an error."""
    BUS_WRITE = 2
    """The memory answered a write with an error."""
    CHECKSUM = 3
    """The program image is damaged, or does not fit the engine's memories."""
    ILLEGAL_INSTRUCTION = 4
    """An opcode that the engine does not have, or a run without a program or batches."""
