"""What a trace does not show by itself: writing in place, hooks, redefined layers."""

import operator
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from shifthw.errors import UnsupportedModel
from shifthw.frontend import convert
from shifthw.frontend.trace import trace
from shifthw.ir import Graph, interpret
from shifthw.nn import QuantAct, ShiftConv2d


class Net(nn.Module):
    """Two convolutions and signed quantizers; the middle is the given function of itself and the first activation."""

    def __init__(self, middle: Callable[["Net", torch.Tensor], torch.Tensor] = lambda net, a: a) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.q0, self.q1, self.q2, self.q3 = (QuantAct(8, True, scale=2.0**-k) for k in (4, 4, 5, 3))
        self.conv1, self.conv2 = ShiftConv2d(3, 4, 3, padding=1), ShiftConv2d(4, 4, 3, padding=1)
        self.relu, self.relu_inplace = nn.ReLU(), nn.ReLU(inplace=True)
        self.middle = middle

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.q3(self.middle(self, self.q1(self.conv1(self.q0(x)))))


def images() -> torch.Tensor:
    return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(12), dtype=torch.float64)


def agree(model: nn.Module) -> Graph:
    """The graph of `model`, whose results must be the module's, integer for integer."""
    model = model.double().eval()
    x = images()
    graph = convert(model, x)
    assert torch.equal(x, images())
    with torch.no_grad():
        expected = model.q3.integers(model(x)).numpy()
        integers = model.q0.integers(x).numpy()
    assert np.array_equal(interpret(graph, integers)[graph.outputs[0]], expected)
    return graph


def added(net: Net, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return net.conv2(net.q2(b)) + a


def iadd_then_old_name(net: Net, a: torch.Tensor) -> torch.Tensor:
    old, b = a, net.q2(a)
    a += b
    return net.conv2(net.q2(a)) + old


IN_PLACE: dict[str, tuple[Callable[[Net, torch.Tensor], torch.Tensor], str]] = {
    "module": (lambda net, a: added(net, a, net.relu_inplace(a)), "relu_inplace: works in place on q1, which add"),
    "functional": (lambda net, a: added(net, a, functional.relu(a, inplace=True)), "relu: works in place on q1"),
    "function": (lambda net, a: added(net, a, functional.relu_(a)), "relu_: works in place on q1"),
    "method": (lambda net, a: added(net, a, a.relu_()), "relu_: works in place on q1"),
    "add_": (lambda net, a: added(net, a, a.add_(net.q2(a))), "add_: works in place on q1"),
    "iadd": (lambda net, a: added(net, a, operator.iadd(a, net.q2(a))), "works in place on q1, which add"),
    "+=": (iadd_then_old_name, "iadd: works in place on q1, which add reads"),
    "view": (lambda net, a: added(net, a, functional.relu_(a.flatten(1)).view(4, 4, 6, 6)),
             "relu_: works in place on flatten"),
    "identity": (lambda net, a: added(net, a, functional.relu_(functional.dropout(a, 0.5, False))), "works in place"),
    "clamp": (lambda net, a: added(net, a, functional.hardtanh(a, 0, 1, inplace=True)), "hardtanh: works in place"),
}


@pytest.mark.parametrize(("middle", "message"), IN_PLACE.values(), ids=IN_PLACE)
def test_value_read_after_it_was_written_over_is_refused(middle: Callable[[Net, torch.Tensor], torch.Tensor],
                                                         message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message) as caught:
        convert(Net(middle).double(), images())
    assert "\n" not in str(caught.value)


def iadd(net: Net, a: torch.Tensor) -> torch.Tensor:
    y = net.conv2(net.q2(a))
    y += a
    return y


def residual_into_activation(net: Net, a: torch.Tensor) -> torch.Tensor:
    y = net.conv2(a)
    a += y
    return a


@pytest.mark.parametrize("middle", [
    lambda net, a: net.relu_inplace(net.conv2(a)), lambda net, a: added(net, a, functional.relu_(net.q2(a) + a)),
    lambda net, a: functional.relu(net.conv2(a), inplace=True), lambda net, a: net.conv2(a).add_(a),
    iadd, residual_into_activation])
def test_in_place_on_a_value_that_nothing_reads_again(middle: Callable[[Net, torch.Tensor], torch.Tensor]) -> None:
    agree(Net(middle))


def halved(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
    return output * 0.5


@pytest.mark.parametrize("path", ["conv1", "q1", ""])
def test_hooks_are_refused(path: str) -> None:
    where = rf"{path} \(.*\)" if path else "Net"
    after, before = Net(), Net()
    after.get_submodule(path).register_forward_hook(halved)
    before.get_submodule(path).register_forward_pre_hook(lambda module, inputs: (inputs[0] * 0.5,))
    for model in (after, before):
        with pytest.raises(UnsupportedModel, match=f"{where}: has a forward hook"):
            convert(model.double(), images())


class Halving(ShiftConv2d):
    """Redefines forward."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 0.5


class OtherWeights(ShiftConv2d):
    """Redefines what forward calls."""

    def rounded_weight(self) -> torch.Tensor:
        return super().rounded_weight() * 0.5


class Calling(QuantAct):
    """Redefines __call__."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return super().__call__(x) * 0.5


class Named(ShiftConv2d):
    """Redefines nothing that matters."""

    def __init__(self) -> None:
        super().__init__(3, 4, 3, padding=1)

    def extra_repr(self) -> str:
        return "named"


class NamedNorm(nn.BatchNorm2d):
    """Redefines nothing."""


@pytest.mark.parametrize(("path", "layer", "message"), [
    ("conv1", Halving(3, 4, 3, padding=1), r"conv1 \(Halving\): redefines forward of ShiftConv2d"),
    ("conv1", OtherWeights(3, 4, 3, padding=1), r"conv1 \(OtherWeights\): redefines rounded_weight"),
    ("q1", Calling(8, True, scale=0.1), r"q1 \(Calling\): redefines __call__ of QuantAct")])
def test_redefined_layers_are_refused(path: str, layer: nn.Module, message: str) -> None:
    model = Net()
    setattr(model, path, layer)
    with pytest.raises(UnsupportedModel, match=message):
        convert(model.double(), images())


def test_forward_replaced_on_the_object_is_refused() -> None:
    layer, model = Net(), Net()
    layer.conv1.forward = lambda x: x[:, :1]
    with pytest.raises(UnsupportedModel, match=r"conv1 \(ShiftConv2d\): redefines forward"):
        trace_and_convert(layer)
    model.forward = lambda x: x
    with pytest.raises(UnsupportedModel, match="Net: replaces forward on the object"):
        trace_and_convert(model)


def trace_and_convert(model: nn.Module) -> None:
    convert(model.double(), images())


def test_subclasses_that_redefine_nothing() -> None:
    model = Net(lambda net, a: net.norm(net.conv2(a)))
    model.conv1, model.norm = Named(), NamedNorm(4, eps=0.0)
    agree(model)


class Doubled(nn.Module):
    """A parametrization."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * 2


def test_parametrized_weights_are_converted_as_they_are_used() -> None:
    plain, model = Net().double(), Net().double()
    parametrize.register_parametrization(model.conv1, "weight", Doubled())
    assert agree(model)["conv1"].output.scale == 2 * agree(plain)["conv1"].output.scale


def test_sizes_are_numbers_in_arguments() -> None:
    agree(Net(lambda net, a: functional.avg_pool2d(input=a, kernel_size=a.size()[2:])))
    agree(Net(lambda net, a: functional.dropout(net.conv2(a), 0.5, training=net.training)))


def test_example_in_inference_mode_and_unchanged() -> None:
    with torch.inference_mode():
        assert len(trace(Net().double(), images()).nodes) == 6


def test_what_cannot_be_copied() -> None:
    model = Net()
    model.cache = model.conv1.weight * 2
    with pytest.raises(UnsupportedModel, match="Net: cannot be copied"):
        convert(model.double(), images())


def test_empty_example() -> None:
    with pytest.raises(UnsupportedModel, match=r"Net: the example input of shape \[0, 3, 6, 6\] is empty"):
        convert(Net().double(), images()[:0])
