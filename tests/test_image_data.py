"""examples/image_data.py: each kind of data set, made small here, and what it says to everything else."""

import gzip
import io
import pickle
import runpy
import struct
import sys
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "examples" / "image_data.py"
MODULE = runpy.run_path(str(SCRIPT))
load, BadData = MODULE["load"], MODULE["BadData"]
BATCHES = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings: so the published archive is pickled."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_string(self, text: bytes) -> None:
        if self.proto:
            self.write(pickle.BINSTRING + struct.pack("<i", len(text)) + text)
        else:
            self.write(pickle.STRING + repr(text)[1:].encode() + b"\n")
        self.memoize(text)

    dispatch[bytes] = save_string


def python2(content: object, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=protocol).dump(content)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


class Py2Array:
    """Pickled as Python 2's numpy pickled an array."""

    def __init__(self, array: np.ndarray, kind: bytes = b"u1") -> None:
        self.array, self.kind = array, kind

    def __reduce__(self) -> tuple[Any, ...]:
        fortran = self.array.flags.f_contiguous and not self.array.flags.c_contiguous
        content = self.array.tobytes("F" if fortran else "C")
        state = (1, self.array.shape, Py2Kind(self.kind), fortran, content)
        return np.empty(0).__reduce__()[0], (np.ndarray, (0,), b"b"), state


class Py2Kind:
    """Pickled as Python 2's numpy pickled a dtype."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return np.dtype, (self.name, 0, 1), (3, b"|", None, None, None, -1, -1, 0)


def random_images(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def cifar_files() -> dict[str, tuple[np.ndarray, list[int]]]:
    return {name: (random_images(4, 3, 32, 32, seed=seed), [seed, 9, 0, seed]) for seed, name in enumerate(BATCHES)}


def write_cifar(folder: Path, fortran: bool = False, protocol: int = 2) -> dict[str, tuple[np.ndarray, list[int]]]:
    files = cifar_files()
    folder.mkdir()
    for name, (images, labels) in files.items():
        rows = images.reshape(4, 3072)
        data = Py2Array(np.asfortranarray(rows) if fortran else rows)
        content = {b"batch_label": b"testing", b"labels": labels, b"data": data, b"filenames": [b"a.png"] * 4}
        (folder / name).write_bytes(python2(content, protocol))
    return files


def check_cifar(loaded: Any, files: dict[str, tuple[np.ndarray, list[int]]]) -> None:
    training, test = loaded
    assert np.array_equal(training.images, np.concatenate([files[name][0] for name in BATCHES[:5]]))
    assert training.labels.tolist() == sum((files[name][1] for name in BATCHES[:5]), [])
    assert np.array_equal(test.images, files["test_batch"][0])
    assert test.labels.tolist() == files["test_batch"][1]
    assert {array.dtype for array in (*training, *test)} == {np.dtype(np.uint8)}
    assert training.images.flags.c_contiguous


@pytest.mark.parametrize(("fortran", "protocol"), [(False, 2), (True, 2), (False, 0)])
def test_cifar_folder(tmp_path: Path, fortran: bool, protocol: int) -> None:
    files = write_cifar(tmp_path / "cifar-10-batches-py", fortran, protocol)
    check_cifar(load(tmp_path / "cifar-10-batches-py"), files)
    check_cifar(load(tmp_path), files)


def test_cifar_archive(tmp_path: Path) -> None:
    files = write_cifar(tmp_path / "cifar-10-batches-py")
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    check_cifar(load(tmp_path / "cifar-10-python.tar.gz"), files)


class Hostile:
    """Runs a command when an ordinary unpickler reads it."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("where", ["data", "whole", "label"])
def test_hostile_pickle_runs_nothing(tmp_path: Path, where: str) -> None:
    write_cifar(tmp_path / "cifar")
    mark = tmp_path / "mark"
    hostile = Hostile(exec, f"open({str(mark)!r}, 'w').close()")
    good = {b"labels": [0] * 4, b"data": Py2Array(random_images(4, 3072))}
    content = {"data": {**good, b"data": hostile}, "whole": hostile, "label": {**good, b"labels": [hostile] * 4}}[where]
    (tmp_path / "cifar" / "data_batch_3").write_bytes(python2(content))
    with pytest.raises(BadData, match=r"data_batch_3: holds __builtin__.exec, which could run code; fetch .*cifar"):
        load(tmp_path / "cifar")
    assert not mark.exists()
    pickle.loads(python2(content), encoding="bytes")
    assert mark.exists()    # it would have


@pytest.mark.parametrize("function", [np.load, np.frombuffer, eval, getattr, bytearray], ids=lambda f: f.__name__)
def test_pickle_reaches_no_other_function(tmp_path: Path, function: Any) -> None:
    write_cifar(tmp_path / "cifar")
    (tmp_path / "cifar" / "test_batch").write_bytes(python2(Hostile(function, b"x")))
    with pytest.raises(BadData, match=f"test_batch: holds .*{function.__name__}, which could run code"):
        load(tmp_path / "cifar")


@pytest.mark.parametrize("content", [
    b"", b"\x80\x02", pickle.dumps([1], 2), python2({b"data": Py2Array(random_images(4, 3072))}),
    python2({b"data": [1], b"labels": [1]}),
    python2({b"data": Py2Array(random_images(4, 3072), b"f4"), b"labels": [0] * 4}),
    python2({b"data": Py2Array(random_images(4, 3072), b"O"), b"labels": [0] * 4}),
    python2({b"data": Py2Array(random_images(4, 3071)), b"labels": [0] * 4}),
    python2({b"data": np.ndarray, b"labels": [0] * 4}),
])
def test_damaged_cifar_batch(tmp_path: Path, content: bytes) -> None:
    write_cifar(tmp_path / "cifar")
    (tmp_path / "cifar" / "data_batch_1").write_bytes(content)
    with pytest.raises(BadData, match="data_batch_1: must be a pickled dict of b'data'") as caught:
        load(tmp_path / "cifar")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [[0] * 3, [0, 1, 2, 256], [0, 1, 2, -1], [0.5] * 4, [[0, 1]] * 4])
def test_wrong_cifar_labels(tmp_path: Path, labels: list[Any]) -> None:
    write_cifar(tmp_path / "cifar")
    content = {b"data": Py2Array(random_images(4, 3072)), b"labels": labels}
    (tmp_path / "cifar" / "data_batch_1").write_bytes(python2(content))
    with pytest.raises(BadData, match=r"data_batch_1: labels must be (4 integers|in 0\.\.255)"):
        load(tmp_path / "cifar")


def test_cifar_without_a_batch(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar")
    (tmp_path / "cifar" / "data_batch_5").unlink()
    with pytest.raises(BadData, match="must hold data_batch_5"):
        load(tmp_path / "cifar")


def test_cut_archive(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar")
    with tarfile.open(tmp_path / "whole.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar", "cifar-10-batches-py")
    content = (tmp_path / "whole.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(content[:len(content) // 2])
    with pytest.raises(BadData, match=r"cut.tar.gz: (cannot be read|must hold)") as caught:
        load(tmp_path / "cut.tar.gz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW", "NHW", "Keras labels"])
def test_npz(tmp_path: Path, layout: str) -> None:
    channels = 1 if layout == "NHW" else 3
    train, test = random_images(5, channels, 8, 6), random_images(2, channels, 8, 6, seed=2)

    def stored(images: np.ndarray) -> np.ndarray:
        if layout in ("NHWC", "Keras labels"):
            return images.transpose(0, 2, 3, 1)
        return images[:, 0] if layout == "NHW" else images

    labels = np.arange(5, dtype=np.int64)
    y_train = labels[:, None] if layout == "Keras labels" else labels
    np.savez(tmp_path / "data.npz", x_train=stored(train), y_train=y_train, x_test=stored(test), y_test=labels[:2])
    training, held_out = load(tmp_path / "data.npz")
    assert np.array_equal(training.images, train)
    assert np.array_equal(held_out.images, test)
    assert (training.labels.tolist(), training.labels.dtype) == ([0, 1, 2, 3, 4], np.uint8)
    assert training.images.flags.c_contiguous


@pytest.mark.parametrize(("change", "message"), [
    (dict(x_train=np.zeros((3, 1, 4, 4), np.float32)), "images must be uint8 .*, not float32"),
    (dict(x_train=np.zeros((3, 16), np.uint8)), r"not uint8 of shape \(3, 16\)"),
    (dict(x_train=np.zeros((3, 5, 6, 7), np.uint8)), r"of 1 to 4 channels .* not uint8 of shape \(3, 7, 5, 6\)"),
    (dict(x_train=np.zeros((0, 1, 4, 4), np.uint8), y_train=np.zeros(0, np.uint8)), "images must be uint8"),
    (dict(y_test=np.zeros(4, np.uint8)), "x_test, y_test: labels must be 3 integers"),
    (dict(x_test=np.zeros((3, 1, 4, 5), np.uint8)), r"test images of shape \(1, 4, 5\) must have .*\(1, 4, 4\)"),
    (dict(y_train=None), "has the arrays x_train, x_test, y_test, must have y_train"),
])
def test_wrong_npz(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    arrays = {f"{kind}_{split}": np.zeros((3, 1, 4, 4) if kind == "x" else 3, np.uint8)
              for split in ("train", "test") for kind in "xy"} | change
    np.savez(tmp_path / "data.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(BadData, match=message):
        load(tmp_path / "data.npz")


def test_npz_of_objects_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hostile = np.array([Hostile(exec, f"open({str(mark)!r}, 'w').close()")], object)
    np.savez(tmp_path / "data.npz", x_train=hostile, y_train=hostile, x_test=hostile, y_test=hostile)
    with pytest.raises(BadData, match="cannot be read"):
        load(tmp_path / "data.npz")
    assert not mark.exists()


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder: Path, ending: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = random_images(6, 28, 28), np.arange(6, dtype=np.uint8)
    for name, array in (("train-images-idx3-ubyte", images[:4]), ("train-labels-idx1-ubyte", labels[:4]),
                        ("t10k-images-idx3-ubyte", images[4:]), ("t10k-labels-idx1-ubyte", labels[4:])):
        (folder / f"{name}{ending}").write_bytes(gzip.compress(idx(array)) if ending else idx(array))
    return images, labels


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist_files(tmp_path: Path, ending: str) -> None:
    images, labels = write_mnist(tmp_path, ending)
    training, test = load(tmp_path)
    assert np.array_equal(training.images, images[:4, None])
    assert np.array_equal(test.images, images[4:, None])
    assert np.array_equal(np.concatenate([training.labels, test.labels]), labels)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("t10k-labels-idx1-ubyte", None, "t10k-labels-idx1-ubyte.gz: is not there; MNIST has four idx files, train-images"),
    ("t10k-labels-idx1-ubyte", b"", "t10k-labels-idx1-ubyte: must be an idx file of unsigned bytes"),
    ("t10k-labels-idx1-ubyte", idx(np.zeros(2, np.uint8))[:-1], "must be an idx file of unsigned bytes, whole"),
    ("t10k-labels-idx1-ubyte", b"\0\0\x0d\x01\0\0\0\x02abcdefgh", "must be an idx file of unsigned bytes"),
    ("t10k-images-idx3-ubyte", idx(np.zeros(2, np.uint8)), "MNIST's test files: images must be uint8"),
])
def test_wrong_mnist(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    write_mnist(tmp_path, "")
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadData, match=message):
        load(tmp_path)


def write_folder(folder: Path, mode: str = "RGB", ending: str = "png") -> dict[str, np.ndarray]:
    pixels = {}
    for seed, name in enumerate(("train/ship/b", "train/cat/1", "train/cat/0", "test/cat/0", "test/ship/x")):
        image = random_images(*((6, 8) if mode == "L" else (6, 8, 3)), seed=seed)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{name}.{ending}")
        pixels[name] = image[None] if mode == "L" else image.transpose(2, 0, 1)
    return pixels


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_folder_of_images(tmp_path: Path, mode: str) -> None:
    pixels = write_folder(tmp_path, mode)
    (tmp_path / "train/cat/notes.txt").write_text("not an image")
    training, test = load(tmp_path)
    expected = [pixels[name] for name in ("train/cat/0", "train/cat/1", "train/ship/b")]
    assert np.array_equal(training.images, np.stack(expected))
    assert training.labels.tolist() == [0, 0, 1]
    assert np.array_equal(test.images, np.stack([pixels["test/cat/0"], pixels["test/ship/x"]]))
    assert test.labels.tolist() == [0, 1]


def test_folder_of_jpeg(tmp_path: Path) -> None:
    write_folder(tmp_path, ending="jpg")
    training, _ = load(tmp_path)
    with Image.open(tmp_path / "train/cat/0.jpg") as image:
        assert np.array_equal(training.images[0], np.asarray(image).transpose(2, 0, 1))


def test_wrong_folders(tmp_path: Path) -> None:
    write_folder(tmp_path)
    Image.new("RGB", (9, 6)).save(tmp_path / "train/ship/c.png")
    with pytest.raises(BadData, match=r"train/ship/c.png: is 9x6 pixels, must be 8x6 as the images before it"):
        load(tmp_path)
    (tmp_path / "train/ship/c.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(BadData, match="train/ship/c.png: is no whole image"):
        load(tmp_path)
    (tmp_path / "train/dog").mkdir()
    with pytest.raises(BadData, match="must hold the same folders, one per class; only one of them has dog"):
        load(tmp_path)


def test_folders_without_images(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(BadData, match="train: must hold folders of .png or .jpg images"):
        load(tmp_path)


def test_anything_else(tmp_path: Path) -> None:
    where = r"cifar-10-python.tar.gz or its folder \(https://www.cs.toronto.edu/~kriz/cifar.html\), .*idx files"
    with pytest.raises(BadData, match=f"nowhere: is not there; give {where}"):
        load(tmp_path / "nowhere")
    for content, name in ((b"", "empty"), (b"some text", "text.txt"), (b"PK\3\4 not an archive", "bad.npz")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadData, match="is no data set that can be read here; give|cannot be read") as caught:
            load(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadData, match=f"is no data set that can be read here; give {where}"):
        load(tmp_path)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["image_data.py", *map(str, arguments)])
    MODULE["main"]()


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = write_mnist(tmp_path, "")
    run(monkeypatch, tmp_path, "--split", "test", "--limit", 1, "--out", tmp_path / "out")
    assert np.array_equal(np.load(tmp_path / "out/images.npy"), images[4:5, None])
    assert np.load(tmp_path / "out/labels.npy").tolist() == [4]
    run(monkeypatch, tmp_path, "--split", "train", "--limit", 2, "--out", tmp_path / "out")
    with np.load(tmp_path / "out/calib.npz") as stored:
        assert (list(stored), stored["images"].shape, stored["images"].dtype) == (["images"], (2, 1, 28, 28), np.uint8)
        first = stored["images"]
    assert all((images[:4, None] == image).all((1, 2, 3)).any() for image in first)
    run(monkeypatch, tmp_path, "--split", "train", "--limit", 2, "--out", tmp_path / "again")
    assert (tmp_path / "again/calib.npz").read_bytes() == (tmp_path / "out/calib.npz").read_bytes()
    assert "2 training images in" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere"], "error: argument data: nowhere: is not there"),
    ([".", "--limit", "0"], "--limit must be 1..2, not 0"),
    ([".", "--limit", "3"], "--limit must be 1..2, not 3"),
])
def test_command_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                        arguments: list[str], message: str) -> None:
    write_mnist(tmp_path, "")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, *arguments)
    assert message in capsys.readouterr().err
