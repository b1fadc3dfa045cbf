"""What each ATen operation becomes, and a line for those that become nothing."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from shifthw.errors import UnsupportedModel
from shifthw.frontend.aten import layers_of
from shifthw.frontend.export_program import checked_copy
from shifthw.frontend.exported import Step, Stored, export
from shifthw.frontend.plain_layers import Layer

from .plain_models import Net, conv, images

MAP = (2, 4, 8, 8)


def step(kind: str, shape: tuple[int, ...] = MAP, before: tuple[int, ...] = MAP, **options: object) -> Step:
    return Step("y", kind, "block", False, "net.py:7", shape, ("x",), (before,), options)


def layer(found: Step) -> Layer:
    layers = layers_of(found)
    assert len(layers) == 1 and layers[0].name == "y" and layers[0].inputs == ("x",)
    assert layers[0].shape == found.shape
    return layers[0]


def stored(*shape: int) -> Stored:
    return Stored("conv.weight", torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape))


def convolution(**options: object) -> Step:
    defaults = dict(weight=stored(4, 4, 4, 2), bias=None, stride=[1, 1], padding=[0, 0], dilation=[1, 1], groups=1)
    return step("conv2d", **(defaults | options))


@pytest.mark.parametrize(("padding", "dilation", "sides"), [
    ("valid", [1, 1], (0, 0, 0, 0)), ("same", [1, 1], (1, 0, 2, 1)), ("same", [3, 1], (4, 0, 5, 1)),
    ([1, 2], [1, 1], (1, 2, 1, 2)), ([3], [1, 1], (3, 3, 3, 3))])
def test_padding_by_side(padding: object, dilation: list[int], sides: tuple[int, ...]) -> None:
    found = layer(convolution(padding=padding, dilation=dilation))
    assert (found.kind, found.options["padding"], found.options["dilation"]) == ("conv", sides, tuple(dilation))


@pytest.mark.parametrize(("kind", "options", "limits"), [
    ("relu", {}, (0, math.inf)), ("relu6", {}, (0, 6)), ("hardtanh", {"min_val": -2, "max_val": 0.5}, (-2, 0.5)),
    ("clamp", {"min": None, "max": 3}, (-math.inf, 3)), ("clamp_min", {"min": 1}, (1, math.inf)),
    ("clamp", {"min": Stored("", torch.tensor(-1.0)), "max": None}, (-1, math.inf))])
def test_limits(kind: str, options: dict[str, object], limits: tuple[float, float]) -> None:
    found = layer(step(kind, **options))
    assert (found.kind, found.options["lo"], found.options["hi"]) == ("clamp", *limits)


@pytest.mark.parametrize(("kind", "options", "gain", "offset"), [
    ("add", {"other": 2, "alpha": 3}, 1, 6), ("sub", {"other": 2.5, "alpha": 1}, 1, -2.5),
    ("sub", {"self": 5.0, "alpha": 1}, -1, 5), ("rsub", {"other": 1, "alpha": 2}, -2, 1),
    ("mul", {"other": -0.5}, -0.5, 0), ("mul", {"self": 3}, 3, 0), ("div", {"other": 4}, 0.25, 0), ("neg", {}, -1, 0)])
def test_constants_are_gain_and_offset(kind: str, options: dict[str, object], gain: float, offset: float) -> None:
    found = layer(step(kind, **options))
    assert found.kind == "affine"
    assert found.options["gain"].tolist() == [gain] * 4
    assert found.options["offset"].tolist() == [offset] * 4


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1)])
def test_constants_per_channel(shape: tuple[int, ...]) -> None:
    assert layer(step("mul", other=stored(*shape))).options["gain"].tolist() == [0, 1, 2, 3]
    assert layer(step("sub", (2, 4), (2, 4), other=stored(4))).options["offset"].tolist() == [0, -1, -2, -3]


def test_differences_and_multiples_of_sums() -> None:
    def both(kind: str, alpha: float) -> list[Layer]:
        return layers_of(Step("y", kind, "", False, "", MAP, ("a", "b"), (MAP, MAP), {"alpha": alpha}))
    assert [(found.kind, found.inputs) for found in both("add", 1)] == [("add", ("a", "b"))]
    scaled, added = both("sub", 2)
    assert (scaled.inputs, scaled.options["gain"].tolist(), added.inputs) == (("b",), [-2] * 4, ("a", scaled.name))
    scaled, added = both("rsub", 1)
    assert (scaled.inputs, scaled.options["gain"].tolist(), added.inputs) == (("a",), [-1] * 4, (scaled.name, "b"))


@pytest.mark.parametrize("found", [
    step("add", other=0, alpha=1), step("mul", other=1.0), step("dropout", p=0.5, train=False), step("clone"),
    step("_to_copy", dtype=torch.float32), step("view", size=[2, 4, 8, 8]), step("getitem", **{"1": 0}),
    step("slice", dim=0, start=0, end=2, step=1), step("pad", pad=[0, 0], mode="constant", value=None),
    step("adaptive_avg_pool2d", output_size=[8, 8]), step("type_as", other=stored(1)),
    step("permute", dims=[0, 1, 2, 3]), step("transpose", dim0=-1, dim1=3)], ids=lambda found: found.kind)
def test_what_changes_nothing_is_no_layer(found: Step) -> None:
    assert layers_of(found) == []


def test_padding_of_maps_and_channels_is_two_layers() -> None:
    zeros = step("pad", (2, 7, 9, 10), pad=[0, 2, 1, 0, 1, 2], mode="constant", value=0.0)
    channels, sides = layers_of(zeros)
    assert (channels.kind, channels.options["channels"], channels.shape) == ("subsample", (1, 2), (2, 7, 8, 8))
    assert (sides.kind, sides.options["sides"], sides.inputs) == ("pad", (1, 0, 0, 2), (channels.name,))
    assert sides.name == "y"


@pytest.mark.parametrize(("after", "kind"), [((1, 1), "global_pool"), ((4, 2), "average_pool")])
def test_adaptive_pools_of_whole_windows(after: tuple[int, int], kind: str) -> None:
    found = layer(step("adaptive_avg_pool2d", (2, 4, *after), output_size=list(after)))
    assert found.kind == kind
    assert found.options.get("kernel") == ((2, 4) if kind == "average_pool" else None)


@pytest.mark.parametrize(("after", "kernel"), [((1, 1), (8, 8)), ((4, 2), (2, 4))])
def test_adaptive_maxima_of_whole_windows(after: tuple[int, int], kernel: tuple[int, int]) -> None:
    found = layer(step("adaptive_max_pool2d", (2, 4, *after), output_size=list(after)))
    assert (found.kind, found.options) == ("max_pool", dict(kernel=kernel, stride=kernel, padding=(0, 0)))


@pytest.mark.parametrize("kind", ["max_pool2d", "avg_pool2d", "max_pool2d_with_indices"])
def test_windows_beyond_the_map_are_refused_only_where_there_are_some(kind: str) -> None:
    def pool(size: int, kernel: int) -> Step:
        return step(kind, (2, 4, size, 4), kernel_size=[kernel, 2], stride=[2, 2], padding=[0, 0], ceil_mode=True)
    assert layer(pool(4, 2)).options["kernel"] == (2, 2)
    with pytest.raises(UnsupportedModel, match="must have ceil_mode=False"):
        layers_of(pool(4, 3))


def test_joined_rows_and_dimensions_of_one_entry() -> None:
    assert layer(step("view", (2, 4, 64))).kind == "pixels"
    assert layer(step("flatten", (2, 4), (2, 4, 1))).kind == "flatten"
    assert layer(step("permute", (2, 4, 1), (2, 1, 4), dims=[0, 2, 1])).kind == "flatten"
    assert layers_of(step("transpose", (2, 4, 1, 1), (2, 4, 1, 1), dim0=2, dim1=-1)) == []


@pytest.mark.parametrize(("before", "axes", "kind"), [
    (MAP, [2, 3], "global_pool"), (MAP, [-1, -2], "global_pool"), (MAP, [3], "mean"),
    ((2, 4, 1, 8), [3], "global_pool"), ((2, 4, 8), [2], "global_pool")])
def test_means_over_pixels(before: tuple[int, ...], axes: list[int], kind: str) -> None:
    assert layer(step("mean", (2, 4), before, dim=axes)).kind == kind


@pytest.mark.parametrize(("kind", "options", "name"), [
    ("hardswish", {}, "hardswish"), ("gelu", {"approximate": "none"}, "gelu"),
    ("gelu", {"approximate": "tanh"}, "gelu_tanh"), ("leaky_relu", {"negative_slope": 0.2}, "leaky_relu 0.2"),
    ("prelu", {"weight": Stored("", torch.full((4,), 0.25))}, "leaky_relu 0.25"),
    ("elu", {"alpha": 2, "scale": 1, "input_scale": 1}, "elu 2.0")])
def test_tables_by_the_names_of_their_functions(kind: str, options: dict[str, object], name: str) -> None:
    found = layer(step(kind, **options))
    assert (found.kind, found.options) == ("function", {"function": name})


def test_a_move_is_where_its_values_are_found() -> None:
    found = layer(step("split_with_sizes", (2, 3, 1, 2), (2, 4, 1, 2), split_sizes=[1, 3], dim=1, part=1))
    assert found.kind == "move"
    assert found.options["index"].flatten().tolist() == [2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize(("kind", "before", "after", "expected"), [
    ("upsample_nearest2d", (8, 8), (16, 24), ("upsample", (2, 3))),
    ("upsample_bilinear2d", (8, 4), (16, 8), ("bilinear",)),
    ("upsample_bilinear2d", (1, 1), (5, 7), ("upsample", (5, 7)))])
def test_enlargements(kind: str, before: tuple[int, int], after: tuple[int, int], expected: tuple[object, ...]) -> None:
    found = layer(step(kind, (2, 4, *after), (2, 4, *before), align_corners=False))
    assert (found.kind, *found.options.values()) == expected


def test_products_spread_one_channel_over_all() -> None:
    def product(*shapes: tuple[int, ...]) -> list[Layer]:
        return layers_of(Step("y", "mul", "", False, "", MAP, ("a", "b"), shapes, {}))
    assert [(found.kind, found.inputs) for found in product(MAP, (2, 4, 1, 1))] == [("multiply", ("a", "b"))]
    spread, found = product((2, 1, 8, 8), MAP)
    assert (spread.kind, spread.inputs, spread.shape) == ("move", ("a",), MAP)
    assert found.inputs == (spread.name, "b")
    assert product((2, 1, 1, 1), MAP)[0].shape == (2, 4, 1, 1)


REFUSED: dict[str, tuple[Step, str]] = {
    "transposed": (step("conv_transpose2d", weight=stored(4, 4, 3), bias=None), "must be a transposed convolution in "),
    "one dimension": (convolution(weight=stored(4, 4, 3)), "must be an ordinary convolution in two dimensions"),
    "computed weight": (convolution(weight=None), "its weight must be a parameter, not computed from the images"),
    "sequence": (step("linear", (2, 5, 3), (2, 5, 6), weight=stored(3, 6), bias=None), r"2x5x6, must read \[N, f"),
    "no statistics": (step("batch_norm", weight=None, bias=None, running_mean=None, running_var=None, eps=1e-5),
                      "has no running statistics; it must have track_running_stats=True"),
    "instance": (step("_native_batch_norm_legit"), "has no running statistics"),
    "variance": (step("batch_norm", running_mean=stored(2), running_var=Stored("", torch.tensor([-1.0, 1.0])), eps=0.1),
                 "has negative numbers in running_var"),
    "limits": (step("clamp", min=2, max=1), r"limits values to 2.0..1.0; the first must be smaller"),
    "channel limits": (step("clamp", min=stored(4), max=None), "has 4 limits, must have one for all values"),
    "broadcast": (Step("y", "add", "", False, "", MAP, ("a", "b"), (MAP, (2, 4, 1, 1)), {"alpha": 1}),
                  r"forward \(add\): works on tensors of shapes 2x4x8x8 and 2x4x1x1, whose result is 2x4x8x8"),
    "grows": (step("mul", MAP, (2, 1, 8, 8), other=stored(4, 1, 1)), "makes 2x4x8x8 of 2x1x8x8; a constant must be"),
    "per pixel": (step("add", other=stored(8, 8), alpha=1), "has a constant of shape 1x1x8x8"),
    "product": (Step("y", "mul", "", False, "", MAP, ("a", "b"), (MAP, (2, 4, 1, 8)), {}),
                "multiplies tensors of shapes 2x4x8x8 and 2x4x1x8; they must be equal, or one of them have one pixel"),
    "quotient": (Step("y", "div", "", False, "", MAP, ("a", "b"), (MAP, MAP), {}), "must be by a constant"),
    "reciprocal": (step("div", self=1.0), "must be by a constant"),
    "rounded": (step("div", other=2, rounding_mode="floor"), "must be by a constant, and not rounded"),
    "by zero": (step("div", other=0), "gives infinite or NaN numbers; .* a divisor not 0"),
    "maximum": (step("max_pool2d", kernel_size=[2, 2], stride=[], padding=[0, 0], dilation=[2, 2]), "must have ceil"),
    "average": (step("avg_pool2d", kernel_size=[3, 3], stride=[], padding=[1, 1], count_include_pad=False),
                "must have ceil_mode=False and, with padding, count_include_pad=True"),
    "adaptive": (step("adaptive_avg_pool2d", (2, 4, 3, 3)), "makes 3x3 pixels of 8x8; the first must divide"),
    "mean": (step("mean", (2, 8, 8), dim=[1]), r"is over dimensions \[1\], must be over pixels: \(2, 3\)"),
    "mean of all": (step("mean", (), dim=None), "is over dimensions None"),
    "mode": (step("pad", pad=[1, 1, 1, 1], mode="reflect", value=None), "must add zeros .* in mode 'reflect'"),
    "value": (step("pad", pad=[1, 1, 1, 1], mode="constant", value=0.5), "must add zeros .* in mode 'constant' of 0"),
    "crop": (step("constant_pad_nd", pad=[-1, -1], value=0), r"must add zeros .* not \[-1, -1\]"),
    "index": (Step("y", "index", "", False, "", MAP, ("a", "b"), (MAP, (4,)), {}), "takes values from places that"),
    "rows": (Step("y", "cat", "", False, "", (2, 4, 16, 8), ("a", "b"), (MAP, MAP), {"dim": -2}),
             "joins dimension 2 of 2x4x8x8, must be the channels, dimension 1 of"),
    "constants": (Step("y", "cat", "", False, "", (2, 9, 8, 8), ("a", "b"), (MAP, MAP), {"dim": 1}),
                  "joins constants to values that depend on the images"),
    "by three": (step("upsample_bilinear2d", (2, 4, 24, 24), align_corners=False), "makes 24x24 pixels of 8x8; bili"),
    "corners": (step("upsample_bilinear2d", (2, 4, 16, 16), align_corners=True), "with align_corners=False, or near"),
    "part of a pixel": (step("upsample_nearest2d", (2, 4, 12, 12)), "makes 12x12 pixels of 8x8; nearest must be by"),
    "slopes": (step("prelu", weight=stored(4)), "has a slope for each channel, must have one for all"),
    "scaled elu": (step("elu", alpha=1.6, scale=1.05, input_scale=1), "has factors, as SELU and CELU have"),
    "dropout": (step("native_dropout", p=0.5, train=True), "drops values in evaluation mode too; pass training="),
    "cast as": (step("type_as", other=Stored("", torch.zeros(1, dtype=torch.half))), "casts to torch.float16, must be"),
    "cast": (step("_to_copy", dtype=torch.int8), "casts to torch.int8, must be to float32"),
    "second": (step("getitem", **{"1": 1}), "takes one of several tensors apart from the first"),
    "unknown": (step("erf"), r"is not supported; supported are Conv2d, .*, a softmax at the end"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_its_place(case: str) -> None:
    found, message = REFUSED[case]
    with pytest.raises(UnsupportedModel, match=message) as error:
        layers_of(found)
    assert str(error.value).startswith(f"{found.where}: ") and "\n" not in str(error.value)


MODULES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "circular": (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), "pad"),
    "three": (lambda: Net(lambda m, x: m.a(x[:, :, None]), a=nn.Conv3d(3, 4, 1)), "conv3d"),
    "norms": (lambda: nn.Sequential(nn.GroupNorm(1, 3)), "group_norm"),
    "statistics": (lambda: nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), "_native_batch_norm_legit"),
    "layer norm": (lambda: nn.Sequential(nn.LayerNorm((3, 8, 8))), "layer_norm"),
    "softplus": (lambda: nn.Sequential(conv(), nn.Softplus()), "softplus"),
    "rows": (lambda: Net(lambda m, x: torch.cat([x, x], 2)), "cat"),
    "subpixels": (lambda: nn.Sequential(conv(3, 4), nn.PixelShuffle(2)), "pixel_shuffle"),
    "dropout": (lambda: Net(lambda m, x: functional.dropout(m.a(x)), a=conv()), "native_dropout"),
    "two weights": (lambda: Net(lambda m, x: functional.linear(x.flatten(1), x.flatten(1))), "linear"),
    "enlarged": (lambda: nn.Sequential(nn.Upsample(scale_factor=1.5)), "upsample_nearest2d"),
}


@pytest.mark.parametrize("case", MODULES)
def test_modules_without_a_mapping(case: str) -> None:
    make, kind = MODULES[case]
    steps = export(checked_copy(make()), images()[:2]).steps
    with pytest.raises(UnsupportedModel, match=rf"^[\w.]+ \({kind}\)"):
        for found in steps:
            layers_of(found)
