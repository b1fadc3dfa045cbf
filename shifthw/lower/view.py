"""View: what a layer reads, as a way of looking at stored tensors: what the graph moves costs nothing."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..ir.graph import AddressShift2d, SpatialShift2d, Upsample2d
from ..ir.types import IntType, TensorType


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """A tensor of the graph whose channels are those of stored tensors, displaced or enlarged as they are read.

    Pixel (y, x) of channel c is that at (y*stride + displacement[c] / per_pixel) of its stored map, outside 0; with
    per_pixel 2 the fourfold mean of the neighbours, as SpatialShift2d defines it. With `lines` a displacement is
    (0, pixels) in the map as one line (AddressShift2d). With a factor above 1 it is that at (y, x) // factor
    (Upsample2d); then nothing is displaced.
    """

    names: tuple[str, ...]
    """Stored tensors, each once."""
    tensor: np.ndarray
    """int64[channels]: index into `names`."""
    channel: np.ndarray
    """int64[channels]: channel of that tensor."""
    map: tuple[int, int]
    """Height and width of the stored maps."""
    stored: IntType
    """Type of the stored tensors."""
    displacement: np.ndarray
    """int64[channels, 2], in 1/per_pixel pixels."""
    per_pixel: int = 1
    stride: tuple[int, int] = (1, 1)
    lines: bool = False
    factor: tuple[int, int] = (1, 1)
    zeros: bool = False

    @classmethod
    def of(cls, name: str, tensor: TensorType) -> "View":
        """A stored tensor as it is."""
        channels = np.arange(tensor.channels)
        return cls(names=(name,), tensor=np.zeros_like(channels), channel=channels, map=(tensor.height, tensor.width),
                   stored=tensor.dtype, displacement=np.zeros((tensor.channels, 2), np.int64))

    @property
    def channels(self) -> int:
        return len(self.channel)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the tensor seen."""
        return ((self.map[0] * self.factor[0] - 1) // self.stride[0] + 1,
                (self.map[1] * self.factor[1] - 1) // self.stride[1] + 1)

    @cached_property
    def still(self) -> bool:
        """Whether every pixel is read from its own place."""
        return (not self.displacement.any() and self.per_pixel == 1 and self.stride == (1, 1)
                and self.factor == (1, 1))

    @cached_property
    def single(self) -> bool:
        """Whether it is one stored tensor's channels from 0 on, in order, each from its own place."""
        return self.still and len(self.names) == 1 and bool((self.channel == np.arange(self.channels)).all())

    @property
    def way(self) -> tuple[object, ...]:
        """How it looks at its maps, displacements aside."""
        return self.map, self.stored, self.per_pixel, self.stride, self.factor, self.zeros

    def cells(self) -> dict[str, np.ndarray]:
        """Its channels by the stored tensors that hold them, in the order of `names`."""
        return {name: np.flatnonzero(self.tensor == index) for index, name in enumerate(self.names)}

    # -- moves ---------------------------------------------------------------------------------
    def selected(self, channels: np.ndarray) -> "View":
        """SelectChannels of the view."""
        used, tensor = np.unique(self.tensor[channels], return_inverse=True)
        displacement = self.displacement[channels]
        lines = self.lines and bool(displacement.any())     # else it is still, and may be shifted in another way
        return dataclasses.replace(self, names=tuple(self.names[index] for index in used), tensor=tensor, lines=lines,
                                   channel=self.channel[channels], displacement=displacement)

    def shifted(self, op: SpatialShift2d | AddressShift2d) -> "View":
        """A shift of a `still` view."""
        if isinstance(op, SpatialShift2d):
            return dataclasses.replace(self, displacement=op.displacement, per_pixel=op.per_pixel, stride=op.stride)
        if not op.offset.any():
            return self
        along = np.stack([np.zeros_like(op.offset), op.offset], axis=1)
        return dataclasses.replace(self, displacement=along, lines=True)

    def enlarged(self, op: Upsample2d) -> "View":
        """An Upsample2d of a `still` view."""
        return dataclasses.replace(self, factor=op.factor, zeros=op.zeros) if op.factor != (1, 1) else self

    def renamed(self, names: Mapping[str, str]) -> "View":
        """The same view of other tensors, which hold the same."""
        return dataclasses.replace(self, names=tuple(names.get(name, name) for name in self.names))


def joined(views: list[View]) -> View | None:
    """Concat of views; None where they look at their maps in different ways, beyond displacements."""
    first = views[0]
    lines = any(view.lines for view in views)
    if any(view.way != first.way or lines and not (view.lines or view.still) for view in views):
        return None
    names = tuple(dict.fromkeys(name for view in views for name in view.names))
    tensor = np.concatenate([np.array([names.index(name) for name in view.names])[view.tensor] for view in views])
    return dataclasses.replace(first, names=names, tensor=tensor, lines=lines,
                               channel=np.concatenate([view.channel for view in views]),
                               displacement=np.concatenate([view.displacement for view in views]))
