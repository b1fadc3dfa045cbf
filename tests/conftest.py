"""Fixtures that several test files share."""

from datetime import date
from pathlib import Path

import pytest
import torch

RTL_SAMPLE = 40
"""Random networks that are simulated as hardware by the slow tests."""


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tests leave the other cores to the machine: small tensors gain nothing from threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def simulator_cache(request: pytest.FixtureRequest) -> Path:
    """Where simulators are kept from one test run to the next; they are keyed by their content."""
    cache = request.config.cache
    assert cache is not None
    return Path(cache.mkdir("simulators"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rtl-seed", type=int, default=None,
                     help="first random network that slow tests simulate as hardware; default: another each day")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`rtl_seed`: a sample that rotates; the seeds are in the tests' names."""
    if "rtl_seed" in metafunc.fixturenames:
        first = metafunc.config.getoption("rtl_seed")
        if first is None:
            first = 10_000 + RTL_SAMPLE * (date.today().toordinal() % 1000)
        metafunc.parametrize("rtl_seed", range(first, first + RTL_SAMPLE))
