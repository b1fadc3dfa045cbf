"""Handwritten digits (scikit-learn's load_digits) as integer images, with one fixed split.

    python examples/digits_data.py --out data

writes data/images.npy (uint8[N, 1, 8, 8], values 0..16) and data/labels.npy (uint8[N]): held-out images
for `shifthw sim`.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

SPLIT_SEED = 1
TEST_IMAGES = 360


class Digits(NamedTuple):
    """Images uint8[N, 1, 8, 8] in 0..16 and labels uint8[N] in 0..9."""

    images: np.ndarray
    labels: np.ndarray


def split() -> tuple[Digits, Digits]:
    """The 1,437 training and the 360 held-out images, shuffled once with a fixed seed."""
    bunch = load_digits()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(bunch.target))
    images = bunch.images[order].astype(np.uint8)[:, None]
    labels = bunch.target[order].astype(np.uint8)
    return (Digits(images[TEST_IMAGES:], labels[TEST_IMAGES:]), Digits(images[:TEST_IMAGES], labels[:TEST_IMAGES]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write held-out digits as images.npy and labels.npy.")
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder to write to (default: data)")
    parser.add_argument("--count", type=int, default=TEST_IMAGES, help=f"images, 1..{TEST_IMAGES} (default: all)")
    arguments = parser.parse_args()
    if not 1 <= arguments.count <= TEST_IMAGES:
        parser.error(f"--count must be 1..{TEST_IMAGES}, not {arguments.count}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    _, held_out = split()
    np.save(arguments.out / "images.npy", held_out.images[:arguments.count])
    np.save(arguments.out / "labels.npy", held_out.labels[:arguments.count])
    print(f"{arguments.count} held-out images in {arguments.out / 'images.npy'}, "
          f"labels in {arguments.out / 'labels.npy'}")


if __name__ == "__main__":
    main()
