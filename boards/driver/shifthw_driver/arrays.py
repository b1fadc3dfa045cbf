"""Files of numpy arrays, read without running anything in them."""

from pathlib import Path

import numpy as np

from .errors import BadImages


def read(path: Path, dimensions: int, what: str) -> np.ndarray:
    """The array of a .npy file, its values read from disk when they are used; BadImages if there is none of that many
    dimensions. `what` says what it holds."""
    try:
        array = np.load(str(path), mmap_mode="r", allow_pickle=False)
    except Exception as error:                  # numpy's reader raises a dozen types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImages(f"{path}: must be a .npy file of {what} ({reason}): write it with numpy.save") from None
    if not isinstance(array, np.ndarray) or array.ndim != dimensions:
        raise BadImages(f"{path}: must hold one array of {what} with {dimensions} dimensions: write it with numpy.save")
    return array
