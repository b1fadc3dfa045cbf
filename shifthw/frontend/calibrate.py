"""Scales of activation quantizers from images: by the largest magnitude, a percentile of it, or the squared error."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ..errors import UnsupportedModel
from ..nn import QuantAct

Method = Literal["minmax", "percentile", "mse"]
METHODS: tuple[Method, ...] = ("minmax", "percentile", "mse")
BATCH = 100
SAMPLES = 1 << 18
"""Values that are kept of each activation for percentile and mse, drawn evenly from all batches."""
CANDIDATES = 64


def calibrate(model: nn.Module, images: torch.Tensor, method: Method = "mse", percentile: float = 0.9999,
              power_of_two: bool = False) -> None:
    """Set the scale of every QuantAct of `model` that has none yet, for good: training does not move it any more.

    images        real images [N, C, H, W] or [N, F]; activations are taken with all quantizers left out
    method        what the last step stands for: "minmax" the largest magnitude, "percentile" that below which
                  the share `percentile` of all magnitudes is, "mse" the limit with the least squared error
    power_of_two  round scales to a power of two: up, with "mse" to the better neighbour

    Raises UnsupportedModel, naming the quantizer, for one that sees only zeros, no values at all, or infinite ones.
    """
    waiting = {path: module for path, module in model.named_modules()
               if isinstance(module, QuantAct) and not module.calibrated}
    seen = observe(model, images, list(waiting))
    for path, module in waiting.items():
        values = seen.get(path, np.zeros(0))
        magnitudes = np.abs(values) if module.dtype.signed else np.maximum(values, 0.0)
        if not magnitudes.size or not 0 < magnitudes.max() < np.inf:
            found = ("no value at all" if not magnitudes.size else
                     "no value but 0" if magnitudes.max() == 0 else "infinite or NaN values")
            raise UnsupportedModel(f"{path} (QuantAct): sees {found} on the calibration images, which gives no scale; "
                                   f"use real images, or look at the layer before it")
        module.set_scale(_scale(values, magnitudes, module, method, percentile, power_of_two))


def observe(model: nn.Module, images: torch.Tensor, paths: list[str]) -> dict[str, np.ndarray]:
    """The values that reach each quantizer when none of them rounds, float32; of many a sample of about SAMPLES.

    The smallest and the largest value are always in it.
    """
    share = SAMPLES // max(1, -(-len(images) // BATCH))
    samples = {path: _Sample(share) for path in paths}

    def hook(sample: _Sample | None) -> Callable[[nn.Module, Any, torch.Tensor], torch.Tensor]:
        def keep(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
            if sample is not None:
                sample.add(inputs[0].detach().float().numpy().ravel())
            return inputs[0]
        return keep

    hooks = [module.register_forward_hook(hook(samples.get(path))) for path, module in model.named_modules()
             if isinstance(module, QuantAct)]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()
            for start in range(0, len(images), BATCH):
                model(images[start:start + BATCH])
    finally:
        for handle in hooks:
            handle.remove()
        model.train(was_training)
    return {path: sample.values() for path, sample in samples.items() if sample.parts}


class _Sample:
    """At most `share` values of each batch, drawn evenly, and the extremes of all."""

    def __init__(self, share: int) -> None:
        self.share = share
        self.parts: list[np.ndarray] = []
        self.left_out: list[float] = []
        """Extremes of batches of which not all values were taken."""
        self.generator = np.random.default_rng(0)

    def add(self, batch: np.ndarray) -> None:
        """Take a batch's values."""
        if len(batch) > self.share:
            self.left_out += [batch.min(), batch.max()]
            batch = batch[self.generator.integers(0, len(batch), self.share)]
        self.parts.append(batch)

    def values(self) -> np.ndarray:
        """All that was taken."""
        extremes = [min(self.left_out), max(self.left_out)] if self.left_out else []
        return np.concatenate([*self.parts, np.array(extremes, np.float32)])


def _scale(values: np.ndarray, magnitudes: np.ndarray, module: QuantAct, method: Method, percentile: float,
           power_of_two: bool) -> float:
    largest = float(magnitudes.max())
    if method == "mse":
        limits = largest * np.arange(1, CANDIDATES + 1) / CANDIDATES
        scales = limits / module.hi
        if power_of_two:
            scales = np.unique(np.exp2(np.round(np.log2(scales))))
        return float(min(scales, key=lambda scale: _error(values, module, scale)))
    limit = largest if method == "minmax" else float(np.quantile(magnitudes, percentile)) or largest
    scale = limit / module.hi
    return float(np.exp2(np.ceil(np.log2(scale)))) if power_of_two else scale


def _error(values: np.ndarray, module: QuantAct, scale: float) -> float:
    """Mean squared error of rounding `values` to the quantizer's grid."""
    steps = np.clip(np.floor(values / scale + 0.5), module.lo, module.hi)
    return float(np.mean((steps * scale - values) ** 2))
