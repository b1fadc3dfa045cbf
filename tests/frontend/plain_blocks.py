"""The blocks of well-known networks, small, as their authors write them in ordinary PyTorch."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from .plain_models import Net, conv, norm


def conv_norm(inputs: int, outputs: int, kernel: int, act: nn.Module | None = None, **options: int) -> nn.Sequential:
    """Convolution, batch norm and activation function."""
    body = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False, **options), norm(outputs)]
    return nn.Sequential(*body, *([act] if act else []))


class Fire(nn.Module):
    """SqueezeNet's."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze, self.act = nn.Conv2d(inputs, squeezed, 1), nn.ReLU(inplace=True)
        self.expand1x1, self.expand3x3 = nn.Conv2d(squeezed, expanded, 1), conv(squeezed, expanded)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.squeeze(x))
        return torch.cat([self.act(self.expand1x1(x)), self.act(self.expand3x3(x))], 1)


class ShuffleUnit(nn.Module):
    """ShuffleNetV2's of stride 1, with torchvision's shuffle."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(conv_norm(half, half, 1, nn.ReLU()), conv_norm(half, half, 3, groups=half),
                                    conv_norm(half, half, 1, nn.ReLU()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=1)
        x = torch.cat((first, self.branch(second)), dim=1)
        count, channels, height, width = x.size()
        x = x.view(count, 2, channels // 2, height, width)
        return torch.transpose(x, 1, 2).contiguous().view(count, channels, height, width)


def megvii_shuffle(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As in the authors' own code, through the dimension of the images."""
    count, channels, height, width = x.data.size()
    x = x.reshape(count * channels // 2, 2, height * width).permute(1, 0, 2)
    x = x.reshape(2, -1, channels // 2, height, width)
    return x[0], x[1]


def megvii(m: Net, x: torch.Tensor) -> torch.Tensor:
    first, second = megvii_shuffle(functional.relu(m.a(x)))
    return m.c(torch.cat((first, functional.relu(m.b(second))), 1))


class Ghost(nn.Module):
    """GhostNet's module, which cuts its result to size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.outputs, primary = outputs, -(-outputs // 2)
        self.primary_conv = conv_norm(inputs, primary, 1, nn.ReLU())
        self.cheap_operation = conv_norm(primary, primary, 3, nn.ReLU(), groups=primary)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x1 = self.primary_conv(x)
        return torch.cat([x1, self.cheap_operation(x1)], dim=1)[:, :self.outputs, :, :]


class DenseLayer(nn.Module):
    """DenseNet's, which reads all maps before it."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(inputs), nn.Conv2d(inputs, 2 * growth, 1, bias=False)
        self.norm2, self.conv2 = norm(2 * growth), conv(2 * growth, growth, bias=False)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        x = self.conv1(functional.relu(self.norm1(torch.cat(maps, 1))))
        return self.conv2(functional.relu(self.norm2(x)))


class DenseBlock(nn.Module):
    """Three layers, and a transition."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(inputs + index * growth, growth) for index in range(3))
        channels = inputs + 3 * growth
        self.transition = nn.Sequential(norm(channels), nn.ReLU(), nn.Conv2d(channels, 4, 1), nn.AvgPool2d(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps))
        return self.transition(torch.cat(maps, 1))


class Excite(nn.Module):
    """Squeeze-and-excitation as torchvision's MobileNetV3 and EfficientNet have it."""

    def __init__(self, channels: int, squeezed: int, act: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.avgpool, self.fc1, self.fc2 = nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), nn.Conv2d(
            squeezed, channels, 1)
        self.activation, self.scale_activation = act, gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))
        return scale * x


class ExciteLinear(nn.Module):
    """Squeeze-and-excitation with linear layers, the factor spread over the map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(nn.Linear(channels, 4, bias=False), nn.ReLU(inplace=True),
                                nn.Linear(4, channels, bias=False), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count, channels, _, _ = x.size()
        y = self.fc(self.avg_pool(x).view(count, channels)).view(count, channels, 1, 1)
        return x * y.expand_as(x)


class Inverted(nn.Module):
    """The inverted residual of MobileNetV3 and EfficientNet."""

    def __init__(self, channels: int, act: type[nn.Module], excite: Excite) -> None:
        super().__init__()
        wide = 2 * channels
        self.block = nn.Sequential(conv_norm(channels, wide, 1, act()), conv_norm(wide, wide, 3, act(), groups=wide),
                                   excite, conv_norm(wide, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x)


def mobilenet_v3() -> nn.Module:
    block = Inverted(4, nn.Hardswish, Excite(8, 4, nn.ReLU(), nn.Hardsigmoid()))
    return nn.Sequential(conv_norm(3, 4, 3, nn.Hardswish(), stride=2), block, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, 6), nn.Hardswish(), nn.Dropout(), nn.Linear(6, 3))


def efficientnet() -> nn.Module:
    block = Inverted(4, nn.SiLU, Excite(8, 2, nn.SiLU(), nn.Sigmoid()))
    return nn.Sequential(conv_norm(3, 4, 3, nn.SiLU(), stride=2), block, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, 3))


class UNet(nn.Module):
    """Two levels; `up` enlarges the lower one, which has twice the channels."""

    def __init__(self, up: nn.Module, channels: int) -> None:
        super().__init__()
        self.down1, self.down2 = conv_norm(3, 4, 3, nn.ReLU()), conv_norm(4, 8, 3, nn.ReLU())
        self.pool, self.up = nn.MaxPool2d(2), up
        self.merge = conv_norm(4 + channels, 4, 3, nn.ReLU())
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.down1(x)
        return self.out(self.merge(torch.cat([skip, self.up(self.down2(self.pool(skip)))], dim=1)))


def attention(m: Net, x: torch.Tensor) -> torch.Tensor:
    """CBAM's over pixels, here of one channel's map: one factor for all channels."""
    x = functional.relu(m.a(x))
    return m.c(x * torch.sigmoid(m.b(x)))


def image_pool(m: Net, x: torch.Tensor) -> torch.Tensor:
    """DeepLab's: the mean of a map beside it."""
    x = functional.relu(m.a(x))
    mean = functional.interpolate(functional.relu(m.b(functional.adaptive_avg_pool2d(x, 1))), size=x.shape[-2:],
                                  mode="bilinear", align_corners=False)
    return m.c(torch.cat([x, mean], 1))


def gray(m: Net, x: torch.Tensor) -> torch.Tensor:
    """One channel as three, beside the images themselves."""
    return m.a(torch.cat([x[:, :1].expand(-1, 3, -1, -1), x], 1))


def raw_and_features(m: Net, x: torch.Tensor) -> torch.Tensor:
    """ENet's first block: maxima of the images beside a convolution."""
    return m.b(functional.relu(torch.cat([m.a(x), functional.max_pool2d(x, 2)], 1)))


def order(m: Net, x: torch.Tensor) -> torch.Tensor:
    """Channels by number, mirrored, turned and repeated."""
    x = functional.relu(m.a(x))
    y = torch.index_select(x, 1, torch.tensor([2, 0, 1])).flip(1)
    return m.b(torch.cat([y, torch.roll(x, 1, 1)[:, ::2], x.repeat(1, 2, 1, 1)[:, [3, 5]]], 1))


JOINED: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "squeezenet": (lambda: nn.Sequential(conv(3, 6, 2), nn.ReLU(), Fire(6, 3, 4), nn.MaxPool2d(2), Fire(8, 3, 2),
                                         nn.Conv2d(4, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 40),
    "shufflenet": (lambda: nn.Sequential(conv_norm(3, 8, 3, nn.ReLU()), ShuffleUnit(8), ShuffleUnit(8), conv(8, 3)),
                   40),
    "megvii": (lambda: Net(megvii, a=conv(3, 8), b=conv(4, 4), c=conv(8, 3)), 40),
    "shuffled groups": (lambda: nn.Sequential(nn.Conv2d(3, 6, 1), nn.ChannelShuffle(3), nn.ReLU(),
                                              nn.Conv2d(6, 6, 3, groups=3)), 40),
    "ghostnet": (lambda: nn.Sequential(Ghost(3, 7), Ghost(7, 4), nn.Conv2d(4, 2, 1)), 40),
    "densenet": (lambda: nn.Sequential(conv(3, 4), DenseBlock(4, 3), nn.Flatten(), nn.Linear(64, 3)), 40),
    "gray": (lambda: Net(gray, a=conv(6, 3)), 40), "order": (lambda: Net(order, a=conv(3, 3), b=conv(7, 2)), 40),
    "raw and features": (lambda: Net(raw_and_features, a=conv(3, 4, 2), b=conv(7, 2)), 40),
}
FUNCTIONS = {"leaky_relu": nn.LeakyReLU(0.2), "prelu": nn.PReLU(), "sigmoid": nn.Sigmoid(), "silu": nn.SiLU(),
             "hardsigmoid": nn.Hardsigmoid(), "hardswish": nn.Hardswish(), "mish": nn.Mish(), "gelu": nn.GELU(),
             "gelu_tanh": nn.GELU("tanh"), "tanh": nn.Tanh(), "elu": nn.ELU(0.7)}
TABLES: dict[str, tuple[Callable[[], nn.Module], float]] = {
    **{name: (lambda act=act: nn.Sequential(conv(), norm(), act, conv(4, 3)), 35.0) for name, act in FUNCTIONS.items()},
    "function of images and at the end": (lambda: nn.Sequential(nn.Tanh(), conv(), nn.Sigmoid()), 45.0),
    "functions joined": (lambda: Net(lambda m, x: m.c(torch.cat([m.a(x).sigmoid(), functional.silu(m.b(x))], 1)),
                                     a=conv(), b=conv(), c=conv(8, 2)), 35.0),
}
PRODUCTS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "mobilenet_v3": (mobilenet_v3, 40), "efficientnet": (efficientnet, 40),
    "linear excitation": (lambda: nn.Sequential(conv(3, 6), nn.ReLU(), ExciteLinear(6), conv(6, 3)), 40),
    "attention": (lambda: Net(attention, a=conv(), b=nn.Conv2d(4, 1, 3, 1, 1), c=conv(4, 2)), 40),
    "hand-written swish": (lambda: Net(lambda m, x: m.b((lambda y: y * functional.relu6(y + 3) / 6)(m.n(m.a(x)))),
                                       a=conv(), n=norm(), b=conv(4, 2)), 35),
    "gated": (lambda: Net(lambda m, x: m.n(m.a(x) * torch.tanh(m.b(x))) + x * x, a=conv(3, 3), b=conv(3, 3),
                          n=norm(3)), 35),
}
ENLARGED: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "transposed": (lambda: UNet(nn.ConvTranspose2d(8, 4, 2, 2), 4), 38),
    "transposed 4x4": (lambda: UNet(nn.Sequential(nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False), norm(), nn.ReLU()),
                                    4), 38),
    "transposed 3x3": (lambda: UNet(nn.ConvTranspose2d(8, 4, 3, 2, 1, 1, groups=2), 4), 38),
    "nearest": (lambda: UNet(nn.Upsample(scale_factor=2), 8), 38),
    "bilinear": (lambda: UNet(nn.Upsample(scale_factor=2, mode="bilinear"), 8), 38),
    "size of another": (lambda: UNet(Net(lambda m, x: m.a(functional.interpolate(x, size=(8, 8))), a=conv(8, 4)), 4),
                        38),
    "image pool": (lambda: Net(image_pool, a=conv(), b=nn.Conv2d(4, 4, 1), c=conv(8, 2)), 38),
}
