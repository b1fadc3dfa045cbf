import os
import stat
import time
from pathlib import Path

import pytest

from shifthw.errors import ShifthwError
from shifthw.sim.cache import KEPT, STALE_SECONDS, forget_old, user_cache


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


def test_the_folder_is_made_for_its_user_alone(home: Path) -> None:
    cache = user_cache()
    assert cache == home / ".cache" / "shifthw" / "simulators"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (cache, cache.parent)] == [0o700, 0o700]
    assert user_cache() == cache


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
@pytest.mark.parametrize("level", [0, 1])
def test_a_folder_that_others_can_write_is_refused(home: Path, mode: int, level: int) -> None:
    cache = user_cache()
    (cache, cache.parent)[level].chmod(mode)
    with pytest.raises(ShifthwError, match="writable by nobody else"):
        user_cache()


def test_a_folder_of_somebody_else_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.getuid()
    user_cache()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    with pytest.raises(ShifthwError, match="must belong to you"):
        user_cache()


def test_a_home_that_cannot_hold_it_is_told(home: Path) -> None:
    (home / ".cache").write_text("a file")
    with pytest.raises(ShifthwError, match="give another folder with --cache"):
        user_cache()


def test_the_newest_are_kept_and_what_killed_runs_left_goes(tmp_path: Path) -> None:
    now = time.time()
    for number in range(KEPT + 3):
        age(tmp_path / f"fast-{number}", now - number)
    age(tmp_path / "building-old", now - 2 * STALE_SECONDS)
    age(tmp_path / "building-now", now)
    forget_old(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["building-now", *(f"fast-{number}" for number in range(KEPT))])


def age(folder: Path, when: float) -> None:
    folder.mkdir()
    (folder / "simulator").touch()
    os.utime(folder, (when, when))
