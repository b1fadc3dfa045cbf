"""The networks that the training scripts know by name, and the classes of what they are trained on."""

from activity_data import ACTIVITIES
from adder_networks import activity_shiftadd, adder_resnet20, shiftadd_resnet20
from networks import conv_mnist, lenet5, resnet8, resnet20
from shift_networks import ssl_shift_resnet20

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DIGITS = tuple("0123456789")
_BY_CLASSES = {CIFAR_CLASSES: (resnet20, resnet8, shiftadd_resnet20, adder_resnet20, ssl_shift_resnet20),
               DIGITS: (lenet5, conv_mnist), ACTIVITIES: (activity_shiftadd,)}
NETWORKS = {network.__name__: network for networks in _BY_CLASSES.values() for network in networks}
CLASSES = {network.__name__: classes for classes, networks in _BY_CLASSES.items() for network in networks}
