"""The two networks of DeepShift's MNIST script."""

import torch
from torch import nn
from torch.nn import functional


class LinearMNIST(nn.Module):
    """784 - 512 - 512 - classes. Images: [N, 1, 28, 28]. Keys: fc1, fc2, fc3."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.fc1 = nn.Linear(28 * 28, 512)
        self.fc2 = nn.Linear(512, 512)
        self.fc3 = nn.Linear(512, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(functional.relu(self.fc2(x)))


class ConvMNIST(nn.Module):
    """Two 5x5 convolutions without padding, each with ReLU and 2x2 max-pool; 800 - 500 - classes.

    Images: [N, 1, 28, 28]. Keys: conv1, conv2, fc1, fc2.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(50 * 4 * 4, 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        return self.fc2(functional.relu(self.fc1(torch.flatten(x, 1))))
