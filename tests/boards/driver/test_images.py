"""On the board images become the same integers as on the desk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shifthw import zoo
from shifthw.errors import BadImages as DeskBadImages
from shifthw.frontend.preprocess import input_integers, input_rule
from shifthw.ir import Graph
from shifthw_driver import images
from shifthw_driver.errors import BadImages

PIXELS = {"scale": 1 / 17, "mean": [0.03], "std": [0.97]}


def graph(**metadata: object) -> Graph:
    found = zoo.build("digits")
    return replace(found, metadata={**found.metadata, **metadata})


def inputs(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    grid = input_rule(zoo.build("digits"))["scale"]
    halves = (random.integers(-2, 16, (3, 1, 8, 8)) + 0.5) * grid       # exactly between two integers
    return {"pixels": random.integers(0, 17, (3, 1, 8, 8), dtype=np.uint8),
            "integers": random.integers(0, 16, (3, 1, 8, 8)), "halves": halves,
            "real": (random.normal(4, 3, (3, 1, 8, 8)) * grid).astype(np.float32)}


@pytest.mark.parametrize("kind", ["pixels", "integers", "halves", "real"])
@pytest.mark.parametrize("metadata", [
    {}, {"preprocess": PIXELS}, *({"input": {"rounding": rounding, "lo": 1, "hi": 13}}
                                  for rounding in ("floor", "half_up", "half_even")),
], ids=str)
def test_integers_are_those_of_the_compiler(kind: str, metadata: dict[str, object]) -> None:
    network = graph(**metadata)
    for seed in range(5):
        given = inputs(seed)[kind]
        np.testing.assert_array_equal(images.integers(given, input_rule(network)), input_integers(network, given))


@pytest.mark.parametrize(("given", "text"), [
    (np.full((1, 1, 8, 8), np.nan), "NaN"), (np.full((1, 1, 8, 8), 1e9), "normalize them as in training"),
])
def test_numbers_that_cannot_be_meant_are_refused(given: np.ndarray, text: str) -> None:
    with pytest.raises(BadImages, match=text):
        images.integers(given, input_rule(graph()))
    with pytest.raises(DeskBadImages, match=text):
        input_integers(graph(), given)


def test_only_arrays_of_images_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.zeros(5))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("no array")
    for name in ("flat.npy", "objects.npy", "text.npy", "absent.npy"):
        with pytest.raises(BadImages, match=name):
            images.read(tmp_path / name)
