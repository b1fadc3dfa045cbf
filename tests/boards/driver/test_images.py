"""On the board images become the same integers as on the desk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shifthw import zoo
from shifthw.errors import BadImages as DeskBadImages
from shifthw.frontend.preprocess import input_integers, input_rule
from shifthw.ir import Graph
from shifthw_driver import arrays, images
from shifthw_driver.errors import BadImages
from shifthw_driver.job import Job, Tensor

PIXELS = {"scale": 1 / 17, "mean": [0.03], "std": [0.97]}

NOTHING = np.zeros(0)
JOB = Job(name="network", program=b"", input=Tensor(shape=(1, 8, 8), bits=8, signed=False),
          output=Tensor(shape=(1, 1, 1), bits=8, signed=False), input_map=NOTHING, output_map=NOTHING, output_step=1,
          batch=1, wire=np.dtype("<u1"), input_batch_bytes=64, output_batch_bytes=8, cycles_prologue=0,
          cycles_per_batch=1, images=NOTHING, outputs=NOTHING)


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
        images.check(given, input_rule(network), JOB)
        np.testing.assert_array_equal(images.integers(given, input_rule(network)), input_integers(network, given))


@pytest.mark.parametrize(("given", "text"), [
    (np.full((1, 1, 8, 8), np.nan), "NaN"), (np.full((1, 1, 8, 8), 1e9), "normalize them as in training"),
])
def test_numbers_that_cannot_be_meant_are_refused(given: np.ndarray, text: str) -> None:
    with pytest.raises(BadImages, match=text):
        images.check(given, input_rule(graph()), JOB)
    with pytest.raises(DeskBadImages, match=text):
        input_integers(graph(), given)


def test_only_arrays_of_images_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.zeros(5))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("no array")
    for name in ("flat.npy", "objects.npy", "text.npy", "absent.npy"):
        with pytest.raises(BadImages, match=name) as caught:
            arrays.read(tmp_path / name, 4, "images (n, c, h, w)")
        assert "\n" not in str(caught.value)


HUGE = b"{'descr': '<i8', 'fortran_order': False, 'shape': (99999999999999999999,)}"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00\x76\x00" + HUGE.ljust(117) + b"\n"])
def test_damaged_files_are_told_in_one_line(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "images.npy").write_bytes(data)
    with pytest.raises(BadImages, match="must be a .npy file") as caught:
        arrays.read(tmp_path / "images.npy", 4, "images")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("given", "text"), [
    (np.zeros((0, 1, 8, 8)), "n >= 1"), (np.zeros((1, 2, 8, 8)), "must be"), (np.zeros((1, 1, 8, 8), complex), "real"),
    (np.zeros((1, 1, 8, 8), bool), "real"),
])
def test_what_is_no_image_of_the_network_is_refused(given: np.ndarray, text: str) -> None:
    with pytest.raises(BadImages, match=text):
        images.check(given, input_rule(graph()), JOB)


def test_large_sets_are_checked_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of pixels outside counts over all images, whatever the blocks."""
    rule, grid = input_rule(graph()), 1.0
    given = np.concatenate([np.full((4, 1, 8, 8), 1e6), np.full((5, 1, 8, 8), grid)])
    monkeypatch.setattr(images, "BLOCK_VALUES", 64)
    images.check(given, rule, JOB)
    with pytest.raises(BadImages, match="normalize"):
        images.check(given[:-2], rule, JOB)
