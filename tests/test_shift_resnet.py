"""ShiftResNet-20 with sparse shifts: its two forms, and examples/finetune_shift.py on tiny random data."""

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from shifthw.nn import QuantAct, ShiftConv2d, ShiftLinear, SparseShift2d, total_shift_loss
from shifthw.zoo.seeded import calibrate, seed_weights
from shifthw.zoo.shift_resnet import EXPANSION, SparseShiftResNet

EXAMPLES = Path(__file__).parents[1] / "examples"
MULTIPLY_ADDS = 16_433_792


@pytest.fixture(autouse=True)
def search_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    torch.manual_seed(2)
    monkeypatch.syspath_prepend(EXAMPLES)
    yield
    for name in ("image_data", "networks", "adder_networks", "shift_networks", "catalog", "training", "train_float",
                 "finetune", "finetune_shift"):
        sys.modules.pop(name, None)


def multiply_adds(model: nn.Module) -> int:
    counts: list[int] = []

    def count(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        weight = module.weight
        counts.append(output[0].numel() * weight[0].numel())

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    model(torch.rand(1, 3, 32, 32))
    return sum(counts)


def test_float_network() -> None:
    model = SparseShiftResNet(None).eval()
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert multiply_adds(model) == MULTIPLY_ADDS
    assert not [module for module in model.modules() if isinstance(module, QuantAct)]
    shifts = [module for module in model.modules() if isinstance(module, SparseShift2d)]
    assert [shift.channels // EXPANSION for shift in shifts] == [16] * 3 + [32] * 3 + [64] * 3
    assert total_shift_loss(model) > 0


def test_quantized_network_has_the_same_paths_and_a_quantizer_before_each_layer() -> None:
    plain, model = SparseShiftResNet(None), SparseShiftResNet("PS")
    assert [path for path, _ in plain.named_modules()] == [path for path, _ in model.named_modules()]
    seed_weights(model, 1)
    calibrate(model, torch.rand(4, 3, 32, 32))
    quantized: list[bool] = []

    def on_grid(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        quantized.append(len(inputs[0].unique()) <= 257)

    for module in model.modules():
        if isinstance(module, ShiftConv2d | ShiftLinear):
            module.register_forward_pre_hook(on_grid)
    model(torch.rand(1, 3, 32, 32))
    assert len(quantized) == 1 + 2 * 9 + 2 + 1
    assert all(quantized)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    arrays = {f"{kind}_{split}": generator.integers(0, 10, (128, 16, 16, 3) if kind == "x" else 128, np.uint8)
              for split in ("train", "test") for kind in "xy"}
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, arguments)])
    importlib.import_module(script).main()


def test_finetuning(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    data = ("--data", folder / "data.npz", "--epochs", 1)
    run(monkeypatch, "train_float", "ssl_shift_resnet20", *data, "--out", folder / "float.pt")
    script = importlib.import_module("finetune_shift")
    cards: list[dict[str, object]] = []

    def save(model: nn.Module, options: argparse.Namespace, test: object, card: dict[str, object]) -> None:
        assert options.network == "ssl_shift_resnet20"
        assert isinstance(model, SparseShiftResNet)
        cards.append(card | {"integer_accuracy": 0.5})
        card["integer_accuracy"] = 0.5

    monkeypatch.setattr(script, "save", save)
    arguments = ("--weights", folder / "float.pt", *data, "--data-name", "noise", "--out", folder / "noise.pt")
    run(monkeypatch, "finetune_shift", *arguments)
    assert "integer 50.00 %; saved" in capsys.readouterr().out
    run(monkeypatch, "finetune_shift", *arguments)
    assert "epoch" not in capsys.readouterr().out       # all are done: measured and saved again
    assert cards[0] == cards[1]
    card = cards[0]
    assert (card["data"], card["weight_bits"], card["terms"], card["activation_bits"]) == ("noise", 4, 1, 8)
    assert isinstance(card["float_recipe"], dict)
    shifts = card["shifts"]
    assert isinstance(shifts, dict)
    assert list(shifts) == [f"blocks.{index}.shift" for index in range(9)]
    assert shifts["blocks.4.shift"]["channels"] == 96
    assert 0 < shifts["blocks.4.shift"]["sparsity"] < 1
    assert shifts["blocks.4.shift"]["rows"] == [-1, 1]


def schedule_momentum(schedule: torch.optim.lr_scheduler.OneCycleLR) -> float:
    return float(schedule.optimizer.param_groups[0]["momentum"])


def test_displacements_have_their_loss_and_no_decay(tmp_path: Path) -> None:
    """Black images: no displacement makes a difference, so their loss alone moves them, toward 0."""
    training = importlib.import_module("training")
    model = nn.Sequential(SparseShift2d(8, "l2", strength=0.5), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    before = model[0].displacement.detach().clone()
    assert total_shift_loss(model).item() == pytest.approx(0.5 * before.square().sum().item())
    data = training.Images(np.zeros((16, 8, 6, 6), np.uint8), np.arange(16).astype(np.uint8) % 2)
    recipe = training.Recipe(epochs=5, learning_rate=0.1, batch=16, crop=0, flip=False, weight_decay=0.1)
    training.train(model, data, recipe, tmp_path / "one.checkpoint")
    schedule = torch.optim.lr_scheduler.OneCycleLR(torch.optim.SGD([torch.zeros(1)], 0.1, 0.9), 0.1, total_steps=5)
    expected, velocity = before.clone(), torch.zeros(8, 2)
    for _ in range(5):
        velocity = schedule_momentum(schedule) * velocity + expected        # Nesterov's
        expected = expected - schedule.get_last_lr()[0] * (expected + schedule_momentum(schedule) * velocity)
        schedule.optimizer.step()
        schedule.step()
    assert torch.allclose(model[0].displacement, expected, atol=1e-6)
    assert 0.5 < float((expected / before).mean()) < 0.9


def test_quantized_weights_are_the_nearest() -> None:
    script = importlib.import_module("finetune_shift")
    plain = SparseShiftResNet(None)
    model = script.quantized(plain, torch.rand(4, 3, 16, 16))
    for path, module in model.named_modules():
        if isinstance(module, ShiftConv2d | ShiftLinear):
            off = (module.rounded_weight() - plain.get_submodule(path).weight).norm()
            assert off < 1 / 3 * plain.get_submodule(path).weight.norm()
    assert torch.equal(model.blocks[3].shift.displacement, plain.blocks[3].shift.displacement)
