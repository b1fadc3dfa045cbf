"""`shifthw check` on the digits network: what it prints and writes, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shifthw import flow, zoo
from shifthw.cli import main
from shifthw.frontend.model_file import load, load_model, write_graph, write_model
from shifthw.ir import interpret
from shifthw.zoo.seeded import synthetic_images

GOOD = np.zeros((2, 1, 8, 8), np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "digits.pt"
    zoo.write("digits", path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, synthetic_images(5, (1, 8, 8), 1) // 16)
    return path


def test_check_prints_and_writes_what_it_finds(model: Path, tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    pixels = synthetic_images(20, (1, 8, 8), 1) // 16
    np.savez(tmp_path / "data.npz", images=pixels, labels=np.arange(20) % 10)
    out = tmp_path / "out.json"
    assert main(["check", str(model), "--images", str(tmp_path / "data.npz"), "--limit", "12", "--layer-images", "5",
                 "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    found = json.loads(out.read_text())
    assert (found["model"], found["images"], found["layer_images"]) == ("digits", 12, 5)
    classes = interpret(load(model), pixels)["logits"][:12, :, 0, 0].argmax(axis=1)
    assert found["accuracy"]["integer"] == np.mean(classes == np.arange(12) % 10)
    for text in ("digits: 12 images", "on 5 images", "block.conv2 + residual", "dB to fake-quantized",
                 f"{100 * found['accuracy']['integer']:.2f} %", "of -128..127", "no layer adds 0.1 % noise"):
        assert text in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("float ")]
    assert line.split() == ["float", "-", "-", "-", "-"]
    assert "<-- noise" not in printed
    assert "\N{HORIZONTAL ELLIPSIS}" not in printed, "a column was cut"


def test_check_marks_the_layer_that_adds_noise(model: Path, tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    """Its bias is off by 20 steps."""
    read = load_model(model)
    nodes = tuple(replace(node, op=replace(node.op, bias=node.op.bias + (20 << node.op.shift)))
                  if node.name == "act3" else node for node in read.graph.nodes)
    write_model(replace(read, graph=replace(read.graph, nodes=nodes)), tmp_path / "wrong.pt")
    np.save(tmp_path / "x.npy", synthetic_images(20, (1, 8, 8), 1) // 16)
    assert main(["check", str(tmp_path / "wrong.pt"), "--images", str(tmp_path / "x.npy")]) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("conv3 ")]
    assert line.rstrip().endswith("<-- noise")
    assert not any(line.rstrip().endswith("<-- noise") for line in printed.splitlines()
                   if line.startswith(("conv1", "conv2", "block", "input")))
    assert "no layer adds" not in printed


def test_check_of_a_graph_alone(model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_graph(load(model), tmp_path / "alone.pt")
    assert main(["check", str(tmp_path / "alone.pt"), "--images", str(images)]) == 0
    printed = capsys.readouterr().out
    assert "holds the integer network only: save it again" in printed
    assert "dB to" not in printed


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("shifthw: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize(("content", "labels", "message"), [
    (GOOD[:, :, :7], None, "must be [N, 1, 8, 8]"),
    (GOOD.astype(np.float64) + 1e3, None, "must be in the units of the network's input, 0..15.94"),
    (GOOD, np.zeros(3, np.int64), "as many as images, not more"),
    (GOOD, np.array([0, 10]), "within 0..9"),
])
def test_bad_images_for_a_check(content: np.ndarray, labels: np.ndarray | None, message: str, model: Path,
                                tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", content)
    arguments = ["check", str(model), "--images", str(tmp_path / "x.npy"), "--json", str(tmp_path / "out.json")]
    if labels is not None:
        np.save(tmp_path / "y.npy", labels)
        arguments += ["--labels", str(tmp_path / "y.npy")]
    assert message in refused(arguments, capsys)
    assert not (tmp_path / "out.json").exists()


def test_labels_for_a_network_without_classes(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = load(model)
    write_graph(replace(graph, outputs=("act1",)), tmp_path / "maps.pt")
    np.savez(tmp_path / "x.npz", images=GOOD, labels=np.zeros(2, np.int64))
    arguments = ["check", str(tmp_path / "maps.pt"), "--images", str(tmp_path / "x.npz")]
    assert "one number per class, not maps of (16, 8, 8)" in refused(arguments, capsys)


@pytest.mark.parametrize("path", ["absent/out.json", ".", "file/out.json"])
def test_an_unusable_file_for_the_result_is_told_before_the_work(
    path: str, model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(flow, "measure")
    (tmp_path / "file").write_text("mine")
    arguments = ["check", str(model), "--images", str(images), "--json", str(tmp_path / path)]
    assert "choose another with --json" in refused(arguments, capsys)


def test_a_damaged_model_is_told_by_check(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.pt").write_text("not a model")
    assert "bad.pt: is truncated" in refused(["check", str(tmp_path / "bad.pt"), "--images", str(images)], capsys)
