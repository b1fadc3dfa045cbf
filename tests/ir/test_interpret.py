"""The golden model against plain integer loops, one operation at a time, corners first."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shifthw.errors import BadImages
from shifthw.ir import (
    AdderConv2d,
    Convolution,
    Flatten,
    Graph,
    Input,
    IntType,
    MaxPool2d,
    Node,
    Op,
    Requantize,
    Rounding,
    ShiftConv2d,
    ShiftWeight,
    SumOp,
    SumPool2d,
    TensorType,
    accumulator_type,
    distances,
    interpret,
    output_shape,
    windows,
)

U8, S8 = IntType(8, False), IntType(8, True)


def graph_of(op: Op, source: TensorType, shift: int = 0) -> Graph:
    """Input, `op`, and behind an accumulator a Requantize to 32 bits."""
    first = Node("input", Input(), (), source)
    shape = output_shape(op, (source,))
    if not isinstance(op, SumOp):
        return Graph("test", (first, Node("op", op, ("input",), TensorType(shape, source.dtype))), ("op",))
    body = Node("op", op, ("input",), TensorType(shape, accumulator_type(op, source)))
    wide = IntType(32, True)
    quantize = Requantize((np.ones(shape[0], np.int64),), np.zeros(shape[0], np.int64), shift, wide.lo, wide.hi)
    return Graph("test", (first, body, Node("out", quantize, ("op",), TensorType(shape, wide))), ("out",))


def random_weight(rng: np.random.Generator, shape: tuple[int, ...], exponents: int = 8) -> ShiftWeight:
    sign = rng.integers(-1, 2, shape).astype(np.int8)
    exponent = np.where(sign == 0, 0, rng.integers(0, exponents, shape)).astype(np.int8)
    return ShiftWeight(sign, exponent)


def random_images(rng: np.random.Generator, source: TensorType, count: int = 2) -> np.ndarray:
    """Random images, then the extremes, then a mixture of extremes."""
    lo, hi = source.dtype.lo, source.dtype.hi
    images = rng.integers(lo, hi, (count + 3, *source.shape), endpoint=True)
    images[0], images[1] = lo, hi
    images[2] = rng.choice([lo, hi], source.shape)
    return images


def loop_conv(op: Convolution, x: np.ndarray) -> np.ndarray:
    """One image's accumulators by nested loops over Python integers."""
    adder = isinstance(op, AdderConv2d)
    weight = op.weight if isinstance(op, AdderConv2d) else op.weight.integer
    outputs, per_group, height, width = weight.shape
    shape = output_shape(op, (TensorType(x.shape, IntType(33, True)),))
    result = np.zeros(shape, object)
    for o, y, xx in np.ndindex(shape):
        first = o // (outputs // op.groups) * per_group
        for i, ky, kx in itertools.product(range(per_group), range(height), range(width)):
            row = y * op.stride[0] - op.padding[0] + ky * op.dilation[0]
            column = xx * op.stride[1] - op.padding[1] + kx * op.dilation[1]
            inside = 0 <= row < x.shape[1] and 0 <= column < x.shape[2]
            value, w = int(x[first + i, row, column]) if inside else 0, int(weight[o, i, ky, kx])
            result[o, y, xx] += -abs(w - value) if adder else w * value
    return result


CONVOLUTIONS = {
    "1x1": dict(shape=(3, 5, 7), out=4, kernel=(1, 1)),
    "3x3": dict(shape=(3, 5, 7), out=2, kernel=(3, 3), padding=(1, 1, 1, 1)),
    "kernel as large as the map": dict(shape=(2, 4, 3), out=3, kernel=(4, 3)),
    "stride 2, odd size": dict(shape=(2, 7, 9), out=3, kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1)),
    "stride 2, TensorFlow's SAME": dict(shape=(2, 8, 8), out=3, kernel=(3, 3), stride=(2, 2), padding=(0, 0, 1, 1)),
    "stride 3 and 2, 1x1": dict(shape=(2, 7, 8), out=3, kernel=(1, 1), stride=(3, 2)),
    "stride 3, 5x2": dict(shape=(2, 11, 8), out=3, kernel=(5, 2), stride=(3, 3), padding=(2, 0, 1, 1)),
    "dilation": dict(shape=(2, 9, 11), out=3, kernel=(3, 2), dilation=(2, 3), padding=(2, 1, 0, 3)),
    "groups": dict(shape=(6, 5, 5), out=4, kernel=(3, 3), groups=2, padding=(1, 1, 1, 1)),
    "depthwise": dict(shape=(5, 5, 4), out=5, kernel=(3, 3), groups=5, stride=(2, 1), padding=(1, 1, 1, 1)),
    "padding beyond the kernel": dict(shape=(1, 2, 2), out=1, kernel=(2, 2), padding=(4, 0, 0, 3)),
    "three terms": dict(shape=(3, 4, 4), out=2, kernel=(3, 3), terms=3),
}


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("dtype", [U8, S8, IntType(2, True), IntType(16, False)], ids=str)
def test_convolution_is_the_loops_result(case: dict, dtype: IntType) -> None:
    rng = np.random.default_rng(1)
    source = TensorType(case["shape"], dtype)
    groups = case.get("groups", 1)
    weight = random_weight(rng, (case.get("terms", 1), case["out"], case["shape"][0] // groups, *case["kernel"]))
    op = ShiftConv2d(weight, case.get("stride", (1, 1)), case.get("padding", (0, 0, 0, 0)),
                     case.get("dilation", (1, 1)), groups)
    images = random_images(rng, source)
    results = interpret(graph_of(op, source), images, keep="all")
    for image, sums, final in zip(images, results["op"], results["out"], strict=True):
        assert np.array_equal(sums, loop_conv(op, image))
        assert np.array_equal(final, sums)


@pytest.mark.parametrize("case", [case for name, case in CONVOLUTIONS.items() if name != "three terms"],
                         ids=[name for name in CONVOLUTIONS if name != "three terms"])
@pytest.mark.parametrize("dtype", [U8, S8, IntType(2, True), IntType(16, False)], ids=str)
def test_adder_layer_is_the_loops_result(case: dict, dtype: IntType) -> None:
    """Weights up to twice beyond the range of the activations, both ends of that range, and 0."""
    rng = np.random.default_rng(6)
    source = TensorType(case["shape"], dtype)
    groups = case.get("groups", 1)
    shape = (case["out"], case["shape"][0] // groups, *case["kernel"])
    weight = rng.integers(2 * dtype.lo - 2, 2 * dtype.hi + 2, shape, endpoint=True)
    weight.flat[:3] = (dtype.lo, dtype.hi, 0)[:weight.size]
    op = AdderConv2d(weight, case.get("stride", (1, 1)), case.get("padding", (0, 0, 0, 0)),
                     case.get("dilation", (1, 1)), groups)
    images = random_images(rng, source)
    results = interpret(graph_of(op, source), images, keep="all")
    for image, sums, final in zip(images, results["op"], results["out"], strict=True):
        assert np.array_equal(sums, loop_conv(op, image))
        assert np.array_equal(final, sums)


@pytest.mark.parametrize(("bits", "limit"), [(8, 1 << 7), (15, 1 << 15), (16, 1 << 15), (24, 1 << 24), (25, 3),
                                             (31, 1 << 30), (32, 1 << 31)])
@pytest.mark.parametrize("signed", [False, True])
def test_wide_distances_are_exact(bits: int, limit: int, signed: bool) -> None:
    """Passes from float32 to float64: odd sums whose last bit the narrower type would lose."""
    rng = np.random.default_rng(7)
    source = TensorType((65, 3, 3), IntType(bits, signed))
    weight = rng.choice([-limit, 1 - limit, limit - 1, limit], (4, 65, 3, 3))
    op = AdderConv2d(weight)
    images = random_images(rng, source)
    sums = interpret(graph_of(op, source), images, keep="all")["op"]
    for image, result in zip(images, sums, strict=True):
        assert np.array_equal(result, loop_conv(op, image))


def test_blocks_of_an_adder_layer_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    source = TensorType((4, 9, 7), S8)
    op = AdderConv2d(rng.integers(-200, 200, (6, 2, 3, 3)), (2, 1), (1, 2, 0, 1), (1, 2), 2)
    images = random_images(rng, source)
    whole = interpret(graph_of(op, source), images)["out"]
    for elements in (1, 64 * op.weight[0].size * op.groups * 2):
        monkeypatch.setattr(distances, "ELEMENTS_PER_BLOCK", elements)
        monkeypatch.setattr(windows, "ELEMENTS_PER_MATRIX", elements)
        assert np.array_equal(interpret(graph_of(op, source), images)["out"], whole)


@pytest.mark.parametrize(("bits", "exponents"), [(8, 8), (16, 9), (24, 16), (25, 16), (31, 16), (32, 16)])
@pytest.mark.parametrize("signed", [False, True])
def test_wide_sums_are_exact(bits: int, exponents: int, signed: bool) -> None:
    """Passes from float32 over float64 to int64: the extremes of each must come out whole."""
    rng = np.random.default_rng(2)
    source = TensorType((65, 3, 3), IntType(bits, signed))
    op = ShiftConv2d(random_weight(rng, (4, 3, 65, 3, 3), exponents))
    images = random_images(rng, source)
    sums = interpret(graph_of(op, source), images, keep="all")["op"]
    for image, result in zip(images, sums, strict=True):
        assert np.array_equal(result, loop_conv(op, image))


def test_lower_matmul_precision_of_the_process_does_not_reach_the_sums() -> None:
    rng = np.random.default_rng(3)
    source = TensorType((16, 6, 6), U8)
    op = ShiftConv2d(random_weight(rng, (1, 16, 16, 3, 3)))
    images = random_images(rng, source)
    expected = interpret(graph_of(op, source), images)["out"]
    torch.set_float32_matmul_precision("medium")
    try:
        assert np.array_equal(interpret(graph_of(op, source), images)["out"], expected)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(("kernel", "stride", "padding"), [
    ((2, 2), (2, 2), (0, 0, 0, 0)), ((3, 3), (2, 2), (1, 1, 1, 1)), ((3, 2), (1, 3), (2, 0, 0, 1)),
    ((7, 5), (7, 5), (0, 0, 0, 0)), ((1, 1), (3, 2), (0, 0, 0, 0))])
@pytest.mark.parametrize("dtype", [U8, S8], ids=str)
def test_pools(kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int, int, int],
               dtype: IntType) -> None:
    rng = np.random.default_rng(4)
    source = TensorType((3, 7, 5), dtype)
    images = random_images(rng, source)
    largest = interpret(graph_of(MaxPool2d(kernel, stride, padding), source), images)["op"]
    sums = interpret(graph_of(SumPool2d(kernel, stride, padding), source), images)["out"]
    top, left, _, _ = padding
    for index in np.ndindex(largest.shape):
        n, c, y, x = index
        rows = slice(max(0, y * stride[0] - top), max(0, y * stride[0] - top + kernel[0]))
        columns = slice(max(0, x * stride[1] - left), max(0, x * stride[1] - left + kernel[1]))
        window = images[n, c, rows, columns]
        assert largest[index] == window.max()
        assert sums[index] == window.sum()


def test_flatten_is_channel_major() -> None:
    source = TensorType((2, 3, 2), U8)
    images = np.arange(24).reshape(2, 2, 3, 2)
    result = interpret(graph_of(Flatten(), source), images)["op"]
    assert np.array_equal(result, images.reshape(2, 12, 1, 1))


# -- requantize --------------------------------------------------------------------------------
def requantize(values: np.ndarray, m: list[int], b: list[int], shift: int, rounding: Rounding, *,
               lo: int = -128, hi: int = 127, residual: np.ndarray | None = None, mr: int = 0,
               bits: int = 32) -> np.ndarray:
    """Results of one Requantize of values[N, C] (signed `bits`), C being len(m)."""
    source = TensorType((len(m), 1, 1), IntType(bits, True))
    wide = IntType(32, True)
    op = Requantize((np.array(m),), np.array(b), shift, lo, hi, rounding)
    nodes = [Node("input", Input(), (), source), Node("out", op, ("input",), TensorType(source.shape, wide))]
    if residual is not None:
        source = replace(source, shape=(2 * len(m), 1, 1))  # both operands are cut out of one input
        picks = np.eye(2 * len(m), dtype=np.int8)[None, :, :, None, None]
        one, zero = np.ones(len(m), np.int64), np.zeros(len(m), np.int64)
        nodes = [Node("input", Input(), (), source)]
        for name, pick in (("a", picks[:, :len(m)]), ("r", picks[:, len(m):])):
            conv = ShiftConv2d(ShiftWeight(pick.copy(), np.zeros_like(pick)))
            nodes.append(Node(name, conv, ("input",), TensorType((len(m), 1, 1), accumulator_type(conv, source))))
        copy = Requantize((one,), zero, 0, wide.lo, wide.hi)
        nodes.append(Node("rq", copy, ("r",), TensorType((len(m), 1, 1), wide)))
        op = replace(op, multiplier=(np.array(m), np.full(len(m), mr)))
        nodes.append(Node("out", op, ("a", "rq"), TensorType((len(m), 1, 1), wide)))
        values = np.concatenate([values, residual], axis=1)
    return interpret(Graph("test", tuple(nodes), ("out",)), values[:, :, None, None])["out"][:, :, 0, 0]


def rounded(total: int, shift: int, rounding: Rounding) -> int:
    """total / 2**shift as a whole number; Python's round goes to the even one at a tie."""
    match rounding:
        case Rounding.FLOOR:
            return total >> shift
        case Rounding.HALF_UP:
            return (2 * total + (1 << shift)) >> (shift + 1)
        case Rounding.HALF_EVEN:
            return round(Fraction(total, 1 << shift))


def test_halves_round_up_or_down_or_to_the_even_number() -> None:
    values = np.array([[-6], [-5], [-3], [-2], [-1], [0], [1], [2], [3], [5], [6]])
    up = requantize(values, [1], [0], 1, Rounding.HALF_UP)[:, 0]
    floor = requantize(values, [1], [0], 1, Rounding.FLOOR)[:, 0]
    even = requantize(values, [1], [0], 1, Rounding.HALF_EVEN)[:, 0]
    assert up.tolist() == [-3, -2, -1, -1, 0, 0, 1, 1, 2, 3, 3]
    assert floor.tolist() == [-3, -3, -2, -1, -1, 0, 0, 1, 1, 2, 3]
    assert even.tolist() == [-3, -2, -2, -1, 0, 0, 0, 1, 2, 2, 3]
    assert np.array_equal(even, np.round(values[:, 0] / 2))


def test_shift_zero_rounds_nothing_and_clamps() -> None:
    values = np.array([[-300], [-129], [-128], [127], [128], [300]])
    for rounding in Rounding:
        assert requantize(values, [1], [0], 0, rounding)[:, 0].tolist() == [-128, -128, -128, 127, 127, 127]
    assert requantize(values, [1], [0], 0, Rounding.FLOOR, lo=0, hi=96)[:, 0].tolist() == [0, 0, 0, 96, 96, 96]


WIDE = [-(2**31), -(2**31) + 1, -65537, -256, -255, -1, 0, 1, 127, 255, 65535, 65536, 2**31 - 2, 2**31 - 1]


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("shift", [0, 1, 16, 31, 32, 33, 47])
@pytest.mark.parametrize(("multiplier", "bias"), [
    (1, 0), (131071, -(1 << 39)), (-131071, 7), (2**31 - 1, (1 << 62) - 1), (-(2**31) + 1, -(1 << 62) + 1)])
def test_requantize_extremes(rounding: Rounding, shift: int, multiplier: int, bias: int) -> None:
    values = np.array(WIDE)[:, None]
    for lo, hi in ((-128, 127), (-(2**31), 2**31 - 1)):
        result = requantize(values, [multiplier], [bias], shift, rounding, lo=lo, hi=hi)[:, 0]
        exact = [rounded(v * multiplier + bias, shift, rounding) for v in WIDE]
        assert result.tolist() == [min(max(y, lo), hi) for y in exact]


@pytest.mark.parametrize("shift", [1, 5, 16, 31, 32, 33, 40, 47])
@pytest.mark.parametrize("far", [0, 1 << 52, -(1 << 56)])
def test_ties_go_to_the_even_number(shift: int, far: int) -> None:
    """Ties, and one unit beside them, from the bias; `far` is where float64 no longer holds the sums."""
    near = (-130, -3, -2, -1, 0, 1, 2, 126)
    totals = [(k << shift) + (1 << (shift - 1)) + beside for k in near for beside in (-1, 0, 1)]
    values = np.zeros((1, len(totals)), np.int64)
    for base in (0, far):
        bias = [total + base for total in totals]
        result = requantize(values, [1] * len(totals), bias, shift, Rounding.HALF_EVEN)[0]
        assert result.tolist() == [min(max(rounded(b, shift, Rounding.HALF_EVEN), -128), 127) for b in bias]


def test_ties_of_wide_sums_go_to_the_even_number() -> None:
    """The sum leaves float64 by its bound, not by its value: products of both signs cancel."""
    shift, multiplier = 33, (1 << 31) - 1
    totals = [(k << shift) + (1 << (shift - 1)) + beside for k in range(-4, 4) for beside in (-1, 0, 1)]
    values = np.full((1, len(totals)), 1 << 30)
    bias = [total - (multiplier << 30) for total in totals]
    for rounding in Rounding:
        result = requantize(values, [multiplier] * len(totals), bias, shift, rounding)[0]
        assert result.tolist() == [rounded(total, shift, rounding) for total in totals]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.data())
def test_requantize_of_two_inputs(data: st.DataObject) -> None:
    limit = data.draw(st.sampled_from([7, 100, 2**17, 2**31 - 1]))
    m, mr = (data.draw(st.integers(-limit, limit)) for _ in range(2))
    bias = data.draw(st.integers(-(2**40), 2**40))
    shift = data.draw(st.integers(0, 47))
    rounding = data.draw(st.sampled_from(Rounding))
    pairs = data.draw(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1)),
                               min_size=1, max_size=5))
    a, r = np.array(pairs)[:, :1], np.array(pairs)[:, 1:]
    result = requantize(a, [m], [bias], shift, rounding, residual=r, mr=mr)[:, 0]
    exact = [rounded(x * m + y * mr + bias, shift, rounding) for x, y in pairs]
    assert result.tolist() == [min(max(y, -128), 127) for y in exact]


def test_each_channel_has_its_multiplier_and_bias() -> None:
    values = np.array([[10, 10, 10], [-10, -10, -10]])
    result = requantize(values, [1, 3, -2], [0, 5, 100], 1, Rounding.FLOOR)
    assert result.tolist() == [[5, 17, 40], [-5, -13, 60]]


# -- images and results ------------------------------------------------------------------------
@pytest.mark.parametrize(("images", "message"), [
    (np.zeros((1, 3, 4, 4)), "have type float64"),
    (np.zeros((1, 3, 4, 4), bool), "have type bool"),
    (np.zeros((3, 4, 4), np.uint8), r"have shape \[3, 4, 4\], must be \[N, 3, 4, 4\]"),
    (np.zeros((1, 4, 4, 3), np.uint8), r"have shape \[1, 4, 4, 3\]"),
    (np.zeros((0, 3, 4, 4), np.uint8), "N at least 1"),
    (np.full((1, 3, 4, 4), 256), "hold 256..256, must be within 0..255"),
    (np.full((1, 3, 4, 4), -1), "hold -1..-1"),
])
def test_images_that_do_not_suit_are_one_line(images: np.ndarray, message: str) -> None:
    with pytest.raises(BadImages, match=message) as caught:
        interpret(graph_of(Flatten(), TensorType((3, 4, 4), U8)), images)
    assert "\n" not in str(caught.value)


def test_batches_do_not_show() -> None:
    rng = np.random.default_rng(5)
    source = TensorType((3, 6, 6), U8)
    graph = graph_of(ShiftConv2d(random_weight(rng, (1, 4, 3, 3, 3))), source)
    images = random_images(rng, source, count=4)
    whole = interpret(graph, images, keep="all")
    for batch in (1, 3, 7, 100):
        for name, result in interpret(graph, images, keep="all", batch=batch).items():
            assert result.dtype == np.int64
            assert np.array_equal(result, whole[name])
    assert list(interpret(graph, images)) == ["out"]
    assert list(whole) == ["input", "op", "out"]
    assert np.array_equal(whole["input"], images)
