"""The field's networks with seeded weights: each at the size of its paper, and reduced."""

from collections.abc import Callable
from dataclasses import dataclass

from .address_net import address_net
from .as_resnet import as_resnet
from .blocks import ImageNetwork
from .efficientnet import efficientnet_b0, efficientnet_b4
from .effnet import effnet
from .fe_net import fe_net
from .ghostnet import ghostnet
from .mobilenet import mobilenet_v1, mobilenet_v2, mobilenet_v3_small, mobilenet_vww
from .shiftnet import shift_resnet, shiftnet_a, shiftnet_b, shiftnet_c
from .shufflenet import shufflenet_v1, shufflenet_v2
from .squeezenet import squeezenet
from .tiny_yolo import tiny_yolov3


@dataclass(frozen=True)
class Architecture:
    """One network.

    what      in words, without its size
    full      as in its paper
    reduced   the same layers with fewer channels, pixels and classes
    """

    what: str
    full: Callable[[], ImageNetwork]
    reduced: Callable[[], ImageNetwork]


ARCHITECTURES: dict[str, Architecture] = {
    "shift_resnet20": Architecture(
        "CIFAR-10, ShiftResNet-20, expansion 3", lambda: shift_resnet(20, 3),
        lambda: shift_resnet(8, 3, width=0.5, resolution=16)),
    "shift_resnet56": Architecture(
        "CIFAR-10, ShiftResNet-56, expansion 3", lambda: shift_resnet(56, 3),
        lambda: shift_resnet(14, 3, width=0.5, resolution=16)),
    "shiftnet_a": Architecture(
        "ImageNet, ShiftNet-A", shiftnet_a, lambda: shiftnet_a(width=0.25, resolution=64, classes=10)),
    "shiftnet_b": Architecture(
        "ImageNet, ShiftNet-B", shiftnet_b, lambda: shiftnet_b(width=0.5, resolution=64, classes=10)),
    "shiftnet_c": Architecture(
        "ImageNet, ShiftNet-C", shiftnet_c, lambda: shiftnet_c(width=0.5, resolution=64, classes=10)),
    "as_resnet_w32": Architecture(
        "ImageNet, AS-ResNet-w32, active shifts of half pixels", as_resnet,
        lambda: as_resnet(width=0.25, resolution=64, classes=10)),
    "as_resnet_w50": Architecture(
        "ImageNet, AS-ResNet-w50, active shifts of half pixels", lambda: as_resnet(50),
        lambda: as_resnet(50, width=0.25, resolution=48, classes=10)),
    "as_resnet_w68": Architecture(
        "ImageNet, AS-ResNet-w68, active shifts of half pixels", lambda: as_resnet(68),
        lambda: as_resnet(68, width=0.25, resolution=32, classes=10)),
    "fe_net": Architecture(
        "ImageNet, FE-Net 1.0x, sparse shifts", fe_net, lambda: fe_net(width=0.5, resolution=64, classes=10)),
    "fe_net_wide": Architecture(
        "ImageNet, FE-Net 1.375x, sparse shifts", lambda: fe_net(width=1.375),
        lambda: fe_net(width=0.625, resolution=32, classes=10)),
    "fe_net_se": Architecture(
        "ImageNet, FE-Net 1.0x with squeeze-and-excitation", lambda: fe_net(squeeze=True),
        lambda: fe_net(width=0.5, squeeze=True, resolution=64, classes=10)),
    "address_net20": Architecture(
        "CIFAR-100, AddressNet-20", address_net, lambda: address_net(8, width=0.4, classes=10)),
    "address_net44": Architecture(
        "CIFAR-100, AddressNet-44", lambda: address_net(44),
        lambda: address_net(14, width=0.2, resolution=16, classes=10)),
    "enhanced_address_net20": Architecture(
        "CIFAR-100, Enhanced AddressNet-20", lambda: address_net(20, True),
        lambda: address_net(14, True, width=0.4, classes=10)),
    "shufflenet_v1": Architecture(
        "ImageNet, ShuffleNet 1x, 3 groups", shufflenet_v1,
        lambda: shufflenet_v1(width=0.25, resolution=64, classes=10)),
    "shufflenet_v2": Architecture(
        "ImageNet, ShuffleNet V2 1x", shufflenet_v2, lambda: shufflenet_v2(width=0.25, resolution=64, classes=10)),
    "mobilenet_v1": Architecture(
        "ImageNet, MobileNet 1.0", mobilenet_v1, lambda: mobilenet_v1(width=0.25, resolution=64, classes=10)),
    "mobilenet_v2": Architecture(
        "ImageNet, MobileNet V2 1.0", mobilenet_v2, lambda: mobilenet_v2(width=0.25, resolution=64, classes=10)),
    "mobilenet_v3_small": Architecture(
        "ImageNet, MobileNet V3-small 1.0", mobilenet_v3_small,
        lambda: mobilenet_v3_small(width=0.25, resolution=64, classes=10)),
    "mobilenet_vww": Architecture(
        "visual wake words, MLPerf Tiny's MobileNet 0.25", mobilenet_vww, lambda: mobilenet_vww(resolution=64)),
    "squeezenet": Architecture(
        "ImageNet, SqueezeNet 1.1", squeezenet, lambda: squeezenet(width=0.25, resolution=64, classes=10)),
    "ghostnet": Architecture(
        "ImageNet, GhostNet 1.0x", ghostnet, lambda: ghostnet(width=0.25, resolution=64, classes=10)),
    "effnet": Architecture("CIFAR-10, EffNet", effnet, lambda: effnet(width=0.5, resolution=16)),
    "efficientnet_b0": Architecture(
        "ImageNet, EfficientNet-B0", efficientnet_b0, lambda: efficientnet_b0(width=0.25, resolution=64, classes=10)),
    "efficientnet_b4": Architecture(
        "ImageNet, EfficientNet-B4", efficientnet_b4, lambda: efficientnet_b4(width=0.25, resolution=48, classes=10)),
    "tiny_yolov3": Architecture(
        "COCO, Tiny-YOLOv3's finer head", tiny_yolov3, lambda: tiny_yolov3(width=0.125, resolution=64, classes=5)),
}
"""By name."""
