"""From images as users have them to the integers that the network takes: what shifthw.frontend.preprocess does, on
numpy alone, equal to the last integer."""

from pathlib import Path
from typing import Any, Mapping

import numpy as np

from .errors import BadImages

MOST_OUTSIDE = 0.5
"""Share of real pixels beyond the input's grid from which they are taken for pixels of another unit."""


def read(path: Path) -> np.ndarray:
    """The array of a .npy file of shape (n, c, h, w); BadImages if it holds none."""
    try:
        array = np.load(str(path), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadImages(f"{path}: must be a .npy file of images ({error}): write it with numpy.save") from None
    if not isinstance(array, np.ndarray) or array.ndim != 4:
        raise BadImages(f"{path}: must hold one array of shape (n, c, h, w): write it with numpy.save")
    return array


def integers(images: np.ndarray, rule: Mapping[str, Any]) -> np.ndarray:
    """The network's integers for images [n, c, h, w].

    rule: {"scale", "rounding", "lo", "hi", "pixels": None or {"scale", "mean", "std"}} of driver.json

    uint8 where the rule has `pixels`   raw pixels: normalized, then rounded and clamped to the input's grid
    other integers                      as they are
    real numbers                        in the units of the network's input: rounded and clamped
    """
    pixels = rule["pixels"]
    if images.dtype.kind == "f":
        return _quantized(images.astype(np.float64), rule)
    if images.dtype == np.uint8 and pixels is not None:
        mean, std = (np.array(pixels[name]).reshape(-1, 1, 1) for name in ("mean", "std"))
        if images.shape[1] != len(mean):
            raise BadImages(f"images: have {images.shape[1]} channels, must have {len(mean)}")
        return _quantized((images * np.float64(pixels["scale"]) - mean) / std, rule)
    return images


def _quantized(real: np.ndarray, rule: Mapping[str, Any]) -> np.ndarray:
    if not np.isfinite(real).all():
        raise BadImages("images: hold NaN or infinite numbers, must be finite")
    lo, hi, scale = rule["lo"], rule["hi"], rule["scale"]
    steps = _rounded(real / scale, rule["rounding"])
    if np.mean((steps < lo - 0.5) | (steps > hi + 0.5)) > MOST_OUTSIDE:
        raise BadImages(f"images: hold {real.min():.4g}..{real.max():.4g}, must be in the units of the network's "
                        f"input, {lo * scale:.4g}..{hi * scale:.4g}: normalize them as in training")
    return steps.clip(lo, hi).astype(np.int64)


def _rounded(x: np.ndarray, rounding: str) -> np.ndarray:
    if rounding == "half_even":
        return np.rint(x)
    return np.floor(x + 0.5) if rounding == "half_up" else np.floor(x)
