"""Ordinary PyTorch networks, as a user would bring them: nothing in this file knows shifthw.

    shifthw quantize examples/networks.py:resnet20 --weights float.pt --calib images.npz -o model.pt

Images are real numbers 0..1. ResNet-20 is that of He et al. (2016, section 4.2) with option-A shortcuts, ResNet-8
that of the MLPerf Tiny benchmark, LeNet-5 that of LeCun et al. (1998) with ReLU and max-pooling, ConvMNIST that of
DeepShift's MNIST example (https://github.com/mostafaelhoushi/DeepShift).
"""

import torch
from torch import nn
from torch.nn import functional


class PadShortcut(nn.Module):
    """Every stride-th pixel, with zero channels added on both sides ("option A")."""

    def __init__(self, added: int, stride: int) -> None:
        super().__init__()
        self.added, self.stride = added, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = self.added // 2
        return functional.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, half, self.added - half))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """Stem, three stages of blocks, mean, classifier. x: [N, 3, 32, 32]."""

    def __init__(self, blocks: int, projection: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1, blocks, projection)
        self.layer2 = self._stage(16, 32, 2, blocks, projection)
        self.layer3 = self._stage(32, 64, 2, blocks, projection)
        self.linear = nn.Linear(64, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(functional.adaptive_avg_pool2d(x, 1).flatten(1))

    @staticmethod
    def _stage(inputs: int, outputs: int, stride: int, blocks: int, projection: bool) -> nn.Sequential:
        shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            shortcut = PadShortcut(outputs - inputs, stride)
            if projection:
                conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
                shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))
        return nn.Sequential(BasicBlock(inputs, outputs, stride, shortcut),
                             *(BasicBlock(outputs, outputs, 1, nn.Identity()) for _ in range(blocks - 1)))


class LeNet5(nn.Module):
    """Two 5x5 convolutions, three linear layers. x: [N, 1, 28, 28]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(functional.relu(self.fc2(functional.relu(self.fc1(x)))))


class ConvMNIST(nn.Module):
    """Two 5x5 convolutions without padding, two linear layers. x: [N, 1, 28, 28]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2).flatten(1)
        return self.fc2(functional.relu(self.fc1(x)))


def resnet20() -> ResNet:
    """CIFAR ResNet-20, option-A shortcuts: 40.6 million multiply-adds."""
    return ResNet(3, projection=False)


def resnet8() -> ResNet:
    """MLPerf Tiny image classification, 1x1 shortcuts: 12.5 million multiply-adds."""
    return ResNet(1, projection=True)


def lenet5() -> LeNet5:
    """LeNet-5 on 28x28 images: 0.4 million multiply-adds."""
    return LeNet5()


def conv_mnist() -> ConvMNIST:
    """DeepShift's MNIST network: 2.3 million multiply-adds."""
    return ConvMNIST()
