"""Reading of hwmon trees."""

from pathlib import Path

import pytest

from shifthw_driver import hwmon
from shifthw_driver.errors import NoRails

from .fake_hwmon import FakeHwmon


def tree(board: str, tmp_path: Path) -> FakeHwmon:
    return FakeHwmon(board, tmp_path, lambda rail, now: 1.0)


def test_no_folder(tmp_path: Path) -> None:
    assert hwmon.chips(tmp_path / "none") == []


def test_chips_have_name_and_address(tmp_path: Path) -> None:
    fake = tree("ultra96v2", tmp_path)
    (fake.folder / "hwmon9").mkdir()  # a driver that has just gone
    assert [(chip.name, chip.address) for chip in hwmon.chips(fake.folder)] == [
        ("irps5401", 0x43), ("irps5401", 0x44), ("ir38060", 0x45)]


def test_device_that_is_not_on_i2c(tmp_path: Path) -> None:
    chip, = hwmon.chips(tree("ultra96v1", tmp_path).folder)
    assert chip.address is None
    assert [(item.kind, item.index) for item in chip.inputs] == [("curr", 1), ("in", 1), ("in", 2), ("power", 1)]


def test_units(tmp_path: Path) -> None:
    fake = tree("ultra96v2", tmp_path)
    for kind, text, value in (("in", "847", 0.847), ("curr", "-250", -0.25), ("power", "156250", 0.15625)):
        fake.path("INT", kind).write_text(f"{text}\n")
        item = hwmon.chips(fake.folder)[0].find(kind, 5)
        assert item is not None
        assert item.read() == pytest.approx(value, rel=1e-12)


def test_label_before_number(tmp_path: Path) -> None:
    """Where page 1 has no current sensor, curr1 is page 2's."""
    fake = tree("zc706", tmp_path)
    for page in range(1, 6):
        fake.path("VCCINT", "curr").with_name(f"curr{page}_label").write_text(f"iout{page + 1}\n")
    chip, = hwmon.chips(fake.folder)
    second = chip.find("curr", 2, ("iout2",))
    assert second is not None
    assert second.path.name == "curr1_input"
    assert chip.find("curr", 1, ("iout1",)) is None


def test_number_where_nothing_is_labelled(tmp_path: Path) -> None:
    fake = tree("zc706", tmp_path)
    for label in fake.folder.glob("*/*_label"):
        label.unlink()
    chip, = hwmon.chips(fake.folder)
    item = chip.find("curr", 2, ("iout2",))
    assert item is not None
    assert (item.path.name, item.label) == ("curr2_input", "")
    assert chip.find("power", 1) is None


@pytest.mark.parametrize("text", ["", "n/a\n"])
def test_not_a_number(text: str, tmp_path: Path) -> None:
    fake = tree("zc706", tmp_path)
    item = hwmon.chips(fake.folder)[0].find("curr", 1)
    assert item is not None
    fake.path("VCCINT", "curr").write_text(text)
    with pytest.raises(NoRails, match="curr1_input: .*must be a number"):
        item.read()


def test_file_that_vanishes(tmp_path: Path) -> None:
    fake = tree("zc706", tmp_path)
    item = hwmon.chips(fake.folder)[0].find("curr", 1)
    assert item is not None
    fake.path("VCCINT", "curr").unlink()
    with pytest.raises(NoRails, match="curr1_input: .*No such file"):
        item.read()
