"""Untrained networks with realistic numbers: seeded weights, batch norms and quantizers calibrated on seeded images."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..frontend.convert import convert_model
from ..frontend.reference import Model
from ..nn import QuantAct, ShiftConv2d, ShiftLinear
from ..quantize import smallest_exponent

CALIBRATION_IMAGES = 16


def seeded_model(model: nn.Module, name: str, shape: tuple[int, int, int], seed: int) -> Model:
    """A network of shift layers, all of it seeded; calibrated in float64, so that no integer depends on the machine's
    order of additions. Images are of `shape`, pixels over 255."""
    images = torch.from_numpy(synthetic_images(CALIBRATION_IMAGES, shape, seed)).double() / 255
    seed_weights(model.double(), seed)
    calibrate(model, images)
    return convert_model(model, images[:1], name, {"card": {"weights": "seeded", "seed": seed}})


def synthetic_images(count: int, shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Images uint8[count, *shape]: smooth random fields with edges, spread over the whole range."""
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    coarse = torch.from_numpy(rng.normal(size=(count, channels, 5, 5)))
    fields = functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=True).numpy()
    edges = np.sign(fields[:, :1] - rng.normal(scale=0.5, size=(count, 1, 1, 1)))
    noise = rng.normal(scale=0.15, size=fields.shape)
    return np.clip(np.rint(128 + 60 * (fields + 0.5 * edges + noise)), 0, 255).astype(np.uint8)


def seed_weights(model: nn.Module, seed: int) -> None:
    """Set every shift layer and batch norm of `model` from one seeded stream, in the order of its modules.

    Exponents uniform over their range, signs even, one weight in sixteen 0; batch norm gains 0.6..1.4,
    offsets -0.3..0.3.
    """
    rng = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, ShiftConv2d | ShiftLinear):
            _seed_layer(module, rng)
        elif isinstance(module, nn.BatchNorm2d):
            _fill(module.weight, rng.uniform(0.6, 1.4, module.num_features))
            _fill(module.bias, rng.uniform(-0.3, 0.3, module.num_features))


def calibrate(model: nn.Module, images: torch.Tensor) -> None:
    """Set batch-norm statistics and quantizer scales from `images`, layer after layer; leaves `model` in eval mode.

    The first pass settles the statistics, the second, with them fixed, the scales.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in model.modules():
        if isinstance(module, QuantAct) and not module.fixed:
            module.limit.zero_()
    with torch.no_grad():
        model.train()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = 1.0
        model(images)
        for norm in norms:
            norm.momentum = 0.1
            norm.eval()
        for module in model.modules():
            if isinstance(module, QuantAct):
                module.limit.zero_()
        model(images)
    model.eval()


def _seed_layer(module: ShiftConv2d | ShiftLinear, rng: np.random.Generator) -> None:
    latent = module.weight if module.form == "Q" else module.shift
    exponents = rng.integers(smallest_exponent(module.form, module.weight_bits), 0, latent.shape, endpoint=True)
    signs = rng.choice((-1.0, 1.0), latent.shape) * (rng.random(latent.shape) >= 1 / 16)
    if module.form == "Q":
        _fill(module.weight, signs * 2.0**exponents)
    else:
        _fill(module.shift, exponents)
        _fill(module.sign, signs)
    if module.bias is not None:
        _fill(module.bias, rng.uniform(-0.5, 0.5, module.bias.shape))


def _fill(parameter: torch.Tensor, values: np.ndarray) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.asarray(values, np.float64)))
