"""Rows of the feature memory for every tensor."""

import dataclasses

from ..errors import DoesNotFit
from ..tensor_layout import TensorLayout
from .network import Network

MAX_ROWS = 1 << 20
"""No feature memory on a chip has more."""


def lifetimes(network: Network) -> dict[str, tuple[int, int]]:
    """First and last layer during which a tensor's rows are taken.

    The input stays for the whole program, since the next batch is loaded meanwhile; the result
    stays until it is stored behind the last layer.
    """
    end = len(network.layers)
    spans = {network.source: (-1, end)}
    for index, layer in enumerate(network.layers):
        spans[layer.output] = (index, index)
        for name in layer.reads:
            spans[name] = (spans[name][0], max(spans[name][1], index))
    spans[network.result] = (spans[network.result][0], end)
    return spans


def allocate(network: Network, layouts: dict[str, TensorLayout]) -> dict[str, TensorLayout]:
    """The layouts with rows, first fit: of two orders the one that needs fewer rows. DoesNotFit if absurd."""
    spans = lifetimes(network)
    by_size = sorted(layouts, key=lambda name: (-layouts[name].rows, spans[name]))
    by_time = sorted(layouts, key=lambda name: spans[name])
    placed = min((_first_fit(order, layouts, spans) for order in (by_time, by_size)), key=rows_used)
    if rows_used(placed) > MAX_ROWS:
        raise DoesNotFit(f"{network.name}: {largest(placed)} and what lives beside it need {rows_used(placed)} rows of "
                         f"feature memory, at most {MAX_ROWS} can be addressed: use more pixel or channel lanes, or "
                         f"smaller images")
    return placed


def rows_used(layouts: dict[str, TensorLayout]) -> int:
    """Rows up to the end of the last tensor."""
    return max(layout.row + layout.rows for layout in layouts.values())


def largest(layouts: dict[str, TensorLayout]) -> str:
    """The largest tensor with its size, for messages."""
    worst = max(layouts.values(), key=lambda layout: layout.rows)
    size = worst.rows * worst.pixels * worst.simd * worst.dtype.bits // 8
    return f"tensor {worst.name} {worst.shape} ({size} bytes per image)"


def _first_fit(order: list[str], layouts: dict[str, TensorLayout],
               spans: dict[str, tuple[int, int]]) -> dict[str, TensorLayout]:
    placed: dict[str, TensorLayout] = {}
    for name in order:
        first, last = spans[name]
        taken = sorted((other.row, other.row + other.rows) for key, other in placed.items()
                       if spans[key][0] <= last and first <= spans[key][1])
        row = 0
        for start, end in taken:
            if row + layouts[name].rows <= start:
                break
            row = max(row, end)
        placed[name] = dataclasses.replace(layouts[name], row=row)
    return placed
