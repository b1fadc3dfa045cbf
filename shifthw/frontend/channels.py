"""Which channels, which pixels: moves of quantized maps as nodes of the graph."""

from typing import Any

import numpy as np
from torch import nn

from ..errors import UnsupportedModel
from ..ir.graph import AddressShift2d, Concat, Node, SelectChannels, SpatialShift2d, Upsample2d
from ..ir.types import IntType, TensorType
from ..nn import ActiveShift2d, ChannelShift, GroupedShift2d, SparseShift2d
from ..nn import AddressShift2d as AddressShift2dLayer
from ..nn import SelectChannels as SelectChannelsLayer
from .draft import Draft, Sum
from .sums import doubled


def spatially_shifted(draft: Draft, where: str, module: ActiveShift2d | GroupedShift2d | SparseShift2d,
                      source: Node) -> str:
    """Append a spatial shift. Half pixels give fourfold means: 2 bits more, a step of a quarter."""
    try:
        displacement, per_pixel = module.integer_displacement()
    except UnsupportedModel as error:
        raise UnsupportedModel(f"{where}: {error}") from None
    stride = module.stride if isinstance(module, ActiveShift2d) else (1, 1)
    if per_pixel == 2 and not (displacement % 2).any():
        displacement, per_pixel = displacement // 2, 1
    tensor = source.output
    beyond = np.array([tensor.height, tensor.width]) * per_pixel    # all that is farther off is 0 as well
    op = SpatialShift2d(displacement.astype(np.int64).clip(-beyond, beyond), per_pixel, stride)
    if per_pixel == 1:
        return draft.add(where, op, source.name)
    wider = IntType(tensor.dtype.bits + 2, tensor.dtype.signed)
    return draft.add_typed(where, op, source.name, wider, tensor.scale / 4)


def address_shifted(draft: Draft, where: str, module: AddressShift2dLayer, source: Node) -> str:
    """Append an address shift, or with zero_padded a spatial shift."""
    if module.zero_padded:
        return draft.add(where, SpatialShift2d(module.integer_displacement()[0]), source.name)
    beyond = source.output.height * source.output.width
    offset = module.offsets(source.output.width).astype(np.int64).clip(-beyond, beyond)
    return draft.add(where, AddressShift2d(offset), source.name)


def channel_shifted(draft: Draft, where: str, module: ChannelShift, source: Node) -> str:
    """Append a circular shift of channels."""
    return draft.add(where, SelectChannels(module.source()), source.name)


def chosen(draft: Draft, where: str, module: SelectChannelsLayer, source: Node) -> str:
    """Append any choice of channels."""
    return draft.add(where, SelectChannels(module.channels.numpy(force=True).copy()), source.name)


def shuffled(draft: Draft, where: str, module: nn.ChannelShuffle, source: Node) -> str:
    """Append a shuffle of channel groups."""
    count = source.output.channels
    if count % module.groups:
        raise UnsupportedModel(f"{where} (ChannelShuffle): has {module.groups} groups, which must divide {count} "
                               f"channels")
    return draft.add(where, SelectChannels(np.arange(count).reshape(module.groups, -1).T.ravel()), source.name)


def selected(draft: Draft, where: str, source: str, first: int, count: int) -> str:
    """Append the selection of consecutive channels; nothing for all of them."""
    if (first, count) == (0, draft[source].output.channels):
        return source
    return draft.add(where, SelectChannels(np.arange(first, first + count)), source)


def joined(draft: Draft, where: str, sources: list[str]) -> str:
    """Append a concatenation of maps of one grid."""
    return draft.add(where, Concat(), tuple(sources)) if len(sources) > 1 else sources[0]


def enlarged(draft: Draft, where: str, module: nn.Upsample, source: Node) -> str | Sum:
    """Append an enlargement by whole numbers, or by two between pixels, whose sums wait for their quantizer."""
    rows, columns = _factors(module, source.output)
    if module.mode == "bilinear" and not module.align_corners and (rows, columns) == (2, 2):
        return doubled(draft, where, source.name)
    if module.mode not in ("nearest", "nearest-exact"):
        raise UnsupportedModel(f"{where} (Upsample): has mode {module.mode!r}, must be 'nearest', or 'bilinear' by 2 "
                               f"with align_corners=False")
    if rows % 1 or columns % 1 or min(rows, columns) < 1:
        raise UnsupportedModel(f"{where} (Upsample): enlarges maps {rows:.4g} x {columns:.4g} times; must be by whole "
                               f"numbers")
    return draft.add(where, Upsample2d((int(rows), int(columns))), source.name)


def _factors(module: nn.Upsample, tensor: TensorType) -> tuple[float, float]:
    """How many times rows and columns are enlarged."""
    before = (tensor.height, tensor.width)
    if module.size is not None:
        rows, columns = (size / old for size, old in zip(_both(module.size), before, strict=True))
    else:
        rows, columns = _both(module.scale_factor)
    return float(rows), float(columns)


def _both(value: Any) -> tuple[Any, Any]:
    return (value[0], value[1]) if isinstance(value, tuple | list) else (value, value)

