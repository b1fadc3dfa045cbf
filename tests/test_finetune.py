"""examples/finetune.py: a few steps on tiny random data, what the model file's card says, and resuming."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import shifthw
from shifthw.accuracy import measure
from shifthw.frontend.model_file import load_model
from shifthw.ir import ShiftConv2d

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def search_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(EXAMPLES)
    yield
    for name in ("image_data", "networks", "adder_networks", "shift_networks", "catalog", "training", "train_float",
                 "finetune"):
        sys.modules.pop(name, None)


def run(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, arguments)])
    importlib.import_module(script).main()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose class is where they are bright, and a LeNet-5 trained on them."""
    folder = tmp_path_factory.mktemp("finetune")
    generator = np.random.default_rng(1)
    arrays = {}
    for split, count in (("train", 256), ("test", 60)):
        labels = generator.integers(0, 10, count).astype(np.uint8)
        images = generator.integers(0, 120, (count, 28, 28), np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4 * (label // 4):4 * (label // 4) + 6, 6 * (label % 4):6 * (label % 4) + 6] += 130
        arrays |= {f"x_{split}": images, f"y_{split}": labels}
    np.savez(folder / "data.npz", **arrays)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(EXAMPLES)
        run(monkeypatch, "train_float", "lenet5", "--data", folder / "data.npz", "--out", folder / "float.pt",
            "--epochs", 40, "--crop", 0, "--no-flip", "--learning-rate", 0.05)
    return folder


def arguments(folder: Path, out: Path) -> list[object]:
    return ["lenet5", "--weights", folder / "float.pt", "--data", folder / "data.npz", "--data-name", "bright spots",
            "--out", out, "--epochs", 2, "--crop", 0, "--no-flip", "--learning-rate", 0.01]


def test_model_file_and_its_card(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "spots.pt"
    run(monkeypatch, "finetune", *arguments(folder, out), "--last-terms", 2, "--float-accuracy", 91.25)
    model = load_model(out)
    graph, card = model.graph, model.graph.metadata["card"]
    assert isinstance(card, dict)
    assert (graph.name, graph.metadata["classes"]) == ("spots", list("0123456789"))
    assert (card["weights"], card["data"], card["training_images"], card["test_images"]) == \
        ("trained", "bright spots", 256, 60)
    assert (card["epochs"], card["seed"], card["recipe"]["learning_rate"], card["float_recipe"]["learning_rate"]) == \
        (2, 1, 0.01, 0.05)
    assert (card["weight_bits"], card["terms"], card["last_terms"], card["activation_bits"]) == (4, 1, 2, 8)
    assert card["float_accuracy"] == 0.9125
    assert card["file_bytes"] == out.stat().st_size
    assert f"integer {100 * card['integer_accuracy']:.2f} %; saved" in capsys.readouterr().out
    with np.load(folder / "data.npz") as data:
        found = measure(model, data["x_test"][:, None], data["y_test"], layer_images=1)["accuracy"]
    assert isinstance(found, dict)
    assert {name: round(value, 4) for name, value in found.items()} == {
        "float": card["float_start_accuracy"], "fake-quantized": card["fake_quantized_accuracy"],
        "integer": card["integer_accuracy"]}
    terms = [node.op.weight.terms for node in graph.nodes if isinstance(node.op, ShiftConv2d)]
    assert terms == [1, 1, 1, 1, 2]


def test_interrupted_training_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    whole, part = tmp_path / "whole" / "spots.pt", tmp_path / "part" / "spots.pt"
    for path in (whole, part):
        path.parent.mkdir()
    run(monkeypatch, "finetune", *arguments(folder, whole))
    training = importlib.import_module("training")
    save = training._save

    def save_and_stop(checkpoint: Path, state: dict[str, object]) -> None:
        save(checkpoint, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, "finetune", *arguments(folder, part))
    assert not part.exists()
    monkeypatch.setattr(training, "_save", save)
    run(monkeypatch, "finetune", *arguments(folder, part))
    assert part.read_bytes() == whole.read_bytes()
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "finetune", *arguments(folder, part), "--weight-bits", 3)
    assert "part/spots.checkpoint: belongs to another recipe" in capsys.readouterr().err


def test_training_improves_on_rounding(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    """Two bits leave -1, 0 and 1 times a scale: too coarse without training; also in bfloat16."""
    run(monkeypatch, "finetune", *arguments(folder, tmp_path / "model.pt"), "--weight-bits", 2, "--epochs", 12,
        "--bfloat16")
    start = float(capsys.readouterr().out.splitlines()[0].split()[-5])
    card = shifthw.load(tmp_path / "model.pt").metadata["card"]
    assert isinstance(card, dict)
    assert 100 * card["integer_accuracy"] > start + 10
    assert "float_accuracy" not in card


@pytest.mark.parametrize(("wrong", "message"), [
    (["--terms", 5], "error: terms: must be within 1..4"),
    (["--weight-bits", 6], "error: weight_bits: must be 2..5, not 6"),
    (["--epochs", 0], "error: --epochs must be 1 or more, not 0"),
    (["--float-accuracy", 0], "error: --float-accuracy must be a percentage, not 0.0"),
    (["--weights", "nowhere.pt"], "error: nowhere.pt: holds no weights of this network"),
    (["--out", "no/such/folder.pt"], "error: no/such/folder.pt: must be a file in a folder that is there"),
])
def test_errors(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                wrong: list[object], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "finetune", *arguments(folder, tmp_path / "model.pt"), *wrong)
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
