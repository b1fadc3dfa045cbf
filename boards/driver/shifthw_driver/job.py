"""A job: a program for the engine, how images and outputs lie on its wires, and vectors that prove it."""

from dataclasses import dataclass
from typing import Tuple

import numpy as np

from .errors import BadImages


@dataclass(frozen=True)
class Tensor:
    """Integers of shape (c, h, w), two's complement or unsigned of `bits` bits."""

    shape: Tuple[int, int, int]
    bits: int
    signed: bool

    @property
    def lo(self) -> int:
        """Smallest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def hi(self) -> int:
        """Largest value."""
        return (1 << (self.bits - int(self.signed))) - 1


@dataclass(frozen=True, eq=False)
class Job:
    """What the engine can be told to do, as the compiler wrote it.

    program : the program image
    input_map : per code of an image on the wire 1 + its index in the image, 0 where the code is 0
    output_map : per value of an output its code in a batch, for the batch's first image
    output_step : codes from an image's value to the next image's in a batch
    batch : images of a batch
    wire : the type of a code
    input_batch_bytes, output_batch_bytes : bytes of a batch
    cycles_prologue, cycles_per_batch : exact, stalls not counted
    images, outputs : golden vectors
    """

    name: str
    program: bytes
    input: Tensor
    output: Tensor
    input_map: np.ndarray
    output_map: np.ndarray
    output_step: int
    batch: int
    wire: np.dtype
    input_batch_bytes: int
    output_batch_bytes: int
    cycles_prologue: int
    cycles_per_batch: int
    images: np.ndarray
    outputs: np.ndarray

    def batches(self, images: int) -> int:
        """Batches that `images` images take; the last may be incomplete."""
        return -(-images // self.batch)

    def cycles(self, batches: int) -> int:
        """Cycles of a run, stalls not counted."""
        return self.cycles_prologue + batches * self.cycles_per_batch

    def check(self, images: np.ndarray) -> None:
        """BadImages unless these are integers [n, c, h, w] that the input's type holds."""
        if images.dtype.kind not in "iu":
            raise BadImages(f"{self.name}: images are {images.dtype}, must be integers or real numbers: convert them")
        self.check_shape(images)
        if images.min() < self.input.lo or images.max() > self.input.hi:
            raise BadImages(f"{self.name}: images hold {images.min()}..{images.max()}, must be within "
                            f"{self.input.lo}..{self.input.hi}: quantize them, or give real numbers")

    def check_shape(self, images: np.ndarray) -> None:
        """BadImages unless this is at least one image of the input's shape."""
        if images.ndim != 4 or images.shape[1:] != self.input.shape or not len(images):
            raise BadImages(f"{self.name}: images have the shape {images.shape}, must be (n, "
                            f"{', '.join(map(str, self.input.shape))}) with n >= 1: reshape them")

    def pack(self, images: np.ndarray) -> np.ndarray:
        """Checked images as whole batches on the wire, uint8[bytes]; missing images are 0."""
        flat = np.zeros((self.batches(len(images)) * self.batch, 1 + int(np.prod(self.input.shape))), self.wire)
        flat[:len(images), 1:] = images.reshape(len(images), -1).astype(self.wire)
        return np.take(flat, self.input_map, axis=1).reshape(-1).view(np.uint8)

    def unpack(self, data: np.ndarray, images: int) -> np.ndarray:
        """Outputs int64[images, c, h, w] of uint8[bytes], whole batches from the wire."""
        codes = data.view(self.wire).reshape(-1, self.output_batch_bytes // self.wire.itemsize)
        places = self.output_map[None, :] + self.output_step * np.arange(self.batch)[:, None]
        values = codes[:, places].reshape(len(codes) * self.batch, -1)[:images].astype(np.int64)
        values &= (1 << self.output.bits) - 1
        values -= (values > self.output.hi).astype(np.int64) << self.output.bits
        return values.reshape(images, *self.output.shape)
