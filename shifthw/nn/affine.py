"""Constants that a network multiplies its activations with, or adds to them."""

import torch
from torch import nn


class Affine(nn.Module):
    """y = gain[c] * x + offset[c], with constants that training leaves alone.

    x: [N, C, H, W] or [N, C]; gain, offset: float64[C], given as tensors of C numbers.
    """

    gain: torch.Tensor
    offset: torch.Tensor

    def __init__(self, gain: torch.Tensor, offset: torch.Tensor) -> None:
        super().__init__()
        if gain.ndim != 1 or gain.shape != offset.shape:
            raise ValueError(f"Affine: gain and offset must have one number per channel, not the shapes "
                             f"{list(gain.shape)} and {list(offset.shape)}")
        if not bool(torch.isfinite(torch.stack([gain, offset])).all()):
            raise ValueError("Affine: gain and offset must be finite")
        self.register_buffer("gain", gain.detach().double())
        self.register_buffer("offset", offset.detach().double())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = (-1, *[1] * (x.ndim - 2))
        return x * self.gain.to(x.dtype).reshape(shape) + self.offset.to(x.dtype).reshape(shape)

    def extra_repr(self) -> str:
        return f"{len(self.gain)}"
