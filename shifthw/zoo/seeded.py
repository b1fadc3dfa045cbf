"""Untrained networks with realistic numbers: seeded weights, batch norms and quantizers calibrated on seeded images."""

import math
from collections import Counter

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..frontend.convert import convert_model
from ..frontend.reference import Model
from ..nn import ActiveShift2d, QuantAct, ShiftConv2d, ShiftConvTranspose2d, ShiftLinear, SparseShift2d
from ..quantize import smallest_exponent

CALIBRATION_IMAGES = 16
CALIBRATION_PIXELS = 16 * 96 * 96
"""Of all images, at most; but there are two images at least."""
LEAST_VARIANCE = 0.01
"""Of a channel, as a share of its batch norm's mean: one that hardly varies must not be enlarged without bounds."""
MOST_DISPLACEMENT = 2
"""Pixels that seeded displacements reach."""


def seeded_model(model: nn.Module, name: str, shape: tuple[int, int, int], seed: int) -> Model:
    """A network of shift layers, all of it seeded; calibrated in float64, so that no integer depends on the machine's
    order of additions. Images are of `shape`, pixels over 255."""
    images = seeded_network(model, shape, seed)
    return convert_model(model, images[:1], name, {"card": {"weights": "seeded", "seed": seed}})


def seeded_network(model: nn.Module, shape: tuple[int, int, int], seed: int) -> torch.Tensor:
    """Seed and calibrate `model`, which becomes one of float64; the images, [N, *shape] in 0..1, that served for it.

    Large images are fewer: CALIBRATION_IMAGES of up to 96x96 pixels, two of 224x224.
    """
    count = min(CALIBRATION_IMAGES, max(2, CALIBRATION_PIXELS // (shape[1] * shape[2])))
    images = torch.from_numpy(synthetic_images(count, shape, seed)).double() / 255
    seed_weights(model.double(), seed)
    calibrate(model, images)
    return images


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
    """Set every shift layer, batch norm and learned displacement of `model` from one seeded stream, in the order of
    its modules.

    Exponents uniform over their range, signs even, one weight in sixteen 0; a convolution with a bias, which has no
    batch norm behind it, is scaled by a power of two so that it neither enlarges nor lessens what it reads. Batch norm
    gains 0.6..1.4, offsets -0.3..0.3. Displacements -2..2 pixels, whole and half ones if the layer has half ones; of a
    sparse shift's channels half stay.
    """
    rng = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, ShiftConv2d | ShiftConvTranspose2d | ShiftLinear):
            _seed_layer(module, rng)
        elif isinstance(module, nn.BatchNorm2d):
            _fill(module.weight, rng.uniform(0.6, 1.4, module.num_features))
            _fill(module.bias, rng.uniform(-0.3, 0.3, module.num_features))
        elif isinstance(module, ActiveShift2d | SparseShift2d):
            _seed_displacement(module, rng)


def calibrate(model: nn.Module, images: torch.Tensor) -> None:
    """Set batch-norm statistics and quantizer scales from `images`, each layer's from what it sees when those before it
    have theirs; leaves `model` in eval mode.

    A quantizer that is called more than once takes the widest of what it sees, and all layers are then set once more.
    """
    model.eval()
    with torch.no_grad():
        shared = _settle(model, images, frozenset())
        if shared:
            _settle(model, images, shared)


def _settle(model: nn.Module, images: torch.Tensor, kept: frozenset[nn.Module]) -> frozenset[nn.Module]:
    """Run `model` and set its layers on the way; `kept` are quantizers that may only become wider. Returns those that
    were called more than once."""
    calls: Counter[nn.Module] = Counter()

    def widen(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        calls[module] += 1
        _widen(module, inputs)

    hooks = []
    for module in model.modules():
        if isinstance(module, QuantAct) and not module.fixed:
            hooks.append(module.register_forward_pre_hook(widen))
            if module not in kept:
                module.limit.zero_()
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(_set_statistics))
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return frozenset(module for module, count in calls.items() if count > 1)


def _set_statistics(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Give a batch norm the mean and variance of what it is to read."""
    assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    assert module.running_mean is not None
    assert module.running_var is not None
    axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
    variance = inputs[0].var(axes)
    module.running_mean.copy_(inputs[0].mean(axes))
    module.running_var.copy_(variance.clamp(min=LEAST_VARIANCE * float(variance.mean())))


def _widen(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Give a quantizer the scale of what it is to round, if that is wider than what it has rounded before."""
    assert isinstance(module, QuantAct)
    limit, scale = module.limit.clone(), module.scale.clone()
    module.limit.zero_()
    module.observe(inputs[0])
    if module.limit < limit:
        module.limit.copy_(limit)
        module.scale.copy_(scale)


def _seed_layer(module: ShiftConv2d | ShiftConvTranspose2d | ShiftLinear, rng: np.random.Generator) -> None:
    latent = module.weight if module.form == "Q" else module.shift
    smallest = smallest_exponent(module.form, module.weight_bits)
    exponents = rng.integers(smallest, 0, latent.shape, endpoint=True)
    signs = rng.choice((-1.0, 1.0), latent.shape) * (rng.random(latent.shape) >= 1 / 16)
    if module.form == "Q":
        _fill(module.weight, signs * 2.0**exponents)
    else:
        _fill(module.shift, exponents)
        _fill(module.sign, signs)
    if module.bias is not None:
        _fill(module.bias, rng.uniform(-0.5, 0.5, module.bias.shape))
    if module.bias is not None and not isinstance(module, ShiftLinear):
        square = 15 / 16 * np.mean(4.0**np.arange(smallest, 1)) * math.prod(latent.shape[1:])
        module.weight_scale.fill_(2.0**-round(math.log2(square) / 2))


def _seed_displacement(module: ActiveShift2d | SparseShift2d, rng: np.random.Generator) -> None:
    resolution = module.resolution if isinstance(module, ActiveShift2d) else 1
    most = MOST_DISPLACEMENT * resolution
    displacement = rng.integers(-most, most, module.displacement.shape, endpoint=True) / resolution
    if isinstance(module, SparseShift2d):
        displacement[rng.permutation(module.channels)[:module.channels // 2]] = 0
    _fill(module.displacement, displacement)


def _fill(parameter: torch.Tensor, values: np.ndarray) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.asarray(values, np.float64)))
