"""CIFAR-10, MNIST or images of your own as integers; also as files for `shifthw quantize`, `check` and `sim`.

    python examples/image_data.py cifar-10-python.tar.gz --split train --out data
    python examples/image_data.py cifar-10-python.tar.gz --split test --limit 100 --out data

The first writes data/calib.npz, whose `images` are training images chosen with a fixed seed; the second
data/images.npy (uint8[N, C, H, W]) and data/labels.npy (uint8[N]), the first test images in their order.
Data is any of:

* cifar-10-python.tar.gz, or its unpacked folder: https://www.cs.toronto.edu/~kriz/cifar.html, python version
* a folder with MNIST's four idx files, as they are or .gz: train-images-idx3-ubyte ... t10k-labels-idx1-ubyte
* an .npz with x_train, y_train, x_test, y_test, as Keras keeps them: [N, H, W, C], [N, C, H, W] or [N, H, W]
* a folder with train/CLASS/*.png or .jpg, and test/CLASS/... (needs Pillow); classes are numbered by name
"""

import argparse
import gzip
import io
import math
import pickle
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CALIBRATION_IMAGES = 1024
CALIBRATION_SEED = 1
CIFAR_FOLDER = "cifar-10-batches-py"
CIFAR_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
CIFAR_TEST = "test_batch"
MNIST_FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
               "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}
IDX_BYTES = 8
"""The type code of unsigned bytes in idx files."""
MOST_CHANNELS = 4
"""Where images are arrays of four dimensions, the channels are those of the second and the last that are so few."""
IMAGE_ENDINGS = {".png", ".jpg", ".jpeg"}
KINDS = ("cifar-10-python.tar.gz or its folder (https://www.cs.toronto.edu/~kriz/cifar.html), a folder with MNIST's "
         "four idx files, an .npz with x_train, y_train, x_test and y_test, or a folder with train/CLASS/*.png and "
         "test/CLASS/*.png")


class BadData(argparse.ArgumentTypeError):
    """The path holds no data set that can be read; argparse prints the message and exits with 2."""


class Images(NamedTuple):
    """Images uint8[N, C, H, W] and labels uint8[N]."""

    images: np.ndarray
    labels: np.ndarray


def load(path: str | Path) -> tuple[Images, Images]:
    """The training and the test images at `path`, of one shape. Nothing in the files is executed.

    Raises BadData, in one line, for anything but the kinds of data above.
    """
    path = Path(path)
    if not path.exists():
        raise BadData(f"{path}: is not there; give {KINDS}")
    try:
        training, test = _read(path)
    except BadData:
        raise
    except Exception as error:  # damaged archives, pickles and images fail in a dozen types
        line = (str(error).splitlines() or [""])[0]
        raise BadData(f"{path}: cannot be read ({type(error).__name__}: {line}); copy or fetch it again") from error
    if training.images.shape[1:] != test.images.shape[1:]:
        raise BadData(f"{path}: test images of shape {test.images.shape[1:]} must have the shape of the training "
                      f"images, {training.images.shape[1:]}")
    return training, test


def _read(path: Path) -> tuple[Images, Images]:
    if path.is_dir():
        for folder in (path, path / CIFAR_FOLDER):
            if (folder / CIFAR_TEST).is_file():
                return _cifar({file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}, path)
        if _idx_file(path, MNIST_FILES["train"][0]).is_file():
            return _idx_pair(path, "train"), _idx_pair(path, "test")
        if (path / "train").is_dir() and (path / "test").is_dir():
            return _folder(path)
    elif path.suffix == ".npz":
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _npz_pair(arrays, "train", path), _npz_pair(arrays, "test", path)
    elif tarfile.is_tarfile(path):
        return _cifar(_members(path), path)
    raise BadData(f"{path}: is no data set that can be read here; give {KINDS}")


class _Kind:
    """Stands in for a numpy.dtype in a pickle: its name."""

    def __init__(self, name: bytes | str = b"", *_: object) -> None:
        self.name = name.decode("latin1") if isinstance(name, bytes) else name

    def __setstate__(self, state: object) -> None:
        pass


class _Array:
    """Stands in for a numpy.ndarray in a pickle: its bytes, without numpy's own code for rebuilding it."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def numbers(self) -> np.ndarray:
        """The array, if it is of uint8. Raises ValueError or TypeError if it is not, or not whole."""
        _, shape, kind, columns_first, content = self.state
        if kind.name != "u1":
            raise ValueError(f"array of {kind.name}")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if columns_first else "C")


class _ArraysOnly(pickle._Unpickler):
    """Rebuilds numbers, strings, containers and arrays; any other name in a pickle is refused.

    Written in Python: the one in C takes as much memory as a pickle of a few bytes asks for.
    """

    ALLOWED = {("numpy.core.multiarray", "_reconstruct"): _Array, ("numpy._core.multiarray", "_reconstruct"): _Array,
               ("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Kind}

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self.ALLOWED:
            raise BadData(f"holds {module}.{name}, which could run code; fetch the archive from "
                          "https://www.cs.toronto.edu/~kriz/cifar.html")
        return self.ALLOWED[module, name]


def _members(path: Path) -> dict[str, bytes]:
    """Name without folder -> content, of the batches in a tar archive."""
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            if name in (*CIFAR_BATCHES, CIFAR_TEST):
                file = archive.extractfile(member)
                found[name] = file.read() if file else b""
    return found


def _cifar(files: dict[str, bytes], path: Path) -> tuple[Images, Images]:
    for name in (*CIFAR_BATCHES, CIFAR_TEST):
        if name not in files:
            raise BadData(f"{path}: must hold {name}, as the python version of CIFAR-10 does; fetch "
                          "https://www.cs.toronto.edu/~kriz/cifar.html again")
    batches = [_cifar_batch(files[name], f"{path}: {name}") for name in CIFAR_BATCHES]
    training = Images(np.concatenate([batch.images for batch in batches]),
                      np.concatenate([batch.labels for batch in batches]))
    return training, _cifar_batch(files[CIFAR_TEST], f"{path}: {CIFAR_TEST}")


def _cifar_batch(content: bytes, where: str) -> Images:
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        data, labels = batch[b"data"].numbers().reshape(-1, 3, 32, 32), np.array(list(batch[b"labels"]))
    except BadData as error:
        raise BadData(f"{where}: {error}") from error
    except Exception as error:  # a damaged pickle can fail anywhere
        raise BadData(f"{where}: must be a pickled dict of b'data', uint8[N, 3072], and b'labels', whole; fetch "
                      "https://www.cs.toronto.edu/~kriz/cifar.html again") from error
    return _checked(data, labels, where)


def _npz_pair(arrays: Any, split: str, path: Path) -> Images:
    for name in (f"x_{split}", f"y_{split}"):
        if name not in arrays:
            raise BadData(f"{path}: has the arrays {', '.join(arrays)}, must have {name}; give {KINDS}")
    images = arrays[f"x_{split}"]
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] > MOST_CHANNELS:
        images = images.transpose(0, 3, 1, 2)
    return _checked(images, arrays[f"y_{split}"], f"{path}: x_{split}, y_{split}")


def _idx_file(folder: Path, name: str) -> Path:
    return folder / name if (folder / name).is_file() else folder / f"{name}.gz"


def _idx_pair(folder: Path, split: str) -> Images:
    images, labels = (_idx(_idx_file(folder, name)) for name in MNIST_FILES[split])
    return _checked(images[:, None] if images.ndim == 3 else images, labels, f"{folder}: MNIST's {split} files")


def _idx(path: Path) -> np.ndarray:
    if not path.is_file():
        raise BadData(f"{path}: is not there; MNIST has four idx files, {', '.join(sum(MNIST_FILES.values(), ()))}")
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    dimensions = content[3] if len(content) > 3 and content[:3] == bytes((0, 0, IDX_BYTES)) else 0
    shape = tuple(np.frombuffer(content[4:4 + 4 * dimensions], ">u4").tolist())
    if not dimensions or len(content) != 4 + 4 * dimensions + math.prod(shape):
        raise BadData(f"{path}: must be an idx file of unsigned bytes, whole; fetch it again")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _folder(path: Path) -> tuple[Images, Images]:
    classes = {split: sorted(folder.name for folder in (path / split).iterdir() if folder.is_dir())
               for split in ("train", "test")}
    if classes["train"] != classes["test"]:
        odd = ", ".join(sorted(set(classes["train"]) ^ set(classes["test"])))
        raise BadData(f"{path}: train and test must hold the same folders, one per class; only one of them has {odd}")
    return _folder_split(path / "train", classes["train"]), _folder_split(path / "test", classes["test"])


def _folder_split(folder: Path, classes: list[str]) -> Images:
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for file in sorted(file for file in (folder / name).iterdir() if file.suffix.lower() in IMAGE_ENDINGS):
            images.append(_image(file, images[0].shape if images else None))
            labels.append(label)
    if not images:
        raise BadData(f"{folder}: must hold folders of .png or .jpg images, one folder per class; there is no image")
    return _checked(np.stack(images), np.array(labels), str(folder))


def _image(file: Path, shape: tuple[int, ...] | None) -> np.ndarray:
    """uint8[1, H, W] of a grey image, else uint8[3, H, W]; as many channels as `shape` has, and of that shape."""
    try:
        from PIL import Image
    except ImportError as error:
        raise BadData(f"{file}: needs Pillow to be read; pip install pillow") from error
    try:
        with Image.open(file) as image:
            grey = shape[0] == 1 if shape else image.mode in ("1", "L")
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except Exception as error:  # Pillow's readers raise a dozen types
        raise BadData(f"{file}: is no whole image; replace or remove it") from error
    found = pixels[None] if grey else pixels.transpose(2, 0, 1)
    if shape and found.shape != shape:
        raise BadData(f"{file}: is {found.shape[2]}x{found.shape[1]} pixels, must be {shape[2]}x{shape[1]} as the "
                      "images before it; bring all to one size")
    return found


def _checked(images: np.ndarray, labels: np.ndarray, where: str) -> Images:
    labels = labels.reshape(-1) if labels.shape[1:] in ((), (1,)) else labels  # Keras: [N, 1]
    if images.ndim != 4 or images.dtype != np.uint8 or images.size == 0 or images.shape[1] > MOST_CHANNELS:
        raise BadData(f"{where}: images must be uint8 of 1 to {MOST_CHANNELS} channels and 3 or 4 dimensions, not "
                      f"{images.dtype} of shape {images.shape}")
    if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
        raise BadData(f"{where}: labels must be {len(images)} integers, one per image, not {labels.dtype} of shape "
                      f"{labels.shape}")
    if labels.min() < 0 or labels.max() > 255:
        raise BadData(f"{where}: labels must be in 0..255, not {labels.min()}..{labels.max()}")
    return Images(np.ascontiguousarray(images), labels.astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write images of a data set as files for shifthw.")
    parser.add_argument("data", type=load, help="archive, folder or .npz: see the head of this file")
    parser.add_argument("--split", choices=("train", "test"), default="test",
                        help="train: calib.npz, chosen at random; test: images.npy and labels.npy (default: test)")
    parser.add_argument("--limit", type=int, help=f"images (default: {CALIBRATION_IMAGES} of train, all of test)")
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder to write to (default: data)")
    arguments = parser.parse_args()
    chosen = arguments.data[arguments.split == "test"]
    there = len(chosen.labels)
    default = there if arguments.split == "test" else min(there, CALIBRATION_IMAGES)
    limit = default if arguments.limit is None else arguments.limit
    if not 1 <= limit <= there:
        parser.error(f"--limit must be 1..{there}, not {limit}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.split == "train":
        order = np.random.default_rng(CALIBRATION_SEED).permutation(there)[:limit]
        np.savez(arguments.out / "calib.npz", images=chosen.images[np.sort(order)])
        print(f"{limit} training images in {arguments.out / 'calib.npz'}")
    else:
        np.save(arguments.out / "images.npy", chosen.images[:limit])
        np.save(arguments.out / "labels.npy", chosen.labels[:limit])
        print(f"{limit} test images in {arguments.out / 'images.npy'}, labels in {arguments.out / 'labels.npy'}")


if __name__ == "__main__":
    main()
