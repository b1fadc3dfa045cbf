"""Conversion: the integer graph against the module's own forward, and a line for what has no mapping."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from shifthw.errors import UnsupportedModel
from shifthw.frontend import convert
from shifthw.ir import Flatten, IntType, Requantize, ShiftConv2d, SumPool2d, interpret
from shifthw.lower import compile_graph
from shifthw.nn import FixedPoint, PadShortcut, QuantAct, Quantizer, Rounding, ShiftConvTranspose2d
from shifthw.nn import ShiftConv2d as Conv
from shifthw.nn import ShiftLinear as Linear

from .agreement import Net, agree, images, power


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(3)


@pytest.mark.parametrize("form", ["Q", "PS"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_deepshift_network_without_batch_norm_is_exact_and_needs_no_multiplier(form: str, bits: int) -> None:
    options = dict(form=form, weight_bits=bits, bias_format=(5, 5))
    model = nn.Sequential(
        FixedPoint(3, 5), Conv(2, 6, 3, 1, 1, **options), nn.ReLU(), FixedPoint(8, 5), nn.MaxPool2d(2),
        Conv(6, 8, 3, 2, 1, groups=2, **options), nn.ReLU(), FixedPoint(8, 5), nn.Flatten(),
        Linear(8 * 3 * 3, 12, **options), nn.ReLU6(), FixedPoint(6, 5), Linear(12, 5, **options), FixedPoint(8, 5))
    graph = agree(model, images(2, 11, 11))
    requantizations = [node.op for node in graph.nodes if isinstance(node.op, Requantize)]
    assert all((op.multiplier[0] == 1).all() for op in requantizations)
    assert [type(node.op) for node in graph.nodes].count(Flatten) == 1
    assert [op.lo for op in requantizations][:2] == [0, 0]
    assert requantizations[2].hi == 6 * 32


@pytest.mark.parametrize("rounding", list(Rounding))
def test_batch_norm_with_exact_gains(rounding: Rounding) -> None:
    norm = nn.BatchNorm2d(4, eps=0.0)
    with torch.no_grad():
        norm.running_var.copy_(torch.tensor([1.0, 4.0, 16.0, 0.25]))
        norm.running_mean.copy_(torch.tensor([0.5, -1.25, 0.3, 2.0]))
        norm.weight.copy_(torch.tensor([1.0, -1.0, 3.0, 0.0]))
        norm.bias.copy_(torch.tensor([0.1, -0.2, 0.3, 0.7]))
    model = nn.Sequential(power(signed=True), Conv(3, 4, 3, bias=True), norm, nn.Hardtanh(-0.75, 1.5),
                          power(signed=True, rounding=rounding))
    graph = agree(model, images(3, 6, 7))
    assert graph.nodes[-1].op.lo == -12
    assert graph.nodes[-1].op.hi == 24


def test_ties_to_the_even_number_are_exact_and_need_no_multiplier() -> None:
    """Sums of few bits, whose ties are many: biases on their grid, biases off it, means of four."""
    def even(scale: float, signed: bool = True) -> Quantizer:
        return Quantizer(IntType(6, signed), *(-31, 31) if signed else (0, 63), Rounding.HALF_EVEN, scale)

    def forward(net: Net, x: torch.Tensor) -> torch.Tensor:
        x = net.q1(net.conv1(net.q0(x)))
        x = net.q2(functional.relu(net.conv2(x)))
        return net.q4(net.conv3(net.q3(functional.avg_pool2d(x, 2))))

    model = Net(forward, conv1=Conv(3, 8, 3, bias=True, bias_format=(5, 4)), conv2=Conv(8, 8, 1, bias=True),
                conv3=Conv(8, 8, 1), q0=even(0.125), q1=even(0.125), q2=even(0.03125, False),
                q3=even(0.03125, False), q4=even(2.0**-6))
    graph = agree(model, images(3, 10, 10))
    requantizations = [node.op for node in graph.nodes if isinstance(node.op, Requantize)]
    assert [op.rounding for op in requantizations] == [Rounding.HALF_EVEN] * 4
    assert compile_graph(graph, images=1, pixels=4, simd=8, pe=4).config.multiplier_bits == 0
    up = replace(graph, nodes=tuple(replace(node, op=replace(node.op, rounding=Rounding.HALF_UP))
                                    if isinstance(node.op, Requantize) else node for node in graph.nodes))
    numbers = np.random.default_rng(1).integers(-31, 32, (4, 3, 10, 10))
    even_results, up_results = (interpret(each, numbers)[graph.outputs[0]] for each in (graph, up))
    assert (even_results != up_results).any()


def test_residual_add_is_one_rounding() -> None:
    def forward(net: Net, x: torch.Tensor) -> torch.Tensor:
        x = net.a(x)
        y = net.q1(functional.relu(net.conv1(x)))
        x = net.q2(torch.relu(net.conv2(y) + x))
        return net.q3((net.conv3(x) + net.q2(x)).relu())

    model = Net(forward, a=power(), conv1=Conv(4, 4, 3, padding=1), conv2=Conv(4, 4, 3, padding=1),
                conv3=Conv(4, 4, 1), q1=power(scale=2.0**-6), q2=power(scale=2.0**-5), q3=power(9, scale=2.0**-3))
    graph = agree(model, images(4, 5, 5).abs())
    two = [node for node in graph.nodes if len(node.inputs) == 2]
    assert [node.inputs[0] for node in two] == ["conv2", "conv3"]
    assert two[0].inputs[1] == "a"


def test_pad_shortcut_is_an_exact_copy() -> None:
    def forward(net: Net, x: torch.Tensor) -> torch.Tensor:
        x = net.a(x)
        return net.q(net.conv(x) + net.short(x))

    for bits, signed in ((8, False), (5, True)):
        model = Net(forward, a=power(bits, signed=signed), conv=Conv(3, 8, 3, 2, 1), short=PadShortcut(3, 8),
                    q=power(signed=True))
        graph = agree(model, images(3, 7, 8))
        copied = interpret(graph, np.arange(16).repeat(21).reshape(2, 3, 7, 8) % 16, keep="all")["short.quantize"]
        assert not copied[:, :2].any()
        assert np.array_equal(copied[:, 2:5], (np.arange(16).repeat(21).reshape(2, 3, 7, 8) % 16)[:, :, ::2, ::2])


@pytest.mark.parametrize("pool", [nn.AvgPool2d(2), nn.AvgPool2d((2, 4), (1, 2)), nn.AvgPool2d(4, 2, 1),
                                  nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((1, 1)),
                                  nn.AvgPool2d(2, divisor_override=8)], ids=str)
def test_average_pools(pool: nn.Module) -> None:
    graph = agree(nn.Sequential(power(signed=True), pool, power(signed=True, scale=2.0**-6)), images(3, 8, 8))
    assert isinstance(graph.nodes[1].op, SumPool2d)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d((3, 2), (1, 3), (1, 0))],
                         ids=str)
def test_max_pools(pool: nn.Module) -> None:
    agree(nn.Sequential(power(signed=True), pool), images(3, 8, 9))


HEADS: dict[str, Callable[[Net, torch.Tensor], torch.Tensor]] = {
    "flatten": lambda net, x: torch.flatten(x, 1),
    "method flatten": lambda net, x: x.flatten(1),
    "view": lambda net, x: x.view(x.size(0), -1),
    "reshape": lambda net, x: x.reshape(x.shape[0], 48),
    "pooled": lambda net, x: net.q(functional.adaptive_avg_pool2d(x, 1)).flatten(1),
    "mean": lambda net, x: net.q(x.mean((2, 3))),
    "torch.mean": lambda net, x: net.q(torch.mean(x, dim=(-1, -2), keepdim=True)).flatten(1),
    "flatten before the quantizer": lambda net, x: net.q(functional.avg_pool2d(x, 4).flatten(1)),
    "functional max": lambda net, x: functional.max_pool2d(x, 4).flatten(1),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads(name: str) -> None:
    features = 48 if name in ("flatten", "method flatten", "view", "reshape") else 3
    model = Net(lambda net, x: net.last(net.linear(HEADS[name](net, net.first(x)))), first=power(signed=True),
                q=power(signed=True, scale=2.0**-6), linear=Linear(features, 10), last=power(signed=True))
    graph = agree(model, images(3, 4, 4))
    assert isinstance(graph["linear"].op, ShiftConv2d)
    assert graph["linear"].output.shape == (10, 1, 1)


def test_features_without_a_map() -> None:
    agree(nn.Sequential(power(signed=True), Linear(7, 9), nn.BatchNorm1d(9, eps=0.0), power(signed=True),
                        nn.Dropout(0.5), nn.Identity(), Linear(9, 4), power(signed=True)), images(7))


def test_one_module_called_twice_and_two_outputs() -> None:
    def forward(net: Net, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        once = net.q(net.conv(net.a(x)))
        return once, net.q(net.conv(once))

    graph = agree(Net(forward, a=power(signed=True), conv=Conv(3, 3, 3, padding=1), q=power(signed=True)),
                  images(3, 6, 6))
    assert graph.outputs == ("q", "q:2")


def test_several_terms_and_weight_scale() -> None:
    agree(nn.Sequential(power(signed=True), Conv(3, 5, 3, terms=3, weight_bits=4, weight_scale=0.25),
                        power(12, signed=True, scale=2.0**-6)), images(3, 6, 6))


@pytest.mark.parametrize("bits", [2, 4, 10, 16])
def test_activation_widths(bits: int) -> None:
    graph = agree(nn.Sequential(power(bits, signed=True), Conv(3, 5, 3), power(bits, scale=2.0**-6)),
                  images(3, 6, 6))
    assert graph.nodes[-1].output.dtype == IntType(bits, False)


def test_unquantized_output_gets_eight_bits_from_the_example() -> None:
    model = nn.Sequential(power(signed=True), Conv(3, 5, 3)).double().eval()
    x = images(3, 6, 6)
    graph = convert(model, x)
    assert graph.outputs == ("output",)
    assert graph["output"].output.dtype == IntType(8, True)
    result = interpret(graph, model[0].integers(x).numpy())["output"]
    assert max(abs(result.min()), result.max()) == 127
    expected = model(x).detach().numpy() / graph["output"].output.scale
    assert np.abs(result - expected).max() < 0.5 + 0.02  # the multiplier's rounding on top of the result's


def test_model_is_left_as_it_was() -> None:
    model = nn.Sequential(QuantAct(8), Conv(3, 5, 3), QuantAct(8))
    model(images(3, 6, 6).float())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    convert(model, images(3, 6, 6).float())
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Branching(nn.Module):
    """Cannot be traced."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def broken_norm() -> nn.Module:
    return nn.BatchNorm2d(3, track_running_stats=False)


def after_quantizer(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(power(signed=True), *layers)


UNSUPPORTED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "plain convolution": (lambda: after_quantizer(nn.Conv2d(3, 3, 3)),
                          r"1 \(Conv2d\): is not supported; supported are"),
    "softmax": (lambda: after_quantizer(nn.Softmax(1)), r"1 \(Softmax\): is not supported"),
    "nested path": (lambda: after_quantizer(nn.Sequential(nn.Identity(), nn.Softplus())), r"1\.1 \(Softplus\)"),
    "function": (lambda: Net(lambda net, x: torch.sin(net.q(x)), q=power()), r"sin \(sin\)"),
    "method": (lambda: Net(lambda net, x: net.q(x).transpose(2, 3), q=power()), r"transpose \(transpose\)"),
    "raw input": (lambda: nn.Sequential(Conv(3, 3, 3)), r"0 \(ShiftConv2d\): reads the network's input"),
    "raw input in a function": (lambda: Net(lambda net, x: net.q(x + x), q=power()), "add: reads the network's input"),
    "raw input pooled": (lambda: Net(lambda net, x: net.q(x.mean((2, 3))), q=power()),
                         r"mean \(AdaptiveAvgPool2d\): its input is not quantized"),
    "unquantized convolution input": (lambda: after_quantizer(Conv(3, 3, 1), nn.ReLU(), Conv(3, 3, 1)),
                                      r"3 \(ShiftConv2d\): its input is not quantized"),
    "unquantized pool input": (lambda: after_quantizer(Conv(3, 3, 1), nn.MaxPool2d(2)), r"2 \(MaxPool2d\): its input"),
    "not calibrated": (lambda: after_quantizer(Conv(3, 3, 1), QuantAct(8)), r"2 \(QuantAct\): is not calibrated"),
    "norm behind an activation": (lambda: after_quantizer(Conv(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)),
                                  r"3 \(BatchNorm2d\): follows an activation function"),
    "norm without statistics": (lambda: after_quantizer(Conv(3, 3, 1), broken_norm()), "no running statistics"),
    "two convolutions added": (lambda: Net(lambda net, x: net.a(net.q(x)) + net.b(net.q(x)), q=power(),
                                           a=Conv(3, 3, 1), b=Conv(3, 3, 1)), "at most one operand may be unquantized"),
    "three operands": (lambda: Net(lambda net, x: net.p(net.q(x)) + net.q(x) + net.r(net.q(x)), q=power(),
                                   p=Conv(3, 3, 1), r=power(scale=0.5)), "two in all be added"),
    "activation added": (lambda: Net(lambda net, x: net.q(x) + net.p(net.q(x)).relu(), q=power(), p=Conv(3, 3, 1)),
                         "an operand is an activation function's result"),
    "constant added": (lambda: Net(lambda net, x: net.q(x) + 1.0, q=power()), r"\(add\): must add two tensors"),
    "broadcast": (lambda: Net(lambda net, x: net.q(x) + net.r(net.m(net.q(x))), q=power(), r=power(scale=1.0),
                              m=nn.AvgPool2d((6, 1))), r"adds shapes \(3, 6, 6\) and \(3, 1, 6\)"),
    "unquantized function": (lambda: after_quantizer(Conv(3, 3, 1), nn.SiLU(), power()),
                             r"2 \(SiLU\): its input is not quantized"),
    "function without a quantizer behind it": (lambda: after_quantizer(nn.SiLU(), nn.BatchNorm2d(3), power()),
                                               "reads an activation function's result that is not quantized"),
    "function of many bits": (lambda: Net(lambda net, x: net.p(torch.tanh(net.q(x))), q=power(bits=12), p=power()),
                              r"tanh \(Tanh\): reads activations of 12 bits, must be at most 8"),
    "rows taken": (lambda: Net(lambda net, x: net.q(x)[:, :, 1:], q=power()),
                   r"^getitem \(getitem\): rearranges q to \[3, 5, 6\], which output reads; values can only move with"),
    "joined rows": (lambda: Net(lambda net, x: torch.cat([net.q(x), net.q(x)], dim=2), q=power()),
                    "cat: joins dimension 2, must be the channels"),
    "shrunk": (lambda: after_quantizer(nn.Upsample((9, 9))), r"1 \(Upsample\): enlarges maps 1\.5 x 1\.5 times"),
    "bicubic": (lambda: after_quantizer(nn.Upsample(scale_factor=2, mode="bicubic")), r"has mode 'bicubic', must be"),
    "product of sums": (lambda: Net(lambda net, x: net.a(net.q(x)) * net.q(x), q=power(), a=Conv(3, 3, 1)),
                        r"mul \(multiply\): its input is not quantized"),
    "kernel cut off": (lambda: after_quantizer(ShiftConvTranspose2d(3, 3, 2, 1, 2)), "that cut the kernel"),
    "pool options": (lambda: after_quantizer(nn.MaxPool2d(2, ceil_mode=True)), "ceil_mode=False"),
    "average without padding": (lambda: after_quantizer(nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
                                "count_include_pad=True"),
    "adaptive size": (lambda: after_quantizer(nn.AdaptiveAvgPool2d(2)), "must have output size 1, not 2"),
    "reshape": (lambda: Net(lambda net, x: net.q(x).reshape(-1, 6, 18), q=power()), "values can only move with"),
    "mean over channels": (lambda: Net(lambda net, x: net.q(x).mean(1), q=power()),
                           r"must be over dimensions \(2, 3\)"),
    "branch": (Branching, "Branching: its forward cannot be traced"),
    "wrong example": (lambda: after_quantizer(Conv(5, 3, 1)), "forward fails on the example input of shape"),
    "two input quantizers": (lambda: Net(lambda net, x: net.a(x) + net.b(x), a=power(), b=power(scale=0.5)),
                             "quantizes the network's input a second way"),
    "input as output": (lambda: nn.Sequential(nn.Identity()), "0 .*reads the network's input"),
    "linear on a map": (lambda: after_quantizer(Linear(6, 3)), r"must be 6 features; flatten it first"),
    "mean over all": (lambda: Net(lambda net, x: net.q(x).mean((1, 2, 3)), q=power()),
                      r"mean \(mean\): must be over dimensions \(2, 3\), not \(1, 2, 3\)"),
    "dropout that drops": (lambda: Net(lambda net, x: functional.dropout(net.q(x), 0.5), q=power()),
                           "dropout: .*pass training=self.training"),
    "wide exponents": (lambda: after_quantizer(Conv(3, 3, 3, weight_bits=8, form="PS")),
                       r"1: its weights use exponents"),
}


@pytest.mark.parametrize(("make", "message"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_has_no_mapping_is_named(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message) as caught:
        convert(make().double(), images(3, 6, 6))
    assert "\n" not in str(caught.value)
