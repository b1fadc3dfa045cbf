"""Puts one folder in the place of another."""

import ctypes
import errno
import os
from pathlib import Path

AT_FDCWD = -100
RENAME_EXCHANGE = 2
NOT_THERE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
"""What the kernel or the file system answers if it cannot exchange two names."""


def exchange(folder: Path, new: Path, old: Path) -> None:
    """Moves `new` to `folder`; what was at `folder`, if anything, ends at `new` or at `old`.

    All three are on one file system. On Linux both names change in one step, so that there is a folder at every
    moment. Elsewhere the old one moves out first; it comes back if the second step fails or is interrupted, and a
    process killed between the two leaves it at `old`.
    """
    if not folder.exists():
        new.rename(folder)
    elif not _swap(new, folder):
        _rename_twice(folder, new, old)


def _swap(one: Path, other: Path) -> bool:
    """Exchanges two names; False where that is not possible."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in NOT_THERE:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _rename_twice(folder: Path, new: Path, old: Path) -> None:
    folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
