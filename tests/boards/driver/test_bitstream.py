import struct
import subprocess
import sys
from pathlib import Path

import pytest

from shifthw_driver import bitstream
from shifthw_driver.errors import BadFolder, WrongHardware

DRIVER = Path(bitstream.__file__).parents[1]
WORDS = bytes.fromhex("ffffffff 000000bb aa995566 20000000") + bytes(range(48))


def bit(part: str = "7z045ffg900", words: bytes = WORDS) -> bytes:
    def field(tag: bytes, text: str) -> bytes:
        data = text.encode() + b"\0"
        return tag + struct.pack(">H", len(data)) + data

    return (bitstream.MAGIC + field(b"a", "system_wrapper;UserID=0XFFFFFFFF;Version=2022.2") + field(b"b", part)
            + field(b"c", "2026/01/02") + field(b"d", "03:04:05") + b"e" + struct.pack(">I", len(words)) + words)


def test_magic_is_a_field_of_nine_bytes_and_a_one() -> None:
    assert bitstream.MAGIC == b"\x00\x09" + b"\x0f\xf0" * 4 + b"\x00" + b"\x00\x01"


def test_fields() -> None:
    parsed = bitstream.parse(bit())
    assert parsed.design == "system_wrapper;UserID=0XFFFFFFFF;Version=2022.2"
    assert (parsed.part, parsed.date, parsed.time) == ("7z045ffg900", "2026/01/02", "03:04:05")
    assert parsed.data == WORDS


def test_bin_has_every_word_reversed() -> None:
    swapped = bitstream.parse(bit()).swapped()
    assert swapped[:16] == bytes.fromhex("ffffffffbb000000665599aa00000020")  # 66 55 99 aa: what zynq-fpga looks for
    assert b"".join(swapped[i:i + 4][::-1] for i in range(0, len(swapped), 4)) == WORDS


@pytest.mark.parametrize("size", range(len(bit())))
def test_truncated_anywhere(size: int) -> None:
    with pytest.raises(BadFolder, match="^x.bit: .*, must .*: copy the .bit"):
        bitstream.parse(bit()[:size], "x.bit")


@pytest.mark.parametrize(("data", "what"), [
    (bitstream.parse(bit()).swapped(), "does not begin like a .bit file"),
    (b"", "does not begin like a .bit file"),
    (bit() + b"\0", "has 65 bytes of configuration, must have 64"),
    (bit(words=WORDS.replace(bitstream.SYNC, b"0000")), "no sync word"),
    (bit(words=b"\0" + bitstream.SYNC + b"\0\0\0"), "no sync word"),
    (bit(words=bitstream.SYNC + b"\0"), "no sync word"),
    (bit(words=b""), "no sync word"),
    (bit().replace(b"b\0\x0c7z045ffg900\0", b""), "names no part"),
    (bit().replace(b"b\0\x0c", b"x\0\x0c"), "unknown field b'x' at byte 64"),
])
def test_what_is_no_whole_bit_file(data: bytes, what: str) -> None:
    with pytest.raises(BadFolder, match=what):
        bitstream.parse(data)


def test_sync_word_after_a_misaligned_one() -> None:
    words = b"\0" + bitstream.SYNC + b"\0\0\0" + bitstream.SYNC
    assert bitstream.parse(bit(words=words)).data == words


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadFolder, match="x.bit: cannot be read .*No such file"):
        bitstream.read(tmp_path / "x.bit")


@pytest.mark.parametrize(("found", "wanted"), [
    ("7z045ffg900", "xc7z045ffg900-2"),
    ("xc7z045ffg900-1", "xc7z045ffg900-2"),
    ("xczu3eg-sbva484-1-e", "xczu3eg-sbva484-1-i"),
    ("XCZU3EG-SBVA484-1-I", "xczu3eg-sbva484-1-e"),
])
def test_same_device_and_package(found: str, wanted: str) -> None:
    bitstream.parse(bit(found)).require(wanted)


@pytest.mark.parametrize(("found", "wanted"), [
    ("7z020clg400", "xc7z045ffg900-2"),
    ("7z045ffg676", "xc7z045ffg900-2"),
    ("xczu9eg-ffvb1156-2-e", "xczu3eg-sbva484-1-i"),
    ("xczu3eg-sfva625-1-e", "xczu3eg-sbva484-1-e"),
    ("7z045ffg900", "xczu3eg-sbva484-1-e"),
    ("", "xc7z045ffg900-2"),
])
def test_another_device_or_package(found: str, wanted: str) -> None:
    with pytest.raises(WrongHardware, match=f"is for {found}, must be for {wanted}"):
        bitstream.parse(bit(found)).require(wanted)


def convert(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command, where nothing but the standard library is installed."""
    script = (f"import runpy, sys; sys.path.insert(0, {str(DRIVER)!r}); sys.argv[0] = 'bitstream';"
              "runpy.run_module('shifthw_driver.bitstream', run_name='__main__')")
    command = [sys.executable, "-I", "-S", "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_command_converts_without_numpy(tmp_path: Path) -> None:
    (tmp_path / "in.bit").write_bytes(bit())
    done = convert(str(tmp_path / "in.bit"), str(tmp_path / "out.bin"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/out.bin: 7z045ffg900, 64 bytes\n"
    assert (tmp_path / "out.bin").read_bytes() == bitstream.parse(bit()).swapped()


def test_command_fails_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "in.bit").write_bytes(bit()[:100])
    (tmp_path / "good.bit").write_bytes(bit())
    for arguments, text in [((tmp_path / "in.bit", tmp_path / "out.bin"), "in.bit: "),
                            ((tmp_path / "good.bit", tmp_path / "none/out.bin"), "out.bin: cannot be written"),
                            ((tmp_path / "good.bit",), "usage: ")]:
        done = convert(*map(str, arguments))
        assert (done.returncode, done.stdout) == (2, "")
        assert text in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.bin").exists()
