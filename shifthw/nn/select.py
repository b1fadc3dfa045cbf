"""Any choice and order of channels."""

import torch
from torch import nn


class SelectChannels(nn.Module):
    """y[:, c] = x[:, channels[c]]: parts, shuffles, repetitions.

    x: [N, C, H, W] or [N, C]; channels: int64, each 0..C-1, at least one.
    """

    channels: torch.Tensor

    def __init__(self, channels: torch.Tensor) -> None:
        super().__init__()
        if channels.ndim != 1 or not len(channels) or channels.dtype != torch.int64 or int(channels.min()) < 0:
            raise ValueError(f"SelectChannels: channels must be int64, one dimension of at least one number of 0 or "
                             f"more, not {channels.dtype}{list(channels.shape)}")
        self.register_buffer("channels", channels.detach().clone(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.index_select(1, self.channels)

    def extra_repr(self) -> str:
        return f"{len(self.channels)}"
