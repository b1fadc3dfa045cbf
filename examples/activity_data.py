"""Activities of daily living from a wrist's accelerometer (WHARF) as images that train_float.py takes.

    python examples/activity_data.py WHARF.npz --out wharf_split.npz

WHARF.npz holds x[N, samples, 3] of 0..63, the six-bit codes of the sensor, y[N], and fold[N], the number of the subject
(https://github.com/fulviomas/WHARF; cut to windows of 160 samples, for leave-one-subject-out tests, by
https://github.com/arturjordao/WearableSensorData). Subjects are never in training and test both: those of
TEST_SUBJECTS are tested on.
"""

import argparse
from pathlib import Path

import numpy as np

ACTIVITIES = tuple(f"activity {number}" for number in range(12))
TEST_SUBJECTS = (1, 5, 9)
"""A fifth of the windows, of all activities."""


def split(path: Path) -> dict[str, np.ndarray]:
    """Arrays as image_data.py reads them: x_train uint8[N, samples, 3] and so on. Raises ValueError in one line."""
    with np.load(path, allow_pickle=False) as arrays:
        missing = {"x", "y", "fold"} - set(arrays)
        if missing:
            raise ValueError(f"{path}: holds {', '.join(arrays)}, must hold x, y and fold")
        x, y, fold = arrays["x"], arrays["y"], arrays["fold"]
    if x.ndim != 3 or x.shape[2] != 3 or not (np.rint(x) == x).all() or x.min() < 0 or x.max() > 63:
        raise ValueError(f"{path}: x must be integers 0..63 of shape (n, samples, 3), not {x.shape}, "
                         f"{x.min():g}..{x.max():g}")
    tested = np.isin(fold, TEST_SUBJECTS)
    images, labels = x.astype(np.uint8), y.astype(np.uint8)
    return {"x_train": images[~tested], "y_train": labels[~tested], "x_test": images[tested],
            "y_test": labels[tested]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Split WHARF by subjects.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help=".npz to write")
    options = parser.parse_args()
    try:
        arrays = split(options.data)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    np.savez_compressed(options.out, **arrays)
    print(f"{len(arrays['y_train'])} windows to train on, {len(arrays['y_test'])} of other subjects to test")


if __name__ == "__main__":
    main()
