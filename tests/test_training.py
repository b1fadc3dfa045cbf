"""examples/training.py, train_float.py and catalog.py: a few steps on tiny random data, stopped and resumed."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

EXAMPLES = Path(__file__).parents[1] / "examples"
PARAMETERS = {"resnet20": 269_722, "resnet8": 78_042, "lenet5": 61_706, "conv_mnist": 431_080,
              "shiftadd_resnet20": 560_026, "adder_resnet20": 269_722, "activity_shiftadd": 71748,
              "ssl_shift_resnet20": 97_658}
"""Biases and batch norms included."""


@pytest.fixture(autouse=True)
def search_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(EXAMPLES)
    yield
    for name in ("image_data", "networks", "adder_networks", "shift_networks", "catalog", "training", "train_float"):
        sys.modules.pop(name, None)


@pytest.fixture
def training() -> ModuleType:
    return importlib.import_module("training")


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                         nn.Linear(144, 3))


def data(training: ModuleType, count: int = 40) -> object:
    """The class is the brightest third, so that there is something to learn."""
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, count).astype(np.uint8)
    images = generator.integers(0, 100, (count, 1, 8, 8), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 3 * label:3 * label + 2] += 150
    return training.Images(images, labels)


class Stop(Exception):
    pass


def stop_after(epochs: int) -> object:
    def after(epoch: int) -> None:
        if epoch == epochs:
            raise Stop
    return after


@pytest.mark.parametrize("bfloat16", [False, True])
def test_resumed_equals_uninterrupted(training: ModuleType, tmp_path: Path, bfloat16: bool) -> None:
    recipe = training.Recipe(epochs=4, learning_rate=0.1, batch=16, crop=1, bfloat16=bfloat16)
    whole, resumed = network(), network()
    training.train(whole, data(training), recipe, tmp_path / "whole.checkpoint")
    with pytest.raises(Stop):
        training.train(resumed, data(training), recipe, tmp_path / "part.checkpoint", stop_after(2))
    resumed = network()
    training.train(resumed, data(training), recipe, tmp_path / "part.checkpoint")
    assert not whole.training
    for (name, expected), value in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(expected, value), name
    assert not torch.equal(whole[0].weight, network()[0].weight)
    finished = network()
    training.train(finished, data(training), recipe, tmp_path / "part.checkpoint", stop_after(4))
    assert torch.equal(finished[0].weight, whole[0].weight)


def test_it_learns(training: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = training.Recipe(epochs=10, learning_rate=0.1, batch=16, crop=0, flip=False)
    model = network()
    training.train(model, data(training), recipe, tmp_path / "some.checkpoint")
    assert training.accuracy(model, data(training)) > 0.95
    assert "epoch 10 of 10: loss 0." in capsys.readouterr().out


def test_first_epochs_are_of_small_images(training: ModuleType, tmp_path: Path) -> None:
    sizes: list[tuple[int, ...]] = []

    class Seen(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                sizes.append(tuple(x.shape[2:]))
            return x.mean((2, 3))

    model = nn.Sequential(Seen(), nn.Linear(1, 3))
    recipe = training.Recipe(epochs=3, learning_rate=0.1, batch=20, crop=0, flip=False, small_epochs=2)
    training.train(model, data(training), recipe, tmp_path / "some.checkpoint")
    assert sizes == [(4, 4)] * 4 + [(8, 8)] * 2


def test_other_recipe_is_refused(training: ModuleType, tmp_path: Path) -> None:
    recipe = training.Recipe(epochs=1, learning_rate=0.1, batch=16)
    checkpoint = tmp_path / "some.checkpoint"
    training.train(network(), data(training), recipe, checkpoint)
    with pytest.raises(training.CannotTrain, match="some.checkpoint: belongs to another recipe .*'seed': 1"):
        training.train(network(), data(training), replace(recipe, seed=2), checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(training.CannotTrain, match="some.checkpoint: is damaged or belongs to another network"):
        training.train(network(), data(training), recipe, checkpoint)


def test_data_that_does_not_fit(training: ModuleType, tmp_path: Path) -> None:
    recipe = training.Recipe(epochs=1, learning_rate=0.1, batch=16)
    few, good = data(training, 15), data(training)
    for wrong, message in ((few, "has 15 training images, must have at least one batch of 16"),
                           (good._replace(labels=good.labels + 1), "labels up to 3, the network 3 classes"),
                           (good._replace(images=np.repeat(good.images, 2, 1)), r"not take images of shape \(2, 8, 8")):
        with pytest.raises(training.CannotTrain, match=message):
            training.train(network(), wrong, recipe, tmp_path / "none.checkpoint")
    assert not list(tmp_path.iterdir())


def test_augmented_images_are_moved_and_mirrored(training: ModuleType) -> None:
    images = np.random.default_rng(1).integers(1, 256, (400, 2, 5, 7), np.uint8)
    recipe = training.Recipe(epochs=1, learning_rate=0.1, crop=2)
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    seen = set()
    for image, source in zip(training.augmented(images, recipe, np.random.default_rng(1)), padded, strict=True):
        found = [(y, x, flip) for y in range(5) for x in range(5) for flip in (1, -1)
                 if np.array_equal(source[:, y:y + 5, x:x + 7][:, :, ::flip], image)]
        assert len(found) == 1
        seen |= set(found)
    assert len(seen) == 50          # 5 x 5 places, mirrored or not
    plain = training.augmented(images, replace(recipe, crop=0, flip=False), np.random.default_rng(1))
    assert np.array_equal(plain, images)


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks(name: str) -> None:
    catalog = importlib.import_module("catalog")
    assert set(catalog.NETWORKS) == set(catalog.CLASSES) == set(PARAMETERS)
    model = catalog.NETWORKS[name]().eval()
    shape = (2, 3, 32, 32) if "resnet" in name else (2, 1, 160, 3) if "activity" in name else (2, 1, 28, 28)
    assert model(torch.rand(shape)).shape == (2, len(catalog.CLASSES[name]))
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


def run_train_float(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["train_float.py", *map(str, arguments)])
    importlib.import_module("train_float").main()


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    arrays = {f"{kind}_{split}": generator.integers(0, 10, (150, 28, 28) if kind == "x" else 150, np.uint8)
              for split in ("train", "test") for kind in "xy"}
    np.savez(tmp_path / "digits.npz", **arrays)
    return tmp_path / "digits.npz"


def test_train_float(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                     capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--data", digits, "--out", tmp_path / "lenet5.pt", "--no-flip", "--crop", 2)
    run_train_float(monkeypatch, "lenet5", *arguments, "--epochs", 5)
    printed = capsys.readouterr().out
    assert printed.count("% of the test images") == 1
    assert "% of the 150 test images; saved" in printed
    state = torch.load(tmp_path / "lenet5.pt", weights_only=True)
    assert state["conv1.weight"].shape == (6, 1, 5, 5)
    run_train_float(monkeypatch, "lenet5", "--data", digits, "--out", tmp_path / "more.pt", "--epochs", 1,
                    "--start", tmp_path / "lenet5.pt", "--learning-rate", 1e-9)
    more = torch.load(tmp_path / "more.pt", weights_only=True)
    assert torch.allclose(more["conv1.weight"], state["conv1.weight"], atol=1e-5)   # it started there


@pytest.mark.parametrize(("arguments", "message"), [
    (["vgg"], "invalid choice: 'vgg' (choose from "),
    (["lenet5", "--epochs", 0], "error: --epochs must be 1 or more, not 0"),
    (["lenet5", "--learning-rate", "nan"], "error: --learning-rate must be greater than 0, not nan"),
    (["lenet5", "--small-epochs", -1], "error: --small-epochs must be 0 or more, not -1"),
    (["lenet5", "--small-epochs", 30], "error: --small-epochs must be fewer than the 30 of --epochs, not 30"),
    (["lenet5", "--small-epochs", 1], "error: the network does not take images of shape (1, 14, 14)"),
    (["lenet5", "--crop", -1], "error: --crop must be 0 or more, not -1"),
    (["lenet5", "--data", "nowhere"], "error: argument --data: nowhere: is not there; give cifar-10-python.tar.gz"),
    (["lenet5", "--start", "nowhere"], "error: nowhere: holds no weights of this network"),
    (["resnet8"], "error: the network does not take images of shape (1, 28, 28)"),
])
def test_train_float_errors(digits: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                            arguments: list[object], message: str) -> None:
    monkeypatch.chdir(digits.parent)
    with pytest.raises(SystemExit, match="2"):
        run_train_float(monkeypatch, "--data", digits, "--out", "new.pt", *arguments)
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert list(digits.parent.iterdir()) == [digits]
