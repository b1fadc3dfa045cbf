"""`shifthw quantize`: from plain PyTorch in a user's file to a simulated engine, and what it says where it cannot."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shifthw.cli import main
from shifthw.frontend.model_file import load_model
from shifthw.frontend.preprocess import input_integers
from shifthw.frontend.reference import Model
from shifthw.ir import interpret

ARRAY = "images=1,pixels=2,simd=4,pe=4"
FILE = '''
import torch
from torch import nn
from torch.nn import functional

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = functional.relu(self.norm(self.stem(x)))
        x = functional.relu(x + self.conv(x))
        return self.fc(functional.max_pool2d(x, 2).mean((2, 3)))

def make(): return Net()
def softmax(): return nn.Sequential(Net(), nn.Softmax(dim=1))
def ready():
    torch.manual_seed(7)
    return Net()

def adder():
    from shifthw.nn import AdderConv2d
    torch.manual_seed(7)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), AdderConv2d(4, 3, 3), nn.Flatten())

class Branch(Net):
    def forward(self, x): return self.stem(x) if x.mean() > 0 else self.stem(-x)

class Dynamic(Net):
    def forward(self, x): return self.stem(x[x[:, 0, 0, 0] > 0.5])

class Softplus(Net):
    def forward(self, x): return functional.softplus(self.stem(x))

class Random(Net):
    def forward(self, x): return self.stem(x) + torch.rand(())

class Nothing(Net):
    def forward(self, x): return None

def nan():
    net = Net()
    net.stem.weight.data[0, 0, 0, 0] = float("nan")
    return net

def fails(): raise ValueError("first line\\nsecond line")
def stops(): raise SystemExit(3)
def needs(width): return Net()
def number(): return 3
constant = 3
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.py, weights.pt, pixels.npz and real.npy, which is what the pixels stand for."""
    folder = tmp_path_factory.mktemp("quantize")
    (folder / "net.py").write_text(FILE)
    torch.save(network(folder).state_dict(), folder / "weights.pt")
    pixels = np.random.default_rng(2).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    np.savez(folder / "pixels.npz", images=pixels, labels=np.arange(20) % 3)
    np.save(folder / "real.npy", (pixels / 255).astype(np.float32))
    return folder


def network(folder: Path) -> nn.Module:
    """As if trained: no parameter is where it began."""
    spec = importlib.util.spec_from_file_location("net", folder / "net.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(1)
    net: nn.Module = module.make()
    for name, tensor in net.state_dict().items():
        if name.startswith("norm."):
            tensor.copy_(torch.rand(tensor.shape) + 0.25)
    return net.eval()


def arguments(folder: Path, output: Path, *more: str, function: str = "make", calib: str = "pixels.npz") -> list[str]:
    weights = ["--weights", str(folder / "weights.pt")] if function == "make" else []
    return ["quantize", f"{folder}/net.py:{function}", *weights, "--calib", str(folder / calib), "-o", str(output),
            *more]


def table(printed: str) -> dict[str, list[str]]:
    """The cells of each row by the layer's name."""
    return {line.split()[0]: line.split()[1:] for line in printed.splitlines()[1:] if " bits " in line or ".." in line}


def golden(model: Model, images: np.ndarray) -> np.ndarray:
    graph = model.graph
    return interpret(graph, input_integers(graph, images))[graph.outputs[0]][:, :, 0, 0]


def decibels(real: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10((real**2).sum() / ((real - other) ** 2).sum()))


# -- what it makes -------------------------------------------------------------------------------

def test_adder_layers_have_a_row(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folder, tmp_path / "m.pt", "--adder-bits", "5", function="adder")) == 0
    row = table(capsys.readouterr().out)["2"]
    assert row[:3] == ["adder,", "5", "bits"]
    weight = load_model(tmp_path / "m.pt").graph["2"].op.weight         # type: ignore[union-attr]
    assert (int(weight.min()), int(weight.max())) == (-16, 15)


def test_from_python_to_simulated_engine(folder: Path, simulator_cache: Path, tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    output, build = tmp_path / "model.pt", tmp_path / "build"
    assert main(arguments(folder, output, "--mean", "0.5,0.4,0.3", "--std", "0.25,0.3,0.2", "--weight-bits", "4",
                          "--terms", "2", "--act-bits", "8", "--classes", "cat,dog,owl")) == 0
    printed = capsys.readouterr().out
    assert list(table(printed)) == ["input", "stem", "relu", "conv", "relu_2", "mean", "fc"]
    assert f"written to {output}: make, for images of 3x8x8, uint8 pixels or s8 integers" in " ".join(printed.split())
    model = load_model(output)
    assert model.graph.metadata["classes"] == ["cat", "dog", "owl"]
    pixels = np.load(folder / "pixels.npz")["images"]
    normalized = (pixels / 255 - np.reshape([0.5, 0.4, 0.3], (3, 1, 1))) / np.reshape([0.25, 0.3, 0.2], (3, 1, 1))
    with torch.no_grad():
        expected = network(folder).double()(torch.from_numpy(normalized)).numpy()
    found = golden(model, pixels)
    assert np.array_equal(found, golden(model, normalized))
    assert decibels(expected, found * model.graph[model.graph.outputs[0]].output.scale) > 20
    assert len(np.unique(found)) > 10
    assert main(["build", str(output), "--board", "zc706", "--array", ARRAY, "-o", str(build)]) == 0
    assert main(["sim", str(build), "--images", str(folder / "pixels.npz"), "--limit", "3", "--engine", "cocotb",
                 "--cache", str(simulator_cache)]) == 0
    assert "bit-exact: yes" in capsys.readouterr().out


def test_pixels_without_normalization_go_in_as_they_are(folder: Path, tmp_path: Path) -> None:
    assert main(arguments(folder, tmp_path / "m.pt", "--pixel-scale", "0.0625")) == 0
    graph = load_model(tmp_path / "m.pt").graph
    assert (str(graph.nodes[0].output.dtype), graph.nodes[0].output.scale) == ("u8", 0.0625)
    assert "preprocess" not in graph.metadata
    pixels = np.load(folder / "pixels.npz")["images"]
    assert np.array_equal(input_integers(graph, pixels), pixels)


def test_real_images_are_what_the_pixels_stand_for(folder: Path, tmp_path: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folder, tmp_path / "m.pt", "--calibration", "minmax", calib="real.npy")) == 0
    assert main(arguments(folder, tmp_path / "p.pt", "--calibration", "minmax", "--mean", "0,0,0")) == 0
    assert "images of 3x8x8, u8 integers" in capsys.readouterr().out
    real, pixels = load_model(tmp_path / "m.pt"), load_model(tmp_path / "p.pt")
    assert (real.graph.metadata.get("preprocess"), pixels.graph.metadata["preprocess"]) == (
        None, {"scale": 1 / 255, "mean": [0.0] * 3, "std": [1.0] * 3})
    assert np.array_equal(golden(real, np.load(folder / "real.npy")),
                          golden(pixels, np.load(folder / "pixels.npz")["images"]))


def test_weights_of_the_network_itself(folder: Path, tmp_path: Path) -> None:
    assert main(arguments(folder, tmp_path / "m.pt", "--name", "seven", function="ready")) == 0
    model = load_model(tmp_path / "m.pt")
    assert model.graph.name == "seven"
    card: Any = model.graph.metadata["card"]
    assert card["quantized"]["network"] == "net.py:ready"
    assert card["quantized"]["weights"] is None
    assert card["quantized"]["calibration_images"] == 20


@pytest.mark.parametrize(("more", "terms"), [
    ([], [2, 2, 2]), (["--terms", "1..4", "--weight-snr", "0.5"], [1, 1, 1]),
    (["--terms", "1..3", "--weight-snr", "300"], [3, 3, 3]),
    (["--terms", "1", "--first-terms", "4", "--last-terms", "3"], [4, 1, 3]),
    (["--first-terms", "4", "--layer-terms", "conv=1", "--layer-terms", "stem=3"], [3, 1, 2])])
def test_terms(more: list[str], terms: list[int], folder: Path, tmp_path: Path,
               capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folder, tmp_path / "m.pt", *more)) == 0
    rows = table(capsys.readouterr().out)
    assert [rows[name][:4] for name in ("stem", "conv", "fc")] == [[str(n), "x", "4", "bits"] for n in terms]


def test_bits_scales_and_ranges(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folder, tmp_path / "m.pt", "--weight-bits", "3", "--act-bits", "5", "--power-of-two",
                          "--per-tensor", "--calibration", "percentile", "--percentile", "0.99",
                          "--batch-norm-images", "20")) == 0
    rows = table(capsys.readouterr().out)
    assert rows["stem"][:4] == ["2", "x", "3", "bits"]
    assert [rows[name][-3] for name in ("input", "relu", "relu_2", "mean", "fc")] == ["u8", "u5", "u5", "u5", "s5"]
    graph = load_model(tmp_path / "m.pt").graph
    assert all(np.frexp(node.output.scale)[0] == 0.5 for node in graph.nodes if node.name.endswith("_quantizer")
               and node.name != "input_quantizer")
    card: Any = graph.metadata["card"]
    chosen = card["quantized"]
    assert (chosen["per_channel"], chosen["percentile"], chosen["batch_norm_images"]) == (False, 0.99, 20)


def test_what_is_left_out_is_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folder, tmp_path / "m.pt", function="softmax")) == 0
    assert "left out: softmax at the end, which does not change the class" in capsys.readouterr().out


# -- what it refuses -----------------------------------------------------------------------------

def refused(given: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr. What -o names stays as it was."""
    output = Path(given[given.index("-o") + 1])
    before = output.read_bytes() if output.is_file() else None
    try:
        code = main(given)
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert captured.err.startswith("shifthw: ") and captured.err.count("\n") == 1
    assert (output.read_bytes() if output.is_file() else None) == before
    return captured.err


def line_of(text: str) -> int:
    """Number of the line of net.py that begins with it; 0 if there is none."""
    return next((number for number, line in enumerate(FILE.splitlines(), 1) if line.startswith(text)), 0)


@pytest.mark.parametrize(("function", "message"), [
    ("Branch", "Branch at net.py:LINE: cannot be exported for images of shape [2, 3, 8, 8]: it branches on, or makes"),
    ("Dynamic", "forward (index) at net.py:LINE: gives a shape [u0, 3, 8, 8] that depends on the images; shapes must"),
    ("Softplus", "forward (softplus) at net.py:LINE: is not supported; supported are Conv2d"),
    ("Random", "Random: its exported program computes something else than forward"),
    ("Nothing", "output: must be a tensor, or a tuple of tensors, that the network computes"),
    ("nan", "stem.weight: holds 1 NaN or infinite numbers, must be finite"),
    ("fails", "net.py:fails: fails (ValueError: first line); it must work without arguments"),
    ("stops", "net.py:stops: fails (SystemExit: 3)"), ("needs", "net.py:needs: fails (TypeError: "),
    ("number", "net.py:number: returns int; must return a torch.nn.Module"),
    ("constant", "net.py: has no function constant"), ("absent", "net.py: has no function absent"),
    ("not-a-name", "net.py:not-a-name: must be file.py:function")])
def test_networks_that_cannot_be(function: str, message: str, folder: Path, tmp_path: Path,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    found = refused(arguments(folder, tmp_path / "m.pt", function=function), capsys)
    assert message.replace("LINE", str(line_of(f"class {function}(") + 1)) in found


@pytest.mark.parametrize(("name", "content", "message"), [
    ("absent.py", None, "absent.py: is not there; give file.py:function"),
    ("wrong.py", "def make(:\n", "wrong.py:make: fails (SyntaxError: "),
    ("raises.py", "raise RuntimeError('first\\nsecond')\n", "raises.py:make: fails (RuntimeError: first)"),
    ("lacks.py", "import absent\n", "lacks.py:make: fails (ModuleNotFoundError: No module named 'absent'"),
    ("ends.py", "import sys\nsys.exit()\n", "ends.py:make: fails (SystemExit"),
    ("binary.py", "\0", "binary.py:make: fails ("), ("net.txt", "", "net.txt:make: must be file.py:function")])
def test_files_that_hold_no_network(name: str, content: str | None, message: str, folder: Path, tmp_path: Path,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    given = ["quantize", f"{tmp_path / name}:make", "--calib", str(folder / "pixels.npz"), "-o", str(tmp_path / "m.pt")]
    assert message in refused(given, capsys)


def changed(name: str, tensor: torch.Tensor | None) -> Any:
    def change(state: dict[str, torch.Tensor]) -> None:
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    return change


WEIGHTS = [
    (changed("fc.bias", None), "(FOLDER/net.py:make): misses fc.bias; give the architecture that was trained"),
    (changed("head.bias", torch.zeros(3)), "has more than the architecture: head.bias;"),
    (changed("fc.weight", torch.zeros(4, 3)), "has other shapes: fc.weight [4, 3], must be [3, 4];"),
    (changed("conv.bias", torch.tensor([1, torch.nan, 1, 1])), "holds NaN or infinite numbers: conv.bias; take an"),
    (changed("norm.running_var", torch.full((4,), torch.inf)), "holds NaN or infinite numbers: norm.running_var"),
    (changed("norm.running_var", torch.full((4,), -1.0)), "norm (batch_norm) at net.py:14: has negative"),
    (lambda state: [state.pop(key) for key in list(state)[1:]], "misses norm.weight, norm.bias, norm.running_mea"),
    (dict.clear, "holds no state dict, but a dict of nothing; must be one"),
]


@pytest.mark.parametrize(("change", "message"), WEIGHTS, ids=[message[:30] for _, message in WEIGHTS])
def test_weights_that_do_not_fit(change: Any, message: str, folder: Path, tmp_path: Path,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    state = dict(network(folder).state_dict())
    change(state)
    torch.save(state, tmp_path / "weights.pt")
    given = ["quantize", f"{folder}/net.py:make", "--weights", str(tmp_path / "weights.pt"), "--calib",
             str(folder / "pixels.npz"), "-o", str(tmp_path / "m.pt")]
    assert message.replace("FOLDER", str(folder)) in refused(given, capsys)


def test_files_that_hold_no_weights(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = arguments(folder, tmp_path / "m.pt")
    file = tmp_path / "w.pt"
    given[given.index("--weights") + 1] = str(file)
    assert "w.pt" in refused(given, capsys)
    file.write_text("no checkpoint")
    assert "w.pt: is damaged, or not a checkpoint" in refused(given, capsys)
    torch.save(nn.Linear(2, 2), file)
    assert "w.pt" in refused(given, capsys)
    torch.save(3, file)
    assert "w.pt" in refused(given, capsys)


PIXELS = np.random.default_rng(3).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
IMAGES: list[tuple[Any, list[str], str]] = [
    (PIXELS[:0], [], "calibration images: are none, must be at least one"),
    (PIXELS[:0] / 255, [], "calibration images: must be finite numbers and at least one image"),
    (PIXELS[0], [], "images must have the shape (n, c, h, w), not (3, 8, 8)"),
    (PIXELS.astype(np.int64), [], "calibration images: must be uint8 pixels or real numbers, not int64"),
    (PIXELS > 9, [], "must be uint8 pixels or real numbers, not bool"),
    (PIXELS * 1j, [], "must be uint8 pixels or real numbers, not complex128"),
    (PIXELS[:, :1], [], "cannot be exported for images of shape [2, 1, 8, 8]: "),
    (PIXELS[:, :, :0], [], "calibration images: "), (PIXELS[:, :0], [], "calibration images: "),
    (np.full(PIXELS.shape, np.nan), [], "calibration images: must be finite numbers"),
    (PIXELS * 1e300, [], "calibration images: must be finite numbers"),
    (PIXELS * 0.0, [], "input_quantizer (QuantAct): sees no value but 0 on the calibration images"),
    (PIXELS / 255, ["--mean", "0,0,0"], "mean, std: are for uint8 pixels, the calibration images are float64"),
    (PIXELS / 255, ["--pixel-scale", "0.5"], "pixel_scale, mean, std: are for uint8 pixels, the calibration"),
    (PIXELS, ["--mean", "0.5"], "mean: must be one number per channel of the images, 3, not 1"),
    (PIXELS, ["--std", "1,1,0"], "std: must be positive, not 0"),
    (PIXELS, ["--std", "1,1,1,1"], "std: must be one number per channel of the images, 3, not 4"),
    (PIXELS, ["--pixel-scale", "0"], "pixel_scale: must be positive, not 0"),
    (PIXELS, ["--pixel-scale", "nan"], "pixel_scale: must be positive, not nan"),
    (PIXELS, ["--batch-norm-images", "5"], "batch_norm_images: must be at most the 4 calibration images"),
    (np.array([None]), [], "must be a .npy file, or an .npz with an array 'images'"),
]


@pytest.mark.parametrize(("images", "more", "message"), IMAGES, ids=[message[:40] for _, _, message in IMAGES])
def test_calibration_that_cannot_be(images: Any, more: list[str], message: str, folder: Path, tmp_path: Path,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", images)
    given = ["quantize", f"{folder}/net.py:ready", "--calib", str(tmp_path / "x.npy"), "-o", str(tmp_path / "m.pt")]
    assert message in refused([*given, *more], capsys)


def test_files_that_hold_no_images(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = arguments(folder, tmp_path / "m.pt")
    file = tmp_path / "x.npz"
    given[given.index("--calib") + 1] = str(file)
    assert "x.npz: must be a .npy file, or an .npz with an array 'images' (No such file" in refused(given, capsys)
    np.savez(file, data=PIXELS)
    assert "x.npz: must be a .npy file, or an .npz with an array 'images' (it holds data)" in refused(given, capsys)


@pytest.mark.parametrize(("more", "message"), [
    (["--weight-bits", "1"], "weight_bits: must be 2..5, not 1"), (["--weight-bits", "x"], "argument --weight-bits"),
    (["--terms", "0"], "terms: must be within 1..4"), (["--terms", "1..5"], "terms: must be within 1..4"),
    (["--terms", "3..2"], "terms: must be within 1..4, the fewest first, not (3, 2)"),
    (["--terms", "1...4"], "'1...4' must be a number, or a range like 1..4"), (["--terms", ""], "must be a number, or"),
    (["--terms", "1..2..3"], "must be a number, or a range"), (["--terms", "-1"], "argument --terms: "),
    (["--weight-snr", "nan"], "weight_snr: must be positive, not nan"),
    (["--first-terms", "5"], "first_terms: must be 1..4, not 5"), (["--last-terms", "0"], "last_terms: must be 1..4"),
    (["--layer-terms", "fc=5"], "layer_terms: must be 1..4"), (["--layer-terms", "fc"], "'fc' must be the path of a"),
    (["--layer-terms", "=2"], "must be the path of a layer, =, and a number"),
    (["--layer-terms", "norm=2"], "layer_terms: the network has no layer 'norm'; its layers are stem, conv, fc"),
    (["--layer-terms", "fc=2", "--layer-terms", "fc=2"], "--layer-terms: gives terms of fc twice; give each"),
    (["--act-bits", "1"], "activation_bits: must be 2..16, not 1"), (["--act-bits", "17"], "activation_bits: must be"),
    (["--calibration", "median"], "argument --calibration: invalid choice: 'median'"),
    (["--percentile", "0"], "percentile: must be in 0..1, not 0.0"), (["--percentile", "nan"], "percentile: must be"),
    (["--adder-bits", "17"], "adder_bits: must be 4..16, not 17"),
    (["--batch-norm-images", "1"], "batch_norm_images: must be 0, or at least 2, not 1"),
    (["--batch-norm-images", "-2"], "batch_norm_images: must be 0, or at least 2, not -2"),
    (["--mean", "0,,0"], "'0,,0' must be one number per channel"), (["--std", "1,inf,1"], "must be one number per"),
    (["--classes", "cat,dog"], "classes: are 2 names, must be 3, one per output")])
def test_options_out_of_range(more: list[str], message: str, folder: Path, tmp_path: Path,
                              capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(arguments(folder, tmp_path / "m.pt", *more), capsys)


def test_arguments_that_are_missing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["quantize", f"{folder}/net.py:make", "-o", str(tmp_path / "m.pt")]
    assert "the following arguments are required: --calib" in refused(given, capsys)


@pytest.mark.parametrize("path", ["absent/m.pt", ".", "file/m.pt"])
def test_outputs_that_cannot_be_are_told_before_the_work(path: str, folder: Path, tmp_path: Path,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert ": choose another with -o" in refused(
        arguments(folder, tmp_path / path, function="fails"), capsys)


def test_an_older_model_stays_where_a_new_one_fails(folder: Path, tmp_path: Path,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.pt").write_text("an older model")
    refused(arguments(folder, tmp_path / "m.pt", "--classes", "cat"), capsys)
    assert (tmp_path / "m.pt").read_text() == "an older model"
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]
