"""Driver folders of small builds, and a server that stands for the board."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shifthw import flow, zoo
from shifthw.sim.server import Server

SMALL = {"images": 2, "pixels": 2, "simd": 4, "pe": 4}


def build(network: str, folder: Path, array: dict[str, int] | None = None, board: str = "zc706") -> Path:
    """A build of a network of the zoo; on an array of the compiler's choice unless told otherwise."""
    model = folder / f"{network}.pt"
    if not model.exists():
        zoo.write(network, model)
    output = folder / f"{network}-{board}-{'x'.join(map(str, (array or {}).values()))}"
    flow.build_folder(model, board, output, pins=array)
    return output


@contextmanager
def serving(folder: Path, cache: Path, scratch: Path) -> Iterator[Server]:
    """A simulated board with the build on it; its socket's path is short whatever the test is called."""
    with flow.serve_folder(folder, scratch / "socket", cache=cache) as server:
        yield server


@dataclass(frozen=True)
class Desk:
    """A build, and the server that stands for its board."""

    folder: Path
    server: Server

    @property
    def driver(self) -> Path:
        return self.folder / "driver"

    def drive(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """A command of the driver, started as on a board: in its folder, with nothing of the compiler about."""
        command = [sys.executable, "-I", "-B", "-c",
                   "import sys; sys.path.insert(0, '.'); from shifthw_driver.cli import main; sys.exit(main())",
                   "--backend", f"simulation:{self.server.socket}", *map(str, arguments)]
        return subprocess.run(command, cwd=self.driver, capture_output=True, text=True, timeout=600)
