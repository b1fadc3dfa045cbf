"""The networks that the training scripts know by name, and the classes of what they are trained on."""

from adder_networks import adder_resnet20, shiftadd_resnet20
from networks import conv_mnist, lenet5, resnet8, resnet20

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DIGITS = tuple("0123456789")
NETWORKS = {network.__name__: network for network in (resnet20, resnet8, lenet5, conv_mnist, shiftadd_resnet20,
                                                      adder_resnet20)}
CLASSES = {name: DIGITS if name in ("lenet5", "conv_mnist") else CIFAR_CLASSES for name in NETWORKS}
