"""Which channels, which pixels: moves of quantized maps as nodes of the graph."""

from typing import Any

import numpy as np
from torch import fx, nn

from ..errors import UnsupportedModel
from ..ir.graph import AddressShift2d, Concat, Move, SelectChannels, SpatialShift2d, Upsample2d
from ..ir.types import IntType
from ..nn import ActiveShift2d, ChannelShift, GroupedShift2d, SparseShift2d
from ..nn import AddressShift2d as AddressShift2dLayer
from .draft import Draft


def spatially_shifted(draft: Draft, where: str, module: ActiveShift2d | GroupedShift2d | SparseShift2d,
                      source: str) -> str:
    """Append a spatial shift. Half pixels give fourfold means: 2 bits more, a step of a quarter."""
    displacement, per_pixel = module.integer_displacement()
    stride = module.stride if isinstance(module, ActiveShift2d) else (1, 1)
    if per_pixel == 2 and not (displacement % 2).any():
        displacement, per_pixel = displacement // 2, 1
    op, tensor = SpatialShift2d(displacement.astype(np.int64), per_pixel, stride), draft[source].output
    if per_pixel == 1:
        return draft.add(where, op, source)
    return draft.add_typed(where, op, source, IntType(tensor.dtype.bits + 2, tensor.dtype.signed), tensor.scale / 4)


def address_shifted(draft: Draft, where: str, module: AddressShift2dLayer, source: str) -> str:
    """Append an address shift, or with zero_padded a spatial shift."""
    if module.zero_padded:
        return draft.add(where, SpatialShift2d(module.integer_displacement()[0]), source)
    return draft.add(where, AddressShift2d(module.offsets(draft[source].output.width).astype(np.int64)), source)


def channel_shifted(draft: Draft, where: str, module: ChannelShift, source: str) -> str:
    """Append a circular shift of channels."""
    return draft.add(where, SelectChannels(module.source()), source)


def shuffled(draft: Draft, where: str, module: nn.ChannelShuffle, source: str) -> str:
    """Append a shuffle of channel groups."""
    channels = draft[source].output.channels
    if channels % module.groups:
        raise UnsupportedModel(f"{where} (ChannelShuffle): has {module.groups} groups, which must divide {channels} "
                               f"channels")
    return draft.add(where, SelectChannels(np.arange(channels).reshape(module.groups, -1).T.ravel()), source)


def selected(draft: Draft, where: str, source: str, first: int, count: int) -> str:
    """Append the selection of consecutive channels; nothing for all of them."""
    if (first, count) == (0, draft[source].output.channels):
        return source
    return draft.add(where, SelectChannels(np.arange(first, first + count)), source)


def joined(draft: Draft, where: str, sources: list[str]) -> str:
    """Append a concatenation of maps of one grid."""
    return draft.add(where, Concat(), tuple(sources)) if len(sources) > 1 else sources[0]


def repeated(draft: Draft, where: str, source: str, size: tuple[int, int]) -> str:
    """Append an enlargement to `size` that repeats pixels. Raises UnsupportedModel unless it is by whole numbers."""
    tensor = draft[source].output
    factor = size[0] // tensor.height, size[1] // tensor.width
    if (tensor.height * factor[0], tensor.width * factor[1]) != size or min(factor) < 1:
        raise UnsupportedModel(f"{where} (Upsample): enlarges {tensor.height}x{tensor.width} to {size[0]}x{size[1]}; "
                               f"must be by whole numbers")
    op: Move = Upsample2d(factor)
    return draft.add(where, op, source)


def channel_slice(where: str, index: Any) -> slice:
    """The channels of x[:, a:b]. Raises UnsupportedModel for any other index."""
    parts = index if isinstance(index, tuple) else (index,)
    others = [part for place, part in enumerate(parts) if place != 1]
    whole = all(part is Ellipsis or part == slice(None) for part in others)
    if len(parts) < 2 or not isinstance(parts[1], slice) or parts[1].step not in (None, 1) or not whole or (
            Ellipsis in others[:1]) or any(isinstance(part, fx.Node) for part in (parts[1].start, parts[1].stop)):
        raise UnsupportedModel(f"{where}: takes {index!r:.60} of a tensor; only consecutive channels, x[:, a:b], can "
                               f"be taken")
    return parts[1]
