"""Adder layers in checkpoints: the frameworks' arithmetic bit for bit, and integer networks of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shifthw.errors import UnsupportedModel
from shifthw.frontend.preprocess import input_integers
from shifthw.ir import AdderConv2d as AdderOp
from shifthw.ir import Requantize, interpret
from shifthw.nn import AdderConv2d
from shifthw.sources import SourceOptions, load_model
from shifthw.sources.importer import Imported, ImportOptions, import_checkpoint
from shifthw.sources.load import FRAMEWORKS

from . import upstream_layers as upstream

OWN = """
import torch
from torch import nn
from shifthw.nn import AdderConv2d

def pair():
    return nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1, bias=False), AdderConv2d(4, 4, 3, 1, 1),
                         nn.Conv2d(4, 4, 1, bias=False))

def norms():
    return nn.Sequential(nn.Conv2d(2, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), AdderConv2d(8, 8, 3, 2, 1),
                         nn.BatchNorm2d(8), nn.ReLU(), AdderConv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 5, 1, bias=False), nn.BatchNorm2d(5), nn.Flatten())
"""


class Adder2D(upstream.Adder2d):
    """ShiftAddNet's with --add_quant: keys and arithmetic of an evaluation."""

    def __init__(self, weight: torch.Tensor, stride: int, padding: int, kind: str, bits: int, masked: bool) -> None:
        super().__init__(weight, stride, padding)
        self.kind, self.bits = kind, bits
        self.quantize_input_fw = nn.Module()
        self.quantize_input_fw.register_buffer("running_zero_point", torch.full((1, 1, 1, 1), -2.7))
        self.quantize_input_fw.register_buffer("running_range", torch.full((1, 1, 1, 1), 5.9))
        if masked:
            self.s = nn.Parameter(torch.zeros_like(weight))
            self.register_buffer("adder_mask", (torch.rand(weight.shape) > 0.4).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if hasattr(self, "adder_mask"):
            self.adder.data = self.adder.data * self.adder_mask
        latent = self.adder.data
        if self.kind == "wageubn" and self.bits < 32:
            delta = 2.0 ** (1 - self.bits)
            x, self.adder.data = (torch.round(values / delta) * delta for values in (x, latent))
        elif self.kind == "sbm":
            measured = self.quantize_input_fw
            x = self.affine(x, measured.running_zero_point, measured.running_range)
            rows = latent.flatten(1, -1)
            lo, hi = (values[:, None, None, None] for values in (rows.min(-1)[0], rows.max(-1)[0]))
            self.adder.data = self.affine(latent, lo, hi - lo)
        y = super().forward(x)
        self.adder.data = latent
        return y

    def affine(self, x: torch.Tensor, zero_point: torch.Tensor, span: torch.Tensor) -> torch.Tensor:
        top = 2.0**self.bits - 1
        scale = torch.clamp(span / top, min=1e-8)
        return ((x - zero_point) / scale).clamp(0, top).round() * scale + zero_point


def plain(name: str) -> nn.Module:
    names: dict[str, Any] = {}
    exec(OWN, names)
    return names[name]()        # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(OWN)
    return path


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(8))


def with_adders(model: nn.Module, kind: str | None = None, bits: int = 8, masked: bool = False) -> nn.Module:
    """The model with upstream's adder layers; of ShiftAddNet with --add_quant if there is a `kind`."""
    torch.manual_seed(4)
    for path, module in list(model.named_modules()):
        if isinstance(module, AdderConv2d):
            place = module.adder, module.stride[0], module.padding[0]
            model.set_submodule(path, Adder2D(*place, kind, bits, masked) if kind else upstream.Adder2d(*place))
    return model


def shifts(model: nn.Module, act: tuple[int, int]) -> nn.Module:
    return upstream.converted(model, lambda path, layer: upstream.Conv2dShift(layer, 3, act))     # type: ignore[arg-type]


def saved(network: nn.Module, folder: Path) -> Path:
    torch.save(upstream.checkpoint(network), folder / "checkpoint.pth.tar")
    return folder / "checkpoint.pth.tar"


def options(kind: str | None, bits: int = 8, act: tuple[int, int] = (8, 8), **more: Any) -> ImportOptions:
    return ImportOptions(source=SourceOptions(weight_bits=3, act_format=act, add_quant=kind, add_bits=bits), **more)


def golden(imported: Imported, x: torch.Tensor) -> np.ndarray:
    graph = imported.model.graph
    return interpret(graph, input_integers(graph, x.double().numpy()))[graph.outputs[0]]


# -- the frameworks' arithmetic ------------------------------------------------------------------

@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("kind", "bits"), [("wageubn", 8), ("wageubn", 16), ("wageubn", 32), ("wageubn", 5),
                                            ("sbm", 8), ("sbm", 4)])
def test_rounded_adder_layers_compute_what_shiftaddnet_computes(kind: str, bits: int, masked: bool, own: Path,
                                                                tmp_path: Path) -> None:
    network = upstream.seed(shifts(with_adders(plain("pair"), kind, bits, masked), (8, 8)), 41)
    loaded = load_model("shiftaddnet", saved(network, tmp_path), f"{own}:pair", options=options(kind, bits).source)
    x = images(4, 2, 9, 8)
    with torch.no_grad():
        y = loaded(x)
        assert torch.equal(y, network(x))
        assert len(y.unique()) > 20


def test_number_of_keys_is_upstreams(tmp_path: Path) -> None:
    network = FRAMEWORKS["shiftaddnet"].architectures["resnet20_shiftadd"].build(10)
    network = upstream.seed(shifts(with_adders(network, "wageubn", 8), (16, 16)), 5)
    assert len(network.state_dict()) == 214
    loaded = load_model("shiftaddnet", saved(network, tmp_path), "resnet20_shiftadd",
                        options=SourceOptions(weight_bits=3, add_quant="wageubn"))
    x = images(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(x), network(x))


# -- integer networks ----------------------------------------------------------------------------

def test_fix8_is_equal_in_every_integer(own: Path, tmp_path: Path) -> None:
    network = upstream.seed(shifts(with_adders(plain("pair"), "wageubn", 8), (8, 8)), 42)
    x = images(30, 2, 9, 8)
    imported = import_checkpoint("shiftaddnet", saved(network, tmp_path), f"{own}:pair", calibration=x.numpy(),
                                 options=options("wageubn", 8))
    comparison, graph = imported.comparison, imported.model.graph
    assert (comparison.differing, comparison.differing_exactly, comparison.reasons) == (0, 0, ())
    found = golden(imported, x)
    with torch.no_grad():
        steps = network(x).double() / graph[graph.outputs[0]].output.scale
    op = graph[graph.outputs[0]].op
    assert isinstance(op, Requantize)
    assert np.array_equal(found, torch.floor(steps + 0.5).clamp(op.lo, op.hi).numpy())
    assert len(np.unique(found)) > 40
    assert graph["1"].output.scale == 2.0**-7


@pytest.mark.parametrize("masked", [False, True])
def test_fix16_is_equal_in_every_integer_of_exact_sums(masked: bool, own: Path, tmp_path: Path) -> None:
    """Sums of 36 distances of 15 fraction bits, which float32 cannot hold and float64 can."""
    network = upstream.seed(shifts(with_adders(plain("pair"), "wageubn", 16, masked), (8, 15)), 43)
    x = images(30, 2, 9, 8)
    imported = import_checkpoint("shiftaddnet", saved(network, tmp_path), f"{own}:pair", calibration=x.numpy(),
                                 options=options("wageubn", 16, (8, 15)))
    assert imported.comparison.differing_exactly == 0
    assert imported.comparison.reasons == ()
    assert imported.model.graph["1"].output.scale == 2.0**-15
    assert len(np.unique(golden(imported, x))) > 1000


def test_fix32_which_rounds_nothing_is_on_the_grid_of_the_activations(own: Path, tmp_path: Path) -> None:
    network = upstream.seed(shifts(with_adders(plain("pair"), "wageubn", 32), (8, 16)), 44)
    x = images(10, 2, 9, 8)
    imported = import_checkpoint("shiftaddnet", saved(network, tmp_path), f"{own}:pair", calibration=x.numpy(),
                                 options=options("wageubn", 32, (8, 16)))
    assert imported.comparison.reasons == (
        "the inputs of 1 are stored rounded, the framework takes them as they are",
        "weights of 1 are rounded to the step of their inputs, which they need for |x - w|")
    assert imported.comparison.differing_exactly > 0
    assert imported.comparison.largest <= 36 * 4        # half a step for each of 36 inputs and weights, four channels
    assert imported.model.graph["1"].output.scale == 2.0**-16


def test_affine_grids_become_one_through_zero_and_it_says_so(own: Path, tmp_path: Path) -> None:
    network = upstream.seed(shifts(with_adders(plain("pair"), "sbm", 8), (8, 8)), 45)
    x = images(20, 2, 9, 8)
    imported = import_checkpoint("shiftaddnet", saved(network, tmp_path), f"{own}:pair", calibration=x.numpy(),
                                 options=options("sbm", 8))
    node = imported.model.graph["1"]
    source = imported.model.graph[node.inputs[0]]
    assert isinstance(source.op, Requantize)
    assert node.output.scale == pytest.approx(5.9 / 255)
    assert (source.op.lo, source.op.hi) == (round(-2.7 / (5.9 / 255)), round(-2.7 / (5.9 / 255)) + 255)
    assert imported.comparison.reasons[:2] == (
        "weights of 1 are rounded to the step of their inputs, which they need for |x - w|",
        "the inputs of 1 are on a grid through 0, the framework's is off it by a part of a step")
    found, graph = golden(imported, x).astype(float), imported.model.graph
    with torch.no_grad():
        steps = (network(x).double() / graph[graph.outputs[0]].output.scale).numpy()
    assert np.corrcoef(found.ravel(), steps.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("name", ["addernet", "torchshiftadd", "shiftaddnet"])
def test_real_adder_layers_are_calibrated_to_eight_bits(name: str, own: Path, tmp_path: Path) -> None:
    x = images(64, 2, 12, 12)
    network = upstream.calibrated(upstream.seed(with_adders(plain("norms")), 46), x)
    path = saved(network, tmp_path)
    imported = import_checkpoint(name, path, f"{own}:norms", calibration=x.numpy(),
                                 options=ImportOptions(ordinary_terms=4))
    graph = imported.model.graph
    adders = [node for node in graph.nodes if isinstance(node.op, AdderOp)]
    assert len(adders) == 2
    assert all(graph[node.inputs[0]].output.dtype.bits == 8 for node in adders)
    assert all(graph[node.inputs[0]].output.scale == node.output.scale for node in adders)
    assert "weights of 3, 6 are rounded to the step of their inputs, which they need for |x - w|" \
        in imported.comparison.reasons
    found = golden(imported, x).reshape(len(x), -1)
    with torch.no_grad():
        real = network(x).numpy()
    assert np.corrcoef(found.ravel(), real.ravel())[0, 1] > 0.98
    wide = import_checkpoint(name, path, f"{own}:norms", calibration=x.numpy(),
                             options=ImportOptions(ordinary_terms=4, act_bits=12))
    assert {node.output.dtype.bits for node in wide.model.graph.nodes if isinstance(node.op, Requantize)} == {12}
    assert imported.model.graph.metadata["card"]["imported"]["act_bits"] == 8       # type: ignore[index]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "architecture"), [
    ("addernet", "resnet20"), ("shiftaddnet", "resnet20_add"), ("shiftaddnet", "resnet20_shiftadd"),
    ("shiftaddnet", "resnet20_shiftadd_se"), ("torchshiftadd", "resnet20_shiftadd")])
def test_whole_networks_convert(name: str, architecture: str, tmp_path: Path) -> None:
    network = with_adders(FRAMEWORKS[name].architectures[architecture].build(10))
    if architecture.endswith("_se"):
        upstream.converted(network, lambda path, layer: upstream.SEConv2d(layer))       # type: ignore[arg-type]
    elif "shift" in architecture:
        upstream.converted(network, lambda path, layer: upstream.Conv2dShift(           # type: ignore[arg-type]
            layer, threshold=0.3 if name == "torchshiftadd" else None))
    x = images(40, 3, 32, 32)
    upstream.calibrated(upstream.seed(network, 47, shifts=(-7.4, 0.4)), x)
    for module in network.modules():
        if isinstance(module, upstream.SEConv2d):
            module.weight.data = torch.exp2(module.weight.data.abs().clamp(2.0**-7).log2().round()) * \
                module.weight.data.sign()
    imported = import_checkpoint(name, saved(network, tmp_path), architecture, calibration=x.numpy(),
                                 options=ImportOptions(act_bits=12, ordinary_terms=4))
    assert sum(isinstance(node.op, AdderOp) for node in imported.model.graph.nodes) == 20
    assert imported.comparison.same_class >= 36


# -- what does not fit ---------------------------------------------------------------------------

@pytest.mark.parametrize(("trained", "given", "message"), [
    ("wageubn", None, r"^1: was trained with --add_quant, .* give --add-quant wageubn or sbm"),
    (None, "sbm", r"^1: misses quantize_input_fw\.running_range; must be a checkpoint of --quantize_v sbm"),
])
def test_other_flags_than_the_files_are_named(trained: str | None, given: str | None, message: str, own: Path,
                                              tmp_path: Path) -> None:
    network = upstream.seed(shifts(with_adders(plain("pair"), trained), (8, 8)), 48)
    with pytest.raises(UnsupportedModel, match=message):
        load_model("shiftaddnet", saved(network, tmp_path), f"{own}:pair", options=options(given).source)


def test_frameworks_that_round_no_adder_layers_take_no_flags(own: Path, tmp_path: Path) -> None:
    network = upstream.seed(with_adders(plain("norms")), 49)
    with pytest.raises(UnsupportedModel, match=r"^3: is an adder layer of a framework that rounds none"):
        load_model("addernet", saved(network, tmp_path), f"{own}:norms", options=SourceOptions(add_quant="wageubn"))
    with pytest.raises(UnsupportedModel, match=r"^3 \(AdderConv2d\): deepshift-ps has no adder layers"):
        load_model("deepshift-ps", saved(network, tmp_path), f"{own}:norms")


def test_linear_adder_layers_are_refused(tmp_path: Path) -> None:
    """No framework has them."""
    (tmp_path / "linear.py").write_text("from shifthw.nn import AdderLinear\ndef net(): return AdderLinear(4, 3)\n")
    torch.save({"adder": torch.zeros(3, 4)}, tmp_path / "linear.pth")
    with pytest.raises(UnsupportedModel, match=r"\(AdderLinear\): addernet has no linear adder layers; make it an Add"):
        load_model("addernet", tmp_path / "linear.pth", f"{tmp_path}/linear.py:net")


@pytest.mark.parametrize(("low", "span"), [(-80.0, 0.0), (80.0, 1e-7), (-9.0, 2.0)])
def test_inputs_that_were_never_measured_or_are_far_from_zero(low: float, span: float, own: Path,
                                                              tmp_path: Path) -> None:
    network = upstream.seed(shifts(with_adders(plain("pair"), "sbm", 8), (8, 8)), 50)
    layer: Any = network[1]
    layer.quantize_input_fw.running_zero_point.fill_(low)
    layer.quantize_input_fw.running_range.fill_(span)
    path = saved(network, tmp_path)
    with pytest.raises(UnsupportedModel, match=r"^1\.quantize_input_fw\.running_range: its inputs were measured in"):
        load_model("shiftaddnet", path, f"{own}:pair", options=options("sbm", 8).source)


@pytest.mark.parametrize(("given", "what"), [
    (dict(add_quant="other"), "add_quant: must be wageubn or sbm, not other"),
    (dict(add_quant="sbm", add_bits=17), r"add_bits: must be 2\.\.16 of sbm, not 17"),
    (dict(add_quant="wageubn", add_bits=33), r"add_bits: must be 2\.\.32, not 33"), (dict(add_bits=1), "add_bits")])
def test_options_out_of_range(given: dict[str, Any], what: str) -> None:
    with pytest.raises(UnsupportedModel, match=what):
        SourceOptions(**given)
