"""Images and labels as users keep them: a .npy file each, or an .npz with the arrays `images` and `labels`."""

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.npyio import NpzFile

from .errors import BadImages

NPY_MAGIC, NPZ_MAGIC = b"\x93NUMPY", b"PK\x03\x04"


def read_images(path: Path, limit: int | None = None) -> np.ndarray:
    """The first `limit` images of a file; BadImages if it holds none. Shape and range are checked where used."""
    images = _read_array(path, "images", limit)
    if images.ndim != 4:
        raise BadImages(f"{path}: images must have the shape (n, c, h, w), not {images.shape}")
    return images


def read_labels(path: Path, images: int, *, more: bool = False) -> np.ndarray:
    """The labels of the first `images` images; BadImages unless they are integers, one per image.

    more: the file may hold labels of further images, which are left out."""
    labels = _read_array(path, "labels", images if more else images + 1)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != images:
        found = "more" if labels.ndim == 1 and len(labels) > images else f"{labels.dtype} of shape {labels.shape}"
        raise BadImages(f"{path}: labels must be integers of shape (n,) with n = {images}, as many as images, "
                        f"not {found}")
    return labels


def read_labeled(images: Path, labels: Path | None, limit: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The first `limit` images and their labels: of their own file, else of the images' .npz if it has some."""
    array = read_images(images, limit)
    if labels is None and not _has_labels(images):
        return array, None
    return array, read_labels(labels or images, len(array), more=limit is not None)


def check_labels(labels: np.ndarray | None, shape: tuple[int, ...]) -> None:
    """BadImages unless a network whose result has this shape (c, h, w) can give those labels."""
    if labels is None:
        return
    if tuple(shape[1:]) != (1, 1):
        raise BadImages(f"labels: the network must give one number per class, not maps of {tuple(shape)}: "
                        "leave --labels out")
    if len(labels) and (labels.min() < 0 or labels.max() >= shape[0]):
        raise BadImages(f"labels: hold {labels.min()}..{labels.max()}, must be classes of the network, "
                        f"within 0..{shape[0] - 1}")


def _has_labels(path: Path) -> bool:
    """Of a file that images were read from."""
    with path.open("rb") as file:
        return file.read(len(NPZ_MAGIC)) == NPZ_MAGIC and "labels" in _open_archive(file)


def _read_array(path: Path, name: str, limit: int | None) -> np.ndarray:
    """The first `limit` entries, in this machine's byte order; a header that promises more than the file is noticed
    before memory is taken."""
    try:
        with path.open("rb") as file, warnings.catch_warnings(action="ignore"):
            magic = file.read(len(NPY_MAGIC))
            if magic.startswith(NPZ_MAGIC):
                array = _from_archive(_open_archive(file), name)
            elif magic == NPY_MAGIC:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            else:
                raise ValueError("it does not begin like one")
        array = array[:limit] if array.ndim else array
        return np.array(array, array.dtype.newbyteorder("="))
    except Exception as error:              # numpy's reader raises a dozen types
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0] or type(error).__name__
        raise BadImages(f"{path}: must be a .npy file, or an .npz with an array {name!r} ({reason}): write it with "
                        f"numpy.save or numpy.savez") from None


def _open_archive(file: BinaryIO) -> NpzFile:
    file.seek(0)
    archive = np.load(file, allow_pickle=False)
    assert isinstance(archive, NpzFile)
    return archive


def _from_archive(archive: NpzFile, name: str) -> np.ndarray:
    if name not in archive:
        raise ValueError(f"it holds {', '.join(archive.files)[:80] or 'no array'}")
    return np.asarray(archive[name])
