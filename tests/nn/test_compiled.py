"""Compiled adder layers: results and gradients are those of the plain ones."""

import copy

import pytest
import torch

from shifthw.nn import AdderConv2d, compile_adders
from shifthw.nn.compiled import CompiledDistances


@pytest.mark.slow
@pytest.mark.parametrize("config", [
    dict(kernel_size=3, stride=1, padding=1), dict(kernel_size=(1, 3), stride=(2, 1), padding=(0, 2, 1, 0)),
    dict(kernel_size=2, dilation=2, eta=None), dict(kernel_size=1, bias=True)])
def test_results_and_gradients(config: dict[str, object]) -> None:
    torch.manual_seed(1)
    plain = AdderConv2d(5, 6, **config).double()  # type: ignore[arg-type]
    compiled = copy.deepcopy(plain)
    compile_adders(compiled)
    assert compiled.function is CompiledDistances
    x = torch.randn(3, 5, 7, 6, dtype=torch.float64)
    results = []
    for layer in (plain, compiled):
        image = x.clone().requires_grad_()
        y = layer(image)
        torch.sin(y).sum().backward()
        results.append([y.detach(), image.grad, *(parameter.grad for parameter in layer.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_grouped_layers_stay_as_they_are() -> None:
    layer = AdderConv2d(4, 4, 3, groups=2)
    compile_adders(layer)
    assert layer.function is not CompiledDistances
