"""Which quantizers are one, and what their places say."""

from shifthw.frontend.placement import Place
from shifthw.frontend.plain_layers import Layer
from shifthw.frontend.sharing import Sharing

from .plain_chains import conv, function, layer, network, relu


def groups(*layers: Layer) -> set[frozenset[str]]:
    """Of quantized results that share one."""
    first = Sharing(network(*layers)).first
    return {frozenset(name for name in first if first[name] == one) for one in first.values()} - {frozenset({"x"})}


def test_maps_that_are_joined_share_one_quantizer_all_along() -> None:
    assert groups(conv("a"), conv("b"), conv("c"), layer("j", "concat", "a", "b"), layer("m", "max_pool", "b"),
                  layer("k", "concat", "m", "c"), conv("d", "k"), conv("e", "j")) == \
        {frozenset("abc"), frozenset("e")}


def test_the_images_share_with_none() -> None:
    assert groups(conv("a"), layer("j", "concat", "a", "x"), conv("b", "j")) == {frozenset("aj"), frozenset("b")}
    assert groups(layer("j", "concat", "x", "x"), conv("b", "j")) == {frozenset("b")}


def test_what_a_place_says_of_all_that_share() -> None:
    net = network(conv("a"), relu("r", "a"), conv("b"), layer("j", "concat", "r", "b"), function("f", "j"),
                  layer("g", "global_pool", "f", shape=(2, 4, 1, 1)), layer("p", "multiply", "g", "f"),
                  outputs=("p", "b"))
    sharing = Sharing(net)
    signs = {"r": False, "b": None, "f": None, "g": False, "p": None}
    assert sharing.place("r", "relu", signs) == Place("relu", None, is_output=True, is_narrow=True)
    assert sharing.place("f", "silu", signs) == Place("silu", None)
    assert sharing.place("g", "pool", signs) == Place("pool", False, is_narrow=True)
    assert sharing.place("p", "mul", signs) == Place("mul", None, is_output=True)
    assert sharing.place("x", "input", {}) == Place("input", None, is_input=True)
