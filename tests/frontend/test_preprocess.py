"""Images of all kinds to the integers that a network takes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from shifthw.errors import BadImages
from shifthw.frontend import convert
from shifthw.frontend.preprocess import input_integers, real_images
from shifthw.ir import Graph
from shifthw.nn import FixedPoint, QuantAct, Quantizer, Rounding, ShiftConv2d

RULE: dict[str, object] = {"scale": 1 / 255, "mean": [0.5, 0.25, 0.0], "std": [0.5, 0.25, 2.0]}


def network(quantizer: Quantizer, rule: dict[str, object] | None = None) -> Graph:
    torch.manual_seed(1)
    model = nn.Sequential(quantizer, ShiftConv2d(3, 2, 1), FixedPoint(6, 2)).double()
    return convert(model, torch.randn(2, 3, 4, 5).double(), metadata={} if rule is None else {"preprocess": rule})


def pixels(count: int = 3) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, 3, 4, 5), dtype=np.uint8)


def test_pixels_are_integers_of_an_unsigned_input() -> None:
    graph = network(QuantAct(8, scale=1 / 255))
    assert input_integers(graph, pixels()) is not None
    assert np.array_equal(input_integers(graph, pixels()), pixels())
    assert np.allclose(real_images(graph, pixels()), pixels() / 255)


@pytest.mark.parametrize("quantizer", [
    lambda: QuantAct(8, True, scale=0.02), lambda: QuantAct(8, True, scale=2.0**-6, rounding=Rounding.FLOOR),
    lambda: QuantAct(6, True, scale=2.0**-4, rounding=Rounding.HALF_EVEN), lambda: FixedPoint(3, 5),
    lambda: FixedPoint(16, 16), lambda: QuantAct(8, scale=2.0**-6)])
def test_pixels_are_normalized_and_quantized_as_the_module_does(quantizer: Callable[[], Quantizer]) -> None:
    module = quantizer()
    graph = network(module, RULE)
    real = (pixels(300) / 255 - np.array([0.5, 0.25, 0.0]).reshape(3, 1, 1)) / np.array([0.5, 0.25, 2]).reshape(3, 1, 1)
    found = input_integers(graph, pixels(300))
    assert np.array_equal(found, module.integers(torch.from_numpy(real)).numpy())
    assert len(np.unique(found)) > 10
    assert np.allclose(real_images(graph, pixels(300)), real, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("rule", [None, RULE])
def test_real_images_are_in_the_networks_units(dtype: type, rule: dict[str, object] | None) -> None:
    module = FixedPoint(3, 5)
    images = np.random.default_rng(3).normal(size=(4, 3, 4, 5)).astype(dtype)
    graph = network(module, rule)
    assert np.array_equal(input_integers(graph, images), module.integers(torch.from_numpy(images).double()).numpy())
    assert np.array_equal(real_images(graph, images), images.astype(np.float64))


def test_limits_of_the_quantizer_hold() -> None:
    """FixedPoint ends at a whole number, below its type's largest integer."""
    graph = network(FixedPoint(3, 5))
    images = np.zeros((1, 3, 4, 5))
    images[0, 0, 0, :4] = -5.0, -4.0, 3.99, 100.0
    assert input_integers(graph, images)[0, 0, 0, :4].tolist() == [-128, -128, 96, 96]


@pytest.mark.parametrize("rule", [None, RULE])
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64])
def test_integers_are_taken_as_they_are(dtype: type, rule: dict[str, object] | None) -> None:
    graph = network(FixedPoint(3, 5), rule)
    steps = np.random.default_rng(3).integers(-128, 128, (4, 3, 4, 5)).astype(dtype)
    assert np.array_equal(input_integers(graph, steps), steps)
    assert np.array_equal(real_images(graph, steps), steps / 32)


NORMAL = np.zeros((2, 3, 4, 5))


@pytest.mark.parametrize(("images", "message"), [
    (pixels()[:, :1], r"have shape \[3, 1, 4, 5\], must be \[N, 3, 4, 5\] with N at least 1"),
    (pixels()[0], r"have shape \[3, 4, 5\]"),
    (pixels()[:0], "with N at least 1"),
    (NORMAL[:, :1], r"have shape \[2, 1, 4, 5\], must be \[N, 3, 4, 5\]"),
    (NORMAL[:0], "with N at least 1"),
    (NORMAL * np.nan, "hold NaN or infinite numbers, must be finite"),
    (NORMAL + np.inf, "hold NaN or infinite numbers"),
    (NORMAL + 130.0, r"hold 130..130, must be in the units of the network's input, -4..3; normalize them"),
    (NORMAL + 1e308, r"hold 1e\+308..1e\+308, must be in the units"),
    (NORMAL.astype(np.int16) + 128, r"hold 128..128, must be within -128..127"),
    (NORMAL.astype(bool), "have type bool, must be integers"),
    (NORMAL.astype(np.complex128), "have type complex128, must be integers"),
    (NORMAL.astype(object), "have type object, must be integers"),
])
def test_what_is_no_image_is_told(images: np.ndarray, message: str) -> None:
    with pytest.raises(BadImages, match=message) as caught:
        input_integers(network(FixedPoint(3, 5), RULE), images)
    assert "\n" not in str(caught.value)


def test_pixels_for_a_signed_input_need_a_preprocess() -> None:
    with pytest.raises(BadImages, match="must be within -128..127"):
        input_integers(network(FixedPoint(3, 5)), pixels())
