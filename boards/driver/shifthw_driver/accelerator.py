"""An engine that is ready to classify: the bitstream loaded, the clock set, the self-checks passed."""

from typing import Dict, Iterable, Iterator, List, Tuple

import numpy as np

from . import images as image_rules
from .backend import CLOCK_TOLERANCE, Backend, Buffer
from .engine import Counters, Engine
from .errors import WrongHardware
from .folder import Folder
from .job import Job

BUFFER_BYTES = 4 << 20
"""Of packed images, or results, that one run of the engine takes; more images take several runs."""


class Accelerator:
    """A build on its board. `configure` first; then `classify` as often as wanted.

    notes : what is not as it should be but does no harm
    """

    def __init__(self, backend: Backend, folder: Folder) -> None:
        self.backend = backend
        self.folder = folder
        self.engine = Engine(backend, folder.config, folder.settings.axi_data_bits)
        self.notes: List[str] = []
        self._buffers: Dict[str, Buffer] = {}

    def configure(self, load_bitstream: bool = True) -> None:
        """Loads the bitstream (unless told not to), sets the clock, makes sure that the engine is the build's."""
        self.notes.clear()
        self.engine.loaded = None
        # The clock first, so that the design does not come up at a faster one, and again: loading may change it.
        self.backend.set_clock(self.folder.settings.clock_mhz)
        self.backend.configure(self.folder.bitstream if load_bitstream else None)
        self._set_clock()
        self.engine.identify()
        self.engine.reset()

    def classify(self, images: np.ndarray) -> Tuple[np.ndarray, List[Counters]]:
        """Outputs int64[n, c, h, w] of images [n, c, h, w] as images.integers takes them, and what each run counted."""
        job, rule = self.folder.network, self.folder.preprocess
        image_rules.check(images, rule, job)
        return self._execute(job, (image_rules.integers(part, rule) for part in self._parts(job, images)))

    def execute(self, job: Job, images: np.ndarray) -> Tuple[np.ndarray, List[Counters]]:
        """Outputs of a job for its integers."""
        job.check(images)
        return self._execute(job, self._parts(job, images))

    def _execute(self, job: Job, parts: Iterable[np.ndarray]) -> Tuple[np.ndarray, List[Counters]]:
        if self.engine.loaded is not job:
            self.engine.load(job)
        outputs, counted = [], []
        for part in parts:
            self.place(job, part)
            counted.append(self.run_placed(job.batches(len(part))))
            outputs.append(self.results(job, len(part)))
        return np.concatenate(outputs), counted

    def most_batches(self, job: Job) -> int:
        """Batches that one run takes at most."""
        return max(1, BUFFER_BYTES // max(job.input_batch_bytes, job.output_batch_bytes))

    def place(self, job: Job, images: np.ndarray) -> None:
        """Packs checked images into the engine's buffers, at most most_batches of them."""
        batches = job.batches(len(images))
        packed = job.pack(images)
        self._buffer("images", batches * job.input_batch_bytes).data[:len(packed)] = packed
        self._buffer("results", batches * job.output_batch_bytes)

    def run_placed(self, batches: int) -> Counters:
        """Runs the engine on what `place` put there; as often as wanted."""
        return self.engine.run(self._buffers["images"], self._buffers["results"], batches)

    def poison(self, value: int) -> None:
        """Fills the results' buffer, to see what the engine does not write."""
        self._buffers["results"].data[:] = value

    def results(self, job: Job, images: int) -> np.ndarray:
        """The outputs of the last run, int64[images, c, h, w]."""
        size = job.batches(images) * job.output_batch_bytes
        return job.unpack(np.array(self._buffers["results"].data[:size]), images)

    def close(self) -> None:
        """Gives the buffers back, but those to which a stuck engine may still write."""
        while self._buffers:
            _, buffer = self._buffers.popitem()
            if not self.engine.stuck:
                buffer.free()

    def _parts(self, job: Job, images: np.ndarray) -> Iterator[np.ndarray]:
        size = self.most_batches(job) * job.batch
        for start in range(0, len(images), size):
            yield images[start:start + size]

    def _buffer(self, name: str, size: int) -> Buffer:
        if name not in self._buffers or len(self._buffers[name].data) < size:
            if name in self._buffers:
                self._buffers.pop(name).free()
            self._buffers[name] = self.backend.allocate(size)
        return self._buffers[name]

    def _set_clock(self) -> None:
        wanted = self.folder.settings.clock_mhz
        found = self.backend.set_clock(wanted)
        if found > wanted * (1 + CLOCK_TOLERANCE):
            raise WrongHardware(f"clock: is {found:.6g} MHz, must be at most {wanted:.6g} as built, the engine may "
                                "compute wrong: build with a clock that this system can set (shifthw build --clock)")
        if found < wanted * (1 - CLOCK_TOLERANCE):
            self.notes.append(f"clock: is {found:.6g} MHz instead of {wanted:.6g}: right, but slower than predicted")
