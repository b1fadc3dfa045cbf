"""TensorLayout: where the pixels of a tensor are in the feature memory."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .ir.types import IntType


def ceil_div(a: int, b: int) -> int:
    """Quotient a / b, rounded up."""
    return -(-a // b)


@dataclass(frozen=True, kw_only=True)
class TensorLayout:
    """A tensor in the feature memory, `[channel group][plane][row]` from `row` on.

    The channel at position n is in channel lane n mod simd, group n // simd. Pixel (y, x) is in phase plane
    (y mod sy)*sx + x mod sx, at index (y // sy)*pitch + x // sx of it: pixel lane index mod pixels,
    row index // pixels.
    """

    name: str
    shape: tuple[int, int, int]
    """Channels, height, width."""
    dtype: IntType
    pixels: int
    simd: int
    stride: tuple[int, int] = (1, 1)
    """Phase planes (sy, sx): the stride that the tensor is read with."""
    pitch: int
    """Pixels from one line of a plane to the next."""
    row: int = 0
    """First row."""
    copies: int = 1
    """Channel lanes hold the channels this many times over (a packed network input)."""
    positions: tuple[int, ...] = ()
    """Position of each channel; empty: channel c is at position c."""

    @property
    def planes(self) -> int:
        return self.stride[0] * self.stride[1]

    @property
    def plane_height(self) -> int:
        return ceil_div(self.shape[1], self.stride[0])

    @property
    def plane_width(self) -> int:
        return ceil_div(self.shape[2], self.stride[1])

    @property
    def plane_rows(self) -> int:
        """Rows of one phase plane."""
        return ceil_div(self.plane_height * self.pitch, self.pixels)

    @cached_property
    def places(self) -> np.ndarray:
        """Position of each channel: int64[channels]."""
        return np.array(self.positions) if self.positions else np.arange(self.shape[0])

    @cached_property
    def order(self) -> np.ndarray:
        """Channel at each position of the channel groups, -1 where there is none: int64[groups * simd]."""
        order = np.full(self.groups * self.simd, -1)
        order[self.places] = np.arange(self.shape[0])
        return order

    @property
    def groups(self) -> int:
        """Channel groups."""
        return int(self.places.max()) // self.simd + 1

    @property
    def group_rows(self) -> int:
        """Rows of one channel group."""
        return self.planes * self.plane_rows

    @property
    def rows(self) -> int:
        """Rows of the tensor."""
        return self.groups * self.group_rows

    @property
    def wire_channels(self) -> int:
        """Channels of a pixel in a row on the wire: all channel lanes, or one copy of them."""
        return self.shape[0] if self.copies > 1 else self.simd

    def pixel_index(self) -> tuple[np.ndarray, np.ndarray]:
        """Row inside a channel group and pixel lane of each pixel: two int64[height, width]."""
        y, x = np.mgrid[: self.shape[1], : self.shape[2]]
        sy, sx = self.stride
        plane = (y % sy) * sx + x % sx
        index = (y // sy) * self.pitch + x // sx
        return plane * self.plane_rows + index // self.pixels, index % self.pixels

    def scatter(self, images: np.ndarray) -> np.ndarray:
        """Images int[n, c, h, w] as rows int64[n, rows, pixels, wire_channels]; idle places are 0."""
        row, lane = self.pixel_index()
        width = self.wire_channels
        out = np.zeros((len(images), self.groups, self.group_rows, self.pixels, width), np.int64)
        for channel, place in enumerate(self.places):
            out[:, place // width, row, lane, place % width] = images[:, channel]
        return out.reshape(len(images), self.rows, self.pixels, width)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Rows int[n, rows, pixels, >=channels of a group] as values int64[n, c, h, w] of the tensor's type."""
        row, lane = self.pixel_index()
        place = self.places[:, None, None]
        codes = rows[:, place // self.simd * self.group_rows + row, lane, place % self.simd].astype(np.int64)
        codes &= (1 << self.dtype.bits) - 1
        return np.where(codes > self.dtype.hi, codes - (1 << self.dtype.bits), codes)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        values = {**dataclasses.asdict(self), "shape": list(self.shape), "stride": list(self.stride)}
        del values["positions"]
        return {**values, "positions": list(self.positions)} if self.positions else values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TensorLayout":
        """The inverse of to_json."""
        return cls(**{**values, "shape": tuple(values["shape"]), "stride": tuple(values["stride"]),
                      "positions": tuple(values.get("positions", ())),
                      "dtype": IntType(**values["dtype"])})
