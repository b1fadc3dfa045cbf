"""One driver at a time: two that load bitstreams, set the clock or start the engine spoil each other's results."""

import fcntl
import os
from pathlib import Path
from typing import Optional

from .errors import NoHardware


class EngineLock:
    """The right to use the engine. The kernel gives it back when the process ends, however it ends.

    root : above /run/lock, or /tmp where that does not exist
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._handle: Optional[int] = None

    def take(self) -> None:
        """NoHardware if another driver has it; nothing if it is taken already."""
        if self._handle is not None:
            return
        usual = self._root / "run/lock"
        path = usual / "shifthw" if usual.is_dir() else self._root / "tmp/shifthw.lock"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise NoHardware(f"{path}: cannot be opened ({error}), must be a file that this driver made: run as root, "
                             "or remove it") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if isinstance(error, BlockingIOError):
                raise NoHardware("engine: another driver uses it, one at a time may: wait for it, or end it") from None
            raise NoHardware(f"{path}: cannot be locked ({error}), must be on a file system that has locks: mount one "
                             f"at {path.parent}") from None
        self._handle = handle

    def release(self) -> None:
        """Gives it back. The file stays: who removes it may remove the lock of the next one."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
