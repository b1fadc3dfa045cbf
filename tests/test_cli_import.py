"""`shifthw import`: from a framework's checkpoint to a simulated engine, and what it says where it cannot."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shifthw import cli_import
from shifthw.cli import main
from shifthw.frontend.model_file import load
from shifthw.frontend.preprocess import input_integers
from shifthw.ir import interpret
from shifthw.sources import FRAMEWORKS

from .frontend.qonnx_models import Qonnx
from .sources import upstream_layers as upstream

ARRAY = "images=1,pixels=2,simd=4,pe=4"
OWN = """
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(4, 5, 4), nn.Flatten())
"""
ACT, BITS = (4, 4), 4


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(OWN)
    return f"{path}:net"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, images=np.random.default_rng(3).integers(0, 256, (6, 1, 8, 8), dtype=np.uint8))
    return path


def network(form: str) -> nn.Module:
    """The same weights in both forms, as weights.pth holds them."""
    names: dict[str, Any] = {}
    exec(OWN, names)
    ps = upstream.converted(names["net"](), upstream.deepshift("PS", BITS, ACT))
    upstream.rounded(upstream.seed(ps, 41, shifts=(-6.4, 0.4)), ACT[1])
    if form == "PS":
        return ps.eval()
    q = upstream.converted(names["net"](), upstream.deepshift("Q", BITS, ACT))
    for path in ("0", "3"):
        source, target = ps.get_submodule(path), q.get_submodule(path)
        target.weight.data = source.sign.data * torch.exp2(source.shift.data.clamp(-6, 0))
        target.bias = source.bias
    return q.eval()


def arguments(source: str, file: Path, architecture: str, output: Path, *more: str) -> list[str]:
    return ["import", source, str(file), "--arch", architecture, "-o", str(output), *more]


@pytest.mark.parametrize("source", ["deepshift-ps", "deepshift-q", "shiftaddnet", "torchshiftadd"])
def test_from_checkpoint_to_simulated_engine(source: str, own: str, images: Path, simulator_cache: Path, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    """All are the same network, so that one simulator serves them."""
    upstreams = network("Q" if source == "deepshift-q" else "PS")
    content = {"state_dict": upstreams.state_dict()} if source == "shiftaddnet" else upstreams.state_dict()
    torch.save(content, tmp_path / "weights.pth")
    model, folder = tmp_path / "model.pt", tmp_path / "build"
    assert main(arguments(source, tmp_path / "weights.pth", own, model, "--weight-bits", str(BITS), "--act-format",
                          "4,4", "--calib", str(images), "--mean", "0.5", "--std", "0.25", "--exact")) == 0
    written, compared = capsys.readouterr().out.splitlines()
    assert written == f"written to {model}: net, 1x8x8 images of 8 bits"
    assert compared == ("against the framework's own forward pass on 6 calibration images: all 30 outputs are equal; "
                        "the same class for 6 of 6")
    pixels = np.load(images)["images"]
    graph = load(model)
    with torch.no_grad():
        outputs = upstreams(torch.from_numpy((pixels / 255 - 0.5) / 0.25).float()).double() * 2 ** ACT[1]
    golden = interpret(graph, input_integers(graph, pixels))[graph.outputs[0]][:, :, 0, 0]
    assert np.array_equal(golden, torch.floor(outputs + 0.5).clamp(-128, 127).numpy())
    assert len(np.unique(golden)) > 10
    assert main(["build", str(model), "--board", "zc706", "--array", ARRAY, "-o", str(folder)]) == 0
    assert main(["sim", str(folder), "--images", str(images), "--engine", "fast", "--cache", str(simulator_cache)]) == 0
    assert "bit-exact: yes" in capsys.readouterr().out


def test_calibrated_import_says_how_far_it_is(own: str, images: Path, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(network("PS").state_dict(), tmp_path / "weights.pth")
    assert main(arguments("deepshift-ps", tmp_path / "weights.pth", own, tmp_path / "model.pt", "--act-bits", "6",
                          "--calib", str(images), "--sign-threshold", "0.5")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"written to {tmp_path}/model.pt: net, 1x8x8 images of 6 bits"
    assert "of 30 outputs differ, by " in lines[1]
    assert lines[-1] == "because the inputs of 0, 3 are on another grid than the framework's"


def test_wide_activations_are_remarked_on(own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(network("PS").state_dict(), tmp_path / "weights.pth")
    assert main(arguments("deepshift-ps", tmp_path / "weights.pth", own, tmp_path / "model.pt", "--input-shape",
                          "1,8,8")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "on 16 images of seeded noise: " in lines[1]
    assert lines[-1].startswith("activations have 32 bits, as in the framework: --act-bits 8")


@pytest.mark.slow
def test_the_frameworks_own_32_bits_are_simulated(own: str, images: Path, simulator_cache: Path,
                                                  tmp_path: Path) -> None:
    torch.save(network("PS").state_dict(), tmp_path / "weights.pth")
    model, folder = tmp_path / "model.pt", tmp_path / "build"
    assert main(arguments("deepshift-ps", tmp_path / "weights.pth", own, model, "--calib", str(images))) == 0
    assert main(["build", str(model), "--board", "zc706", "--array", ARRAY, "-o", str(folder)]) == 0
    assert main(["sim", str(folder), "--images", str(images), "--engine", "fast", "--cache", str(simulator_cache)]) == 0


def test_a_qonnx_file_becomes_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build = Qonnx(2, 1, 4, 4)
    x = build.quant("x", 0.25, 4)
    w = build.weights(np.arange(-4, 5).reshape(1, 1, 3, 3) / 4, 0.25, 4)
    file = build.write(tmp_path, build.quant(build.op("Conv", x, w, kernel_shape=[3, 3]), 0.5, 6))
    assert main(["import", "qonnx", str(file), "-o", str(tmp_path / "m.pt")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"written to {tmp_path}/m.pt: made, 1x4x4 images of 4 bits",
        "exact: every integer is that of QONNX's arithmetic"]
    assert load(tmp_path / "m.pt").outputs


def test_whole_modules_need_trust(own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(network("PS"), tmp_path / "model.pth")
    given = arguments("deepshift-ps", tmp_path / "model.pth", own, tmp_path / "model.pt", "--input-shape", "1,8,8")
    assert main(given) == 2
    assert "a pickle that runs code when it is loaded, so it was not" in capsys.readouterr().err
    assert not (tmp_path / "model.pt").exists()
    assert main([*given, "--trust-pickle"]) == 0


# -- errors --------------------------------------------------------------------------------------

@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(network("PS").state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def error_of(given: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    try:
        code = main(given)
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    return captured.err


@pytest.mark.parametrize(("more", "message"), [
    (["--arch", "resnet21"], "resnet21: is no architecture of deepshift-ps; there are LinearMNIST, ConvMNIST, res"),
    (["--arch", "ConvMNIST"], "misses conv1.shift, conv1.sign, conv1.bias and 9 more; give the architecture"),
    ([], "import: deepshift-ps must come with --arch"),
    (["--arch", "resnet20", "--act-format", "16,17"], "at most 32 together, not (16, 17)"),
    (["--arch", "resnet20", "--act-format", "16"], "'16' must be I,F: integer and fraction bits"),
    (["--arch", "resnet20", "--weight-bits", "9"], "weight_bits: must be 2..8, not 9"),
    (["--arch", "resnet20", "--act-bits", "1"], "act_bits: must be 2..16, not 1"),
    (["--arch", "resnet20", "--mean", "1,nan"], "'1,nan' must be one number per channel"),
    (["--arch", "resnet20", "--input-shape", "3,0,3"], "'3,0,3' must be positive numbers"),
    (["--arch", "resnet20", "--calib", "missing.npz"], "missing.npz: must be a .npy file")])
def test_bad_arguments(more: list[str], message: str, weights: Path, tmp_path: Path,
                       capsys: pytest.CaptureFixture[str]) -> None:
    assert message in error_of(["import", "deepshift-ps", str(weights), "-o", str(tmp_path / "m.pt"), *more], capsys)
    assert not (tmp_path / "m.pt").exists()


def test_unknown_formats_list_the_known_ones(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = error_of(["import", "deepshift", str(weights), "-o", "m.pt"], capsys)
    assert all(name in text for name in cli_import.FORMATS)


def test_formats_are_the_frameworks_and_qonnx() -> None:
    assert list(cli_import.FORMATS) == [*FRAMEWORKS, "active-shift", "qonnx"]


def test_bad_files_and_outputs(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.pth").write_text("no checkpoint")
    given = ["import", "deepshift-ps", str(tmp_path / "text.pth"), "--arch", "resnet20", "-o"]
    assert "text.pth: is damaged, or not a checkpoint" in error_of([*given, str(tmp_path / "m.pt")], capsys)
    assert "must be a file in a folder that exists" in error_of([*given, str(tmp_path / "no" / "m.pt")], capsys)
    assert "must be a file in a folder that exists" in error_of([*given, str(tmp_path)], capsys)


def test_the_file_itself_is_not_overwritten(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = weights.read_bytes()
    given = ["import", "deepshift-ps", str(weights), "--arch", "resnet20", "-o", f"{weights.parent}/./{weights.name}"]
    assert "weights.pth: is the file to import, which would be lost" in error_of(given, capsys)
    assert weights.read_bytes() == before


def test_qonnx_takes_no_options_of_checkpoints(weights: Path, tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    given = ["import", "qonnx", str(weights), "-o", str(tmp_path / "m.pt")]
    assert "qonnx takes no --act-bits: the file says it" in error_of([*given, "--act-bits", "8"], capsys)
    assert "weights.pth" in error_of(given, capsys)


ADDER = """
from torch import nn
from shifthw.nn import AdderConv2d

def net():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), AdderConv2d(4, 5, 4), nn.Flatten())
"""


@pytest.mark.parametrize(("flags", "said"), [
    (["--add-quant", "wageubn", "--add-bits", "6"], r"all 750 outputs are equal; the same class for 6 of 6"),
    (["--act-bits", "8"], r"outputs differ, by \d+ steps of .*\n(.*\n)*because weights of 1 are rounded to the step"),
])
def test_adder_layers(flags: list[str], said: str, images: Path, tmp_path: Path,
                      capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(ADDER, names)
    (tmp_path / "own.py").write_text(ADDER)
    model = upstream.converted(names["net"](), lambda path, plain: upstream.Conv2dShift(plain, BITS, (8, 8)))  # type: ignore[arg-type]
    torch.save(upstream.seed(model, 5).state_dict(), tmp_path / "w.pth")
    assert main(arguments("shiftaddnet", tmp_path / "w.pth", f"{tmp_path}/own.py:net", tmp_path / "m.pt",
                          "--weight-bits", str(BITS), "--act-format", "8,8", "--calib", str(images), *flags)) == 0
    assert re.search(said, capsys.readouterr().out)
    assert load(tmp_path / "m.pt")["1"].op.weight.shape == (5, 4, 4, 4)         # type: ignore[union-attr]
