"""The parameter-free shortcut of CIFAR ResNets."""

import torch
from torch import nn
from torch.nn import functional


class PadShortcut(nn.Module):
    """y = every stride-th pixel of x, with zero channels added on both sides ("option A").

    x: [N, in_channels, H, W]; y: [N, out_channels, ceil(H/stride), ceil(W/stride)]. `before` (by default
    half of them, rounded down) of the out_channels - in_channels zero channels come first.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2, before: int | None = None) -> None:
        super().__init__()
        added = out_channels - in_channels
        self.before = added // 2 if before is None else before
        if added < 0 or not 0 <= self.before <= added or stride < 1:
            raise ValueError(f"PadShortcut: must have out_channels of at least in_channels={in_channels}, before "
                             f"within 0..{max(added, 0)} and stride 1 or more, not {out_channels}, {self.before}, "
                             f"{stride}")
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        after = self.out_channels - self.in_channels - self.before
        return functional.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.before, after))
