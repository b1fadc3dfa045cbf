"""Plain networks with adder layers: what is found in them, and what quantize makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from shifthw.errors import UnsupportedModel
from shifthw.frontend import QuantizeOptions, convert, quantize
from shifthw.frontend.convert import convert_model
from shifthw.frontend.prepare import read_network
from shifthw.ir import AdderConv2d as AdderOp
from shifthw.ir import interpret
from shifthw.nn import AdderConv2d, AdderLinear, QuantAct
from shifthw.nn.distances import LEARNING_RATE
from shifthw.quantize_network import quantize_network


class Block(nn.Module):
    """AdderNet's: two adder layers, a shortcut that is one too if the stride is 2."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, bias: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1 = AdderConv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = AdderConv2d(outputs, outputs, 3, 1, 1, bias=bias), nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential(AdderConv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)) \
            if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Network(nn.Module):
    """Ordinary layers at both ends, and a shift-and-add pair without anything between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.layers = nn.Sequential(Block(8, 8, 1), Block(8, 12, 2, bias=True))
        self.pair = nn.Sequential(nn.Conv2d(12, 12, 1, bias=False), nn.ZeroPad2d((1, 0, 2, 0)),
                                  AdderConv2d(12, 12, 2, padding=(1, 0), groups=2), nn.BatchNorm2d(12), nn.ReLU())
        self.add, self.fc = AdderLinear(12, 12, bias=True), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pair(self.layers(functional.relu(self.bn1(self.conv1(x)))))
        return self.fc(self.add(functional.adaptive_avg_pool2d(x, 1).flatten(1)))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(24, 3, 12, 12, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def network(images: torch.Tensor) -> nn.Module:
    """Seeded, with batch norms that have measured its sums."""
    torch.manual_seed(5)
    model = Network()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
        elif isinstance(module, AdderConv2d | AdderLinear):
            nn.init.normal_(module.adder, 0.3, 0.5)
            if module.b is not None:
                nn.init.uniform_(module.b, -1, 1)
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def test_layers_are_found_under_their_paths(network: nn.Module, images: torch.Tensor) -> None:
    found = read_network(network, images[:2])
    adders = {layer.path: layer.kind for layer in found.layers if layer.kind.startswith("adder")}
    assert adders == {"layers.0.conv1": "adder", "layers.0.conv2": "adder", "layers.1.conv1": "adder",
                      "layers.1.conv2": "adder", "layers.1.downsample.0": "adder", "pair.2": "adder",
                      "add": "adder_linear"}
    padded = next(layer for layer in found.layers if layer.path == "pair.2")
    assert padded.options["padding"] == (3, 1, 1, 0)
    assert found.weighted == ("conv1", "pair.0", "fc")


def test_quantized_network_is_near_the_float_one(network: nn.Module, images: torch.Tensor) -> None:
    quantized = quantize(network, images, QuantizeOptions(weight_bits=5, terms=3))
    modules = dict(quantized.named_modules())
    for path, module in network.named_modules():
        if isinstance(module, AdderConv2d | AdderLinear):
            kept: Any = modules[path]
            assert type(kept) is type(module)
            assert torch.equal(kept.adder, module.adder)
            assert kept.is_rounded
    assert isinstance(modules["pair.0_quantizer"], QuantAct)
    assert modules["pair.0_quantizer"].dtype.signed
    model = convert_model(quantized, images[:4])
    graph = model.graph
    assert sum(isinstance(node.op, AdderOp) for node in graph.nodes) == 7
    integers = modules["input_quantizer"].integers(images).numpy()
    found = interpret(graph, integers)[graph.outputs[0]].reshape(len(images), -1)
    with torch.no_grad():
        steps = (quantized(images) / graph[graph.outputs[0]].output.scale).numpy()
        real = network(images).numpy()
    assert np.abs(found - steps).max() <= 3
    scale = graph[graph.outputs[0]].output.scale
    assert np.corrcoef((found * scale).ravel(), real.ravel())[0, 1] > 0.97
    assert model.float_reference is not None
    assert np.array_equal(model.float_reference.weight["layers.0.conv1"],
                          network.layers[0].conv1.adder.detach().numpy())


def test_adder_bits_limit_the_weights(network: nn.Module, images: torch.Tensor) -> None:
    quantized = quantize(network, images, QuantizeOptions(adder_bits=4))
    graph = convert(quantized, images[:2])
    weights = [node.op.weight for node in graph.nodes if isinstance(node.op, AdderOp)]
    assert min(int(weight.min()) for weight in weights) == -8
    assert max(int(weight.max()) for weight in weights) == 7
    with pytest.raises(UnsupportedModel, match=r"^adder_bits: must be 4\.\.16, not 3"):
        QuantizeOptions(adder_bits=3)


def test_what_the_layers_were_made_with_is_kept(images: torch.Tensor) -> None:
    model = nn.Sequential(AdderConv2d(3, 4, 3, weight_bits=6, eta=None), nn.BatchNorm2d(4), AdderConv2d(4, 4, 1)).eval()
    layers: Any = [quantize(model, images).get_submodule(path) for path in ("0", "2")]
    assert [(layer.weight_bits, layer.eta) for layer in layers] == [(6, None), (None, LEARNING_RATE)]
    assert int(abs(layers[0].integer_weight()).max()) <= 32
    layers = [quantize(model, images, QuantizeOptions(adder_bits=8)).get_submodule(path) for path in ("0", "2")]
    assert [(layer.weight_bits, layer.eta) for layer in layers] == [(8, None), (8, LEARNING_RATE)]


def test_kernel_larger_than_the_map_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(UnsupportedModel, match="x has maps of 12x12, with their padding they must be at"):
        quantize(nn.Sequential(AdderConv2d(3, 4, 13)), images)


def test_batch_norms_are_measured_with_the_weights_cut_off() -> None:
    """Cut-off weights of one adder layer move all its sums one way, beyond what its batch norm would let through."""
    torch.manual_seed(1)
    model = nn.Sequential(AdderConv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    images = torch.rand(16, 3, 8, 8)
    quantized = quantize(model, images, QuantizeOptions(adder_bits=8, batch_norm_images=16))
    with torch.no_grad():
        sums = quantized.get_submodule("0")(quantized.get_submodule("input_quantizer")(images))
        assert float(sums.mean()) > float(model[0](images).mean()) + 5.0
    norm: Any = quantized.get_submodule("1")
    torch.testing.assert_close(norm.running_mean, sums.mean((0, 2, 3)))


def test_training_goes_on_from_there(network: nn.Module, images: torch.Tensor) -> None:
    quantized = quantize(network, images).train()
    quantized(images).square().sum().backward()
    layer: Any = quantized.get_submodule("layers.0.conv1")
    assert layer.adder.grad is not None and layer.adder.grad.any()


def test_rounded_layers_are_no_plain_ones(images: torch.Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), AdderConv2d(4, 4, 3))
    model[1].set_step(0.1)
    with pytest.raises(UnsupportedModel, match=r"^1 \(AdderConv2d\): is a layer of shifthw.nn already"):
        quantize(model, images)


def test_summary_takes_names_as_they_are(images: torch.Tensor, tmp_path: Path) -> None:
    """Only the end of a quantizer's own path belongs to no layer's name."""
    (tmp_path / "net.py").write_text("from collections import OrderedDict\nfrom torch import nn\ndef net():\n"
                                     "    return nn.Sequential(OrderedDict(pre_quantizer_conv=nn.Conv2d(3, 4, 3)))\n")
    layers = quantize_network(f"{tmp_path}/net.py:net", images.numpy()).layers
    assert [layer.name for layer in layers] == ["input", "pre_quantizer_conv"]
    assert all(layer.activations for layer in layers)
