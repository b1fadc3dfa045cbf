"""Blocks of well-known networks without training: joined maps, tables, products, enlarged maps; down to the engine."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from shifthw.errors import UnsupportedModel
from shifthw.frontend import QuantizeOptions, quantize
from shifthw.frontend.convert import convert
from shifthw.ir import Concat, Graph, Lookup, Multiply, Op, Requantize, SelectChannels
from shifthw.nn import QuantAct, Quantizer, ShiftConvTranspose2d
from shifthw.nn.transposed import turned

from .plain_blocks import ENLARGED, JOINED, PRODUCTS, TABLES, DenseBlock, ExciteLinear, UNet
from .plain_models import Net, conv, images
from .quantized import PRECISE, agree

EIGHT = replace(PRECISE, activation_bits=8)
"""An engine with tables has no wider activations."""


def count(graph: Graph, kind: type[Op]) -> int:
    return sum(isinstance(node.op, kind) for node in graph.nodes)


@pytest.mark.parametrize("case", JOINED)
def test_joined_and_chosen_channels(case: str) -> None:
    torch.manual_seed(2)
    make, least = JOINED[case]
    graph = agree(make(), images(), PRECISE, at_least=least).graph
    assert count(graph, Concat) + count(graph, SelectChannels) > 0


@pytest.mark.parametrize("case", TABLES)
def test_functions_are_tables(case: str) -> None:
    torch.manual_seed(2)
    make, least = TABLES[case]
    assert count(agree(make(), images(), EIGHT, at_least=least).graph, Lookup) > 0


@pytest.mark.parametrize("case", PRODUCTS)
def test_products(case: str) -> None:
    torch.manual_seed(2)
    make, least = PRODUCTS[case]
    assert count(agree(make(), images(), EIGHT, at_least=least).graph, Multiply) > 0


@pytest.mark.parametrize("case", ENLARGED)
def test_enlarged_maps(case: str) -> None:
    torch.manual_seed(2)
    make, least = ENLARGED[case]
    agree(make(), images(), PRECISE, at_least=least)


def test_a_product_without_tables_may_have_wide_activations() -> None:
    torch.manual_seed(2)
    model = Net(lambda m, x: m.b(functional.relu(m.a(x)) * functional.relu6(m.c(x))), a=conv(), b=conv(4), c=conv())
    graph = agree(model, images(), PRECISE, at_least=40).graph
    product = next(node for node in graph.nodes if isinstance(node.op, Multiply))
    assert sorted(graph[name].output.dtype.bits for name in product.inputs) == [8, 12]


# -- what is shared ----------------------------------------------------------------------------

def test_what_is_joined_has_one_quantizer_and_is_not_rounded_again() -> None:
    model = quantize(DenseBlock(4, 3), images(4, 8, 8), QuantizeOptions())
    calls = [str(node.target) for node in model.graph.nodes if node.op == "call_module"]
    shared = [path for path in set(calls) if isinstance(model.get_submodule(path), Quantizer) and calls.count(path) > 1]
    assert shared == ["layers.0.conv2_quantizer"]
    assert calls.count(shared[0]) == 3 + 3      # the new maps; the images and all maps behind each concatenation
    graph = convert(model, images(4, 8, 8))
    assert count(graph, Concat) == 3


def test_the_skip_connection_of_a_unet_shares_its_scale() -> None:
    model = quantize(UNet(nn.Upsample(scale_factor=2), 8), images(), QuantizeOptions())
    graph = convert(model, images())
    joined = next(node for node in graph.nodes if isinstance(node.op, Concat))
    assert len({graph[name].output.scale for name in joined.inputs}) == 1
    assert count(graph, Requantize) == 4


def test_factors_are_not_spread_over_maps() -> None:
    graph = convert(quantize(nn.Sequential(conv(3, 6), nn.ReLU(), ExciteLinear(6)), images()), images())
    product = next(node for node in graph.nodes if isinstance(node.op, Multiply))
    assert graph[product.inputs[1]].output.shape == (6, 1, 1)


def test_transposed_weights_are_rounded_by_output_channel_and_kept() -> None:
    plain = nn.ConvTranspose2d(4, 6, 3, 2, groups=2)
    with torch.no_grad():
        plain.weight *= torch.tensor([1.0, 0.01, 4.0]).reshape(1, 3, 1, 1)
    layer = quantize(nn.Sequential(conv(), nn.ReLU(), plain), images()).get_submodule("2")
    assert isinstance(layer, ShiftConvTranspose2d)
    assert torch.equal(turned(layer.weight, 2), plain.weight)
    assert len(layer.weight_scale.unique()) > 1


def test_signs_of_functions() -> None:
    model = Net(lambda m, x: m.b(torch.sigmoid(m.a(x)) * functional.hardswish(functional.relu(m.a(x)))), a=conv(),
                b=conv(4))
    quantized = quantize(model, images())
    signed = {path: module.dtype.signed for path, module in quantized.named_modules() if isinstance(module, QuantAct)}
    assert signed == {"input_quantizer": False, "a_quantizer": True, "sigmoid_quantizer": False,
                      "relu_quantizer": False, "hardswish_quantizer": False, "mul_quantizer": False,
                      "b_quantizer": True}


# -- what is refused ---------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], nn.Module], QuantizeOptions, str]] = {
    "wide tables": (lambda: nn.Sequential(conv(), nn.SiLU(), conv(4)), QuantizeOptions(activation_bits=9),
                    r"^activation_bits: must be at most 8, not 9, in an engine with tables, and 1 \(silu\)"),
    "cut kernel": (lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 2, 2, 2)), QuantizeOptions(),
                   r"^0 \(ShiftConvTranspose2d\): has padding \(2, 2\) .* cut the kernel"),
    "too many maps": (lambda: Net(lambda m, x: torch.cat([m.a(x)] * 257, 1), a=conv()), QuantizeOptions(),
                      r"has 257 inputs, must have 256"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str) -> None:
    make, options, message = REFUSED[case]
    with pytest.raises(UnsupportedModel, match=message) as error:
        convert(quantize(make(), images(), options), images())
    assert "\n" not in str(error.value)
