"""The shift family: sizes against published ones, and how they are counted. The mobile families: test_zoo_mobile.py."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from torch import nn

from shifthw.nn import (
    ShiftConv2d,
    ShiftConvTranspose2d,
    ShiftLinear,
    SparseShift2d,
    SqueezeExcite,
)
from shifthw.zoo.address_net import address_net
from shifthw.zoo.as_resnet import as_resnet
from shifthw.zoo.blocks import ImageNetwork
from shifthw.zoo.cost import Cost, cost
from shifthw.zoo.fe_net import fe_net
from shifthw.zoo.resnet import resnet8
from shifthw.zoo.shiftnet import shift_resnet, shiftnet_a, shiftnet_b, shiftnet_c

MILLION = 1e6
SHIFTRESNET = "README of github.com/alvinwan/shiftresnet-cifar, CIFAR-10"
SURVEY = "Liu et al., Lightweight Deep Learning for Resource-Constrained Environments: A Survey, 2024, table 1"
ASL = "test_model/Readme.md of github.com/jyh2986/Active-Shift"


@dataclass(frozen=True)
class Figure:
    """A published figure. within: half of its last digit, or what the note explains."""

    value: float
    within: float
    source: str
    note: str = ""


@dataclass(frozen=True)
class Published:
    """Of one network. None: no figure was found."""

    network: Callable[[], ImageNetwork]
    parameters: tuple[Figure, ...] = ()
    macs: tuple[Figure, ...] = ()


def millions(value: float, within: float, source: str, note: str = "") -> tuple[Figure, ...]:
    return (Figure(value * MILLION, within * MILLION, source, note),)


def exactly(value: int, source: str) -> tuple[Figure, ...]:
    return (Figure(value, 0, source),)


def shift_resnet_of(depth: int, expansion: int, parameters: float) -> Published:
    """Multiply-accumulates: no figure of the authors found."""
    return Published(lambda: shift_resnet(depth, expansion), millions(parameters, 0.005, SHIFTRESNET))


CUT = "cut off after this digit, not rounded"
PUBLISHED = {
    "shift_resnet20, 1": shift_resnet_of(20, 1, 0.03),
    "shift_resnet20, 3": shift_resnet_of(20, 3, 0.10),
    "shift_resnet20, 6": shift_resnet_of(20, 6, 0.19),
    "shift_resnet20, 9": shift_resnet_of(20, 9, 0.28),
    "shift_resnet56, 1": shift_resnet_of(56, 1, 0.10),
    "shift_resnet56, 3": shift_resnet_of(56, 3, 0.29),
    "shift_resnet56, 6": shift_resnet_of(56, 6, 0.58),
    "shift_resnet56, 9": shift_resnet_of(56, 9, 0.87),
    "shiftnet_a": Published(shiftnet_a, millions(4.1, 0.1, SURVEY, CUT), millions(1400, 50, SURVEY)),
    "shiftnet_b": Published(shiftnet_b, millions(1.1, 0.1, SURVEY, CUT), millions(371, 0.5, SURVEY)),
    "shiftnet_c": Published(shiftnet_c, millions(0.78, 0.005, "Chen et al., MobileFaceNets, 2018, of ShiftNet-C")),
    "as_resnet_w32": Published(as_resnet, exactly(901_256, "all numbers in the released network's file")
                               + millions(0.9, 0.05, ASL)),
    "as_resnet_w50": Published(lambda: as_resnet(50), millions(1.96, 0.005, ASL)),
    "as_resnet_w68": Published(lambda: as_resnet(68), millions(3.42, 0.005, ASL)),
    "fe_net": Published(
        fe_net, millions(3.7, 0.17, SURVEY, "the last convolution has 1380 channels, as in the released log; some 1530 "
                         "would give both figures"), millions(301, 1.5, SURVEY, "likewise")),
    "fe_net_wide": Published(lambda: fe_net(width=1.375), millions(5.9, 0.11, SURVEY, f"{CUT}; with displacements"),
                             millions(563, 1, SURVEY, CUT)),
    "address_net20": Published(address_net, millions(0.1, 0.05, SURVEY), millions(22, 0.5, SURVEY)),
    "address_net44": Published(
        lambda: address_net(44), macs=millions(53, 1.6, SURVEY, "the width is assumed; 0.2 million parameters would "
                                               "take another layout: here they are 0.35 million")),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_those_that_were_published(name: str) -> None:
    network = PUBLISHED[name].network()
    found = cost(network, network.shape)
    for figure in PUBLISHED[name].parameters:
        assert abs(found.parameters - figure.value) <= figure.within, f"parameters: {figure.source} {figure.note}"
    for figure in PUBLISHED[name].macs:
        assert abs(found.macs - figure.value) <= figure.within, f"macs: {figure.source} {figure.note}"


def test_fe_net_with_squeeze_and_excitation() -> None:
    """No published figure found: it is FE-Net and two 1x1 layers in each unit."""
    plain, squeezing = fe_net(), fe_net(squeeze=True)
    units = [module for module in squeezing.modules() if isinstance(module, SqueezeExcite)]
    added = sum(unit.squeeze.in_channels * unit.squeeze.out_channels * 2 for unit in units)
    assert len(units) == 16
    difference = cost(squeezing, squeezing.shape).macs - cost(plain, plain.shape).macs
    assert difference == added


def test_enhanced_address_net_is_smaller() -> None:
    """No published figure found: each module makes half of its channels."""
    plain, enhanced = address_net(), address_net(20, True)
    assert cost(enhanced, enhanced.shape).macs < cost(plain, plain.shape).macs


def test_size_of_resnet8() -> None:
    """78,666: all numbers in MLPerf Tiny's file, whose convolutions have biases and batch norms running statistics.

    Other than the benchmark's, ours has a batch norm behind each shortcut's convolution.
    """
    model = resnet8()
    found = cost(model, (3, 32, 32))
    convolutions = sum(module.out_channels for module in model.modules() if isinstance(module, ShiftConv2d))
    norms = sum(module.num_features for path, module in model.named_modules()
                if isinstance(module, nn.BatchNorm2d) and "shortcut" not in path)
    extra = 2 * (convolutions - norms)
    assert found.parameters - extra + convolutions + 2 * norms == 78_666
    assert found.macs / MILLION == pytest.approx(12.5, rel=0.002)


def test_cost_of_layers() -> None:
    model = nn.Sequential(ShiftConv2d(4, 6, 3, 2, 1, groups=2, terms=2, form="PS", weight_bits=4),
                          nn.BatchNorm2d(6), SparseShift2d(6), ShiftConvTranspose2d(6, 2, 2, 2, bias=False),
                          nn.Conv2d(2, 2, (1, 3)), nn.Flatten(), ShiftLinear(8 * 6 * 2, 5, bias=False))
    model[1].eval()
    found = cost(model, (4, 8, 8))
    assert found == Cost(6 * 2 * 9 + 6 + 12 + 12 + 6 * 2 * 4 + 2 * 2 * 3 + 2 + 96 * 5,
                         6 * 4 * 4 * 2 * 9 + 6 * 4 * 4 * 2 * 4 + 2 * 8 * 6 * 2 * 3 + 96 * 5)
    assert model.training
    assert not model[1].training
    assert not any(module._forward_hooks for module in model)
