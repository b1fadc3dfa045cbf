"""Plain float networks that tests quantize: each is ordinary PyTorch and knows nothing of shifthw."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

Forward = Callable[["Net", torch.Tensor], object]


class Net(nn.Module):
    """A module whose forward is the given function of itself and x."""

    def __init__(self, forward: Forward, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)
        self.function = forward

    def forward(self, x: torch.Tensor) -> object:
        return self.function(self, x)


def conv(inputs: int = 3, outputs: int = 4, stride: int = 1, **options: object) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size of maps."""
    return nn.Conv2d(inputs, outputs, 3, stride, 1, **options)  # type: ignore[arg-type]


def norm(channels: int = 4) -> nn.BatchNorm2d:
    """A batch norm as training leaves it."""
    module = nn.BatchNorm2d(channels)
    for tensor in (module.running_mean, module.weight, module.bias):
        nn.init.uniform_(tensor, 0.2, 1.0)  # type: ignore[arg-type]
    nn.init.uniform_(module.running_var, 0.1, 0.6)  # type: ignore[arg-type]
    return module


def images(*shape: int, count: int = 6) -> torch.Tensor:
    return torch.rand(count, *(shape or (3, 8, 8)), generator=torch.Generator().manual_seed(4))


class Residual(nn.Module):
    """A block with batch norms before its convolutions, as of pre-activation ResNets."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1, self.conv1, self.bn2, self.conv2 = norm(), conv(4), norm(), conv(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(functional.relu(self.bn1(x)))
        return self.conv2(functional.relu(self.bn2(y))) + x


class Standardized(nn.Conv2d):
    """Weight standardization: the weight is computed from parameters alone."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return functional.conv2d(input, weight, self.bias, 1, 1)


def normalized() -> nn.Module:
    """Constants of the network itself: scaled pixels, mean, deviation, a learned scale and offset."""
    net = Net(lambda m, x: m.b(functional.relu(m.a((x * 0.5 - m.mean) / m.std) * m.gain + 0.1)), a=conv(), b=conv(4))
    net.register_buffer("mean", torch.tensor([0.2, 0.3, 0.1]).reshape(3, 1, 1))
    net.register_buffer("std", torch.tensor([0.25, 0.5, 0.2]).reshape(3, 1, 1), persistent=False)
    net.gain = nn.Parameter(torch.tensor([[[1.5]], [[-0.5]], [[0.7]], [[2.0]]]))
    return net


def twice() -> nn.Module:
    """Modules that are called several times, and two layers with one weight."""
    net = Net(lambda m, x: m.c(m.relu(m.b(m.relu(m.b(m.relu(m.a(x))))))), a=conv(), b=conv(4), c=conv(4),
              relu=nn.ReLU())
    net.c.weight = net.b.weight
    return net


def in_place() -> nn.Module:
    """Values that are written over."""
    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        y = m.a(x)
        z = m.b(functional.relu_(y))
        z += y
        return m.c(nn.functional.relu(z, inplace=True))
    return Net(forward, a=conv(), b=conv(4), c=conv(4))


def option_a(m: Net, x: torch.Tensor) -> torch.Tensor:
    """The parameter-free shortcut of CIFAR ResNets."""
    x = functional.relu(m.a(x))
    short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 3))
    return m.c(functional.relu(m.b(x) + short))


def features(m: Net, x: torch.Tensor) -> torch.Tensor:
    return functional.relu(m.a(x))


ACCEPTED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "chain": (lambda: nn.Sequential(conv(), norm(), nn.ReLU(), nn.Dropout(), conv(4, 5, 2, groups=1), nn.ReLU6(),
                                    nn.AvgPool2d(2), nn.Flatten(), nn.Linear(20, 3)), (3, 8, 8)),
    "depthwise": (lambda: nn.Sequential(conv(3, 6), nn.ReLU6(), conv(6, 6, groups=6), norm(6), nn.Hardtanh(-0.5, 1.0),
                                        nn.Conv2d(6, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 2, 2)), (3, 8, 8)),
    "padding": (lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.ZeroPad2d((1, 0, 0, 0)), nn.Conv2d(3, 4, 3, 2),
                                      nn.ReLU(), nn.Conv2d(4, 4, 4, padding="same"), nn.ReLU(),
                                      nn.Conv2d(4, 4, 2, padding="valid")), (3, 8, 8)),
    "pools": (lambda: nn.Sequential(conv(), norm(), nn.MaxPool2d(2), nn.ReLU(), conv(4), nn.ReLU(),
                                    nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                                    nn.ReLU(), nn.Linear(16, 3)), (3, 8, 8)),
    "whole_windows": (lambda: nn.Sequential(conv(), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True), conv(4), nn.ReLU(),
                                            nn.AvgPool2d(2, ceil_mode=True), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
                                            nn.Linear(4, 3)), (3, 8, 8)),
    "pool_of_sums": (lambda: nn.Sequential(conv(), nn.MaxPool2d(2), norm(), nn.ReLU(), conv(4)), (3, 8, 8)),
    "clamps": (lambda: nn.Sequential(conv(), Net(lambda m, x: x.clamp(min=-0.2)), conv(4),
                                     Net(lambda m, x: torch.clamp(x, torch.tensor(-0.1), torch.tensor(0.2))), conv(4),
                                     Net(lambda m, x: x.clamp(max=0.3).relu())), (3, 8, 8)),
    "option_a": (lambda: Net(option_a, a=conv(), b=conv(4, 8, 2), c=conv(8, 2)), (3, 8, 8)),
    "padded_channels": (lambda: Net(lambda m, x: m.b(functional.pad(features(m, x)[:, :, ::2, ::2],
                                                                    (1, 0, 0, 1, 0, 2))), a=conv(),
                                    b=nn.Conv2d(6, 2, 3)), (3, 8, 8)),
    "projection": (lambda: Net(lambda m, x: m.c(functional.relu(m.n(m.b(features(m, x))) + m.short(features(m, x)))),
                               a=conv(), b=conv(4, 4, 2), n=norm(), c=conv(4),
                               short=nn.Sequential(nn.Conv2d(4, 4, 1, 2), norm())), (3, 8, 8)),
    "pre_activation": (lambda: nn.Sequential(conv(), Residual(), Residual(), norm(), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                                             nn.Flatten(), nn.Linear(4, 3)), (3, 8, 8)),
    "three_sums": (lambda: Net(lambda m, x: m.d(functional.relu(m.a(x) + m.b(x) + m.c(x))), a=conv(), b=conv(),
                               c=conv(), d=conv(4)), (3, 8, 8)),
    "clamped_sums": (lambda: Net(lambda m, x: m.n(features(m, x) + m.b(x)) + functional.relu6(m.c(x)), a=conv(),
                                 b=conv(), c=conv(), n=norm()), (3, 8, 8)),
    "pooled_shortcut": (lambda: Net(lambda m, x: m.c((functional.avg_pool2d(features(m, x), 2) + m.b(x)).relu()),
                                    a=conv(), b=conv(3, 4, 2), c=conv(4)), (3, 8, 8)),
    "input_residual": (lambda: Net(lambda m, x: m.b(functional.relu(m.a(x) + x)), a=conv(3, 3), b=conv()), (3, 8, 8)),
    "input_functions": (lambda: nn.Sequential(nn.MaxPool2d(2), norm(3), nn.ReLU(), conv()), (3, 8, 8)),
    "differences": (lambda: Net(lambda m, x: 1 - m.b(functional.relu(m.a(x) - 2 * m.c(x)) - x) + -m.a(x), a=conv(3, 3),
                                b=conv(3, 3), c=conv(3, 3)), (3, 8, 8)),
    "negative_residual": (lambda: Net(lambda m, x: m.b(functional.relu(m.a(x) - x * 0.5) - 0.5 * x), a=conv(3, 3),
                                      b=conv()), (3, 8, 8)),
    "normalized": (normalized, (3, 8, 8)),
    "twice": (twice, (3, 8, 8)),
    "in_place": (in_place, (3, 8, 8)),
    "view": (lambda: Net(lambda m, x: m.fc(features(m, x).view(x.size(0), -1)), a=conv(), fc=nn.Linear(256, 3)),
             (3, 8, 8)),
    "relu_of_flat": (lambda: Net(lambda m, x: m.fc(functional.relu(torch.flatten(m.a(x), 1))), a=conv(),
                                 fc=nn.Linear(256, 3)), (3, 8, 8)),
    "mean": (lambda: Net(lambda m, x: m.fc(m.n(features(m, x).mean((-1, -2)))), a=conv(), n=nn.BatchNorm1d(4),
                         fc=nn.Linear(4, 3)), (3, 8, 8)),
    "mean_twice": (lambda: Net(lambda m, x: m.fc(features(m, x).mean(3).mean(2)), a=conv(), fc=nn.Linear(4, 3)),
                   (3, 8, 8)),
    "joined_rows": (lambda: Net(lambda m, x: m.b(features(m, x).view(len(x), 4, -1).mean(-1)[:, :, None, None]
                                                 .permute(0, 1, 3, 2).type_as(m.b.weight)), a=conv(),
                                b=nn.Conv2d(4, 3, 1)), (3, 8, 8)),
    "one_pixel": (lambda: Net(lambda m, x: m.fc(functional.adaptive_avg_pool2d(features(m, x), 1)[:, :, 0, 0]),
                              a=conv(), fc=nn.Linear(4, 3)), (3, 8, 8)),
    "vector_to_map": (lambda: Net(lambda m, x: m.b(features(m, x).mean((2, 3))[:, :, None, None]), a=conv(),
                                  b=nn.Conv2d(4, 3, 1)), (3, 8, 8)),
    "vectors": (lambda: Net(lambda m, x: m.c(functional.relu(m.b(functional.relu(m.n(m.a(x)))) + m.a(x))),
                            a=nn.Linear(6, 8), n=nn.BatchNorm1d(8), b=nn.Linear(8, 8), c=nn.Linear(8, 3)), (6,)),
    "computed_weights": (lambda: nn.Sequential(parametrizations.weight_norm(conv()), nn.ReLU(),
                                               parametrizations.spectral_norm(conv(4)), nn.ReLU(),
                                               Standardized(4, 2, 3)), (3, 8, 8)),
    "casts": (lambda: Net(lambda m, x: m.b(functional.relu(m.a(x.float() / torch.tensor(2.0))).float()), a=conv(),
                          b=conv(4)), (3, 8, 8)),
    "functions": (lambda: Net(lambda m, x: functional.conv2d(functional.relu(functional.conv2d(
        x, m.a.weight, m.a.bias, stride=2)) + functional.conv2d(x, m.a.weight, stride=2), m.b.weight), a=conv(),
        b=conv(4)), (3, 8, 8)),
    "one_conv": (conv, (3, 8, 8)),
    "double": (lambda: nn.Sequential(conv(), norm(), nn.ReLU(), conv(4)).double(), (3, 8, 8)),
}
"""Networks that the engine computes, and the shapes of their images."""
