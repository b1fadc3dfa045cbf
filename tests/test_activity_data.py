"""examples/activity_data.py: subjects on one side only, and what is refused."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    sys.modules.pop("activity_data", None)


def arrays() -> dict[str, np.ndarray]:
    fold = np.arange(40) % 16
    return {"x": np.repeat(fold, 480).reshape(40, 160, 3).astype(np.float32), "y": fold % 12, "fold": fold}


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, data: dict[str, np.ndarray]) -> None:
    np.savez(folder / "data.npz", **data)
    monkeypatch.setattr(sys, "argv", ["activity_data.py", str(folder / "data.npz"), "--out", str(folder / "out.npz")])
    importlib.import_module("activity_data").main()


def test_split_by_subjects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, tmp_path, arrays())
    images = importlib.import_module("image_data")
    training, test = images.load(tmp_path / "out.npz")
    assert training.images.shape[1:] == test.images.shape[1:] == (1, 160, 3)
    assert set(np.unique(test.images)) == {1, 5, 9} and not set(np.unique(training.images)) & {1, 5, 9}
    assert (test.labels == test.images[:, 0, 0, 0] % 12).all()
    assert f"{len(training.labels)} windows to train on, {len(test.labels)} of" in capsys.readouterr().out


@pytest.mark.parametrize(("change", "message"), [
    (dict(x=np.zeros((40, 160))), r"x must be integers 0..63 of shape \(n, samples, 3\), not \(40, 160\), 0..0"),
    (dict(x=np.full((40, 160, 3), 64)), r"not \(40, 160, 3\), 64..64"),
    (dict(x=np.full((40, 160, 3), 0.5)), "0.5..0.5"),
    (dict(x=np.full((40, 160, 3), "walk")), r"x must be integers 0..63 .*, not <U4 of \(40, 160, 3\)"),
    (dict(x=np.zeros((0, 160, 3))), r"x must be integers 0..63 .*, not float64 of \(0, 160, 3\)"),
    (dict(y=np.arange(39) % 12), r"y must be 40 integers 0..11, one per window, not \(39,\), 0..11"),
    (dict(y=np.full(40, 12)), r"y must be 40 integers 0..11, .* 12..12"),
    (dict(fold=np.arange(41)), r"fold must be 40 integers 0..255, one per window, not \(41,\)"),
    (dict(fold=np.full(40, 2)), r"fold must hold some of the subjects \(1, 5, 9\), and others"),
])
def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, tmp_path, arrays() | change)

    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("contents", [b"", b"activities", b"PK\x03\x04 cut off", None])
def test_files_that_are_no_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str], contents: bytes | None) -> None:
    data = tmp_path / "data.npy"
    if contents is None:
        np.save(data, np.zeros(3))
    else:
        data.write_bytes(contents)
    monkeypatch.setattr(sys, "argv", ["activity_data.py", str(data), "--out", str(tmp_path / "out.npz")])
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module("activity_data").main()
    assert "data.npy: must be an .npz file that holds numbers x, y and fold" in capsys.readouterr().err


def test_a_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "data.npz", **arrays())
    out = tmp_path / "none" / "out.npz"
    monkeypatch.setattr(sys, "argv", ["activity_data.py", str(tmp_path / "data.npz"), "--out", str(out)])
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module("activity_data").main()
    assert str(out) in capsys.readouterr().err
