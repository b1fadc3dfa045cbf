"""Files of images and labels; what is refused is tested where it is printed, in test_cli."""

from pathlib import Path

import numpy as np
import pytest

from shifthw.errors import BadImages
from shifthw.image_files import read_images, read_labeled

IMAGES = np.arange(4 * 12, dtype=np.uint8).reshape(4, 1, 3, 4)
LABELS = np.array([3, 1, 2, 0])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    np.savez_compressed(tmp_path / "both.npz", images=IMAGES, labels=LABELS)
    return tmp_path / "both.npz"


def test_an_archive_holds_both(archive: Path) -> None:
    images, labels = read_labeled(archive, None, None)
    assert np.array_equal(images, IMAGES)
    assert labels is not None
    assert np.array_equal(labels, LABELS)
    images, labels = read_labeled(archive, None, 3)
    assert (len(images), len(labels)) == (3, 3)


def test_labels_of_their_own_file_win(archive: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", LABELS[::-1])
    _, labels = read_labeled(archive, tmp_path / "y.npy", None)
    assert labels is not None
    assert np.array_equal(labels, LABELS[::-1])


def test_labels_of_an_archive(archive: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    _, labels = read_labeled(tmp_path / "x.npy", archive, 2)
    assert labels is not None
    assert np.array_equal(labels, LABELS[:2])


def test_images_without_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    np.savez(tmp_path / "x.npz", images=IMAGES)
    for name in ("x.npy", "x.npz"):
        images, labels = read_labeled(tmp_path / name, None, None)
        assert np.array_equal(images, IMAGES)
        assert labels is None


def test_other_arrays_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=IMAGES, y=LABELS)
    with pytest.raises(BadImages, match=r"x.npz: must be a .npy file, or an .npz with an array 'images' "
                                        r"\(it holds x, y\): write it"):
        read_images(tmp_path / "x.npz")


def test_an_archive_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.array([{}]))
    with pytest.raises(BadImages, match="allow_pickle=False"):
        read_images(tmp_path / "x.npz")
