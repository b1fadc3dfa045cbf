"""The energy table that `shifthw build` and `shifthw report` print."""

from collections.abc import Iterator
from typing import Any

LEFT = 2
"""Columns that are aligned to the left."""


def columns(e: dict[str, Any]) -> tuple[str, ...]:
    """Headings; the first says what the figures are."""
    from .report import PLATFORMS
    titles = [text for title in PLATFORMS.values() for text in (f"{title} nJ", "multiplying", "ratio")]
    return (f"energy per image ({e['mark']})", "kind", "shifts", "additions", *titles, "memory nJ")


def rows(e: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Cells by layer, then, without a kind, of the total of operations and memory, and of both together."""
    from .report import PLATFORMS
    for row in [*e["layers"], {**e["total"], "name": "total"}]:
        energies = (cell for platform in PLATFORMS for cell in _compared(row[platform]))
        yield (row["name"], row["kind"], f"{row['operations']['shift']:,}", f"{row['operations']['add']:,}",
               *energies, _nanojoules(row["memory_pj"]))
    both = (cell for platform in PLATFORMS for cell in _compared(e["with_memory"][platform]))
    yield ("total with memory", "", "", "", *both, "")


def _compared(values: dict[str, Any]) -> tuple[str, str, str]:
    """As it is, with multiplications, and the ratio."""
    ratio = values["ratio"]
    return (_nanojoules(values["total_pj"]), _nanojoules(values["multiplying_pj"]),
            "" if ratio is None else f"{ratio:.2f}")


def _nanojoules(pj: float) -> str:
    return f"{pj / 1000:,.1f}"
