"""Plain networks rebuilt from shifthw's layers: paths, places of quantizers, and the comparison with the original."""

import copy
import importlib
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from shifthw.errors import UnsupportedModel
from shifthw.frontend import convert, prepare
from shifthw.frontend.exported import Exported
from shifthw.frontend.placement import Place
from shifthw.frontend.plain_layers import PlainNetwork
from shifthw.frontend.plain_network import plain_network
from shifthw.frontend.prepare import read_network
from shifthw.nn import QuantAct, Quantizer, ShiftConv2d, ShiftLinear

from .plain_models import Net, conv, images, norm


def shift_layer(path: str, plain: nn.Conv2d | nn.Linear) -> ShiftConv2d | ShiftLinear:
    biased = plain.bias is not None
    if isinstance(plain, nn.Linear):
        return ShiftLinear(plain.in_features, plain.out_features, biased)
    return ShiftConv2d(plain.in_channels, plain.out_channels, plain.kernel_size, plain.stride, 0, plain.dilation,
                       plain.groups, biased)


def quantizer(place: Place) -> Quantizer:
    return QuantAct(8, place.signed is not False, scale=2.0**-4)


class Block(nn.Module):
    """A block as most people write it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.conv2, self.bn2 = conv(3, 4, 2), norm(), conv(4), norm()
        self.shortcut = nn.Sequential(nn.Conv2d(3, 4, 1, 2), norm())
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Classifier(nn.Module):
    """The block, and what comes behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.fc = Block(), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.softmax(self.fc(functional.adaptive_avg_pool2d(self.block(x), 1).flatten(1)), dim=1)


def test_layers_keep_their_paths_and_quantizers_are_named_for_what_they_store() -> None:
    model, seen = Classifier().train(), []

    def noted(place: Place) -> Quantizer:
        seen.append(place)
        return quantizer(place)
    before = copy.deepcopy(model.state_dict())
    prepared = prepare(model, images(), shift_layer, noted)
    assert prepared.training and type(prepared).__name__ == "Classifier"
    assert prepared.meta["dropped"] == ["softmax"]
    assert seen == [Place("input", None, is_input=True), Place("block.relu", False), Place("block.shortcut.1", None),
                    Place("block.relu", False), Place("flatten", False), Place("fc", None, is_output=True)]
    kinds = {path: type(module).__name__ for path, module in prepared.named_modules() if not list(module.children())}
    assert kinds == {
        "input_quantizer": "QuantAct", "block.conv1": "ShiftConv2d", "block.bn1": "BatchNorm2d", "block.relu": "ReLU",
        "block.relu_quantizer": "QuantAct", "block.conv2": "ShiftConv2d", "block.bn2": "BatchNorm2d",
        "block.shortcut.0": "ShiftConv2d", "block.shortcut.1": "BatchNorm2d", "block.shortcut.1_quantizer": "QuantAct",
        "block.relu_quantizer_2": "QuantAct", "adaptive_avg_pool2d": "AdaptiveAvgPool2d", "flatten": "Flatten",
        "flatten_quantizer": "QuantAct", "fc": "ShiftLinear", "fc_quantizer": "QuantAct"}
    assert prepared.get_submodule("block.conv1").padding == (1, 1, 1, 1)
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(prepared.get_submodule("block.bn1").running_mean, model.block.bn1.running_mean)
    graph = convert(prepared.eval(), images())
    assert {"block.conv1", "block.shortcut.0", "block.relu_quantizer_2", "fc"} <= {node.name for node in graph.nodes}


def test_the_sign_of_the_input_is_that_of_its_quantizer() -> None:
    def places(signed: bool) -> list[bool | None]:
        seen = []

        def noted(place: Place) -> Quantizer:
            seen.append(place.signed)
            return QuantAct(8, signed if place.is_input else True, scale=1.0)
        prepare(Net(lambda m, x: m.a(x / 4) + x, a=conv(3, 3)), images(), shift_layer, noted)
        return seen
    assert places(False) == [None, False, None]
    assert places(True) == [None, None, None]


def test_layers_that_are_called_twice_are_one_module_each_made_once() -> None:
    made = []

    def noted(path: str, plain: nn.Conv2d | nn.Linear) -> ShiftConv2d | ShiftLinear:
        made.append(path)
        return shift_layer(path, plain)

    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        x = functional.conv2d(x, m.a.weight, stride=2, padding=1) + m.a(x)[:, :, ::2, ::2]
        return m.b(m.relu(m.b(m.relu(x))))
    net = Net(forward, a=conv(3, 4), b=conv(4), relu=nn.ReLU())
    prepared = prepare(net, images(), noted, quantizer)
    assert sorted(made) == ["a", "a_2", "b"]
    calls = [str(node.target) for node in prepared.graph.nodes if node.op == "call_module"]
    assert calls.count("b") == calls.count("relu") == 2
    assert calls.count("relu_quantizer") == calls.count("relu_quantizer_2") == calls.count("b_quantizer") == 1
    assert prepared.get_submodule("a").stride != prepared.get_submodule("a_2").stride


def test_names_that_the_network_has_taken() -> None:
    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(m.conv(x))
        x = functional.relu(m.relu(m.conv_quantizer(x)))
        return m.relu_2(m.input_quantizer(x))
    net = Net(forward, conv=conv(), conv_quantizer=conv(4), relu=conv(4), input_quantizer=conv(4), relu_2=conv(4))
    prepared = prepare(net, images(), shift_layer, quantizer)
    calls = [str(node.target) for node in prepared.graph.nodes if node.op == "call_module"]
    assert calls == ["input_quantizer_2", "conv", "relu_3", "relu_quantizer", "conv_quantizer",
                     "conv_quantizer_quantizer", "relu", "relu_3", "relu_quantizer_2", "input_quantizer",
                     "input_quantizer_quantizer", "relu_2", "relu_2_quantizer"]
    convert(prepared.eval(), images())


def test_parameters_train() -> None:
    prepared = prepare(Classifier(), images(), shift_layer, quantizer)
    prepared(images()).square().sum().backward()
    trained = {name for name, parameter in prepared.named_parameters() if parameter.grad is not None}
    assert {"block.conv1.weight", "block.bn2.weight", "block.shortcut.0.bias", "fc.weight"} <= trained


def test_several_outputs() -> None:
    net = Net(lambda m, x: [functional.relu(m.a(x)), x, m.b(functional.relu(m.a(x)))], a=conv(), b=conv(4))
    graph = convert(prepare(net, images(), shift_layer, quantizer).eval(), images())
    assert graph.outputs == ("relu_quantizer", "input_quantizer", "b_quantizer")


# -- the net under it --------------------------------------------------------------------------

def test_one_image_is_enough() -> None:
    net = Net(lambda m, x: m.fc(functional.adaptive_avg_pool2d(m.a(x), 1).squeeze()), a=conv(), fc=nn.Linear(4, 3))
    assert read_network(net, images()[:1]).outputs == read_network(net, images()).outputs


@pytest.mark.parametrize("name", ["eps", "stride", "padding"])
def test_a_program_read_wrongly_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"eps": 2e-5, "stride": (1, 1), "padding": (0, 1, 1, 1)}

    def misread(model: str, exported: Exported) -> PlainNetwork:
        network = plain_network(model, exported)
        layers = tuple(replace(layer, options={**layer.options, name: wrong[name]}) if name in layer.options else layer
                       for layer in network.layers)
        return replace(network, layers=layers)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, (1, 1)), norm(), nn.AdaptiveAvgPool2d(1))
    read_network(model, images())
    monkeypatch.setattr(importlib.import_module("shifthw.frontend.prepare"), "plain_network", misread)
    with pytest.raises(UnsupportedModel, match="Sequential: its exported program computes something else than forward"):
        read_network(model, images())


def remembers(m: Net, x: torch.Tensor) -> torch.Tensor:
    m.calls += 1
    return m.a(x) * m.calls


@pytest.mark.parametrize("forward", [lambda m, x: m.a(x) + torch.rand(4, 1, 1), remembers,
                                     lambda m, x: m.a(x.float()) + torch.rand(4, 1, 1)],
                         ids=["random", "remembers", "random in float32"])
def test_a_forward_that_changes_is_noticed(forward: object) -> None:
    net = Net(forward, a=conv())  # type: ignore[arg-type]
    net.register_buffer("calls", torch.tensor(0.0))
    with pytest.raises(UnsupportedModel, match="forward must compute the same every time, of the images alone"):
        read_network(net, images())


@pytest.mark.parametrize("result", [lambda y: {"y": y}, lambda y: (y, (y, y)), lambda y: [y, None]],
                         ids=["dict", "nested", "none"])
def test_results_that_are_no_tuple_of_tensors(result: object) -> None:
    net = Net(lambda m, x: result(m.a(x)), a=conv())  # type: ignore[operator]
    with pytest.raises(UnsupportedModel, match="^output: .*must be a tensor"):
        read_network(net, images())
