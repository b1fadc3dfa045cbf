"""Moves, products and tables of the golden model against formulas of their own: loops, torch's functions, numpy."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional

from shifthw.ir import (
    AddressShift2d,
    BilinearUpsample2d,
    Concat,
    Flatten,
    Graph,
    Input,
    IntType,
    Lookup,
    Multiply,
    Node,
    Op,
    Requantize,
    SelectChannels,
    ShiftConv2d,
    ShiftWeight,
    SpatialShift2d,
    SumOp,
    SumPool2d,
    TensorType,
    Upsample2d,
    accumulator_type,
    interpret,
    output_shape,
)

U8, S8, U2, S16 = IntType(8, False), IntType(8, True), IntType(2, False), IntType(16, True)
TYPES = pytest.mark.parametrize("dtype", [U8, S8, U2, S16], ids=str)
SHAPES = pytest.mark.parametrize("shape", [(5, 6, 7), (3, 1, 1), (4, 1, 5), (2, 9, 1)], ids=str)


def quantized(name: str, source: Node) -> Node:
    """A requantization to 32 bits that keeps what fits them."""
    channels, wide = source.output.channels, IntType(32, True)
    op = Requantize((np.ones(channels, np.int64),), np.zeros(channels, np.int64), 0, wide.lo, wide.hi)
    return Node(name, op, (source.name,), TensorType(source.output.shape, wide))


def graph_of(source: TensorType, *steps: tuple[str, Op, tuple[str, ...]], dtype: IntType | None = None) -> Graph:
    """Input `x` and steps (name, operation, inputs) behind it, the last of this type; accumulators quantized last."""
    nodes = {"x": Node("x", Input(), (), source)}
    for name, op, names in steps:
        tensors = tuple(nodes[each].output for each in names)
        kind = accumulator_type(op, *tensors) if isinstance(op, SumOp) else tensors[0].dtype
        if dtype and name == steps[-1][0]:
            kind = dtype
        nodes[name] = Node(name, op, names, TensorType(output_shape(op, tensors), kind))
    last = nodes[steps[-1][0]]
    if isinstance(last.op, SumOp):
        nodes["quantized"] = quantized("quantized", last)
    return Graph("test", tuple(nodes.values()), (list(nodes)[-1],))


def result(op: Op, images: np.ndarray, source: TensorType, dtype: IntType | None = None) -> np.ndarray:
    graph = graph_of(source, ("y", op, ("x",)), dtype=dtype)
    return interpret(graph, images)[graph.outputs[0]]


def random_images(source: TensorType, count: int = 3) -> np.ndarray:
    """Random ones, and one each of the smallest and the largest values."""
    lo, hi = source.dtype.lo, source.dtype.hi
    images = np.random.default_rng(4).integers(lo, hi, (count + 2, *source.shape), endpoint=True)
    images[0], images[1] = lo, hi
    return images


def at(image: np.ndarray, c: int, y: int, x: int) -> int:
    """A pixel; 0 outside of the map."""
    return int(image[c, y, x]) if 0 <= y < image.shape[1] and 0 <= x < image.shape[2] else 0


def displacements(channels: int, reach: int) -> np.ndarray:
    return np.random.default_rng(reach).integers(-reach, reach, (channels, 2), endpoint=True)


@TYPES
@SHAPES
@pytest.mark.parametrize("reach", [0, 1, 3, 11, 1 << 16])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 3)], ids=str)
def test_spatial_shift(dtype: IntType, shape: tuple[int, int, int], reach: int, stride: tuple[int, int]) -> None:
    source, displacement = TensorType(shape, dtype), displacements(shape[0], reach)
    images = random_images(source)
    found = result(SpatialShift2d(displacement, 1, stride), images, source)
    for image, moved in zip(images, found, strict=True):
        assert moved.shape == (shape[0], -(-shape[1] // stride[0]), -(-shape[2] // stride[1]))
        for c, y, x in np.ndindex(moved.shape):
            dy, dx = displacement[c]
            assert moved[c, y, x] == at(image, c, y * stride[0] + dy, x * stride[1] + dx)


@TYPES
@SHAPES
@pytest.mark.parametrize("reach", [1, 2, 5, 30])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1)], ids=str)
def test_half_pixel_shift_is_four_times_the_mean_of_the_neighbours(dtype: IntType, shape: tuple[int, int, int],
                                                                    reach: int, stride: tuple[int, int]) -> None:
    source, displacement = TensorType(shape, dtype), displacements(shape[0], reach)
    images = random_images(source)
    wide = IntType(dtype.bits + 2, dtype.signed)
    found = result(SpatialShift2d(displacement, 2, stride), images, source, wide)
    assert wide.lo <= found.min() and found.max() <= wide.hi
    for image, moved in zip(images, found, strict=True):
        for c, y, x in np.ndindex(moved.shape):
            halves = (2 * y * stride[0] + int(displacement[c, 0]), 2 * x * stride[1] + int(displacement[c, 1]))
            rows, columns = ({half // 2, -(-half // 2)} for half in halves)
            neighbours = [at(image, c, row, column) for row in rows for column in columns]
            assert moved[c, y, x] == 4 * Fraction(sum(neighbours), len(neighbours))


def test_half_pixel_shift_is_bilinear_sampling() -> None:
    """Independent of the loops: torch's grid_sample with zeros outside."""
    shape, displacement = (6, 8, 9), displacements(6, 4)
    source = TensorType(shape, S8)
    images = random_images(source)
    found = result(SpatialShift2d(displacement, 2), images, source, IntType(10, True))
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    for c, (dy, dx) in enumerate(displacement.tolist()):
        grid = torch.stack([(x + dx / 2) * 2 / 8 - 1, (y + dy / 2) * 2 / 7 - 1], dim=-1).double()
        plane = torch.from_numpy(images[:, c:c + 1]).double()
        sampled = functional.grid_sample(plane, grid.expand(len(images), -1, -1, -1), align_corners=True)
        assert np.array_equal(found[:, c], torch.round(4 * sampled[:, 0]).numpy())


@TYPES
@SHAPES
def test_address_shift_runs_over_the_ends_of_lines(dtype: IntType, shape: tuple[int, int, int]) -> None:
    source, width = TensorType(shape, dtype), shape[2]
    for offset in (np.arange(shape[0]) - 2, (np.arange(shape[0]) - 1) * width, np.arange(shape[0]) * 1000 - 1000):
        images = random_images(source)
        found = result(AddressShift2d(offset), images, source)
        pixels = shape[1] * width
        for image, moved in zip(images, found, strict=True):
            for c, n in np.ndindex(shape[0], pixels):
                address = n + offset[c]
                expected = image[c].ravel()[address] if 0 <= address < pixels else 0
                assert moved[c].ravel()[n] == expected


def test_address_shift_differs_from_a_spatial_shift_at_the_border_alone() -> None:
    images = np.arange(1, 13).reshape(1, 1, 3, 4)
    source = TensorType((1, 3, 4), U8)
    assert result(AddressShift2d(np.array([1])), images, source).ravel().tolist() == [*range(2, 13), 0]
    spatial = result(SpatialShift2d(np.array([[0, 1]])), images, source)
    assert spatial[0, 0].tolist() == [[2, 3, 4, 0], [6, 7, 8, 0], [10, 11, 12, 0]]


@TYPES
def test_channels_are_taken_in_any_order_and_number(dtype: IntType) -> None:
    source = TensorType((6, 3, 2), dtype)
    images = random_images(source)
    for channels in ([5], [0, 1, 2], [3, 3, 0, 5, 1, 1, 2, 4], list(range(6))):
        assert np.array_equal(result(SelectChannels(np.array(channels)), images, source), images[:, channels])
    shuffled = functional.channel_shuffle(torch.from_numpy(images), 2).numpy()
    order = np.arange(6).reshape(2, 3).T.ravel()
    assert np.array_equal(result(SelectChannels(order), images, source), shuffled)


@TYPES
def test_concatenation(dtype: IntType) -> None:
    source = TensorType((3, 4, 5), dtype)
    images = random_images(source)
    graph = graph_of(source, ("rolled", SelectChannels(np.array([2, 0])), ("x",)),
                     ("y", Concat(), ("x", "rolled", "x")))
    expected = np.concatenate([images, images[:, [2, 0]], images], axis=1)
    assert np.array_equal(interpret(graph, images)["y"], expected)
    assert np.array_equal(result(Concat(), images, source), images)


@TYPES
@SHAPES
@pytest.mark.parametrize("factor", [(2, 2), (1, 3), (3, 1), (1, 1), (4, 5)], ids=str)
def test_upsampling(dtype: IntType, shape: tuple[int, int, int], factor: tuple[int, int]) -> None:
    source = TensorType(shape, dtype)
    images = random_images(source)
    nearest = functional.interpolate(torch.from_numpy(images).double(), scale_factor=factor, mode="nearest")
    assert np.array_equal(result(Upsample2d(factor), images, source), nearest.numpy())
    stuffed = result(Upsample2d(factor, zeros=True), images, source)
    assert np.array_equal(stuffed[:, :, ::factor[0], ::factor[1]], images)
    assert np.abs(stuffed).sum() == np.abs(images).sum()


@TYPES
@SHAPES
def test_bilinear_upsampling_is_sixteen_times_torchs(dtype: IntType, shape: tuple[int, int, int]) -> None:
    source = TensorType(shape, dtype)
    images = random_images(source)
    found = result(BilinearUpsample2d(), images, source)
    expected = functional.interpolate(torch.from_numpy(images).double(), scale_factor=2, mode="bilinear",
                                      align_corners=False)
    assert np.array_equal(found, (16 * expected).numpy())
    assert found[1].max() == found[1].min() == 16 * dtype.hi


@pytest.mark.parametrize(("stride", "kernel", "cut"), [((2, 2), (2, 2), (0, 0)), ((2, 2), (4, 4), (1, 1)),
                                                       ((3, 2), (3, 3), (0, 0)), ((1, 2), (3, 4), (1, 0))])
def test_transposed_convolution_is_zeros_and_a_turned_kernel(stride: tuple[int, int], kernel: tuple[int, int],
                                                             cut: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    source = TensorType((3, 4, 5), S8)
    images = random_images(source)
    sign = rng.integers(-1, 2, (1, 4, 3, *kernel)).astype(np.int8)
    weight = ShiftWeight(sign, np.where(sign, rng.integers(0, 5, sign.shape), 0).astype(np.int8))
    top, left = kernel[0] - 1 - cut[0], kernel[1] - 1 - cut[1]
    padding = (top, left, top - (stride[0] - 1), left - (stride[1] - 1))
    graph = graph_of(source, ("stuffed", Upsample2d(stride, zeros=True), ("x",)),
                     ("y", ShiftConv2d(weight, padding=padding), ("stuffed",)))
    turned = torch.from_numpy(weight.integer).double().flip(2, 3).transpose(0, 1)
    expected = functional.conv_transpose2d(torch.from_numpy(images).double(), turned, None, stride, cut)
    assert np.array_equal(interpret(graph, images)["quantized"], expected.numpy())


@pytest.mark.parametrize("dtypes", [(U8, U8), (S8, U8), (U8, S8), (S16, S8), (IntType(32, True), IntType(28, True))],
                         ids=str)
def test_products(dtypes: tuple[IntType, IntType]) -> None:
    """Of two maps, and of a map and one pixel."""
    source = TensorType((3, 4, 5), dtypes[0])
    images = random_images(source)
    other = dtypes[1]
    reduced = Requantize((np.array([1, -1, 1]),), np.zeros(3, np.int64), 0, other.lo, other.hi)
    for name, window in (("map", (1, 1)), ("pixel", (4, 5))):
        sums = Node("sums", SumPool2d(window, (1, 1)), ("x",), TensorType(
            (3, 4, 5) if name == "map" else (3, 1, 1), accumulator_type(SumPool2d(window, (1, 1)), source)))
        factor = Node("factor", reduced, ("sums",), TensorType(sums.output.shape, other))
        product = Node("y", Multiply(), ("x", "factor"), TensorType(source.shape, accumulator_type(
            Multiply(), source, factor.output)))
        nodes = (Node("x", Input(), (), source), sums, factor, product, quantized("out", product))
        found = interpret(Graph("test", nodes, ("out",)), images, keep="all")
        assert np.array_equal(found["y"], images * found["factor"])
        assert int(np.abs(found["y"]).max()) <= max(-product.output.dtype.lo, product.output.dtype.hi)


@pytest.mark.parametrize("bits", [2, 5, 8])
@pytest.mark.parametrize("signed", [False, True])
def test_tables(bits: int, signed: bool) -> None:
    source, dtype = TensorType((4, 5, 6), IntType(bits, signed)), IntType(11, True)
    table = np.random.default_rng(3).integers(dtype.lo, dtype.hi, 1 << bits, endpoint=True)
    images = random_images(source)
    found = result(Lookup(table, "random"), images, source, dtype)
    expected = [table[value - source.dtype.lo] for value in images.ravel()]
    assert found.ravel().tolist() == expected


def test_flattened_order_is_torchs() -> None:
    source = TensorType((3, 4, 5), S8)
    images = random_images(source)
    assert np.array_equal(result(Flatten(), images, source)[:, :, 0, 0], torch.from_numpy(images).flatten(1).numpy())
