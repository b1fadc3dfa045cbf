"""Channels over lanes: what exchanges keep, and what they reach."""

import numpy as np
import pytest

from shifthw.lower.balance import balance


def loads(counts: np.ndarray, uses: list[frozenset[int]], reader: int) -> np.ndarray:
    return sum(row for row, use in zip(counts, uses, strict=True) if reader in use)


def shuffled_units(width: int, units: int, lanes: int) -> tuple[np.ndarray, np.ndarray, list[frozenset[int]]]:
    """ShuffleNet V2's: reader u takes the upper half of what is left of each tensor, newest first."""
    rows, block, uses = [], [], []
    for tensor in range(units):
        left, reader = list(range(width)), tensor
        while left and reader < units:
            half, left = left[len(left) // 2:], left[:len(left) // 2]
            rows.append(np.bincount(np.array(half) % lanes, minlength=lanes))
            block.append(tensor)
            uses.append(frozenset((reader,)))
            reader += 1
    return np.array(rows), np.array(block), uses


@pytest.mark.parametrize(("width", "units", "lanes"), [(58, 8, 16), (32, 6, 32), (24, 5, 8), (29, 7, 4), (116, 4, 64)])
def test_every_reader_finds_its_channels_spread(width: int, units: int, lanes: int) -> None:
    counts, block, uses = shuffled_units(width, units, lanes)
    made = balance(counts, block, uses)
    assert (made >= 0).all()
    np.testing.assert_array_equal(made.sum(axis=1), counts.sum(axis=1))
    for number in range(units):
        np.testing.assert_array_equal(made[block == number].sum(axis=0), counts[block == number].sum(axis=0))
    for reader in range(units):
        taken = loads(made, uses, reader)
        assert taken.max() <= -(-taken.sum() // min(lanes, width))


def test_what_is_spread_already_stays() -> None:
    counts = np.array([[1, 1, 0, 0], [0, 0, 1, 1]])
    made = balance(counts, np.array([0, 0]), [frozenset((0,)), frozenset((1,))])
    np.testing.assert_array_equal(made, counts)


def test_blocks_keep_their_channels() -> None:
    counts = np.array([[2, 0], [0, 2], [2, 0], [0, 2]])
    uses = [frozenset((0,)), frozenset((1,)), frozenset((0,)), frozenset((1,))]
    made = balance(counts, np.array([0, 0, 1, 1]), uses)
    for reader in (0, 1):
        np.testing.assert_array_equal(loads(made, uses, reader), [2, 2])
    np.testing.assert_array_equal(made[:2].sum(axis=0), [2, 2])
