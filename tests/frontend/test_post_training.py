"""Float networks without training: options, scales of weights, terms; and every kind of network down to the engine."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from shifthw.errors import UnsupportedModel
from shifthw.frontend import QuantizeOptions, quantize
from shifthw.frontend.convert import convert_model
from shifthw.frontend.post_training import measure_batch_norms, weight_scale
from shifthw.frontend.preprocess import input_integers
from shifthw.frontend.reference import evaluate
from shifthw.ir import interpret
from shifthw.nn import QuantAct, ShiftConv2d, ShiftLinear
from shifthw.quantize import nearest_values

from .plain_models import ACCEPTED, conv, images, norm
from .quantized import PRECISE, agree, decibels


@pytest.mark.parametrize("case", [name for name in ACCEPTED if name != "casts"])
def test_networks_down_to_the_engine(case: str) -> None:
    torch.manual_seed(2)
    make, shape = ACCEPTED[case]
    agree(make(), images(*shape), PRECISE, at_least=40.0)


def test_a_forward_that_casts_to_float32() -> None:
    torch.manual_seed(2)
    make, shape = ACCEPTED["casts"]
    model, x = make(), images(*shape)
    with torch.no_grad():
        expected = model(x)
        assert decibels(expected, quantize(model, x, PRECISE)(x)) > 40


class Random(nn.Module):
    """A seeded network: convolutions of all shapes, residual blocks, pools, and a linear layer or none."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        self.steps: list[tuple[str, nn.Module, nn.Module]] = []
        channels, size = 3, 9
        for index in range(int(rng.integers(2, 5))):
            kernel, stride = int(rng.choice([1, 2, 3])), int(rng.choice([1, 1, 2]))
            padding = int(rng.integers(0, 2)) if size > 4 else 1
            outputs = int(rng.integers(2, 7))
            kind = str(rng.choice(["chain", "chain", "residual", "pool"]))
            if kind == "residual":
                kernel, stride, padding, outputs = 3, 1, 1, channels
            body: list[nn.Module] = [nn.Conv2d(channels, outputs, kernel, stride, padding, bias=bool(rng.integers(2)))]
            if rng.integers(2):
                body.append(norm(outputs))
            after = [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.8, 0.9), nn.Identity()][int(rng.integers(4))]
            size = (size + 2 * padding - kernel) // stride + 1
            if kind == "pool" and size > 2:
                pool: nn.Module = nn.MaxPool2d(2) if rng.integers(2) else nn.AvgPool2d(2, padding=int(rng.integers(2)))
                after = nn.Sequential(pool, after) if rng.integers(2) else nn.Sequential(after, pool)
                size = (size + 2 * getattr(pool, "padding", 0) - 2) // 2 + 1
            self.steps.append((kind, nn.Sequential(*body), after))
            self.add_module(f"body{index}", self.steps[-1][1])
            self.add_module(f"after{index}", after)
            channels = outputs
        self.fc = nn.Linear(channels * size * size, 4) if rng.integers(2) else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for kind, body, after in self.steps:
            y = body(x)
            x = after(y + x if kind == "residual" else y)
        return x if self.fc is None else self.fc(functional.relu(x).flatten(1))


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_down_to_the_engine(seed: int) -> None:
    torch.manual_seed(seed)
    options = QuantizeOptions(weight_bits=4, terms=3, activation_bits=10, calibration="minmax",
                              per_channel=bool(seed % 2), power_of_two=seed % 3 == 0)
    agree(Random(seed), images(3, 9, 9) - 0.5 * (seed % 2), options, at_least=25.0)


# -- weights -----------------------------------------------------------------------------------

@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(("bits", "terms"), [(2, 1), (3, 2), (4, 1), (5, 3)])
def test_scales_of_weights_have_the_least_error(bits: int, terms: int, per_channel: bool) -> None:
    torch.manual_seed(5)
    weight = torch.randn(6, 3, 3, 3) * torch.tensor([1.0, 0.1, 3.0, 0.02, 1.7, 0.0]).reshape(-1, 1, 1, 1)
    scale = weight_scale(weight, bits, terms, per_channel)
    assert scale.shape == ((6,) if per_channel else ())
    rows = weight.double().reshape(6 if per_channel else 1, -1)
    for row, chosen in zip(rows, scale.reshape(-1), strict=True):
        assert math.frexp(float(chosen))[0] == 0.5
        errors = {exponent: float((nearest_values(row / 2.0**exponent, bits, terms) * 2.0**exponent - row).norm() ** 2)
                  for exponent in range(-12, 6)}
        assert errors[int(math.log2(chosen))] == min(errors.values())


def terms_of(options: QuantizeOptions) -> list[int]:
    torch.manual_seed(6)
    model = nn.Sequential(conv(), nn.ReLU(), conv(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3))
    quantized = quantize(model, images(), options)
    return [module.terms for module in quantized.modules() if isinstance(module, ShiftConv2d | ShiftLinear)]


def test_terms_of_layers() -> None:
    assert terms_of(QuantizeOptions(terms=3)) == [3, 3, 3]
    assert terms_of(QuantizeOptions(terms=2, first_terms=4, last_terms=1)) == [4, 2, 1]
    assert terms_of(QuantizeOptions(terms=(1, 4), layer_terms={"0": 3, "2": 2, "5": 1}, first_terms=1)) == [3, 2, 1]


def test_terms_by_an_error_budget() -> None:
    assert terms_of(QuantizeOptions(terms=(1, 4), weight_snr=1.0)) == [1, 1, 1]
    assert terms_of(QuantizeOptions(terms=(2, 4), weight_snr=1.0)) == [2, 2, 2]
    assert terms_of(QuantizeOptions(terms=(1, 3), weight_snr=200.0)) == [3, 3, 3]
    assert set(terms_of(QuantizeOptions(terms=(1, 4), weight_snr=25.0))) == {2}


def test_weights_that_are_powers_of_two_stay_and_the_float_ones_are_kept() -> None:
    model = nn.Sequential(conv(bias=False), nn.ReLU(), conv(4))
    with torch.no_grad():
        model[0].weight.copy_(torch.exp2(-torch.randint(0, 7, (4, 3, 3, 3)).float()))
    quantized = quantize(model, images(), QuantizeOptions(terms=1))
    first, second = quantized.get_submodule("0"), quantized.get_submodule("2")
    assert torch.equal(first.rounded_weight(), model[0].weight)
    assert torch.equal(second.weight, model[2].weight) and not torch.equal(second.rounded_weight(), second.weight)
    assert torch.equal(second.bias, model[2].bias) and first.bias is None
    assert not quantized.training


def test_a_deep_copy_keeps_the_float_network() -> None:
    torch.manual_seed(3)
    quantized = quantize(nn.Sequential(conv(), nn.ReLU(), conv(4)), images())
    kept = convert_model(copy.deepcopy(quantized), images()).float_reference
    original = convert_model(quantized, images()).float_reference
    assert kept is not None and original is not None
    assert {name: values.tolist() for name, values in kept.weight.items()} == \
        {name: values.tolist() for name, values in original.weight.items()}


# -- activations -------------------------------------------------------------------------------

def test_the_input_takes_pixels_as_they_are() -> None:
    x = torch.randint(0, 256, (8, 3, 8, 8)) / 255
    quantized = quantize(nn.Sequential(conv()), x, QuantizeOptions(input_scale=1 / 255, activation_bits=4))
    first = quantized.get_submodule("input_quantizer")
    assert (str(first.dtype), float(first.scale)) == ("u8", 1 / 255)
    assert torch.equal(first.integers(x), (x * 255).round().long())
    assert str(quantized.get_submodule("0_quantizer").dtype) == "s4"


@pytest.mark.parametrize(("low", "dtype"), [(0.0, "u8"), (-0.1, "s8")])
def test_the_sign_of_the_input_is_that_of_the_images(low: float, dtype: str) -> None:
    quantized = quantize(nn.Sequential(conv()), images() + low)
    assert str(quantized.get_submodule("input_quantizer").dtype) == dtype


def test_batch_norms_are_measured_on_what_the_rounded_weights_give() -> None:
    torch.manual_seed(7)
    model, x = nn.Sequential(conv(), norm(), nn.ReLU(), conv(4), norm()), images(count=20)
    model[1].momentum = model[4].momentum = 1.0     # as trained: the statistics are those of the images
    with torch.no_grad():
        model.train()(x)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    converted = {count: convert_model(quantize(model, x, QuantizeOptions(terms=1, batch_norm_images=count)), x[:2])
                 for count in (0, 20)}
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with torch.no_grad():
        expected = model.eval()(x).double()
    found = {}
    for count, result in converted.items():
        graph = result.graph
        assert result.float_reference is not None
        real = evaluate(graph, result.float_reference, x, quantized=False)[graph.outputs[0]]
        assert torch.allclose(real.double(), expected, atol=1e-5)
        steps = interpret(graph, input_integers(graph, x.numpy()))[graph.outputs[0]]
        found[count] = decibels(expected, torch.from_numpy(steps) * graph[graph.outputs[0]].output.scale)
    assert found[20] > found[0] + 1


@pytest.mark.parametrize("count", [2, 101, 250])
def test_batch_norms_of_any_number_of_images(count: int) -> None:
    torch.manual_seed(8)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), QuantAct(8, True)).train()
    x = torch.randn(count, 3)
    measure_batch_norms(model, x)
    norm1d = model[1]
    assert model.training and norm1d.momentum == 0.1
    with torch.no_grad():
        y = model[0](x)
    assert torch.allclose(norm1d.running_mean, y.mean(0), atol=2e-2 if count > 100 else 1e-6)


# -- what is refused ---------------------------------------------------------------------------

@pytest.mark.parametrize(("options", "message"), [
    (dict(weight_bits=1), "weight_bits: must be 2..5, not 1"), (dict(weight_bits=6), "weight_bits: must be 2..5"),
    (dict(terms=0), "terms: must be within 1..4"), (dict(terms=5), "terms: must be within 1..4, .*, not 5"),
    (dict(terms=(3, 2)), r"terms: must be within 1..4, the fewest first, not \(3, 2\)"),
    (dict(weight_snr=0.0), "weight_snr: must be positive"), (dict(weight_snr=math.nan), "weight_snr: must be positive"),
    (dict(first_terms=5), "first_terms: must be 1..4, not 5"), (dict(last_terms=0), "last_terms: must be 1..4, not 0"),
    (dict(layer_terms={"0": 9}), "layer_terms: must be 1..4"), (dict(activation_bits=1), "activation_bits: must be 2"),
    (dict(calibration="median"), "calibration: must be one of minmax, percentile, mse, not median"),
    (dict(percentile=0.0), "percentile: must be in 0..1"), (dict(input_scale=0.0), "input_scale: must be positive"),
    (dict(batch_norm_images=1), "batch_norm_images: must be 0, or at least 2, not 1"),
])
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"^{message}"):
        QuantizeOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("x", "options", "message"), [
    (torch.zeros(0, 3, 8, 8), {}, r"calibration images: must be .* at least one image, not of shape \[0, 3, 8, 8\]$"),
    (images() / 0, {}, "calibration images: must be finite numbers .* with NaN or infinite values"),
    (images() - 1, dict(input_scale=1 / 255), "input_scale: is for images of 0 or more, these go down to -1; leave it"),
    (images(), dict(batch_norm_images=7), "batch_norm_images: must be at most the 6 calibration images"),
    (images(), dict(layer_terms={"1": 2}), "layer_terms: the network has no layer '1'; its layers are 0, 2$"),
    (images() * 0, {}, r"input_quantizer \(QuantAct\): sees no value but 0"),
])
def test_images_and_options_that_do_not_suit(x: torch.Tensor, options: dict[str, object], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        quantize(nn.Sequential(conv(), nn.ReLU(), conv(4)), x, QuantizeOptions(**options))  # type: ignore[arg-type]
