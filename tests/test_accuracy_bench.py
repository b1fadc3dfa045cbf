"""bench/accuracy.py on the digits of the zoo, and on a float network made here."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import accuracy
from shifthw import zoo

EXAMPLES = Path(__file__).parents[1] / "examples"
NETWORK = """
from torch import nn
def network():
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The digits examples' split as an .npz."""
    training, held_out = runpy.run_path(str(EXAMPLES / "digits_data.py"))["split"]()
    np.savez(tmp_path / "digits.npz", x_train=training.images, y_train=training.labels, x_test=held_out.images,
             y_test=held_out.labels)
    return tmp_path / "digits.npz"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["accuracy", *map(str, arguments)])
    accuracy.main()


def test_trained_networks_of_the_zoo(data: Path, monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "--data", data, "--data-name", "held-out digits")
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| digits |")]
    card = zoo.build("digits").metadata["card"]
    assert isinstance(card, dict)
    cells = [cell.strip() for cell in rows[0].split("|")]
    assert len(rows) == 1
    assert cells[2:4] == ["held-out digits", "360"]
    assert cells[7] == f"{100 * card['held_out_accuracy']:.2f} %"


def test_float_network_without_training(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "network.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    torch.manual_seed(1)
    network = runpy.run_path(str(tmp_path / "network.py"))["network"]()
    with np.load(data) as arrays:
        images, labels = (torch.from_numpy(arrays[name]) for name in ("x_train", "y_train"))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network((images / 255 - 0.02) / 0.025), labels.long())
        loss.backward()
        optimizer.step()
    torch.save(network.state_dict(), tmp_path / "float.pt")
    run(monkeypatch, "--data", data, "--data-name", "held-out digits", "--float-weights", tmp_path / "float.pt",
        "--network", f"{tmp_path / 'network.py'}:network", "--terms", 1, 4, "--mean", 0.02, "--std", 0.025)
    printed = capsys.readouterr().out
    rows = [[cell.strip().removesuffix(" %") for cell in line.split("|")[1:-1]]
            for line in printed.splitlines() if line.startswith(("| 1 |", "| 4 |"))]
    assert "held-out digits, 360 test images; 4-bit terms, 8-bit activations" in printed
    assert [row[0] for row in rows] == ["1", "4"]
    assert rows[0][1] == rows[1][1]
    assert float(rows[0][1]) > 90
    assert abs(float(rows[1][3]) - float(rows[1][1])) < 1       # four terms lose next to nothing
    assert float(rows[1][4]) == pytest.approx(float(rows[1][3]) - float(rows[1][1]), abs=0.011)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--models", "vgg"], "error: vgg: is neither a file nor one of the zoo's networks: digits, "),
    (["--models", "resnet8"], "error: resnet8: takes images of shape (3, 32, 32), the data has (1, 8, 8)"),
    (["--network", "x.py:network"], "error: --float-weights and --network must be given together"),
    (["--network", "x.py:network", "--float-weights", "x.pt"], "error: x.py: is not there; give file.py:function"),
])
def test_errors(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                arguments: list[str], message: str) -> None:
    monkeypatch.chdir(data.parent)
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "--data", data, "--data-name", "digits", *arguments)
    assert message in capsys.readouterr().err.splitlines()[-1]
