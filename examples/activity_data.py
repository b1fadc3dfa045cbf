"""Activities of daily living from a wrist's accelerometer (WHARF) as images that train_float.py takes.

    python examples/activity_data.py WHARF.npz --out wharf_split.npz

WHARF.npz holds x[N, samples, 3] of 0..63, the six-bit codes of the sensor, y[N], and fold[N], the number of the subject
(https://github.com/fulviomas/WHARF; cut to windows of 160 samples, for leave-one-subject-out tests, by
https://github.com/arturjordao/WearableSensorData). Subjects are never in training and test both: those of
TEST_SUBJECTS are tested on.
"""

import argparse
import zipfile
from pathlib import Path

import numpy as np

ACTIVITIES = tuple(f"activity {number}" for number in range(12))
TEST_SUBJECTS = (1, 5, 9)
"""A fifth of the windows, of all activities."""


def split(path: Path) -> dict[str, np.ndarray]:
    """Arrays as image_data.py reads them: x_train uint8[N, samples, 3] and so on. Raises ValueError in one line."""
    x, y, fold = _arrays(path)
    tested = np.isin(fold, TEST_SUBJECTS)
    if tested.all() or not tested.any():
        raise ValueError(f"{path}: fold must hold some of the subjects {TEST_SUBJECTS}, and others to train on")
    images, labels = x.astype(np.uint8), y.astype(np.uint8)
    return {"x_train": images[~tested], "y_train": labels[~tested], "x_test": images[tested],
            "y_test": labels[tested]}


def _arrays(path: Path) -> list[np.ndarray]:
    """x, y and fold, checked."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            x, y, fold = found = [arrays[name] for name in ("x", "y", "fold")]
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: must be an .npz file that holds numbers x, y and fold") from error
    if x.ndim != 3 or x.shape[2] != 3 or not _within(x, 63):
        raise ValueError(f"{path}: x must be integers 0..63 of shape (n, samples, 3), not {_numbers(x)}")
    for name, values, most in (("y", y, len(ACTIVITIES) - 1), ("fold", fold, 255)):
        if values.shape != (len(x),) or not _within(values, most):
            raise ValueError(f"{path}: {name} must be {len(x)} integers 0..{most}, one per window, not "
                             f"{_numbers(values)}")
    return found


def _within(values: np.ndarray, most: int) -> bool:
    """Whether these are whole numbers 0..most, and at least one."""
    if values.dtype.kind not in "iuf" or not values.size:
        return False
    return bool(values.min() >= 0 and values.max() <= most and (np.rint(values) == values).all())


def _numbers(values: np.ndarray) -> str:
    """For messages."""
    numeric = values.dtype.kind in "iuf" and values.size
    return f"{values.shape}, {values.min():g}..{values.max():g}" if numeric else f"{values.dtype} of {values.shape}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Split WHARF by subjects.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help=".npz to write")
    options = parser.parse_args()
    try:
        arrays = split(options.data)
        np.savez_compressed(options.out, **arrays)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f"{len(arrays['y_train'])} windows to train on, {len(arrays['y_test'])} of other subjects to test")


if __name__ == "__main__":
    main()
