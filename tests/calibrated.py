"""Layers of the zoo with seeded weights and calibrated scales, layer after layer."""

import torch
from torch import nn

from shifthw.zoo.seeded import calibrate, seed_weights


def calibrated(*layers: nn.Module) -> list[torch.Tensor]:
    """What comes out of each layer, in float64, for seeded images of 3x8x8."""
    model = nn.Sequential(*layers)
    seed_weights(model.double(), 3)
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    calibrate(model, images)
    results = []
    with torch.no_grad():
        for layer in model:
            images = layer(images)
            results.append(images)
    return results
