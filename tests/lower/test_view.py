"""Views of stored tensors: what moves of the graph make of them."""

import numpy as np

from shifthw.ir.graph import AddressShift2d, SpatialShift2d, Upsample2d
from shifthw.ir.types import IntType, TensorType
from shifthw.lower.view import View, joined

S8 = IntType(8, True)


def view(name: str = "t", channels: int = 4) -> View:
    return View.of(name, TensorType((channels, 5, 7), S8))


def test_a_stored_tensor_is_seen_as_it_is() -> None:
    seen = view()
    assert (seen.single, seen.still, seen.size, seen.channels) == (True, True, (5, 7), 4)


def test_selections_name_each_tensor_once_and_keep_displacements() -> None:
    shift = SpatialShift2d(np.arange(8).reshape(4, 2))
    both = joined([view("a").shifted(shift), view("b")])
    assert both is not None
    chosen = both.selected(np.array([6, 1, 1]))
    assert chosen.names == ("a", "b")
    np.testing.assert_array_equal(chosen.tensor, [1, 0, 0])
    np.testing.assert_array_equal(chosen.channel, [2, 1, 1])
    np.testing.assert_array_equal(chosen.displacement, [[0, 0], [2, 3], [2, 3]])
    assert both.selected(np.array([5, 4])).names == ("b",)


def test_sizes_of_strides_and_enlargements() -> None:
    strided = view().shifted(SpatialShift2d(np.zeros((4, 2), np.int64), 1, (2, 3)))
    assert (strided.size, strided.still) == ((3, 3), False)
    assert view().enlarged(Upsample2d((2, 3))).size == (10, 21)
    assert view().enlarged(Upsample2d((1, 1))).single


def test_an_address_shift_by_nothing_is_nothing() -> None:
    assert view().shifted(AddressShift2d(np.zeros(4, np.int64))).single
    moved = view().shifted(AddressShift2d(np.array([0, 1, -7, 0])))
    assert moved.lines
    np.testing.assert_array_equal(moved.displacement[:, 1], [0, 1, -7, 0])


def test_maps_that_are_looked_at_in_different_ways_are_not_joined() -> None:
    still, lines = view("a"), view("b").shifted(AddressShift2d(np.ones(4, np.int64)))
    both = joined([still, lines])
    assert both is not None and both.lines
    assert joined([view("a").shifted(SpatialShift2d(np.ones((4, 2), np.int64))), lines]) is None
    assert joined([still, view("b").enlarged(Upsample2d((2, 2)))]) is None
    assert joined([still, view("b").shifted(SpatialShift2d(np.ones((4, 2), np.int64), 2))]) is None


def test_channels_that_an_address_shift_leaves_may_be_shifted_in_another_way() -> None:
    moved = view().shifted(AddressShift2d(np.array([0, 1, -7, 0])))
    left = moved.selected(np.array([0, 3]))
    assert left.still and not left.lines
    shifted = left.shifted(SpatialShift2d(np.array([[1, 1], [0, -1]])))
    assert not shifted.lines
    assert moved.selected(np.array([0, 1])).lines
