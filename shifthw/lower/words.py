"""Step words: which parts of which channels the channel lanes take in each step, one of each lane at a time."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from .taps import ROW, X_HI


@dataclass(frozen=True, eq=False)
class Words:
    """The steps of a tile for one output channel group, terms aside.

    steps    int64[words, lanes, 6]: see docs/architecture.md; ROW counts from row 0 of the memory
    used     bool[words, lanes]: whether what the lane does matters
    picks    int64[words * in_groups, lanes]: column of the layer's weights (channel * kernel positions + position) in
             each step; -1 where there is none
    exponent int64[words * in_groups, lanes]: what a weight is to be multiplied with, as a power of two
    in_groups, stride   each word serves so many steps, rows `stride` apart
    """

    steps: np.ndarray
    used: np.ndarray
    picks: np.ndarray
    exponent: np.ndarray
    in_groups: int = 1
    stride: int = 0

    def matches(self, other: "Words", delta: int) -> bool:
        """Whether `other` takes the same steps, rows `delta` further, in the lanes that both use."""
        if self.steps.shape != other.steps.shape or (self.in_groups, self.stride) != (other.in_groups, other.stride):
            return False
        both = self.used & other.used
        return bool((_moved(self.steps, delta)[both] == other.steps[both]).all())

    def joined(self, other: "Words", delta: int) -> "Words":
        """The steps of both, `other`'s rows moved back by delta. They must match."""
        steps = np.where(self.used[..., None], self.steps, _moved(other.steps, -delta))
        return dataclasses.replace(self, steps=steps, used=self.used | other.used)

    def distance(self, other: "Words") -> int:
        """Rows from these steps to those of `other`, by the first lane that both use; 0 if there is none."""
        if self.steps.shape != other.steps.shape:
            return 0
        both = np.argwhere(self.used & other.used)
        if not len(both):
            return 0
        word, lane = both[0]
        return int(other.steps[word, lane, ROW] - self.steps[word, lane, ROW])


def _moved(steps: np.ndarray, delta: int) -> np.ndarray:
    moved = steps.copy()
    moved[..., ROW] += delta
    return moved


def fill_lanes(parts: np.ndarray, lanes: np.ndarray, simd: int) -> np.ndarray:
    """Parts in as few words as can be, each lane's in the order given: int64[words, simd], -1 for none."""
    order = np.argsort(lanes, kind="stable")
    counts = np.bincount(lanes, minlength=simd)
    rank = np.arange(len(lanes)) - np.repeat(np.cumsum(counts) - counts, counts)
    words = np.full((max(1, int(counts.max(initial=0))), simd), -1)
    words[rank, lanes[order]] = parts[order]
    return words


def make_words(filled: np.ndarray, taps: np.ndarray, channel: np.ndarray, exponent: np.ndarray, *,
               masked_count: bool, idle_off: bool) -> Words:
    """Words of parts that fill_lanes placed.

    taps     int64[kernel positions, parts, 6]: see tap_steps;  channel, exponent  int64[parts]
    masked_count   a lane that sees nothing must be masked, not only have a weight of 0
    idle_off       so must a lane without a part, so that no words are shared where there are some
    """
    positions = len(taps)
    there = filled >= 0
    steps = np.where(there[..., None], taps[:, filled], 0)
    used = np.broadcast_to(there, steps.shape[:-1]) if masked_count else steps[..., X_HI] > 0
    picks = np.where(used, channel[filled] * positions + np.arange(positions)[:, None, None], -1)
    exponents = np.broadcast_to(np.where(there, exponent[filled], 0), picks.shape)
    met: np.ndarray = np.any(steps[..., X_HI] > 0, axis=(1, 2))
    if not met.any():
        met[0] = True
    steps, used, picks, exponents = (values[met] for values in (steps, used, picks, exponents))
    return _in_groups(steps, used, picks, exponents, idle_off) or _one_by_one(steps, used, picks, exponents)


def _in_groups(steps: np.ndarray, used: np.ndarray, picks: np.ndarray, exponents: np.ndarray,
               idle_off: bool) -> Words | None:
    """One word for each tap, if the words of a tap differ by a constant number of rows."""
    count = steps.shape[1]
    if count == 1 or idle_off and not used.all():
        return None
    both = np.argwhere(used[:, 0] & used[:, 1])
    if not len(both):
        return None
    tap, lane = both[0]
    stride = int(steps[tap, 1, lane, ROW] - steps[tap, 0, lane, ROW])
    if stride <= 0:
        return None
    level = steps.copy()
    level[..., ROW] -= stride * np.arange(count)[:, None]
    first = np.take_along_axis(level, used.argmax(axis=1)[:, None, :, None], axis=1)
    if (level != first)[used].any():
        return None
    some: np.ndarray = np.any(used, axis=1)
    common = np.where(some[..., None], first[:, 0], 0)
    return Words(common, some, picks.reshape(-1, picks.shape[-1]), exponents.reshape(-1, picks.shape[-1]), count,
                 stride)


def _one_by_one(steps: np.ndarray, used: np.ndarray, picks: np.ndarray, exponents: np.ndarray) -> Words:
    """A word for every step; those in which no lane sees anything left out."""
    lanes = steps.shape[2]
    steps, used, picks, exponents = (steps.reshape(-1, lanes, 6), used.reshape(-1, lanes), picks.reshape(-1, lanes),
                                     exponents.reshape(-1, lanes))
    seen: np.ndarray = np.any(steps[..., X_HI] > 0, axis=1)
    if not seen.any():
        seen[0] = True
    return Words(steps[seen], used[seen], picks[seen], exponents[seen])
