"""Spreads channels over the lanes so that every reader finds as few of its channels in one lane as can be."""

import numpy as np

TRIES = 2000
"""Exchanges before it is left as it is: on the way to a balance a few hundred are made."""


def balance(counts: np.ndarray, block: np.ndarray, uses: list[frozenset[int]]) -> np.ndarray:
    """The counts after exchanges of channels between lanes, within blocks, that bring every reader's greatest load of
    a lane down to ceil(its channels / lanes that they can be in), or near to it.

    A reader that takes its channels from several tensors sees them in the lanes of each: channels are the edges of a
    graph between tensors and readers, lanes their colours, and an exchange is a step of an alternating path (Koenig's
    theorem: for one reader per channel and full lanes there is a colouring without a conflict).

    counts  int64[rows, lanes]: channels of a row, which share a block and their readers, by lane
    block   int64[rows];  uses  the readers of each row, numbered from 0
    """
    readers = 1 + max((reader for use in uses for reader in use), default=-1)
    member = np.zeros((readers, len(counts)), bool)
    for row, use in enumerate(uses):
        member[list(use), row] = True
    counts = counts.copy()
    loads = member.astype(np.int64) @ counts
    lanes = _reachable(counts, block, member).sum(axis=1, keepdims=True)
    most = -(-loads.sum(axis=1, keepdims=True) // np.maximum(lanes, 1))
    rng = np.random.default_rng(0)
    best, least = counts.copy(), int(np.maximum(loads - most, 0).sum())
    for _ in range(TRIES):
        if not least:
            break
        over = rng.permutation(np.argwhere(loads > most))
        moves = (_exchange(counts, block, member, loads, most, rng, int(reader), int(lane)) for reader, lane in over)
        move = next((found for found in moves if found), None)
        if move is None:
            break
        row, other, here, there = move
        _apply(counts, loads, member, row, here, there)
        _apply(counts, loads, member, other, there, here)
        excess = int(np.maximum(loads - most, 0).sum())
        if excess < least:
            best, least = counts.copy(), excess
    return best


def _reachable(counts: np.ndarray, block: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Lanes that the blocks of a reader's rows have channels in: bool[readers, lanes]."""
    occupied = np.array([(counts[block == number] > 0).any(axis=0) for number in range(block.max() + 1)])
    return np.asarray(member.astype(np.int64) @ occupied[block].astype(np.int64) > 0)


def _exchange(counts: np.ndarray, block: np.ndarray, member: np.ndarray, loads: np.ndarray, most: np.ndarray,
              rng: np.random.Generator, reader: int, here: int) -> tuple[int, int, int, int] | None:
    """Two rows of a block and two lanes whose exchange takes a channel from the overloaded lane `here` of a reader."""
    free = loads[reader] < most[reader]
    found: list[tuple[int, float, int, int, int]] = []
    for row in np.flatnonzero(member[reader] & (counts[:, here] > 0)).tolist():
        others = np.flatnonzero((block == block[row]) & ~member[reader])
        for other, there in np.argwhere((counts[others] > 0) & free):
            change = _excess_change(loads, most, member, row, int(others[other]), here, int(there))
            found.append((change, rng.random(), row, int(others[other]), int(there)))
    if not found:
        return None
    _, _, *rows, lane = min(found)
    return rows[0], rows[1], here, lane


def _excess_change(loads: np.ndarray, most: np.ndarray, member: np.ndarray, row: int, other: int, here: int,
                   there: int) -> int:
    """How the sum of what lanes have too many changes with an exchange."""
    gone = member[:, row].astype(np.int64) - member[:, other]       # leaves `here` for `there`
    limit = most[:, 0]

    def excess(shift: np.ndarray | int) -> int:
        return int(np.maximum(loads[:, here] - shift - limit, 0).sum()
                   + np.maximum(loads[:, there] + shift - limit, 0).sum())

    return excess(gone) - excess(0)


def _apply(counts: np.ndarray, loads: np.ndarray, member: np.ndarray, row: int, here: int, there: int) -> None:
    counts[row, here] -= 1
    counts[row, there] += 1
    loads[member[:, row], here] -= 1
    loads[member[:, row], there] += 1
