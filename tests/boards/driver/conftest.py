"""The driver is not installed: its folder goes to a board as it is, with a copy of the compiler's register map."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shifthw import registers

from .builds import SMALL, Desk, build, serving

sys.path.insert(0, str(Path(__file__).parents[3] / "boards" / "driver"))
sys.modules["shifthw_driver.registers"] = registers


@pytest.fixture(scope="module")
def digits(simulator_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    scratch = tmp_path_factory.mktemp("digits")
    folder = build("digits", scratch, SMALL)
    with serving(folder, simulator_cache, scratch) as server:
        yield Desk(folder, server)


@pytest.fixture(scope="module")
def resnet8(simulator_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    scratch = tmp_path_factory.mktemp("resnet8")
    folder = build("resnet8", scratch, {"images": 1, "pixels": 8, "simd": 8, "pe": 8})
    with serving(folder, simulator_cache, scratch) as server:
        yield Desk(folder, server)


@pytest.fixture(params=["digits", "resnet8"])
def desk(request: pytest.FixtureRequest) -> Desk:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Desk)
    return found
