"""How far fitted integers are from real factors: against every input; and the grids that need no rounding."""

import numpy as np
import pytest

from shifthw.frontend.deviation import bounds, deviations, exact_grid
from shifthw.frontend.draft import Draft, Grid, Sum
from shifthw.frontend.signed_digits import shift_weight
from shifthw.frontend.sums import convolved, doubled, multiplied
from shifthw.ir import Graph, Input, IntType, Node, Requantize, Rounding, ShiftConv2d, TensorType, interpret

CODES = np.arange(-128, 128).reshape(1, 1, 16, 16)
WEIGHTS = (3, -1, 0)


def draft(factor: np.ndarray, offset: np.ndarray) -> tuple[Draft, Sum]:
    """Three channels, 3, -1 and 0 times the input, in real units of `factor` plus `offset`."""
    made = Draft("made")
    made.nodes.append(Node("x", Input(), (), TensorType((1, 16, 16), IntType(8, True))))
    weight, _ = shift_weight(np.array(WEIGHTS).reshape(3, 1, 1, 1), "conv")
    return made, convolved(made, "conv", ShiftConv2d(weight), "x", factor, offset)


def real(factor: np.ndarray, offset: np.ndarray) -> np.ndarray:
    return CODES * (np.array(WEIGHTS) * factor).reshape(1, 3, 1, 1) + offset.reshape(1, 3, 1, 1)


def quantized(value: np.ndarray, rounding: Rounding) -> np.ndarray:
    steps = {Rounding.FLOOR: np.floor, Rounding.HALF_UP: lambda x: np.floor(x + 0.5), Rounding.HALF_EVEN: np.rint}
    return np.clip(steps[rounding](value), -128, 127)


def finished(factor: np.ndarray, offset: np.ndarray, rounding: Rounding) -> tuple[Graph, dict[str, float]]:
    made, value = draft(factor, offset)
    made.quantize("y", value, Grid(IntType(8, True), 1.0, -128, 127, rounding))
    graph = made.finish(("y",), {})
    return graph, deviations(made, graph)


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("factor", [[0.25, 0.25, 0.25], [0.5, 0.125, 1.0], [0.75, 1.0, 3.0], [-0.25, 0.25, 2.0]])
@pytest.mark.parametrize("offset", [[0.0, 0.5, 1.0], [0.3, -0.7, 1e-3], [0.125, 0.3125, -0.25]])
def test_none_means_equal_to_real_arithmetic(rounding: Rounding, factor: list[float], offset: list[float]) -> None:
    graph, found = finished(np.abs(factor), np.array(offset), rounding)
    assert found == {}
    assert np.array_equal(interpret(graph, CODES)["y"], quantized(real(np.abs(factor), np.array(offset)), rounding))


@pytest.mark.parametrize("seed", range(20))
def test_the_bound_holds_and_is_close(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factor, offset = rng.uniform(0.001, 0.5, 3), rng.normal(scale=3, size=3)
    graph, found = finished(factor, offset, Rounding.HALF_EVEN)
    op = graph["y"].op
    assert isinstance(op, Requantize)
    sums = CODES * np.array(WEIGHTS).reshape(3, 1, 1)
    fitted = (sums * op.multiplier[0].reshape(3, 1, 1) + op.bias.reshape(3, 1, 1)) * 2.0**-op.shift
    largest = np.abs(fitted - real(factor, offset)).max()
    assert 0 < largest * (1 - 1e-9) <= found["y"] <= 4 * largest + 2.0**-op.shift


@pytest.mark.parametrize("ratio", [2.0**-7, 0.0078, 0.0123])
def test_products(ratio: float) -> None:
    """Of the input with itself: multipliers of at most 10 bits."""
    made, _ = draft(np.ones(3), np.zeros(3))
    value = multiplied(made, "product", "x", "x")
    assert bounds(made, value) == (-128 * 127, 128 * 128)
    made.quantize("y", value, Grid(IntType(8, True), 1 / ratio, -128, 127, Rounding.HALF_EVEN))
    graph = made.finish(("y",), {})
    op, found = graph["y"].op, deviations(made, graph)
    assert isinstance(op, Requantize)
    assert op.multiplier[0][0] * 128 < 1 << 17
    off = abs(op.multiplier[0][0] / 2**op.shift - ratio) * 128 * 128
    assert found == ({"y": pytest.approx(off)} if off else {})
    exact = np.clip(np.rint(CODES**2 * ratio), -128, 127)
    assert np.abs(interpret(graph, CODES)["y"] - exact).max() <= off + bool(off)


def test_bounds_of_an_enlargement_between_pixels() -> None:
    made, _ = draft(np.ones(3), np.zeros(3))
    assert bounds(made, doubled(made, "large", "x")) == (-128, 127)


def test_bounds_are_reached() -> None:
    factor, offset = np.array([0.5, 2.0, 1.0]), np.array([1.0, -3.0, 0.25])
    made, value = draft(factor, offset)
    assert bounds(made, value) == (real(factor, offset).min(), real(factor, offset).max())
    assert bounds(made, value.clamped(0.0, 7.5)) == (0.0, 7.5)


def test_exact_grid_is_the_coarsest_that_needs_no_rounding() -> None:
    made, value = draft(np.array([0.75, 0.5, 1.0]), np.zeros(3))
    assert exact_grid(made, value) == Grid(IntType(12, True), 0.25, -2048, 2047, Rounding.HALF_UP)
    assert exact_grid(*draft(np.full(3, 2.0**-20), np.zeros(3))) == Grid(IntType(10, True), 2.0**-20, -512, 511,
                                                                         Rounding.HALF_UP)


@pytest.mark.parametrize("factor", [[0.1, 0.2, 0.3], [1.0, 2.0**-30, 1.0], [1.0, 2.0**-18, 1.0], [0.0, 0.0, 0.0]])
def test_no_exact_grid(factor: list[float]) -> None:
    """Factors that are no fractions, or too far apart for 32 bits or for a multiplier."""
    assert exact_grid(*draft(np.array(factor), np.zeros(3))) is None
