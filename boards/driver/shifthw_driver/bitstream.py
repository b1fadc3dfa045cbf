"""Vivado's .bit files, and the byte-swapped .bin that Linux's fpga_manager takes.

A .bit is a header of tagged fields (a: design, b: part, c: date, d: time, e: length in bytes) and the
configuration words, most significant byte first. A .bin is these words alone, least significant byte first.

    python3 -m shifthw_driver.bitstream IN.bit OUT.bin
"""

import array
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List

from .errors import BadFolder, DriverError, WrongHardware

MAGIC = bytes.fromhex("0009 0ff00ff00ff00ff000 0001")
"""How a .bit begins: a field of nine bytes, then the number 1."""

SYNC = bytes.fromhex("aa995566")
"""The configuration word that the device waits for, as a .bit has it."""

_FIELDS = {b"a": "design", b"b": "part", b"c": "date", b"d": "time"}


@dataclass(frozen=True)
class Bitstream:
    """A .bit file.

    design : name of Vivado's top module, with options
    part : as Vivado wrote it; older families lack "xc" and the speed grade
    date, time : of its making
    data : the configuration words, most significant byte first
    """

    design: str
    part: str
    date: str
    time: str
    data: bytes

    def swapped(self) -> bytes:
        """The contents of a .bin for fpga_manager: every 32-bit word has its bytes reversed."""
        words = array.array("I", self.data)
        words.byteswap()
        return words.tobytes()

    def require(self, part: str) -> None:
        """WrongHardware if it is for another device or package than `part`; speed and temperature grades may differ."""
        if device(self.part) != device(part):
            raise WrongHardware(f"bitstream: is for {self.part}, must be for {part}: use the .bit of this build's "
                                "project")


def device(part: str) -> str:
    """Device and package of a part: "xc7z045ffg900-2" and "7z045ffg900" are "7z045ffg900"; "xczu3eg-sbva484-1-e" is
    "zu3eg-sbva484"."""
    name = part.lower()
    pieces = (name[2:] if name.startswith("xc") else name).split("-")
    return pieces[0] if pieces[0].startswith("7") else "-".join(pieces[:2])


def read(path: Path) -> Bitstream:
    """The .bit at `path`; BadFolder if it cannot be read or is not a whole .bit."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadFolder(f"{path}: cannot be read ({error.strerror}), must be the .bit that Vivado made: copy it "
                        "there") from None
    return parse(data, str(path))


def parse(data: bytes, where: str = "bitstream") -> Bitstream:
    """The contents of a .bit file; BadFolder, naming `where`, if it is not a whole one."""
    if not data.startswith(MAGIC):
        raise _wrong(where, "does not begin like a .bit file", "be Vivado's .bit, not a .bin or an archive")
    values: Dict[str, str] = {}
    position = len(MAGIC)
    while True:
        tag = data[position:position + 1]
        position += 1
        if tag == b"e":
            break
        if tag not in _FIELDS:
            raise _wrong(where, f"has an unknown field {tag!r} at byte {position - 1}", "have fields a to e")
        text = _bytes(data, position + 2, _number(data, position, ">H", where), where)
        values[_FIELDS[tag]] = text.rstrip(b"\0").decode("ascii", "replace")
        position += 2 + len(text)
    length = _number(data, position, ">I", where)
    words = data[position + 4:]
    if len(words) != length:
        raise _wrong(where, f"has {len(words)} bytes of configuration", f"have {length}")
    if length % 4 or not _has_sync(words):
        raise _wrong(where, "has no sync word in its configuration", "hold the configuration of a device")
    if "part" not in values:
        raise _wrong(where, "names no part", "name the part that it is for")
    return Bitstream(values.get("design", ""), values["part"], values.get("date", ""), values.get("time", ""), words)


def _has_sync(words: bytes) -> bool:
    place = words.find(SYNC)
    while place >= 0 and place % 4:
        place = words.find(SYNC, place + 1)
    return place >= 0


def _bytes(data: bytes, position: int, size: int, where: str) -> bytes:
    found = data[position:position + size]
    if len(found) != size:
        raise _wrong(where, f"ends within its header, after {len(data)} bytes", "be complete")
    return found


def _number(data: bytes, position: int, form: str, where: str) -> int:
    value: int = struct.unpack(form, _bytes(data, position, struct.calcsize(form), where))[0]
    return value


def _wrong(where: str, what: str, must: str) -> BadFolder:
    return BadFolder(f"{where}: {what}, must {must}: copy the .bit from the project's out folder again")


def main(arguments: List[str]) -> int:
    """Converts a .bit to a .bin; the exit code: 0, or 2 with one line on stderr."""
    if len(arguments) != 2:
        print("usage: python3 -m shifthw_driver.bitstream IN.bit OUT.bin", file=sys.stderr)
        return 2
    source, target = map(Path, arguments)
    try:
        bitstream = read(source)
        target.write_bytes(bitstream.swapped())
    except DriverError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{target}: cannot be written ({error.strerror}): choose another place", file=sys.stderr)
        return 2
    print(f"{target}: {bitstream.part}, {len(bitstream.data)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
