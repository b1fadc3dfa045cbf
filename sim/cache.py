"""Where simulators are kept between runs: a folder that nobody but the user can write."""

import os
import shutil
import time
from pathlib import Path

from shifthw.errors import ShifthwError

KEPT = 8
"""Simulators in the cache; the ones used longest ago go first."""
STALE_SECONDS = 24 * 3600
"""After this time an unfinished simulator is what a killed run left."""


def user_cache() -> Path:
    """~/.cache/shifthw/simulators, made if need be; ShifthwError if it cannot be, or if others can write there.

    Its files are run, so they must come from this user.
    """
    try:
        outer = Path.home() / ".cache" / "shifthw"
        cache = outer / "simulators"
        outer.parent.mkdir(parents=True, exist_ok=True)
        for folder in (outer, cache):
            folder.mkdir(mode=0o700, exist_ok=True)
            state = folder.stat()
            if state.st_uid != os.getuid() or state.st_mode & 0o022:
                raise ShifthwError(f"{folder}: must belong to you and be writable by nobody else: chmod go-w it, "
                                   "or give another folder with --cache")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ShifthwError(f"~/.cache/shifthw/simulators: cannot be used ({reason}): give another folder with "
                           "--cache") from None
    return cache


def forget_old(cache: Path, keep: int = KEPT) -> None:
    """Removes all but the `keep` simulators used last, and what killed runs left."""
    folders = sorted((path for path in cache.glob("*-*") if path.is_dir()), key=_age, reverse=True)
    finished = [path for path in folders if not path.name.startswith("building-")]
    stale = [path for path in folders if path not in finished and time.time() - _age(path) > STALE_SECONDS]
    for path in (*finished[keep:], *stale):
        shutil.rmtree(path, ignore_errors=True)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:                         # another process removed it meanwhile
        return 0.0
