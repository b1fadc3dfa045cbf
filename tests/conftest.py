"""Fixtures that several test files share."""

from pathlib import Path

import pytest
import torch


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
