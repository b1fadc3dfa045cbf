"""Sizes and distances that convolutions are made with, checked where they are given."""

from typing import Any

Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[int, int, int, int]


def check_channels(kind: str, in_channels: int, out_channels: int, groups: int) -> None:
    """Raises ValueError, naming the layer's `kind`, for channels that are none or not divided by the groups."""
    if in_channels < 1 or out_channels < 1:
        raise ValueError(f"{kind}: in_channels={in_channels} and out_channels={out_channels} must be 1 or more")
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise ValueError(f"{kind}: groups must divide in_channels={in_channels} and out_channels={out_channels}, not "
                         f"{groups}")


def pair(kind: str, name: str, value: Any) -> tuple[int, int]:
    """A number, or one for rows and one for columns, of 1 or more. Raises ValueError for anything else."""
    numbers = _numbers(value)
    if len(numbers) == 1:
        numbers *= 2
    if len(numbers) != 2 or min(numbers) < 1:
        raise ValueError(f"{kind}: {name} must be an int of 1 or more, or two of them, not {value!r}")
    return numbers[0], numbers[1]


def sides(kind: str, value: Any) -> tuple[int, int, int, int]:
    """Padding (top, left, bottom, right) of a number, of (rows, columns) or of all four. Raises ValueError."""
    numbers = _numbers(value)
    if len(numbers) in (1, 2):
        numbers = (numbers * 2)[:2] * 2
    if len(numbers) != 4 or min(numbers) < 0:
        raise ValueError(f"{kind}: padding must be an int of 0 or more, (rows, columns) or (top, left, bottom, right), "
                         f"not {value!r}")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _numbers(value: Any) -> tuple[int, ...]:
    """None for what is no int and no sequence of them."""
    numbers = tuple(value) if isinstance(value, tuple | list) else (value,)
    return numbers if all(isinstance(number, int) for number in numbers) else ()
