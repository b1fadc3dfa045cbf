"""Which rails a board has, and which are believed."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from shifthw_driver import rails
from shifthw_driver.errors import EngineError, NoRails

from .fake_hwmon import BOARDS, FakeHwmon
from .test_pmbus import Zc706Bus, kernel_switch, system

WATTS = {"zc706": {"VCCINT": 0.5}, "ultra96v1": {"VSYS": 6.0}, "ultra96v2": {"INT": 0.625}}


def tree(board: str, tmp_path: Path, watts: float = 0.3125) -> FakeHwmon:
    return FakeHwmon(board, tmp_path, lambda rail, now: WATTS[board].get(rail, watts))


def watts(rail: rails.Rail) -> float:
    product = 1.0
    for value in rail.read():
        product *= value
    return product


@pytest.mark.parametrize("board", BOARDS)
def test_all_rails(board: str, tmp_path: Path) -> None:
    fake = tree(board, tmp_path)
    with rails.find(board, hwmon=fake.folder) as found:
        assert found.warnings == []
        assert {rail.known.name for rail in found.rails} == {chan.rail for chan in BOARDS[board].channels}
        accelerator, = (rail for rail in found.rails if rail.known.accelerator)
        assert watts(accelerator) == pytest.approx(next(iter(WATTS[board].values())), rel=1e-3)
        assert accelerator.units == (("V", "A") if board == "zc706" else ("W",))
        assert found.source.startswith("hwmon ")


def test_what_rails_include(tmp_path: Path) -> None:
    vccint = rails.BOARDS["zc706"][0].includes
    assert vccint == "VCCINT rail (programmable logic; whether it also feeds VCCPINT/VCCBRAM is not known)"
    assert rails.BOARDS["ultra96v1"][0].includes.startswith("the whole board: ")
    assert [known.name for known in rails.BOARDS["ultra96v2"] if known.supply] == ["5V"]


def test_unknown_board() -> None:
    with pytest.raises(NoRails, match="^board: is 'zcu102', must be one of zc706, ultra96v1, ultra96v2: use"):
        rails.find("zcu102")


@pytest.mark.parametrize(("board", "rail"), [("ultra96v1", "VSYS"), ("ultra96v2", "INT")])
def test_no_chips(board: str, rail: str, tmp_path: Path) -> None:
    with pytest.raises(NoRails, match=f"the accelerator's rail {rail}: no voltage, must be there from i.*: use"):
        rails.find(board, hwmon=tmp_path)


def test_labels_are_followed_when_numbers_move(tmp_path: Path) -> None:
    """Page 3 has no current sensor: curr3 is the current of page 4."""
    fake = tree("zc706", tmp_path)
    folder = fake.folder / "hwmon0"
    for number in (3, 4):
        for what in ("input", "label"):
            (folder / f"curr{number + 1}_{what}").replace(folder / f"curr{number}_{what}")
    (folder / "curr3_input").write_text("93\n")
    found = rails.find("zc706", hwmon=fake.folder)
    assert [rail.known.name for rail in found.rails] == ["VCCINT", "VCCAUX", "VADJ_FPGA", "VCC3V3_FPGA"]
    assert found.rails[2].read()[1] == pytest.approx(0.093)
    warning, = found.warnings
    assert warning.startswith("rail VCC1V5_PL is left out: has a voltage, but neither current nor power, must have one")


def test_accelerator_without_current(tmp_path: Path) -> None:
    fake = tree("zc706", tmp_path)
    fake.path("VCCINT", "curr").unlink()
    with pytest.raises(NoRails, match="the accelerator's rail VCCINT: has a voltage, but neither current nor power, "
                       "must have one of them: use a kernel"):
        rails.find("zc706", hwmon=fake.folder)


def test_only_voltages(tmp_path: Path) -> None:
    """Ultra96 v2 images without the patched boot files."""
    fake = tree("ultra96v2", tmp_path)
    for pattern in ("curr", "power"):
        for path in fake.folder.glob(f"*/{pattern}*"):
            path.unlink()
    with pytest.raises(NoRails, match="rail INT: has a voltage, but neither current nor power"):
        rails.find("ultra96v2", hwmon=fake.folder)


def test_voltages_in_another_order(tmp_path: Path) -> None:
    fake = tree("zc706", tmp_path)
    fake.path("VCCINT", "in").write_text("1800\n")
    with pytest.raises(NoRails, match=r"rail VCCINT: is 1\.800 V, must be 0\.94 to 1\.06 V: look for relabelled or "
                                      "swapped inputs, it reads like VCCAUX$"):
        rails.find("zc706", hwmon=fake.folder)


def test_swapped_rails_that_are_not_the_accelerators(tmp_path: Path) -> None:
    fake = tree("zc706", tmp_path)
    fake.path("VCCAUX", "in").write_text("1500\n")
    fake.path("VCC1V5_PL", "in").write_text("1800\n")
    found = rails.find("zc706", hwmon=fake.folder)
    assert [rail.known.name for rail in found.rails] == ["VCCINT", "VADJ_FPGA", "VCC3V3_FPGA"]
    assert [warning.split(": ")[2] for warning in found.warnings] == [
        "look for relabelled or swapped inputs, it reads like VCC1V5_PL",
        "look for relabelled or swapped inputs, it reads like VCCAUX"]


def test_relabelled_by_the_kernel(tmp_path: Path) -> None:
    fake = tree("ultra96v2", tmp_path)
    fake.path("INT", "in", "label").write_text("vout2\n")
    fake.path("1V2", "in", "label").write_text("vout4\n")
    with pytest.raises(NoRails, match=r"rail INT: is 1\.200 V, .* it reads like 1V2 or PSDDR or PSPLL"):
        rails.find("ultra96v2", hwmon=fake.folder)


def test_rails_named_by_the_kernel(tmp_path: Path) -> None:
    fake = tree("ultra96v2", tmp_path)
    for chan in fake.board.channels:
        for kind in ("in", "curr", "power"):
            fake.path(chan.rail, kind, "label").write_text(f"{chan.rail}\n")
    assert len(rails.find("ultra96v2", hwmon=fake.folder).rails) == len(fake.board.channels)


def test_zero_rail_is_left_out(tmp_path: Path) -> None:
    fake = tree("zc706", tmp_path)
    fake.path("VADJ_FPGA", "curr").write_text("0\n")
    found = rails.find("zc706", hwmon=fake.folder)
    warning, = found.warnings
    assert warning.startswith("rail VADJ_FPGA is left out: has 5 readings of 0 A, must draw something: look")
    assert len(found.rails) == 4


def test_zero_accelerator(tmp_path: Path) -> None:
    fake = tree("ultra96v1", tmp_path)
    fake.path("VSYS", "power").write_text("0\n")
    with pytest.raises(NoRails, match="rail VSYS: has 5 readings of 0 W, must"):
        rails.find("ultra96v1", hwmon=fake.folder)


def test_chips_of_one_name_need_addresses(tmp_path: Path) -> None:
    fake = tree("ultra96v2", tmp_path)
    for link in fake.folder.glob("*/device"):
        link.unlink()
    with pytest.raises(NoRails, match="rail INT: no voltage, must be there from irps5401 at I2C address 0x43"):
        rails.find("ultra96v2", hwmon=fake.folder)


def test_missing_chip_of_other_rails(tmp_path: Path) -> None:
    fake = tree("ultra96v2", tmp_path)
    (fake.folder / "hwmon1" / "name").unlink()
    found = rails.find("ultra96v2", hwmon=fake.folder)
    assert [warning.split(" is")[0] for warning in found.warnings] == [
        f"rail {name}" for name in ("PSAUX", "PSINT_LP", "3V3", "PSINT_FP", "PSPLL")]


@pytest.mark.parametrize("text", ["5000", "1280000"])
def test_5v_rail_with_and_without_the_factor(text: str, tmp_path: Path) -> None:
    fake = tree("ultra96v2", tmp_path)
    fake.path("5V", "in").write_text(f"{text}\n")
    fake.path("5V", "power").unlink()
    fake.path("5V", "curr").write_text("62\n")
    found = rails.find("ultra96v2", hwmon=fake.folder)
    assert found.rails[-1].known.name == "5V"
    assert found.rails[-1].read() == pytest.approx((5.0, 0.062))


@pytest.mark.parametrize("shunt_first", [True, False])
def test_v1_voltage_is_the_one_in_the_window(shunt_first: bool, tmp_path: Path) -> None:
    fake = tree("ultra96v1", tmp_path)
    fake.path("VSYS", "power").unlink()
    folder = fake.folder / "hwmon0"
    if not shunt_first:
        (folder / "in2_input").replace(folder / "in1_input")
    rail, = rails.find("ultra96v1", hwmon=fake.folder).rails
    assert rail.read() == pytest.approx((12.0, 0.5))


def test_raw_pmbus_where_hwmon_has_no_chip(tmp_path: Path) -> None:
    dev, devices = system(tmp_path)
    kernel_switch(devices, dev)
    bus = Zc706Bus(behind_switch=True, page=2)
    with rails.find("zc706", tmp_path / "none", dev, devices, lambda path: bus) as found:
        assert found.source == f"UCD90120A on {dev}/i2c-8"
        assert [rail.known for rail in found.rails] == list(rails.BOARDS["zc706"])
        assert found.rails[0].read() == (1.0, 0.125)
        assert found.rails[3].read() == (2.5, 0.09375)
    assert (bus.page, bus.closed) == (2, 1)


def test_raw_pmbus_of_other_voltages_is_put_back(tmp_path: Path) -> None:
    bus = Zc706Bus()
    bus.volts[0], bus.volts[1] = 0x7333, 0x2000
    dev, devices = system(tmp_path)
    with pytest.raises(NoRails, match=r"rail VCCINT: is 1\.800 V"):
        rails.find("zc706", tmp_path / "none", dev, devices, lambda path: bus)
    assert (bus.switch, bus.page) == (0x04, 3)


def test_neither_hwmon_nor_pmbus(tmp_path: Path) -> None:
    dev, devices = system(tmp_path, buses=0)
    with pytest.raises(NoRails, match="none: has no chip ucd90120, must have it, .*0 buses answer at 0x74.*: load"):
        rails.find("zc706", tmp_path / "none", dev, devices)


def test_chip_that_a_kernel_driver_holds(tmp_path: Path) -> None:
    class Held(Zc706Bus):
        def _ucd(self, address: int) -> None:
            raise OSError(errno.EBUSY, "Device or resource busy")

    dev, devices = system(tmp_path)
    kernel_switch(devices, dev)
    with pytest.raises(NoRails, match="Device or resource busy.*, must be the ZC706's"):
        rails.find("zc706", tmp_path / "none", dev, devices, lambda path: Held(behind_switch=True))


def test_never_changed() -> None:
    assert rails.never_changed([0.5] * 20)
    assert not rails.never_changed([0.5] * 19)
    assert not rails.never_changed([0.5] * 30 + [0.25])


class Silent(Zc706Bus):
    """Answers no more from when `silent` is set."""

    silent = False

    def _ucd(self, address: int) -> None:
        super()._ucd(address)
        if self.silent:
            raise OSError(errno.EREMOTEIO, "Remote I/O error")


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[tuple[Silent, rails.Rails]]:
    dev, devices = system(tmp_path)
    bus = Silent(page=2)
    yield bus, rails.find("zc706", tmp_path / "none", dev, devices, lambda path: bus)
    assert bus.closed > 1           # once when it was looked for


def test_bus_that_cannot_be_put_back_is_a_warning(silent: tuple[Silent, rails.Rails]) -> None:
    bus, found = silent
    with found:
        bus.silent = True
    warning, = found.warnings
    assert "does not answer" in warning
    assert warning.endswith(": power-cycle the board before other software uses this I2C bus")


def test_bus_that_cannot_be_put_back_after_a_failure(silent: tuple[Silent, rails.Rails]) -> None:
    """Both are told, what was there first first."""
    bus, found = silent
    with pytest.raises(EngineError, match=r"^no image; then UCD90120A on .*: power-cycle the board .*$"), found:
        bus.silent = True
        raise EngineError("no image", 3)


def test_interrupt_stays_one_where_the_bus_cannot_be_put_back(silent: tuple[Silent, rails.Rails]) -> None:
    bus, found = silent
    with pytest.raises(KeyboardInterrupt), found:
        bus.silent = True
        raise KeyboardInterrupt
