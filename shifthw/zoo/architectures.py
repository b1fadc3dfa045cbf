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

    what      in words, with an image's shape and multiply-accumulates at full size
    full      as in its paper
    reduced   the same layers with fewer channels, pixels and classes
    """

    what: str
    full: Callable[[], ImageNetwork]
    reduced: Callable[[], ImageNetwork]


ARCHITECTURES: dict[str, Architecture] = {
    "shift_resnet20": Architecture(
        "CIFAR-10, ShiftResNet-20, expansion 3, 32x32x3, 16.4 M MACs", lambda: shift_resnet(20, 3),
        lambda: shift_resnet(8, 3, width=0.5, resolution=16)),
    "shift_resnet56": Architecture(
        "CIFAR-10, ShiftResNet-56, expansion 3, 32x32x3, 44.7 M MACs", lambda: shift_resnet(56, 3),
        lambda: shift_resnet(14, 3, width=0.45, resolution=16)),
    "shiftnet_a": Architecture(
        "ImageNet, ShiftNet-A, 224x224x3, 1424.3 M MACs", shiftnet_a,
        lambda: shiftnet_a(width=0.12, resolution=64, classes=10)),
    "shiftnet_b": Architecture(
        "ImageNet, ShiftNet-B, 224x224x3, 371.0 M MACs", shiftnet_b,
        lambda: shiftnet_b(width=0.22, resolution=64, classes=10)),
    "shiftnet_c": Architecture(
        "ImageNet, ShiftNet-C, 224x224x3, 155.6 M MACs", shiftnet_c,
        lambda: shiftnet_c(width=0.3, resolution=64, classes=10)),
    "as_resnet_w32": Architecture(
        "ImageNet, AS-ResNet-w32, active shifts of half pixels, 224x224x3, 166.8 M MACs", as_resnet,
        lambda: as_resnet(width=0.25, resolution=64, classes=10)),
    "as_resnet_w50": Architecture(
        "ImageNet, AS-ResNet-w50, active shifts of half pixels, 224x224x3, 397.6 M MACs", lambda: as_resnet(50),
        lambda: as_resnet(50, width=0.18, resolution=48, classes=10)),
    "as_resnet_w68": Architecture(
        "ImageNet, AS-ResNet-w68, active shifts of half pixels, 224x224x3, 726.9 M MACs", lambda: as_resnet(68),
        lambda: as_resnet(68, width=0.1, resolution=32, classes=10)),
    "fe_net": Architecture(
        "ImageNet, FE-Net 1.0x, sparse shifts, 224x224x3, 299.7 M MACs", fe_net,
        lambda: fe_net(width=0.125, resolution=64, classes=10)),
    "fe_net_wide": Architecture(
        "ImageNet, FE-Net 1.375x, sparse shifts, 224x224x3, 563.7 M MACs", lambda: fe_net(width=1.375),
        lambda: fe_net(width=0.17, resolution=32, classes=10)),
    "fe_net_se": Architecture(
        "ImageNet, FE-Net 1.0x with squeeze-and-excitation, 224x224x3, 300.0 M MACs", lambda: fe_net(squeeze=True),
        lambda: fe_net(width=0.125, squeeze=True, resolution=64, classes=10)),
    "address_net20": Architecture(
        "CIFAR-100, AddressNet-20, 32x32x3, 22.0 M MACs", address_net, lambda: address_net(8, width=0.4, classes=10)),
    "address_net44": Architecture(
        "CIFAR-100, AddressNet-44, 32x32x3, 51.4 M MACs", lambda: address_net(44),
        lambda: address_net(14, width=0.2, resolution=16, classes=10)),
    "enhanced_address_net20": Architecture(
        "CIFAR-100, Enhanced AddressNet-20, 32x32x3, 17.7 M MACs", lambda: address_net(20, True),
        lambda: address_net(14, True, width=0.4, classes=10)),
    "shufflenet_v1": Architecture(
        "ImageNet, ShuffleNet 1x, 3 groups, 224x224x3, 137.5 M MACs", shufflenet_v1,
        lambda: shufflenet_v1(width=0.2, resolution=64, classes=10)),
    "shufflenet_v2": Architecture(
        "ImageNet, ShuffleNet V2 1x, 224x224x3, 144.9 M MACs", shufflenet_v2,
        lambda: shufflenet_v2(width=0.15, resolution=64, classes=10)),
    "mobilenet_v1": Architecture(
        "ImageNet, MobileNet 1.0, 224x224x3, 568.7 M MACs", mobilenet_v1,
        lambda: mobilenet_v1(width=0.125, resolution=64, classes=10)),
    "mobilenet_v2": Architecture(
        "ImageNet, MobileNet V2 1.0, 224x224x3, 300.8 M MACs", mobilenet_v2,
        lambda: mobilenet_v2(width=0.125, resolution=64, classes=10, last=128, multiple=2)),
    "mobilenet_v3_small": Architecture(
        "ImageNet, MobileNet V3-small 1.0, 224x224x3, 56.5 M MACs", mobilenet_v3_small,
        lambda: mobilenet_v3_small(width=0.125, resolution=64, classes=10)),
    "mobilenet_vww": Architecture(
        "visual wake words, MLPerf Tiny's MobileNet 0.25, 96x96x3, 7.5 M MACs", mobilenet_vww,
        lambda: mobilenet_vww(width=0.125, resolution=64)),
    "squeezenet": Architecture(
        "ImageNet, SqueezeNet 1.1, 224x224x3, 349.2 M MACs", squeezenet,
        lambda: squeezenet(width=0.25, resolution=64, classes=10)),
    "ghostnet": Architecture(
        "ImageNet, GhostNet 1.0x, 224x224x3, 141.2 M MACs", ghostnet,
        lambda: ghostnet(width=0.1, resolution=64, classes=10, hidden=128)),
    "effnet": Architecture(
        "CIFAR-10, EffNet, 32x32x3, 5.6 M MACs", effnet, lambda: effnet(width=0.5, resolution=16)),
    "efficientnet_b0": Architecture(
        "ImageNet, EfficientNet-B0, 224x224x3, 385.8 M MACs", efficientnet_b0,
        lambda: efficientnet_b0(width=0.08, resolution=64, classes=10, multiple=2)),
    "efficientnet_b4": Architecture(
        "ImageNet, EfficientNet-B4, 380x380x3, 4393.8 M MACs", efficientnet_b4,
        lambda: efficientnet_b4(width=0.05, depth=0.6, resolution=48, classes=10, multiple=2)),
    "tiny_yolov3": Architecture(
        "COCO, Tiny-YOLOv3's finer head, 416x416x3, 2561.1 M MACs", tiny_yolov3,
        lambda: tiny_yolov3(width=0.0625, resolution=64, classes=5)),
}
"""By name."""
