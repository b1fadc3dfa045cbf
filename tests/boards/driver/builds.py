"""Driver folders of small builds, and a server that stands for the board."""

from collections.abc import Iterator
from contextlib import contextmanager
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
