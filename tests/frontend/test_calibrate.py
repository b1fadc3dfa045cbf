"""Scales from images: what each method chooses, and what gives none."""

import numpy as np
import pytest
import torch
from torch import nn

from shifthw.errors import UnsupportedModel
from shifthw.frontend import calibrate as module
from shifthw.frontend.calibrate import METHODS, calibrate, observe
from shifthw.nn import QuantAct


def values(count: int = 5000, seed: int = 3) -> torch.Tensor:
    """Mostly small numbers, and a tail."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.laplace(size=(count, 1)).astype(np.float32))


def calibrated(x: torch.Tensor, bits: int = 4, *, signed: bool = True, **options: object) -> QuantAct:
    quantizer = QuantAct(bits, signed)
    calibrate(nn.Sequential(quantizer), x, **options)  # type: ignore[arg-type]
    assert quantizer.calibrated and quantizer.fixed
    return quantizer


def error(quantizer: QuantAct, x: torch.Tensor, scale: float | None = None) -> float:
    other = QuantAct(quantizer.dtype.bits, quantizer.dtype.signed, scale=scale or float(quantizer.scale))
    return float((other(x) - x).square().mean())


def test_minmax_reaches_the_largest_magnitude() -> None:
    x = values()
    assert float(calibrated(x, method="minmax").scale) == pytest.approx(float(x.abs().max()) / 7)
    assert float(calibrated(x, signed=False, method="minmax").scale) == pytest.approx(float(x.max()) / 15)


def test_percentile_leaves_the_share_above_it_outside() -> None:
    x = values()
    quantizer = calibrated(x, method="percentile", percentile=0.95)
    outside = float((x.abs() > quantizer.scale * 7).float().mean())
    assert outside == pytest.approx(0.05, abs=0.001)
    assert float(calibrated(x, method="percentile", percentile=1.0).scale) == \
        pytest.approx(float(calibrated(x, method="minmax").scale))


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("signed", [True, False])
def test_mse_is_better_than_its_neighbours(bits: int, signed: bool) -> None:
    x = values()
    quantizer = calibrated(x, bits, signed=signed, method="mse")
    step = float(x.abs().max()) / quantizer.hi / 64
    scale = float(quantizer.scale)
    best = error(quantizer, x)
    assert best <= min(error(quantizer, x, scale + step), error(quantizer, x, max(scale - step, step / 2))) * 1.001
    assert best <= error(quantizer, x, float(calibrated(x, bits, signed=signed, method="minmax").scale)) * 1.001


@pytest.mark.parametrize("method", METHODS)
def test_powers_of_two(method: str) -> None:
    x = values() * 0.37
    plain, rounded = (calibrated(x, method=method, power_of_two=power) for power in (False, True))
    exponent = np.log2(float(rounded.scale))
    assert exponent == round(exponent)
    if method == "mse":
        assert error(rounded, x) <= min(error(rounded, x, 2.0 ** (exponent + side)) for side in (-1, 1))
    else:
        assert float(plain.scale) <= float(rounded.scale) < 2 * float(plain.scale)


def test_given_scales_stay_and_nothing_moves_later() -> None:
    model = nn.Sequential(QuantAct(8, scale=0.5), QuantAct(8)).train()
    calibrate(model, values().abs())
    assert float(model[0].scale) == 0.5
    scale = float(model[1].scale)
    model(values() * 100)
    assert float(model[1].scale) == scale
    assert model.training


def test_values_are_seen_as_no_quantizer_rounds_them() -> None:
    model = nn.Sequential(QuantAct(2, True, scale=1e-3), nn.ReLU(), QuantAct(8))
    x = values()
    calibrate(model, x, "minmax")
    assert float(model[2].scale) == pytest.approx(float(x.max()) / 255)
    assert not any(layer._forward_hooks for layer in model)
    assert float(model(x).max()) < 0.01


def test_of_many_values_a_sample_with_the_extremes_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLES", 600)
    x = values(1000)
    model = nn.Sequential(QuantAct(4, True))
    found = observe(model, x.expand(1000, 50), ["0"])["0"]
    assert len(found) == 600 + 2
    assert found.min() == float(x.min()) and found.max() == float(x.max())
    again = observe(model, x.expand(1000, 50), ["0"])["0"]
    assert np.array_equal(found, again)


class Unused(nn.Module):
    """Calls one of its quantizers."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = QuantAct(8, True), QuantAct(8, True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


@pytest.mark.parametrize(("model", "message"), [
    (nn.Sequential(nn.ReLU(), QuantAct(8)), r"1 \(QuantAct\): sees no value but 0 on the calibration images"),
    (Unused(), r"unused \(QuantAct\): sees no value at all on the calibration images"),
    (nn.Sequential(nn.Hardtanh(-1.0, -0.5), QuantAct(8, False)), "1 .*sees no value but 0"),
    (nn.Sequential(nn.BatchNorm1d(1, eps=0.0), QuantAct(8, True)), r"1 \(QuantAct\): sees infinite or NaN values"),
], ids=["dead", "unused", "negative", "infinite"])
def test_ranges_that_were_never_seen(model: nn.Module, message: str) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_var.zero_()  # type: ignore[union-attr]
    with pytest.raises(UnsupportedModel, match=message):
        calibrate(model, -values().abs())
