"""Conversion of activation functions to tables, and of products: the integer graph against the module's own forward."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from shifthw.errors import UnsupportedModel
from shifthw.frontend import activations, convert
from shifthw.ir import IntType, Lookup, Multiply, Requantize
from shifthw.nn import FixedPoint, QuantAct, Rounding, ShiftConv2d, ShiftLinear, SqueezeExcite

from .agreement import Net, agree, images, power


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(3)


FUNCTIONS: dict[str, nn.Module] = {
    "leaky_relu 0.01": nn.LeakyReLU(), "leaky_relu 0.3": nn.LeakyReLU(0.3), "hardsigmoid": nn.Hardsigmoid(),
    "hardswish": nn.Hardswish(), "sigmoid": nn.Sigmoid(), "silu": nn.SiLU(), "mish": nn.Mish(), "tanh": nn.Tanh(),
    "gelu": nn.GELU(), "gelu_tanh": nn.GELU("tanh"), "elu 1.0": nn.ELU(), "elu 0.3": nn.ELU(0.3),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_every_entry_is_what_the_module_gives(name: str, bits: int) -> None:
    """All values of the input at once, for quantizers of any rounding and scale."""
    for signed in (False, True):
        lo, count = IntType(bits, signed).lo, 1 << bits
        steps = torch.arange(lo, lo + count, dtype=torch.float64).reshape(1, 1, -1, 4)
        for rounding in Rounding:
            for scale in (1 / 255, 2.0**-5, 0.0371, 0.7):
                model = nn.Sequential(power(bits, signed=signed, scale=0.043), FUNCTIONS[name],
                                      power(signed=True, scale=scale, rounding=rounding)).double()
                graph = convert(model, images(1, count // 4, 4))
                op = graph.nodes[-1].op
                assert isinstance(op, Lookup)
                assert op.function == name
                with torch.no_grad():
                    expected = torch.round(model(steps * 0.043) / scale)
                assert op.table.tolist() == expected.flatten().tolist()


def test_names_of_functions_lead_back_to_them() -> None:
    x = torch.linspace(-7, 7, 201, dtype=torch.float64)
    for name, module in FUNCTIONS.items():
        assert activations.name_of(module) == name
        assert torch.equal(activations.function(name)(x), module(x))
        assert activations.name_of(activations.module(name)) == name
    assert set(activations.KNOWN) == {type(module) for module in FUNCTIONS.values()}
    with pytest.raises(ValueError, match="'selu' must be one of hardsigmoid, hardswish"):
        activations.function("selu")


CALLS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "leaky_relu": functional.leaky_relu, "slope": lambda x: functional.leaky_relu(x, 0.25),
    "slope by name": lambda x: functional.leaky_relu(x, negative_slope=0.25), "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish, "gelu": functional.gelu, "elu": functional.elu,
    "silu": functional.silu, "mish": functional.mish, "sigmoid": torch.sigmoid,
    "method sigmoid": lambda x: x.sigmoid(), "tanh": torch.tanh, "method tanh": lambda x: x.tanh(),
}


@pytest.mark.parametrize("name", CALLS)
def test_functions_and_methods_between_layers(name: str) -> None:
    model = Net(lambda net, x: net.r(net.b(net.p(CALLS[name](net.q(net.a(net.i(x))))))), i=power(signed=True),
                a=ShiftConv2d(3, 6, 3), q=power(6, signed=True, scale=2.0**-2), p=power(signed=True, scale=2.0**-6),
                b=ShiftConv2d(6, 4, 1), r=power(signed=True))
    graph = agree(model, images(3, 6, 6))
    assert [type(node.op).__name__ for node in graph.nodes] == [
        "Input", "ShiftConv2d", "Requantize", "Lookup", "ShiftConv2d", "Requantize"]
    assert graph["p"].inputs == ("q",)


def test_functions_of_images_features_and_in_place() -> None:
    for model, shape in ((nn.Sequential(power(signed=True), nn.SiLU(inplace=True), power(signed=True)), (3, 4, 4)),
                         (nn.Sequential(FixedPoint(3, 5), nn.Tanh(), FixedPoint(2, 6)), (9,)),
                         (nn.Sequential(power(signed=True), nn.Flatten(), nn.Hardswish(), power(signed=True),
                                        ShiftLinear(12, 5), power(signed=True)), (3, 2, 2))):
        agree(model, images(*shape))


def test_one_function_may_end_on_two_grids() -> None:
    def forward(net: Net, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.sigmoid(net.q(x))
        return net.a(y), net.b(y)

    graph = agree(Net(forward, q=power(signed=True), a=power(scale=2.0**-8), b=power(4, signed=True, scale=2.0**-3)),
                  images(3, 4, 4))
    assert [node.inputs for node in graph.nodes[1:]] == [("q",), ("q",)]


def test_unquantized_function_at_the_output_gets_eight_bits_from_the_example() -> None:
    graph = convert(nn.Sequential(power(signed=True), nn.Tanh()).double(), images(3, 4, 4))
    op = graph["output"].op
    assert isinstance(op, Lookup)
    assert graph["output"].output.dtype == IntType(8, True)


PRODUCTS: dict[str, tuple[Callable[[Net, torch.Tensor], torch.Tensor], tuple[str, str]]] = {
    "squared": (lambda net, x: x * x, ("i", "i")), "of maps": (lambda net, x: x * net.r(net.a(x)), ("i", "r")),
    "smaller one second": (lambda net, x: net.s(net.a(x)) * x, ("i", "s")),
    "of a map and one pixel": (lambda net, x: x * net.g(x.mean((2, 3), keepdim=True)), ("i", "g")),
    "of one pixel and a map": (lambda net, x: net.g(functional.adaptive_avg_pool2d(x, 1)) * x, ("i", "g")),
    "torch.mul": (lambda net, x: torch.mul(x, net.r(net.a(x))), ("i", "r")),
    "method": (lambda net, x: x.mul(net.r(net.a(x))), ("i", "r")),
    "clamped": (lambda net, x: functional.relu6(x * net.r(net.a(x))), ("i", "r")),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("scale", [2.0**-3, 2.0**-7])
def test_products(name: str, scale: float) -> None:
    function, operands = PRODUCTS[name]
    model = Net(lambda net, x: net.q(function(net, net.i(x))), i=power(signed=True), a=ShiftConv2d(3, 3, 1),
                r=power(8, signed=True, scale=2.0**-3), s=power(4, signed=True), g=power(8, signed=True, scale=2.0**-7),
                q=power(signed=True, scale=scale))
    graph = agree(model, images(3, 6, 5))
    product = graph["q"].inputs[0]
    assert isinstance(graph[product].op, Multiply)
    assert graph[product].inputs == operands


@pytest.mark.parametrize("seed", range(6))
def test_multiplier_of_a_product_leaves_room_for_its_second_operand(seed: int) -> None:
    """For all channels one, whose product with the operand fits 18 bits; precise to half a percent."""
    rng = np.random.default_rng(seed)
    bits, signed = int(rng.integers(3, 10)), bool(rng.integers(2))
    model = Net(lambda net, x: net.q(net.i(x) * net.g(net.i(x).mean((2, 3), keepdim=True))),
                i=QuantAct(8, scale=0.021), g=QuantAct(bits, signed, scale=float(rng.uniform(0.001, 0.1))),
                q=QuantAct(8, scale=float(rng.uniform(0.01, 0.5))))
    graph = convert(model, images(5, 4, 4).abs())
    op = graph["q"].op
    assert isinstance(op, Requantize)
    multipliers = np.unique(op.multiplier[0])
    assert len(multipliers) == 1
    dtype = graph["g"].output.dtype
    assert max(-dtype.lo, dtype.hi) * multipliers[0] < 1 << 17
    real = graph["i"].output.scale * graph["g"].output.scale / graph["q"].output.scale
    assert abs(multipliers[0] / 2.0**op.shift / real - 1) < 0.005


@pytest.mark.parametrize("gate", [nn.Hardsigmoid, nn.Sigmoid])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU, nn.Hardswish])
def test_squeeze_and_excitation(gate: type[nn.Module], activation: type[nn.Module]) -> None:
    layer = SqueezeExcite(8, 3, gate, activation, signed=activation is not nn.ReLU)
    scales = {"mean": 2.0**-6, "table_input": 2.0**-3, "act": 2.0**-4, "gate_input": 2.0**-4, "factor": 2.0**-8,
              "product": 2.0**-6}
    for name, scale in scales.items():
        if isinstance(quantizer := getattr(layer, name), QuantAct):
            quantizer.set_scale(scale)
    model = nn.Sequential(power(signed=True), ShiftConv2d(3, 8, 3, padding=1), power(signed=layer.mean.dtype.signed),
                          layer, ShiftConv2d(8, 4, 1), power(signed=True))
    graph = agree(model, images(3, 6, 6))
    kinds = [type(node.op).__name__ for node in graph.nodes]
    assert kinds.count("Lookup") == 1 + (activation is not nn.ReLU)
    assert kinds.count("Multiply") == kinds.count("SumPool2d") == 1


ADDED: dict[str, Callable[[Net, torch.Tensor], torch.Tensor]] = {
    "to a map": lambda net, x: x + net.r(x.mean((2, 3), keepdim=True)),
    "to sums": lambda net, x: net.a(x) + net.r(x.mean((2, 3), keepdim=True)),
    "first": lambda net, x: net.r(x.mean((2, 3), keepdim=True)) + net.a(x),
    "of sums of the same map": lambda net, x: net.r(net.m(x)) + x,
}


@pytest.mark.parametrize("name", ADDED)
def test_one_pixel_added_to_a_map(name: str) -> None:
    model = Net(lambda net, x: net.q(ADDED[name](net, net.i(x)).relu()), i=power(signed=True), a=ShiftConv2d(3, 3, 1),
                m=nn.AvgPool2d((4, 8)), r=power(signed=True, scale=2.0**-6), q=power(scale=2.0**-5))
    graph = agree(model, images(3, 4, 8))
    assert graph["q"].inputs[1] == "r"


def constant(value: float) -> nn.Module:
    norm = nn.BatchNorm2d(4)
    nn.init.uniform_(norm.weight, value, 2 * value)
    return norm


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "function of sums": (lambda: nn.Sequential(power(), ShiftConv2d(4, 4, 1), nn.Hardswish(), power()),
                         r"^2 \(Hardswish\): its input is not quantized; put shifthw.nn.QuantAct or FixedPoint before"),
    "function of the images": (lambda: nn.Sequential(nn.Sigmoid(), power()), r"^0 \(Sigmoid\): reads the network's "),
    "function of a function": (lambda: nn.Sequential(power(), nn.Sigmoid(), nn.Tanh(), power()),
                               r"^2 \(Tanh\): its input is not quantized"),
    "function of half pixels": (lambda: nn.Sequential(QuantAct(9, scale=0.1), nn.SiLU(), power()),
                                r"^1 \(SiLU\): reads activations of 9 bits, must be at most 8; give the quantizer"),
    "clamped function": (lambda: nn.Sequential(power(), nn.Tanh(), nn.ReLU(), power()),
                         "^2: reads an activation function's result that is not quantized"),
    "pooled function": (lambda: nn.Sequential(power(), nn.Tanh(), nn.MaxPool2d(2), power()),
                        r"^2 \(MaxPool2d\): its input is not quantized"),
    "factor that is a constant": (lambda: Net(lambda net, x: net.q(net.q(x) * 0.5), q=power()),
                                  r"^mul \(multiply\): must multiply two tensors"),
    "product of functions": (lambda: Net(lambda net, x: net.p(net.q(x) * net.q(x).tanh()), q=power(), p=power()),
                             r"^mul \(multiply\): its input is not quantized"),
    "product with the images": (lambda: Net(lambda net, x: net.p(x * net.q(x)), q=power(), p=power()),
                                r"^mul \(multiply\): its input is not quantized"),
    "row times map": (lambda: Net(lambda net, x: net.p(net.q(x) * net.r(net.m(net.q(x)))), q=power(), r=power(),
                                  m=nn.AvgPool2d((6, 1)), p=power()), r"^mul: .*joins tensors of shapes"),
    "norm behind a product": (lambda: Net(lambda net, x: net.p(net.n(net.q(x) * net.q(x))), q=power(), p=power(),
                                          n=constant(0.5)), "^p: reads a product that is scaled by channel"),
    "product added": (lambda: Net(lambda net, x: net.p(net.q(x) * net.q(x) + net.q(x)), q=power(), p=power()),
                      r"^add \(add\): an operand is a product; quantize it first"),
    "wide second operand": (lambda: Net(lambda net, x: net.p(net.q(x) * net.q(x)), q=QuantAct(16, scale=0.0011),
                                        p=power()), "^p: has room for a multiplier of .*give that operand's quantizer"),
    "sums of one pixel added": (lambda: Net(lambda net, x: net.p(net.q(x) + net.q(x).mean((2, 3), keepdim=True)),
                                            q=power(), p=power()), r"adds one pixel's values to a map; quantize both"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_mapping_is_named(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message) as caught:
        convert(make().double(), images(4, 6, 6))
    assert "\n" not in str(caught.value)
