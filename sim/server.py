"""A simulator as a process of its own that stands for a board: the driver finds its registers and its memory there."""

import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from .job import SimulationFailed

MEMORY_ADDRESS = 0x1000_0000
MEMORY_BYTES = 64 << 20


class Server:
    """Serves drivers at the socket as long as the context is open; shifthw_driver.simulation describes the requests."""

    def __init__(self, executable: Path, socket: Path, memory_bytes: int = MEMORY_BYTES) -> None:
        self.socket = socket
        self._executable, self._memory_bytes = executable, memory_bytes

    def __enter__(self) -> "Server":
        self._scratch = tempfile.TemporaryDirectory(prefix="shifthw-")
        try:
            memory = Path(self._scratch.name) / "memory"
            with memory.open("wb") as file:
                file.truncate(self._memory_bytes)       # a sparse file: pages come when they are written
            self._process = subprocess.Popen([self._executable, self.socket, memory, str(MEMORY_ADDRESS)],
                                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        except BaseException:
            self._scratch.cleanup()
            raise
        assert self._process.stdout is not None and self._process.stderr is not None
        self._listening = self._process.stdout.readline() == "ready\n"
        if not self._listening:
            reason = self._process.stderr.read().strip()
            self.__exit__(None, None, None)
            raise SimulationFailed(f"simulation: the server did not start ({reason or 'no reason given'}): use another "
                                   "--socket")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()
        if self._listening:                 # else what is at the socket's place is somebody else's
            self.socket.unlink(missing_ok=True)
        self._scratch.cleanup()

    def wait(self) -> None:
        """Until the simulator ends by itself, which is a failure; its text is in the error."""
        _, errors = self._process.communicate()
        raise SimulationFailed(f"simulation: the server ended ({errors.strip()}): start it again")
