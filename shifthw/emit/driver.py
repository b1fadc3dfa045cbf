"""The driver's folder: the Python package that runs on the board, and all that it needs to know of this build.

    shifthw_driver/         the package, boards/driver/ and the register map
    driver.json             the board, the engine, the wire formats, what to expect; SHA-256 of the files below
    network/, memory_test/  a job each: program.bin, input_map.npy, output_map.npy, and golden images and outputs
    README.md               how it is used
    shifthw.dtso            device-tree overlay, for Linux without PYNQ
    shifthw.bit             comes here when Vivado has made it, with shifthw.hwh and shifthw.bin
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shifthw.boards.board import FOLDER, Board

from .. import registers
from ..emulator import Emulator
from ..program import Program
from .bundle import to_json
from .memory_test import memory_test, patterns
from .project import CONTROL_BYTES

FORMAT = "shifthw-driver-1"
BITSTREAM = "shifthw.bit"
PACKAGE = "shifthw_driver"
MADE_LATER = (BITSTREAM, "shifthw.hwh", "shifthw.bin", "shifthw.dtbo")
"""What Vivado and dtc put into driver/."""
GOLDEN_SEED = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Golden:
    """Images int[n, c, h, w] and the outputs that the golden model has for them."""

    images: np.ndarray
    outputs: np.ndarray


def golden_images(program: Program, lo: int, hi: int) -> np.ndarray:
    """Noise within lo..hi for one batch and one image, so that a batch that is not full is tried, too."""
    shape = (program.config.images + 1, *program.source.shape)
    return np.random.default_rng(GOLDEN_SEED).integers(lo, hi, shape, endpoint=True)


def driver_files(program: Program, board: Board, clock_mhz: float, golden: Golden, *, preprocess: Mapping[str, Any],
                 predicted: Mapping[str, Any], version: str) -> dict[str, bytes]:
    """Path below driver/ -> content.

    preprocess: how images become the network's integers, as frontend.preprocess.input_rule gives it
    predicted: what the report expects of the board, shown beside what is measured
    """
    test = memory_test(program)
    moved = patterns(test)
    jobs = {"network": (program, golden),
            test.name: (test, Golden(images=moved, outputs=Emulator(test).run(moved).outputs))}
    data: dict[str, bytes] = {}
    described = {}
    for name, (job, vectors) in jobs.items():
        files = {f"{name}/{file}": content for file, content in _job_files(job, vectors).items()}
        described[name] = _job(job)
        data |= files
    about = {
        "format": FORMAT, "shifthw": version, "network": program.name, "hardware": _hardware(board, clock_mhz),
        "engine": {"registers": registers.VERSION, "config": program.config.digest, "images": program.config.images,
                   "wire_bits": program.config.wire_bits},
        "jobs": described, "preprocess": dict(preprocess), "predicted": dict(predicted),
        "files": {path: hashlib.sha256(content).hexdigest() for path, content in sorted(data.items())},
    }
    overlay = (FOLDER / f"overlay_{board.family}.dtso").read_bytes()
    readme = (FOLDER / "driver" / "README.md").read_bytes()
    return data | package_files() | {"driver.json": to_json(about), "shifthw.dtso": overlay, "README.md": readme}


def package_files() -> dict[str, bytes]:
    """The package that runs on the board, by path below driver/."""
    folder = FOLDER / "driver" / PACKAGE
    files = {f"{PACKAGE}/{path.name}": path.read_bytes() for path in sorted(folder.glob("*.py"))}
    return files | {f"{PACKAGE}/registers.py": Path(registers.__file__).read_bytes()}


def _hardware(board: Board, clock_mhz: float) -> dict[str, object]:
    return {
        "board": board.name, "family": board.family, "part": board.part, "control_base": board.control_base,
        "control_bytes": CONTROL_BYTES, "axi_data_bits": board.axi_data_bits, "clock_mhz": clock_mhz,
        "ddr_base": board.ddr_base, "ddr_bytes": board.ddr_bytes, "bitstream": BITSTREAM,
    }


def _job(program: Program) -> dict[str, object]:
    source, result = program.source.dtype, program.result.dtype
    return {
        "input": {"shape": list(program.source.shape), "bits": source.bits, "signed": source.signed},
        "output": {"shape": list(program.result_shape), "bits": result.bits, "signed": result.signed},
        "input_batch_bytes": program.input_batch_bytes, "output_batch_bytes": program.output_batch_bytes,
        "output_row_bytes": program.output_row_bytes,
        "cycles_prologue": program.cycles_prologue, "cycles_per_batch": program.cycles_per_batch,
    }


def _job_files(program: Program, golden: Golden) -> dict[str, bytes]:
    narrow_in, narrow_out = (_narrow(values) for values in (golden.images, golden.outputs))
    return {
        "program.bin": program.image(), "input_map.npy": _npy(input_map(program)),
        "output_map.npy": _npy(output_map(program)), "images.npy": _npy(narrow_in), "outputs.npy": _npy(narrow_out),
    }


def input_map(program: Program) -> np.ndarray:
    """Per code of an image on the wire, int32: 1 + the index in the image [c*h*w] of what it holds; 0: it holds 0."""
    shape = program.source.shape
    numbers = 1 + np.arange(np.prod(shape), dtype=np.int64).reshape(1, *shape)
    rows = program.source.scatter(numbers).reshape(program.source.rows, -1)
    codes = program.input_row_bytes * 8 // program.config.wire_bits
    return np.pad(rows, ((0, 0), (0, codes - rows.shape[1]))).astype(np.int32).reshape(-1)


def output_map(program: Program) -> np.ndarray:
    """Per value of an output [c*h*w], int32: which code of a batch on the wire holds it for the batch's first image.

    Each further image's lies output_row_bytes further: a batch is [row][image][code of the row].
    """
    c, result = program.config, program.result
    row_codes = program.output_row_bytes * 8 // c.wire_bits
    row, lane = result.pixel_index()
    place = result.places[:, None, None]
    line = place // result.simd * result.group_rows + row
    code = line * c.images * row_codes + lane * c.simd + place % result.simd
    return code.astype(np.int32).reshape(-1)


def _narrow(values: np.ndarray) -> np.ndarray:
    """The same integers in the narrowest type, for small files."""
    return values.astype(np.promote_types(np.min_scalar_type(values.min()), np.min_scalar_type(values.max())))


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
