"""The networks of the source frameworks as plain torch modules, with the frameworks' names of parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from .cifar_resnet import CifarResNet
from .imagenet_resnet import BasicBlock, Bottleneck, ImageNetResNet
from .mnist import ConvMNIST, LinearMNIST
from .shiftadd_resnet import ShiftAddResNet20, adder, convolution, convolution_and_adder

MNIST, CIFAR, IMAGENET = (1, 28, 28), (3, 32, 32), (3, 224, 224)


@dataclass(frozen=True)
class Architecture:
    """A network by name: its constructor, which takes the number of classes; the shape of one image; the path of the
    layer whose outputs are the classes."""

    build: Callable[[int], nn.Module]
    input_shape: tuple[int, int, int]
    classifier: str


DEEPSHIFT = {
    "LinearMNIST": Architecture(LinearMNIST, MNIST, "fc3"),
    "ConvMNIST": Architecture(ConvMNIST, MNIST, "fc2"),
    **{f"resnet{6 * blocks + 2}": Architecture(partial(CifarResNet, blocks), CIFAR, "linear")
       for blocks in (3, 5, 7, 9)},
    "resnet18": Architecture(partial(ImageNetResNet, BasicBlock, (2, 2, 2, 2)), IMAGENET, "fc"),
    "resnet50": Architecture(partial(ImageNetResNet, Bottleneck, (3, 4, 6, 3)), IMAGENET, "fc"),
}
"""What DeepShift's scripts train: MNIST, CIFAR-10 (resnet20 to resnet56) and ImageNet (resnet18, resnet50)."""
_SHIFT, _ADDER, _BOTH = (Architecture(partial(ShiftAddResNet20, layers), CIFAR, "fc")
                         for layers in (convolution, adder, convolution_and_adder))
SHIFTADDNET = {"resnet20_shift": _SHIFT, "resnet20_add": _ADDER, "resnet20_shiftadd": _BOTH,
               "resnet20_shiftadd_se": _BOTH}
TORCHSHIFTADD = {"resnet20_shift": _SHIFT, "resnet20_adder": _ADDER, "resnet20_shiftadd": _BOTH}
ADDERNET = {"resnet20": _ADDER}
