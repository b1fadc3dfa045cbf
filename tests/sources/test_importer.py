"""Imported integer networks against the frameworks' layers: every integer where float32 is exact, else counted."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from shifthw.cli_import import _compared
from shifthw.errors import BadImages, UnsupportedModel
from shifthw.frontend.preprocess import input_integers
from shifthw.ir import Rounding, interpret
from shifthw.sources import SourceOptions
from shifthw.sources.importer import Imported, ImportOptions, import_checkpoint
from shifthw.sources.load import FRAMEWORKS

from . import upstream_layers as upstream

OWN = """
import torch
from torch import nn
from torch.nn import functional

def conv():
    return nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1), nn.ReLU())

class Net(nn.Module):
    def __init__(self, softmax=False):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.fc = nn.Linear(64, 5)
        self.softmax = softmax

    def forward(self, x):
        x = functional.relu(functional.max_pool2d(self.conv(x), 2))
        x = self.fc(torch.flatten(x, 1))
        return functional.log_softmax(x, 1) if self.softmax else x

def net():
    return Net()

def maps():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Flatten())

class Two(Net):
    def forward(self, x):
        y = self.conv(x)
        return y, functional.relu(y)

def two():
    return Two()

def with_softmax():
    return Net(softmax=True)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(OWN)
    return path


def plain(name: str) -> nn.Module:
    names: dict[str, object] = {}
    exec(OWN, names)
    return names[name]()        # type: ignore[operator]


def images(*shape: int, seed: int = 8) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2


def golden(imported: Imported, x: torch.Tensor) -> np.ndarray:
    graph = imported.model.graph
    return interpret(graph, input_integers(graph, x.double().numpy()))[graph.outputs[0]]


def framework(imported: Imported, network: nn.Module, x: torch.Tensor) -> np.ndarray:
    """What the framework's layers give, rounded to the grid of the graph's output."""
    graph = imported.model.graph
    op, tensor = graph[graph.outputs[0]].op, graph[graph.outputs[0]].output
    with torch.no_grad():
        steps = network(x.clone()).double() / tensor.scale
    assert op.rounding is Rounding.HALF_UP          # type: ignore[union-attr]
    return torch.floor(steps + 0.5).clamp(op.lo, op.hi).to(torch.int64).numpy()     # type: ignore[union-attr]


def agree(imported: Imported, network: nn.Module, x: torch.Tensor) -> int:
    """How many outputs differ; the import's own comparison must have found as many on the same images."""
    expected = framework(imported, network, x)
    found = golden(imported, x).reshape(expected.shape)
    differing = int(np.sum(found != expected))
    comparison = imported.comparison
    assert (comparison.images, comparison.outputs, comparison.differing) == (len(x), expected.size, differing)
    assert comparison.largest == np.abs(found - expected).max()
    return differing


def saved(network: nn.Module, folder: Path) -> Path:
    torch.save(upstream.checkpoint(network), folder / "checkpoint.pth.tar")
    return folder / "checkpoint.pth.tar"


# -- exact ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("form", ["PS", "Q"])
@pytest.mark.parametrize(("bits", "act"), [(4, (4, 4)), (3, (3, 5)), (5, (4, 8)), (2, (8, 8))])
def test_a_convolution_is_equal_in_every_integer(form: str, bits: int, act: tuple[int, int], own: Path,
                                                 tmp_path: Path) -> None:
    network = upstream.seed(upstream.converted(plain("conv"), upstream.deepshift(form, bits, act)), 21)
    x = images(40, 2, 7, 8)
    imported = import_checkpoint(
        f"deepshift-{form.lower()}", saved(network, tmp_path), f"{own}:conv", calibration=x.numpy(),
        options=ImportOptions(source=SourceOptions(weight_bits=bits, act_format=act)))
    assert agree(imported, network, x) == 0
    assert imported.comparison.differing_exactly == 0
    assert imported.comparison.reasons == ()
    assert len(np.unique(golden(imported, x))) > 20


def test_conv_mnist_of_form_q_is_equal_in_every_integer(tmp_path: Path) -> None:
    """All its layers round their inputs; sums of 12-bit activations and 4-bit weights are exact in float32."""
    bits, act = 4, (8, 4)
    network = FRAMEWORKS["deepshift-q"].architectures["ConvMNIST"].build(10)
    upstream.seed(upstream.converted(network, upstream.deepshift("Q", bits, act)), 22, zeros=0.7, shifts=(-7.0, -1.5))
    for name, tensor in network.named_parameters():
        if name.startswith("fc") and name.endswith("bias"):         # added unrounded: of few bits, so that sums have
            tensor.data = torch.floor(tensor.data * 16) / 16
    x = images(8, 1, 28, 28)
    imported = import_checkpoint("deepshift-q", saved(network, tmp_path), "ConvMNIST", calibration=x.numpy(),
                                 options=ImportOptions(source=SourceOptions(weight_bits=bits, act_format=act)))
    assert agree(imported, network, x) == 0
    assert imported.comparison.reasons == ()
    assert len(np.unique(golden(imported, x))) > 40


def test_conv_mnist_of_form_ps_is_equal_in_every_integer(tmp_path: Path) -> None:
    """fc1 and fc2 take their inputs as they are: weights of conv2 and fc1 are -1, 0 and 1, which keeps them on the
    grid."""
    bits, act = 3, (14, 4)
    network = FRAMEWORKS["deepshift-ps"].architectures["ConvMNIST"].build(10)
    upstream.seed(upstream.converted(network, upstream.deepshift("PS", bits, act)), 23, zeros=0.96)
    for name in ("conv2", "fc1"):
        network.get_submodule(name).shift.data.fill_(0.3)
    for name in ("fc1", "fc2"):
        network.get_submodule(name).bias.data = torch.floor(network.get_submodule(name).bias.data * 16) / 16
    x = images(8, 1, 28, 28)
    imported = import_checkpoint("deepshift-ps", saved(network, tmp_path), "ConvMNIST", calibration=x.numpy(),
                                 options=ImportOptions(source=SourceOptions(weight_bits=bits, act_format=act)))
    assert agree(imported, network, x) == 0
    reason = "the inputs of fc1, fc2 are stored rounded, the framework takes them as they are"
    assert imported.comparison.reasons == (reason,)
    assert len(np.unique(golden(imported, x))) > 40


def test_every_form_of_the_same_weights_gives_the_same_integers(own: Path, tmp_path: Path) -> None:
    network = upstream.seed(upstream.converted(plain("conv"), upstream.deepshift("PS", 5, (16, 8))), 24)
    with torch.no_grad():
        network(images(1, 2, 7, 8))                 # clamps in place, as before every save of upstream
    upstream.rounded(network, 8)
    layer = network.get_submodule("0")
    exponent = torch.where(layer.sign == 0, 0.0, layer.shift)
    files = {"deepshift-ps": network.state_dict(), "torchshiftadd": network.state_dict(),
             "shiftaddnet": network.state_dict(),
             "deepshift-q": {"0.weight": layer.sign * torch.exp2(exponent), "0.bias": layer.bias}}
    x, found = images(6, 2, 7, 8), []
    for name, state in files.items():
        torch.save(state, tmp_path / f"{name}.pth")
        imported = import_checkpoint(name, tmp_path / f"{name}.pth", f"{own}:conv", calibration=x.numpy(),
                                     options=ImportOptions(source=SourceOptions(act_format=(16, 8), exact=True)))
        found.append(golden(imported, x))
    assert all(np.array_equal(found[0], other) for other in found[1:])
    assert np.array_equal(found[0], framework(imported, network, x))


# -- counted -------------------------------------------------------------------------------------

def test_resnet20_is_compared_and_explained(tmp_path: Path) -> None:
    network = FRAMEWORKS["deepshift-ps"].architectures["resnet20"].build(10)
    upstream.seed(upstream.converted(network, upstream.deepshift("PS")), 25)
    x = images(8, 3, 32, 32)
    upstream.calibrated(network, x)
    imported = import_checkpoint("deepshift-ps", saved(network, tmp_path), "resnet20", calibration=x.numpy())
    assert agree(imported, network, x) > 0
    comparison = imported.comparison
    assert comparison.largest * comparison.step < 0.02
    assert comparison.same_class == 8
    assert comparison.reasons == (
        "the inputs of linear are stored rounded, the framework takes them as they are",
        "residuals are stored rounded, the framework adds them as they are",
        "averages are of stored values, the framework rounds behind them",
        "batch norms have multipliers of 18 bits, the framework's are float32")


def test_shiftaddnet_formats_by_layer(tmp_path: Path) -> None:
    """The stem and the classifier see --shift_quant_bits, what is between them 16 fraction bits."""
    def convert(path: str, module: nn.Conv2d | nn.Linear) -> nn.Module:
        assert isinstance(module, nn.Conv2d)
        return upstream.Conv2dShift(module) if "." in path else upstream.Conv2dShift(module, 5, (16, 6), 0.4)

    network = FRAMEWORKS["shiftaddnet"].architectures["resnet20_shift"].build(10)
    upstream.seed(upstream.converted(network, convert), 26)
    x = images(6, 3, 32, 32)
    upstream.calibrated(network, x)
    options = ImportOptions(source=SourceOptions(act_format=(16, 6), sign_threshold=0.4))
    imported = import_checkpoint("shiftaddnet", saved(network, tmp_path), "resnet20_shift", options=options,
                                 calibration=x.numpy())
    agree(imported, network, x)
    scales = [node.output.scale for node in imported.model.graph.nodes if node.name.endswith("_quantizer")]
    assert scales[0] == 2.0**-6
    assert sorted(set(scales)) == [2.0**-16, 2.0**-6]
    assert scales.count(2.0**-6) == 2
    assert imported.comparison.largest * imported.comparison.step < 0.1
    assert imported.comparison.same_class == 6


def test_calibrated_activations(own: Path, tmp_path: Path) -> None:
    network = upstream.seed(upstream.converted(plain("net"), upstream.deepshift("PS", 4)), 27)
    x = images(100, 1, 8, 8)
    imported = import_checkpoint(
        "deepshift-ps", saved(network, tmp_path), f"{own}:net", calibration=x.numpy(),
        options=ImportOptions(source=SourceOptions(weight_bits=4), act_bits=8))
    assert agree(imported, network, x) > 0
    assert {node.output.dtype.bits for node in imported.model.graph.nodes if node.name.endswith("quantizer")} == {8}
    assert imported.comparison.largest <= 8
    assert "the inputs of conv are on another grid than the framework's" in imported.comparison.reasons


def test_ordinary_layers_are_rounded_when_asked(own: Path, tmp_path: Path) -> None:
    convert = upstream.deepshift("PS", 4, (5, 11))
    network = upstream.converted(plain("net"), lambda path, module: None if path == "conv" else convert(path, module))
    path, x = saved(upstream.seed(network, 28), tmp_path), images(50, 1, 8, 8)
    source = SourceOptions(weight_bits=4, act_format=(5, 11))
    with pytest.raises(UnsupportedModel, match="^conv: ordinary layers with real weights.*--ordinary-terms"):
        import_checkpoint("deepshift-ps", path, f"{own}:net", options=ImportOptions(source=source),
                          calibration=x.numpy())
    steps = []
    for terms in (1, 4):
        imported = import_checkpoint("deepshift-ps", path, f"{own}:net", calibration=x.numpy(),
                                     options=ImportOptions(source=source, ordinary_terms=terms))
        agree(imported, network, x)
        steps.append(imported.comparison.largest)
        assert "the real weights of conv are rounded to sums of powers of two" in imported.comparison.reasons
    assert steps[1] * 3 < steps[0]


def test_a_softmax_at_the_end_is_left_out(own: Path, tmp_path: Path) -> None:
    network = upstream.seed(upstream.converted(plain("with_softmax"), upstream.deepshift("Q")), 29)
    x = images(20, 1, 8, 8)
    imported = import_checkpoint("deepshift-q", saved(network, tmp_path), f"{own}:with_softmax", calibration=x.numpy())
    with torch.no_grad():
        classes = network(x).argmax(1).numpy()
    assert np.array_equal(golden(imported, x)[:, :, 0, 0].argmax(1), classes)
    assert (imported.comparison.outputs, imported.comparison.differing, imported.comparison.same_class) == (20, 0, 20)


def test_the_comparison_in_float64_is_of_the_same_weights(own: Path, tmp_path: Path) -> None:
    """The float32 logarithms of these are at a tie, those in float64 below or above it."""
    network = upstream.seed(upstream.converted(plain("conv"), upstream.deepshift("Q", 5, (4, 4))), 36)
    latent = torch.tensor([0.70710683, 0.35355338, 0.35355341, 0.088388346, 0.04419417])
    layer = network.get_submodule("0")
    layer.weight.data = latent[torch.arange(layer.weight.numel()) % 5].reshape(layer.weight.shape)
    single, double = (upstream.q_weight(layer, 5) for layer in (copy.deepcopy(layer), copy.deepcopy(layer).double()))
    assert not torch.equal(single, double.float())
    x = images(10, 2, 7, 8)
    imported = import_checkpoint("deepshift-q", saved(network, tmp_path), f"{own}:conv", calibration=x.numpy(),
                                 options=ImportOptions(source=SourceOptions(act_format=(4, 4))))
    assert agree(imported, network, x) == 0
    assert imported.comparison.differing_exactly == 0


def test_classes_are_compared_without_steps(own: Path, tmp_path: Path) -> None:
    network = upstream.seed(upstream.converted(plain("with_softmax"), upstream.deepshift("PS", 4)), 37)
    imported = import_checkpoint("deepshift-ps", saved(network, tmp_path), f"{own}:with_softmax",
                                 calibration=images(300, 1, 8, 8).numpy(),
                                 options=ImportOptions(source=SourceOptions(weight_bits=4), act_bits=2))
    comparison = imported.comparison
    assert comparison.differing == comparison.images - comparison.same_class > 0
    assert comparison.largest == 0
    lines = _compared(comparison, calibrated=True)
    assert lines[0].endswith(f"compared by class, since its softmax is left out; the same class for "
                             f"{comparison.same_class} of 256")
    assert all(line.startswith("because ") for line in lines[1:])


def test_maps_as_results_are_compared(own: Path, tmp_path: Path) -> None:
    network = upstream.seed(upstream.converted(plain("maps"), upstream.deepshift("PS", 4, (4, 4))), 34)
    x = images(10, 1, 8, 8)
    imported = import_checkpoint("deepshift-ps", saved(network, tmp_path), f"{own}:maps", calibration=x.numpy(),
                                 options=ImportOptions(source=SourceOptions(weight_bits=4, act_format=(4, 4))))
    assert (imported.comparison.outputs, imported.comparison.differing) == (10 * 64, 0)


def test_several_results_are_refused(own: Path, tmp_path: Path) -> None:
    network = upstream.seed(upstream.converted(plain("two"), upstream.deepshift("PS")), 35)
    with pytest.raises(UnsupportedModel, match="own.py:two: gives 2 results, must give one tensor"):
        import_checkpoint("deepshift-ps", saved(network, tmp_path), f"{own}:two",
                          options=ImportOptions(input_shape=(1, 8, 8)))


# -- images, metadata ----------------------------------------------------------------------------

def test_pixels_are_normalized_and_the_rule_is_kept(own: Path, tmp_path: Path) -> None:
    network = upstream.seed(upstream.converted(plain("net"), upstream.deepshift("Q")), 30)
    path = saved(network, tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (9, 1, 8, 8), dtype=np.uint8)
    imported = import_checkpoint("deepshift-q", path, f"{own}:net", calibration=pixels,
                                 options=ImportOptions(mean=(0.5,), std=(0.25,)))
    metadata = imported.model.graph.metadata
    assert metadata["preprocess"] == {"scale": 1 / 255, "mean": [0.5], "std": [0.25]}
    assert metadata["card"]["imported"]["format"] == "deepshift-q"          # type: ignore[index]
    assert metadata["card"]["imported"]["file"] == "checkpoint.pth.tar"     # type: ignore[index]
    x = torch.from_numpy((pixels / 255 - 0.5) / 0.25).float()
    agree(imported, network, x)
    plain_pixels = import_checkpoint("deepshift-q", path, f"{own}:net", calibration=pixels)
    assert plain_pixels.model.graph.metadata["preprocess"] == {"scale": 1 / 255, "mean": [0.0], "std": [1.0]}
    without = import_checkpoint("deepshift-q", path, f"{own}:net", options=ImportOptions(input_shape=(1, 8, 8)))
    assert "preprocess" not in without.model.graph.metadata
    assert without.comparison.images == 16


def test_the_checkpoint_may_be_imported_twice(own: Path, tmp_path: Path) -> None:
    path = saved(upstream.seed(upstream.converted(plain("net"), upstream.deepshift("PS")), 31), tmp_path)
    options = ImportOptions(input_shape=(1, 8, 8))
    one, two = (import_checkpoint("deepshift-ps", path, f"{own}:net", options=copy.copy(options)) for _ in range(2))
    assert one.comparison == two.comparison


@pytest.mark.parametrize(("calibration", "options", "what"), [
    (np.zeros((2, 1, 8, 9), np.float32), {}, r"calibration images: must be of shape \(n, 1, 28, 28\), not \(2, 1"),
    (np.zeros((0, 1, 28, 28), np.float32), {}, r"not \(0, 1, 28, 28\)"),
    (np.full((2, 1, 28, 28), np.nan), {}, "finite real numbers, not float64 with NaN"),
    (np.full((2, 1, 28, 28), 1e39), {}, "such that float32 cannot hold"),
    (np.zeros((2, 1, 28, 28), np.float32), {"act_bits": 8}, "calibrat"),
    (np.zeros((2, 1, 28, 28), np.int16), {}, "must be uint8 pixels or finite real numbers, not int16"),
    (None, {"act_bits": 8}, "act_bits: the ranges of activations must be calibrated; give --calib"),
    (None, {"mean": (0.1, 0.2)}, "mean: must be one number per channel of the images, 1, not 2")])
def test_bad_images_and_options(calibration: np.ndarray | None, options: dict[str, object], what: str,
                                tmp_path: Path) -> None:
    network = upstream.converted(FRAMEWORKS["deepshift-q"].architectures["LinearMNIST"].build(10),
                                 upstream.deepshift("Q"))
    path = saved(upstream.seed(network, 32), tmp_path)
    with pytest.raises((BadImages, UnsupportedModel), match=what):
        import_checkpoint("deepshift-q", path, "LinearMNIST", calibration=calibration,
                          options=ImportOptions(**options))     # type: ignore[arg-type]


@pytest.mark.parametrize(("options", "what"), [
    ({"act_bits": 17}, "act_bits: must be 2..16, not 17"), ({"ordinary_terms": 5}, "ordinary_terms: must be 1..4"),
    ({"std": (0.0,)}, "std: must be positive")])
def test_options_out_of_range(options: dict[str, object], what: str) -> None:
    with pytest.raises(UnsupportedModel, match=what):
        ImportOptions(**options)        # type: ignore[arg-type]


def test_a_shape_must_be_known(own: Path, tmp_path: Path) -> None:
    path = saved(upstream.seed(upstream.converted(plain("net"), upstream.deepshift("PS")), 33), tmp_path)
    with pytest.raises(UnsupportedModel, match="input_shape: must be given for a network of your own"):
        import_checkpoint("deepshift-ps", path, f"{own}:net")
