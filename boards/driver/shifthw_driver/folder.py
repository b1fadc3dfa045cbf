"""The driver's folder as the compiler wrote it: checked against its hashes, and read."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

import numpy as np

from . import registers
from .errors import BadFolder
from .job import Job, Tensor
from .settings import Settings

FORMAT = "shifthw-driver-1"
NETWORK, MEMORY_TEST = "network", "memory_test"


@dataclass(frozen=True, eq=False)
class Folder:
    """A build, as far as the board is concerned.

    path : where it is
    name : of the network
    settings : the board, its addresses, the clock
    config : what the engine's CONFIG register must hold
    preprocess : how images become integers, see images.integers
    predicted : what the compiler's report expects, by name
    network, memory_test : the jobs
    """

    path: Path
    name: str
    settings: Settings
    config: int
    preprocess: Dict[str, Any]
    predicted: Dict[str, Any]
    network: Job
    memory_test: Job

    @property
    def bitstream(self) -> Path:
        """Where the bitstream is, or must be put."""
        return self.path / self.settings.bitstream

    @classmethod
    def load(cls, path: Path) -> "Folder":
        """Reads driver.json and the files it lists; BadFolder if one is missing, changed, or of another version."""
        try:
            about = json.loads((path / "driver.json").read_text(encoding="utf-8"))
            if about["format"] != FORMAT or about["engine"]["registers"] != registers.VERSION:
                raise BadFolder(f"{path / 'driver.json'}: is of another version of shifthw, must be {FORMAT} with "
                                f"registers {registers.VERSION}: copy the whole driver folder of one build")
            files = {name: _read(path, name, digest) for name, digest in about["files"].items()}
            jobs = {name: _job(name, values, about["engine"], files) for name, values in about["jobs"].items()}
            return cls(path=path, name=about["network"], settings=Settings.from_json(about["hardware"]),
                       config=about["engine"]["config"], preprocess=about["preprocess"],
                       predicted=about["predicted"], network=jobs[NETWORK], memory_test=jobs[MEMORY_TEST])
        except OSError as error:
            raise BadFolder(f"{path}: must be the driver folder of a build ({error}): copy it to the board as a "
                            "whole, and start there or give --folder") from None
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise BadFolder(f"{path / 'driver.json'}: is damaged ({type(error).__name__}: {error}): copy the driver "
                            "folder again") from None


def read_array(data: bytes) -> np.ndarray:
    """The array of a .npy file; ValueError for anything that would run code."""
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("not an array")
    return array


def _read(path: Path, name: str, digest: str) -> bytes:
    data = (path / name).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise BadFolder(f"{path / name}: SHA-256 is {found[:12]}..., must be {digest[:12]}...: copy the driver folder "
                        "again")
    return data


def _job(name: str, values: Dict[str, Any], engine: Dict[str, Any], files: Dict[str, bytes]) -> Job:
    def array(file: str) -> np.ndarray:
        return read_array(files[f"{name}/{file}.npy"])

    wire = np.dtype(f"<u{engine['wire_bits'] // 8}")
    return Job(
        name=name, program=files[f"{name}/program.bin"],
        input=_tensor(values["input"]), output=_tensor(values["output"]),
        input_map=array("input_map"), output_map=array("output_map"),
        output_step=values["output_row_bytes"] // wire.itemsize, batch=engine["images"], wire=wire,
        input_batch_bytes=values["input_batch_bytes"],
        output_batch_bytes=values["output_batch_bytes"], cycles_prologue=values["cycles_prologue"],
        cycles_per_batch=values["cycles_per_batch"], images=array("images"), outputs=array("outputs"))


def _tensor(values: Dict[str, Any]) -> Tensor:
    channels, height, width = values["shape"]
    return Tensor(shape=(channels, height, width), bits=values["bits"], signed=values["signed"])
