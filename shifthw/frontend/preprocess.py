"""From images as users have them to the integers that the network takes.

Two entries of a graph's metadata say how, both optional:

    "preprocess": {"scale": s, "mean": [m0, ...], "std": [d0, ...]}   real = (pixel * s - m) / d of raw uint8 pixels,
                                                                      with one mean and std per channel
    "input": {"rounding": "floor", "lo": -128, "hi": 96}              the input's quantizer, where it is not half-up
                                                                      and as wide as the input's type
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import BadImages
from ..ir.graph import Graph, Rounding
from ..ir.interpret import check_images
from ..ir.types import TensorType
from ..nn.quantizers import rounded
from .draft import Grid

BLOCK = 256
"""Images that are made integers at a time."""
MOST_OUTSIDE = 0.5
"""Share of real pixels beyond the input's grid from which they are taken for pixels of another unit."""


@dataclass(frozen=True)
class Preprocess:
    """real = (pixel * scale - mean[c]) / std[c]"""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def real(self, pixels: np.ndarray) -> np.ndarray:
        """Real images float64[N, C, H, W] of raw pixels."""
        mean, std = (np.array(values).reshape(-1, 1, 1) for values in (self.mean, self.std))
        return (pixels * np.float64(self.scale) - mean) / std


def preprocess(graph: Graph) -> Preprocess | None:
    """How raw pixels become real images; None if the graph does not say. ValueError for a malformed entry."""
    entry = graph.metadata.get("preprocess")
    if entry is None:
        return None
    channels = graph.nodes[0].output.channels
    if not isinstance(entry, dict) or set(entry) != {"scale", "mean", "std"}:
        raise ValueError("preprocess must be an object with scale, mean and std")
    mean, std = entry["mean"], entry["std"]
    if not all(isinstance(values, list | tuple) and len(values) == channels for values in (mean, std)):
        raise ValueError(f"preprocess must have a mean and a std for each of {channels} channels")
    if not all(_is_real(value) for value in (entry["scale"], *mean, *std)) or not all(value > 0 for value in std):
        raise ValueError("preprocess must hold finite numbers, and each std must be positive")
    return Preprocess(float(entry["scale"]), tuple(map(float, mean)), tuple(map(float, std)))


def input_grid(graph: Graph) -> Grid:
    """The quantizer of the network's input. ValueError for a malformed entry."""
    tensor = graph.nodes[0].output
    entry = graph.metadata.get("input")
    if entry is None:
        return _widest(tensor)
    if not isinstance(entry, dict) or set(entry) != {"rounding", "lo", "hi"}:
        raise ValueError("input must be an object with rounding, lo and hi")
    lo, hi = entry["lo"], entry["hi"]
    if type(lo) is not int or type(hi) is not int or not tensor.dtype.lo <= lo <= hi <= tensor.dtype.hi:
        raise ValueError(f"input must have lo..hi inside {tensor.dtype.lo}..{tensor.dtype.hi}")
    return Grid(tensor.dtype, tensor.scale, lo, hi, Rounding(entry["rounding"]))


def check_metadata(graph: Graph) -> None:
    """Raise ValueError for a malformed entry of the metadata."""
    preprocess(graph)
    input_grid(graph)


def input_metadata(grid: Grid, tensor: TensorType) -> dict[str, object]:
    """The metadata from which input_grid makes `grid` of the input `tensor`."""
    if grid == _widest(tensor):
        return {}
    return {"input": {"rounding": grid.rounding.value, "lo": grid.lo, "hi": grid.hi}}


def input_rule(graph: Graph) -> dict[str, object]:
    """All that input_integers needs to know, as plain values: for the driver, which has no graph."""
    grid, rule = input_grid(graph), preprocess(graph)
    pixels = None if rule is None else {"scale": rule.scale, "mean": list(rule.mean), "std": list(rule.std)}
    return {"scale": float(grid.scale), "rounding": grid.rounding.value, "lo": grid.lo, "hi": grid.hi,
            "pixels": pixels}


def _widest(tensor: TensorType) -> Grid:
    return Grid(tensor.dtype, tensor.scale, tensor.dtype.lo, tensor.dtype.hi, Rounding.HALF_UP)


def input_integers(graph: Graph, images: np.ndarray) -> np.ndarray:
    """The integers [N, C, H, W] that `graph` takes for images of the same shape.

    uint8 where the graph has a preprocess   raw pixels: normalized, then rounded and clamped to the input's grid
    other integers                           as they are, if the input's type holds them
    real numbers                             in the units of the network's input: rounded and clamped

    BadImages, in one line, for anything else.
    """
    tensor = graph.nodes[0].output
    if not _are_real(graph, images):
        check_images(images, tensor)
        return images
    if images.ndim != 4 or images.shape[1:] != tensor.shape or len(images) == 0:
        check_images(np.zeros(images.shape, np.int8), tensor)  # the line about shapes
    result = np.empty(images.shape, np.int32 if tensor.dtype.bits < 32 or tensor.dtype.signed else np.int64)
    for start in range(0, len(images), BLOCK):
        result[start:start + BLOCK] = _quantized(graph, real_images(graph, images[start:start + BLOCK]))
    return result


def real_images(graph: Graph, images: np.ndarray) -> np.ndarray:
    """What a float network gets, float64[N, C, H, W], for the same images: normalized, but not rounded."""
    if not _are_real(graph, images):
        return images * np.float64(graph.nodes[0].output.scale)
    rule = preprocess(graph)
    return rule.real(images) if rule is not None and images.dtype == np.uint8 else images.astype(np.float64)


def _are_real(graph: Graph, images: np.ndarray) -> bool:
    """Whether images stand for real numbers: otherwise they are the network's integers, or nothing known."""
    return images.dtype.kind == "f" or (images.dtype == np.uint8 and preprocess(graph) is not None)


def _quantized(graph: Graph, real: np.ndarray) -> np.ndarray:
    if not np.isfinite(real).all():
        raise BadImages("images: hold NaN or infinite numbers, must be finite")
    grid = input_grid(graph)
    with np.errstate(over="ignore"):
        steps = rounded(torch.from_numpy(real / grid.scale), grid.rounding).numpy()
    if np.mean((steps < grid.lo - 0.5) | (steps > grid.hi + 0.5)) > MOST_OUTSIDE:
        raise BadImages(f"images: hold {real.min():.4g}..{real.max():.4g}, must be in the units of the network's "
                        f"input, {grid.lo * grid.scale:.4g}..{grid.hi * grid.scale:.4g}; normalize them as in training")
    return steps.clip(grid.lo, grid.hi)


def _is_real(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
