"""The net under the conversion: a module that computes something else than its graph."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from shifthw.errors import UnsupportedModel
from shifthw.frontend import convert
from shifthw.frontend.check import check
from shifthw.frontend.trace import trace
from shifthw.ir import Graph, Requantize
from shifthw.nn import QuantAct, ShiftConv2d
from shifthw.zoo.digits import DigitsNet
from shifthw.zoo.seeded import calibrate, seed_weights

CALLS = [("0", "0"), ("3", "3"), ("5", "5")]


def images() -> torch.Tensor:
    return torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(22))


def model() -> nn.Module:
    torch.manual_seed(21)
    net = nn.Sequential(QuantAct(8, scale=1 / 255), ShiftConv2d(3, 4, 3), nn.BatchNorm2d(4), QuantAct(8, True),
                        ShiftConv2d(4, 4, 3), QuantAct(8, True))
    calibrate(net, images())
    return net


def checked(graph: Graph, net: nn.Module) -> None:
    check(graph, trace(net, images()).model, images(), CALLS)


def test_module_and_graph_agree() -> None:
    checked(convert(model(), images()), model())


def scaled(net: nn.Module) -> None:
    with torch.no_grad():
        net[2].weight.mul_(1.05)


def shifted(net: nn.Module) -> None:
    with torch.no_grad():
        net[2].bias.add_(float(net[3].scale) * 3)


def other_weights(net: nn.Module) -> None:
    with torch.no_grad():
        net[1].weight.mul_(-1)


@pytest.mark.parametrize("change", [scaled, shifted, other_weights])
def test_module_that_computes_something_else_is_named(change: Callable[[nn.Module], None]) -> None:
    graph, other = convert(model(), images()), model()
    change(other)
    with pytest.raises(UnsupportedModel, match="Sequential: the module computes something that the converter did not "
                                               "see: at 3 .*% of the values") as caught:
        checked(graph, other)
    assert "\n" not in str(caught.value)


def test_wrong_constant_in_the_graph_is_named() -> None:
    graph = convert(model(), images())
    op = graph["5"].op
    assert isinstance(op, Requantize)
    wrong = replace(op, shift=op.shift - 1)
    nodes = tuple(replace(node, op=wrong) if node.op is op else node for node in graph.nodes)
    with pytest.raises(UnsupportedModel, match="at 5 "):
        checked(replace(graph, nodes=nodes), model())


class Joined(nn.Module):
    """Two sums behind one quantizer."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.input, self.quantizer = QuantAct(8, scale=1 / 255), QuantAct(bits, True)
        self.left, self.right = ShiftConv2d(3, 4, 3), ShiftConv2d(3, 2, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.input(x)
        return self.quantizer(torch.cat([self.norm(self.left(x)), self.right(x)], dim=1))


def joined(bits: int) -> nn.Module:
    """Weights of 2**-2, and on the right one of 2**-6: a shift for both leaves its multipliers 4 bits less."""
    torch.manual_seed(23)
    net = Joined(bits)
    with torch.no_grad():
        for layer in (net.left, net.right):
            layer.weight.copy_(layer.weight.sign() / 4)
        net.right.weight[0, 0, 0, 0] = 2.0**-6
    calibrate(net, images())
    return net


@pytest.mark.parametrize("bits", [8, 16])
def test_parts_behind_one_quantizer_are_judged_by_their_own_constants(bits: int) -> None:
    """With 16 bits they differ by more steps than a tie explains."""
    graph, net = convert(joined(bits), images()), joined(bits)
    assert graph["quantizer"].inputs == ("quantizer.0", "quantizer.1")
    calls = [("input", "input"), ("quantizer", "quantizer")]
    check(graph, trace(net, images()).model, images(), calls)
    with torch.no_grad():
        net.right.weight[1] *= -1
    with pytest.raises(UnsupportedModel, match="Joined: .* at quantizer "):
        check(graph, trace(net, images()).model, images(), calls)


class Stateful(nn.Module):
    """Computes something else on every call: only comparing shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = model()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.net(x) if self.calls == 1 else self.net[5](self.net[4](self.net[3](self.net[1](self.net[0](x)))))


def test_forward_that_changes_its_course() -> None:
    with pytest.raises(UnsupportedModel, match="Stateful: the module computes something that the converter did not"):
        convert(Stateful().eval(), images())


@pytest.mark.parametrize("seed", range(4))
def test_seeded_networks_pass_in_float32(seed: int) -> None:
    net = DigitsNet()
    seed_weights(net, seed)
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    calibrate(net, x)
    assert convert(net, x).outputs == ("logits",)


def test_example_with_values_that_are_no_numbers() -> None:
    x = images()
    x[0, 0, 0, 0], x[1, 0, 0, 0] = np.nan, np.inf
    assert convert(model(), x).outputs == ("5",)
