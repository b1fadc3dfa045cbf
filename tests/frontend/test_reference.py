"""The real-valued networks behind a graph: the fake-quantized one is the module's own forward, the float one that of
the plain module."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from shifthw.errors import UnsupportedModel
from shifthw.frontend import QuantizeOptions, quantize
from shifthw.frontend.convert import capture_float, convert_model
from shifthw.frontend.reference import Model, Reference, evaluate, verify_reference
from shifthw.ir import Input, Requantize
from shifthw.nn import FixedPoint, PadShortcut, QuantAct, Quantizer, Rounding, ShiftConv2d, ShiftLinear
from shifthw.zoo.seeded import calibrate, seed_weights


class Block(nn.Module):
    """Every kind of node: residual adds with and without a copy, both pools, a mean, a classifier."""

    def __init__(self, form: str, quantizer: Callable[[bool], Quantizer], eps: float = 0.0, **options: object) -> None:
        super().__init__()
        shared = dict(form=form, weight_bits=4, **options)
        self.input = quantizer(True)
        self.conv1 = ShiftConv2d(3, 4, 3, padding=(1, 1, 0, 2), **shared)
        self.bn1 = nn.BatchNorm2d(4, eps)
        self.act1 = quantizer(False)
        self.conv2 = ShiftConv2d(4, 4, 3, padding=1, groups=2, bias=False, **shared)
        self.bn2 = nn.BatchNorm2d(4, eps)
        self.act2 = quantizer(True)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.conv3 = ShiftConv2d(4, 6, 3, 2, 1, dilation=1, **shared)
        self.short = PadShortcut(4, 6)
        self.act3 = quantizer(False)
        self.mean = nn.AvgPool2d(2)
        self.act4 = quantizer(False)
        self.classifier = ShiftLinear(24, 5, **shared)
        self.logits = quantizer(True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act1(functional.relu(self.bn1(self.conv1(self.input(x)))))
        x = self.pool(self.act2(functional.hardtanh(self.bn2(self.conv2(x)) + x, -0.53, 1.47)))
        x = self.act3(functional.relu6(self.conv3(x) + self.short(x)))
        return self.logits(self.classifier(self.act4(self.mean(x)).flatten(1)))


def images(count: int = 5) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def power(signed: bool) -> Quantizer:
    return QuantAct(8, signed, scale=2.0**-5)


def floor(signed: bool) -> Quantizer:
    return FixedPoint(4, 5)


def even(signed: bool) -> Quantizer:
    return QuantAct(6, signed, scale=2.0**-3, rounding=Rounding.HALF_EVEN)


def network(form: str, quantizer: Callable[[bool], Quantizer], **options: object) -> Block:
    torch.manual_seed(9)
    model = Block(form, quantizer, **options).double().eval()
    with torch.no_grad():
        for norm in (model.bn1, model.bn2):
            norm.running_var.copy_(torch.tensor([1.0, 0.25, 4.0, 1.0]))
            norm.running_mean.copy_(torch.tensor([0.5, -0.25, 0.125, 0.0]))
            norm.weight.copy_(torch.tensor([1.0, -0.5, 2.0, 0.75]))
            norm.bias.copy_(torch.tensor([0.25, 0.5, -0.25, 0.3]))
    return model


def activations(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What every quantizer of the module gives, by its path."""
    found: dict[str, torch.Tensor] = {}
    for path, module in model.named_modules():
        if isinstance(module, Quantizer):
            module.register_forward_hook(lambda module, inputs, output, path=path: found.update({path: output}))
    with torch.no_grad():
        model(x)
    return found


def fake(converted: Model, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """All real values of the fake-quantized network."""
    assert converted.fake_reference is not None
    first = converted.graph.nodes[0]
    verify_reference(converted.graph, converted.fake_reference)
    return evaluate(converted.graph, converted.fake_reference, x, quantized=True,
                    keep=[node.name for node in converted.graph.nodes]) | {first.name: x}


@pytest.mark.parametrize("quantizer", [power, floor, even])
@pytest.mark.parametrize(("form", "options"), [
    ("Q", {}), ("PS", dict(terms=2)), ("nearest", dict(terms=2)), ("Q", dict(bias_format=(3, 4), weight_scale=0.5))])
def test_fake_is_the_modules_own_forward_where_grids_are_powers_of_two(
    form: str, options: dict[str, object], quantizer: Callable[[bool], Quantizer]
) -> None:
    model = network(form, quantizer, **options)
    converted = convert_model(model, images())
    expected = activations(model, images())
    values = fake(converted, expected["input"])
    for path, value in expected.items():
        assert torch.equal(values[path].reshape(value.shape), value), path
        assert len(value.unique()) > 2, path


@pytest.mark.parametrize("rounding", list(Rounding))
def test_fake_is_the_modules_own_forward_on_real_grids(rounding: Rounding) -> None:
    torch.manual_seed(2)
    model = Block("Q", lambda signed: QuantAct(8, signed, rounding=rounding), 1e-5, terms=2).double()
    seed_weights(model, 5)
    calibrate(model, images())
    for index, module in enumerate(model.modules()):
        if isinstance(module, QuantAct):  # limits and means would be whole steps, give or take the last bit
            module.scale.mul_(1.013 + index / 1000)
    converted = convert_model(model, images())
    expected = activations(model, images())
    values = fake(converted, expected["input"])
    for path, value in expected.items():
        scale = converted.graph[path].output.scale
        assert torch.equal(torch.round(values[path].reshape(value.shape) / scale), torch.round(value / scale)), path


def test_accumulators_are_whole_steps() -> None:
    """Also of a convolution whose output channels have weight scales of their own, and of a raised copy."""
    torch.manual_seed(2)
    model = Block("nearest", lambda signed: QuantAct(8, signed), 1e-5, terms=2).double()
    model.conv2 = ShiftConv2d(4, 4, 3, padding=1, groups=2, bias=False, form="nearest", weight_bits=4, terms=2,
                              weight_scale=torch.tensor([0.5, 0.125, 1.0, 0.25])).double()
    calibrate(model, images())
    converted = convert_model(model, images())
    graph = converted.graph
    assert graph["short"].output.scale < graph["pool"].output.scale
    values = fake(converted, model.input(images()).detach())
    for name in ("conv1", "conv2", "conv3", "short", "classifier"):
        steps = values[name] / graph[name].output.scale
        assert torch.allclose(steps, steps.round(), rtol=0, atol=1e-9)
        assert steps.abs().max() > 100


class Plain(nn.Module):
    """Block in ordinary layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=0.0)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(4, eps=0.0)
        self.conv3, self.classifier = nn.Conv2d(4, 6, 3, 2, 1), nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.bn1(self.conv1(functional.pad(x, (1, 2, 1, 0)))))
        x = functional.hardtanh(self.bn2(self.conv2(x)) + x, -0.53, 1.47)
        x = functional.max_pool2d(x, 3, 2, 1)
        x = functional.relu6(self.conv3(x) + functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1)))
        return self.classifier(functional.avg_pool2d(x, 2).flatten(1))


def plain_of(model: Block) -> Plain:
    """The plain module with the latent weights of `model`."""
    plain = Plain().double().eval()
    for name in ("conv1", "conv2", "conv3", "classifier"):
        source, target = getattr(model, name), getattr(plain, name)
        target.weight.data.copy_(source.latent_weight())
        if target.bias is not None:
            target.bias.data.copy_(source.bias)
    plain.bn1.load_state_dict(model.bn1.state_dict())
    plain.bn2.load_state_dict(model.bn2.state_dict())
    return plain


@pytest.mark.parametrize(("form", "options"), [
    ("Q", dict(weight_scale=0.25)), ("Q", dict(bias_format=(3, 1))), ("PS", {}), ("PS", dict(terms=3)),
    ("nearest", dict(terms=2))])
def test_float_is_the_plain_network(form: str, options: dict[str, object]) -> None:
    model = network(form, power, **options)
    if form == "nearest":
        model.conv1._buffers["weight_scale"] = torch.tensor([0.5, 2.0, 0.25, 1.0]).double().reshape(4, 1, 1, 1)
    reference = capture_float(model, images())
    graph = convert_model(model, images()).graph
    verify_reference(graph, reference)
    (result,) = evaluate(graph, reference, images(), quantized=False).values()
    with torch.no_grad():
        expected = plain_of(model)(images())
        rounded = model(images())
    assert torch.allclose(result.flatten(1), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(rounded, expected, rtol=1e-2, atol=1e-2)


def test_float_in_float32() -> None:
    model = network("nearest", power)
    reference = capture_float(model, images())
    (result,) = evaluate(convert_model(model, images()).graph, reference, images().float(), quantized=False).values()
    assert result.dtype == torch.float32
    with torch.no_grad():
        assert torch.allclose(result.flatten(1).double(), plain_of(model)(images()), rtol=1e-4, atol=1e-4)


def test_an_attached_float_reference_survives_training() -> None:
    model = network("nearest", power)
    model.float_reference = capture_float(model, images())
    before = plain_of(model)(images())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.25)
    converted = convert_model(model, images())
    assert converted.float_reference is model.float_reference
    (result,) = evaluate(converted.graph, converted.float_reference, images(), quantized=False).values()
    assert torch.allclose(result.flatten(1), before, rtol=1e-5, atol=1e-5)


def test_quantize_keeps_the_network_that_it_was_given() -> None:
    torch.manual_seed(8)
    plain = Plain().eval()
    prepared = quantize(plain, images(8).float(), QuantizeOptions(terms=1))
    converted = convert_model(prepared, images(2).float())
    assert converted.float_reference is not None
    (result,) = evaluate(converted.graph, converted.float_reference, images(), quantized=False).values()
    with torch.no_grad():
        expected = plain.double()(images())
    assert torch.allclose(result.flatten(1), expected, rtol=1e-4, atol=1e-4)


def test_only_an_attached_float_reference_counts() -> None:
    assert convert_model(network("Q", power), images()).float_reference is None


def test_a_module_that_is_called_twice_has_two_nodes() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.conv, self.act = power(True), ShiftConv2d(3, 3, 3, padding=1), power(True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(self.conv(self.act(self.conv(self.first(x)))))

    torch.manual_seed(1)
    model = Twice().double().eval()
    reference = capture_float(model, images())
    converted = convert_model(model, images())
    assert set(reference.weight) == {"conv", "conv:2"}
    assert set(reference.affine) == {"act", "act:2"}
    values = fake(converted, model.first(images()))
    assert torch.equal(values["act:2"], model(images()))


def test_kept_values_are_those_asked_for() -> None:
    converted = convert_model(network("Q", power), images())
    graph = converted.graph
    assert converted.fake_reference is not None
    names = [node.name for node in graph.nodes if isinstance(node.op, Input | Requantize)]
    kept = evaluate(graph, converted.fake_reference, images(), quantized=True, keep=names)
    assert set(kept) == set(names)
    assert set(evaluate(graph, converted.fake_reference, images(), quantized=True)) == set(graph.outputs)


def without(reference: Reference, name: str) -> Reference:
    return Reference({key: value for key, value in reference.weight.items() if key != name},
                     {key: value for key, value in reference.affine.items() if key != name})


UNFIT: dict[str, tuple[Callable[[Reference], Reference], str]] = {
    "no weights": (lambda r: without(r, "conv2"), "conv2: has weights in the graph only"),
    "no factors": (lambda r: without(r, "act2"), "act2: has factors in the graph only"),
    "more": (lambda r: replace(r, weight=r.weight | {"conv9": r.weight["conv1"]}), "conv9: .* the reference only"),
    "shape": (lambda r: replace(r, weight=r.weight | {"conv1": r.weight["conv2"]}),
              r"conv1: has real weights float64\[4, 2, 3, 3\]; must be .* of shape \[4, 3, 3, 3\]"),
    "type": (lambda r: replace(r, weight=r.weight | {"conv1": r.weight["conv1"].astype(np.int64)}), "conv1: .*int64"),
    "not finite": (lambda r: replace(r, weight=r.weight | {"conv1": r.weight["conv1"] * np.nan}), "conv1: .*finite"),
    "inputs": (lambda r: replace(r, affine=r.affine | {"act1": r.affine["act2"]}), "act1: has 2 real factors, must "),
    "offset": (lambda r: replace(r, affine=r.affine | {"act1": replace(r.affine["act1"], offset=np.zeros(3))}),
               r"act1: has real factors and offset float64\[3\]"),
    "limits": (lambda r: replace(r, affine=r.affine | {"act1": replace(r.affine["act1"], lo=2.0, hi=1.0)}),
               "act1: has the limits 2.0..1.0"),
    "no limit": (lambda r: replace(r, affine=r.affine | {"act1": replace(r.affine["act1"], lo=np.nan)}), "limits nan"),
}


@pytest.mark.parametrize(("change", "message"), UNFIT.values(), ids=UNFIT)
def test_a_reference_of_another_network_is_refused(change: Callable[[Reference], Reference], message: str) -> None:
    converted = convert_model(network("Q", power), images())
    assert converted.fake_reference is not None
    with pytest.raises(UnsupportedModel, match=message) as caught:
        verify_reference(converted.graph, change(converted.fake_reference))
    assert "\n" not in str(caught.value)


def test_a_float_reference_of_another_network_is_refused() -> None:
    model = network("Q", power)
    model.float_reference = without(capture_float(model, images()), "conv1")
    with pytest.raises(UnsupportedModel, match="conv1: has weights in the graph only; the reference must be of this"):
        convert_model(model, images())
