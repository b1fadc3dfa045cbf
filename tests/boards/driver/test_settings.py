import dataclasses
from typing import Any

import pytest

from shifthw_driver.errors import BadFolder
from shifthw_driver.settings import Settings

ZC706: dict[str, Any] = {
    "board": "zc706", "family": "xc7", "part": "xc7z045ffg900-2", "control_base": 0x43C00000, "control_bytes": 0x1000,
    "axi_data_bits": 64, "clock_mhz": 200.0, "ddr_base": 0, "ddr_bytes": 1 << 30, "bitstream": "shifthw.bit"}


def test_from_json() -> None:
    settings = Settings.from_json(ZC706)
    assert dataclasses.asdict(settings) == ZC706
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.part = "x"  # type: ignore[misc]


def test_whole_clock() -> None:
    assert Settings.from_json({**ZC706, "clock_mhz": 200}).clock_mhz == 200


@pytest.mark.parametrize("name", sorted(ZC706))
def test_missing(name: str) -> None:
    with pytest.raises(BadFolder, match=f"driver.json: hardware has .*, must have .*{name}"):
        Settings.from_json({key: value for key, value in ZC706.items() if key != name})


def test_unknown() -> None:
    with pytest.raises(BadFolder, match="hardware has .*led_pin"):
        Settings.from_json({**ZC706, "led_pin": "A9"})


@pytest.mark.parametrize(("name", "value", "must"), [
    ("board", 7, "of type str"), ("part", None, "of type str"), ("control_base", "0x43C00000", "of type int"),
    ("control_bytes", True, "of type int"), ("control_base", 1.5, "of type int"), ("clock_mhz", "200", "of type float"),
    ("clock_mhz", True, "of type float"), ("family", "xcku", "one of xc7, xcup"),
    ("axi_data_bits", 128, "one of 32, 64"), ("clock_mhz", 0.0, "above 0"), ("clock_mhz", float("nan"), "above 0"),
    ("control_base", 0x43C00800, "whole pages"), ("control_bytes", 100, "whole pages"), ("ddr_bytes", 0, "whole pages"),
    ("ddr_base", -4096, "whole pages"), ("bitstream", "../x.bit", "a file name"), ("bitstream", "", "a file name"),
])
def test_impossible(name: str, value: Any, must: str) -> None:
    with pytest.raises(BadFolder, match=f"must be {must}.*: copy the driver folder"):
        Settings.from_json({**ZC706, name: value})


def test_port_width_of_ultrascale() -> None:
    assert Settings.from_json({**ZC706, "family": "xcup", "axi_data_bits": 128}).axi_data_bits == 128


@pytest.mark.parametrize(("address", "size", "reached"), [
    (0, 1 << 30, True), (0, (1 << 30) + 1, False), ((1 << 30) - 4096, 4096, True), ((1 << 30) - 4095, 4096, False),
    (1 << 32, 4096, False),
])
def test_reaches(address: int, size: int, reached: bool) -> None:
    assert Settings.from_json(ZC706).reaches(address, size) == reached


def test_reaches_what_is_below_4_gib_and_above_the_base() -> None:
    settings = Settings.from_json({**ZC706, "ddr_base": 1 << 20, "ddr_bytes": 1 << 33})
    assert settings.reaches((1 << 32) - 4096, 4096)
    assert not settings.reaches((1 << 32) - 4096, 8192)
    assert not settings.reaches(0, 4096)
