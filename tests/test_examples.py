"""The digits examples: the data they write, and a short training run from end to end."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import shifthw
from shifthw.ir import interpret

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(EXAMPLES / script), *arguments], cwd=folder, text=True,
                          capture_output=True, check=False)


def test_digits_data(tmp_path: Path) -> None:
    result = run("digits_data.py", "--out", "data", "--count", "100", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    images, labels = np.load(tmp_path / "data/images.npy"), np.load(tmp_path / "data/labels.npy")
    assert (images.shape, images.dtype, images.max()) == ((100, 1, 8, 8), np.uint8, 16)
    assert (labels.shape, labels.dtype) == ((100,), np.uint8)
    refused = run("digits_data.py", "--count", "361", folder=tmp_path)
    assert refused.returncode == 2
    assert "--count must be 1..360, not 361" in refused.stderr


@pytest.mark.slow
def test_training_from_end_to_end(tmp_path: Path) -> None:
    result = run("train_digits.py", "--out", "model.pt", "--epochs", "2", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    run("digits_data.py", folder=tmp_path)
    graph = shifthw.load(tmp_path / "model.pt")
    labels = np.load(tmp_path / "data/labels.npy")
    logits = interpret(graph, np.load(tmp_path / "data/images.npy"))[graph.outputs[0]].reshape(len(labels), -1)
    accuracy = float(np.mean(logits.argmax(axis=1) == labels))
    assert accuracy > 0.5
    assert f"{100 * accuracy:.1f} %" in result.stdout
