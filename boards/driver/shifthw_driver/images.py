"""From images as users have them to the integers that the network takes: what shifthw.frontend.preprocess does, on
numpy alone, equal to the last integer."""

from typing import Any, Mapping

import numpy as np

from .errors import BadImages
from .job import Job

MOST_OUTSIDE = 0.5
"""Share of real pixels beyond the input's grid from which they are taken for pixels of another unit."""
BLOCK_VALUES = 1 << 20
"""Pixels that are looked at at a time: real numbers take many times the memory of what they are made from."""


def check(images: np.ndarray, rule: Mapping[str, Any], job: Job) -> None:
    """BadImages unless integers(images, rule) are what `job` takes."""
    if not _are_real(images, rule):
        job.check(images)
        return
    job.check_shape(images)
    block = max(1, BLOCK_VALUES // images[0].size)
    outside, lowest, highest = 0, np.inf, -np.inf
    for start in range(0, len(images), block):
        real = _real(images[start:start + block], rule)
        if not np.isfinite(real).all():
            raise BadImages("images: hold NaN or infinite numbers, must be finite")
        steps = _rounded(real / rule["scale"], rule["rounding"])
        outside += int(np.count_nonzero((steps < rule["lo"] - 0.5) | (steps > rule["hi"] + 0.5)))
        lowest, highest = min(lowest, real.min()), max(highest, real.max())
    if outside > MOST_OUTSIDE * images.size:
        units = f"{rule['lo'] * rule['scale']:.4g}..{rule['hi'] * rule['scale']:.4g}"
        raise BadImages(f"images: hold {lowest:.4g}..{highest:.4g}, must be in the units of the network's input, "
                        f"{units}: normalize them as in training")


def integers(images: np.ndarray, rule: Mapping[str, Any]) -> np.ndarray:
    """The network's integers for images [n, c, h, w] that were checked.

    rule: {"scale", "rounding", "lo", "hi", "pixels": None or {"scale", "mean", "std"}} of driver.json

    uint8 where the rule has `pixels`   raw pixels: normalized, then rounded and clamped to the input's grid
    other integers                      as they are
    real numbers                        in the units of the network's input: rounded and clamped
    """
    if not _are_real(images, rule):
        return images
    steps = _rounded(_real(images, rule) / rule["scale"], rule["rounding"])
    return steps.clip(rule["lo"], rule["hi"]).astype(np.int64)


def _are_real(images: np.ndarray, rule: Mapping[str, Any]) -> bool:
    """Whether images stand for real numbers: otherwise they are the network's integers, or nothing known."""
    return images.dtype.kind == "f" or images.dtype == np.uint8 and rule["pixels"] is not None


def _real(images: np.ndarray, rule: Mapping[str, Any]) -> np.ndarray:
    if images.dtype.kind == "f":
        return images.astype(np.float64)
    mean, std = (np.array(rule["pixels"][name]).reshape(-1, 1, 1) for name in ("mean", "std"))
    return (images * np.float64(rule["pixels"]["scale"]) - mean) / std


def _rounded(x: np.ndarray, rounding: str) -> np.ndarray:
    if rounding == "half_even":
        return np.rint(x)
    return np.floor(x + 0.5) if rounding == "half_up" else np.floor(x)
