"""Squeeze-and-excitation: its formula, and a quantizer on both sides of every function that is a table."""

import pytest
import torch
from torch import fx, nn

from shifthw.nn import QuantAct, ShiftConv2d, SqueezeExcite


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(9)


def calibrated(layer: SqueezeExcite, x: torch.Tensor) -> SqueezeExcite:
    for _ in range(3):
        layer.train()(x)
    return layer.eval()


@pytest.mark.parametrize("gate", [nn.Hardsigmoid, nn.Sigmoid])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("size", [(3, 5), (1, 1)])
def test_formula(gate: type[nn.Module], activation: type[nn.Module], signed: bool, size: tuple[int, int]) -> None:
    x = torch.rand(4, 6, *size) - 0.5 * signed
    layer = calibrated(SqueezeExcite(6, 3, gate, activation, signed=signed), x)
    y = layer(x)
    mean = x.mean((2, 3), keepdim=True)
    squeezed = nn.functional.conv2d(mean, layer.squeeze.rounded_weight(), layer.squeeze.bias)
    factor = gate()(nn.functional.conv2d(activation()(squeezed), layer.expand.rounded_weight(), layer.expand.bias))
    assert y.shape == x.shape
    assert (y - x * factor).abs().max() < 0.03
    steps = y / layer.product.scale
    assert (steps - steps.round()).abs().max() < 1e-4


@pytest.mark.parametrize("gate", [nn.Hardsigmoid, nn.Sigmoid])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish])
def test_functions_stand_between_quantizers(gate: type[nn.Module], activation: type[nn.Module]) -> None:
    """As the converter will see them: the modules in order of the trace."""
    layer = SqueezeExcite(4, 2, gate, activation)
    tracer = fx.Tracer()
    tracer.is_leaf_module = lambda m, name: True  # type: ignore[method-assign]
    calls = [layer.get_submodule(str(node.target)) for node in tracer.trace(layer).nodes if node.op == "call_module"]
    modules = [module for module in calls if not isinstance(module, nn.Identity)]
    for before, module, behind in zip(modules, modules[1:], modules[2:], strict=False):
        if isinstance(module, nn.Sigmoid | nn.Hardsigmoid | nn.SiLU | nn.Hardswish):
            assert (type(before), type(behind)) == (QuantAct, QuantAct)
            assert before.dtype.signed
        if isinstance(module, nn.ReLU | nn.ReLU6):
            assert (type(before), type(behind)) == (ShiftConv2d, QuantAct)
    assert type(modules[-1]) is QuantAct
    assert all(module.dtype.bits == 8 for module in modules if isinstance(module, QuantAct))


def test_gradients_reach_everything() -> None:
    layer, x = SqueezeExcite(4, 2), torch.rand(2, 4, 3, 3, requires_grad=True)
    layer(x).square().sum().backward()
    assert x.grad is not None
    assert layer.expand.weight.grad is not None
    assert layer.expand.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("make", "message"), [
    (lambda: SqueezeExcite(0, 1), "SqueezeExcite: channels must be 1 or more, not 0"),
    (lambda: SqueezeExcite(4, 0), "SqueezeExcite: squeezed must be 1 or more, not 0"),
    (lambda: SqueezeExcite(4, 2, nn.Tanh), "gate must be nn.Hardsigmoid or nn.Sigmoid, .* not Tanh and ReLU"),
    (lambda: SqueezeExcite(4, 2, nn.Sigmoid, nn.GELU), "not Sigmoid and GELU"),
])
def test_bad_arguments(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
