"""AddressNet's shifts (Zhong et al., "Shift-based Primitives for Efficient CNNs", arXiv 1809.08458).

Nothing is computed: values are read from elsewhere.
"""

import numpy as np
import torch
from torch import nn

from .moving import check_channel_count, check_maps, moved

DIRECTIONS = ((0, -1), (0, 1), (-1, 0), (1, 0))
"""(dy, dx) of the pixel that is read: what is seen in the map moves right, left, down, up."""


class AddressShift2d(nn.Module):
    """A quarter of the channels each moves right, left, down and up by `step` pixels, in this order; the rest stays.

    The first C//4 channels move right, out[y, x] = in[y, x - step]; the next C//4 left, in[y, x + step]; then down,
    in[y - step, x]; then up, in[y + step, x]; the last C % 4 channels stay. x, out: [N, C, H, W]. No parameters.

    By default as AddressNet does it, by another start address without a border's mask: out[n] = in[n + offset] with
    the pixel's number n = y*W + x, so that across a line's end the next line's pixel comes in, and 0 only from before
    the first or behind the last pixel of the map. With zero_padded, 0 comes in from all four sides.
    """

    displacement: torch.Tensor

    def __init__(self, channels: int, step: int = 1, zero_padded: bool = False) -> None:
        super().__init__()
        check_channel_count("AddressShift2d", channels)
        if step < 1:
            raise ValueError(f"AddressShift2d: step must be 1 or more, not {step}")
        self.channels, self.step, self.zero_padded = channels, step, zero_padded
        quarters = torch.tensor(DIRECTIONS).repeat_interleave(channels // 4, dim=0) * step
        rest = torch.zeros(channels % 4, 2, dtype=torch.int64)
        self.register_buffer("displacement", torch.cat([quarters, rest]), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_maps("AddressShift2d", x, self.channels)
        if self.zero_padded:
            return moved(x, self.displacement)
        offset = self._offset(x.shape[3])
        line = x.flatten(2)[:, :, None]
        return moved(line, torch.stack([torch.zeros_like(offset), offset], dim=1)).reshape(x.shape)

    def _offset(self, width: int) -> torch.Tensor:
        return self.displacement[:, 0] * width + self.displacement[:, 1]

    def offsets(self, width: int) -> np.ndarray:
        """What is added to a pixel's number, int64[C], in maps of this width, without zero_padded."""
        if width < 1:
            raise ValueError(f"AddressShift2d: width must be 1 or more, not {width}")
        return self._offset(width).numpy(force=True)

    def integer_displacement(self) -> tuple[np.ndarray, int]:
        """(dy, dx) of each channel, int64[C, 2], and their units per pixel, 1: what zero_padded moves by."""
        return self.displacement.numpy(force=True).copy(), 1

    def extra_repr(self) -> str:
        return f"{self.channels}, step={self.step}, zero_padded={self.zero_padded}"


class ChannelShift(nn.Module):
    """Circular shift of channels: channel c goes to channel (c + amount) mod C, as torch.roll does.

    x, out: [N, C, H, W] or [N, C]. amount: any int; negative ones go the other way.
    """

    def __init__(self, channels: int, amount: int) -> None:
        super().__init__()
        check_channel_count("ChannelShift", channels)
        self.channels, self.amount = channels, amount

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim not in (2, 4) or x.shape[1] != self.channels:
            raise ValueError(f"ChannelShift: x must be [N, {self.channels}] or [N, {self.channels}, H, W], not "
                             f"{list(x.shape)}")
        return torch.roll(x, self.amount, dims=1)

    def source(self) -> np.ndarray:
        """The channel that each channel of the result comes from, int64[C]."""
        return np.roll(np.arange(self.channels, dtype=np.int64), self.amount)

    def extra_repr(self) -> str:
        return f"{self.channels}, amount={self.amount}"


class ShortcutShift(nn.Module):
    """Channels of two maps one behind the other: a shortcut that is kept in place of being added.

    first: [N, C1, H, W], second: [N, C2, H, W]; out: [N, C1 + C2, H, W].
    """

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.cat([first, second], dim=1)
