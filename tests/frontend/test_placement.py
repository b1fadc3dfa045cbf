"""Where quantizers go: what must be stored is, and nothing else."""

from shifthw.frontend.placement import quantized_results, signs
from shifthw.frontend.plain_layers import Layer

from .plain_chains import affine, conv, function, layer, network, relu


def places(*layers: Layer, outputs: tuple[str, ...] = ()) -> set[str]:
    found = quantized_results(network(*layers, outputs=outputs))
    assert "x" in found
    return set(found) - {"x"}


def test_a_chain_is_stored_behind_its_activation_functions() -> None:
    assert places(conv("a"), layer("n", "batch_norm", "a"), relu("r", "n"), conv("b", "r")) == {"r", "b"}


def test_what_is_read_before_and_behind_its_activation_function_is_stored_twice() -> None:
    assert places(conv("a"), relu("r", "a"), conv("b", "r"), conv("c", "a"), outputs=("b", "c")) == {"a", "r", "b", "c"}


def test_pools_and_shapes_keep_what_is_stored() -> None:
    assert places(conv("a"), relu("r", "a"), layer("m", "max_pool", "r"), layer("p", "subsample", "m"),
                  layer("f", "flatten", "p", shape=(2, 256)), conv("b", "f")) == {"r", "b"}
    assert places(conv("a"), layer("m", "max_pool", "a"), outputs=("m",)) == {"a"}


def test_averages_are_sums() -> None:
    assert places(conv("a"), relu("r", "a"), layer("g", "global_pool", "r", shape=(2, 4, 1, 1)),
                  layer("f", "flatten", "g", shape=(2, 4)), conv("b", "f")) == {"r", "f", "b"}


def test_of_a_sum_of_two_convolutions_the_shorter_is_stored() -> None:
    short, long = conv("short", size=1), conv("long")
    for sums in ((short, long, layer("s", "add", "short", "long")), (long, short, layer("s", "add", "long", "short"))):
        assert places(*sums, relu("r", "s")) == {"short", "r"}
    norm = layer("n", "batch_norm", "short")
    assert places(short, norm, long, layer("s", "add", "long", "n"), relu("r", "s")) == {"n", "r"}


def test_a_residual_needs_nothing_more() -> None:
    assert places(conv("a"), relu("r", "a"), conv("b", "r"), layer("s", "add", "b", "r"), relu("t", "s")) == {"r", "t"}
    assert places(layer("s", "add", "x", "x"), conv("b", "s")) == {"s", "b"}
    assert places(conv("a"), layer("s", "add", "a", "a")) == {"s"}


def test_clamped_operands_are_stored() -> None:
    assert places(conv("a"), relu("r", "a"), conv("b"), layer("s", "add", "r", "b")) == {"r", "s"}
    assert places(conv("a"), relu("r", "a"), conv("b"), relu("t", "b"), layer("s", "add", "r", "t")) == {"r", "t", "s"}


def test_of_three_summands_two_are_added_first() -> None:
    layers = (conv("a"), conv("b", size=1), conv("c"), layer("s", "add", "a", "b"), layer("t", "add", "s", "c"))
    assert places(*layers) == {"b", "s", "t"}


def test_the_engine_has_one_factor_for_a_residual() -> None:
    summed = (conv("a"), relu("r", "a"), conv("b", "r"), layer("s", "add", "b", "r"))
    assert places(*summed, layer("n", "batch_norm", "s"), relu("t", "n")) == {"r", "s", "t"}
    assert places(*summed, affine("n", "s", 1.0, 2.0), relu("t", "n")) == {"r", "s", "t"}
    assert places(*summed, affine("n", "s", 2.0, 2.0), relu("t", "n")) == {"r", "t"}
    scaled = (conv("a"), affine("m", "x", 1.0, 2.0), layer("s", "add", "a", "m"))
    assert places(*scaled) == {"m", "s"}
    assert places(conv("a"), affine("m", "x", -1.0, -1.0), layer("s", "add", "a", "m")) == {"s"}
    assert places(conv("a"), affine("m", "a", -1.0, -1.0), conv("b"), layer("s", "add", "m", "b")) == {"m", "s"}


def test_nothing_is_multiplied_behind_an_activation_function() -> None:
    assert places(conv("a"), relu("r", "a"), layer("n", "batch_norm", "r"), conv("b", "n")) == {"r", "n", "b"}
    assert places(conv("a"), relu("r", "a"), relu("t", "r"), conv("b", "t")) == {"t", "b"}


def test_tables_are_between_two_quantizers() -> None:
    assert places(conv("a"), layer("n", "batch_norm", "a"), function("f", "n"), conv("b", "f")) == {"n", "f", "b"}
    assert places(function("f", "x"), relu("r", "f"), conv("b", "r")) == {"f", "r", "b"}


def test_products_are_of_stored_maps_and_have_one_factor() -> None:
    product = (conv("a"), relu("r", "a"), layer("p", "multiply", "r", "x"))
    assert places(*product, relu("t", "p"), conv("b", "t")) == {"r", "t", "b"}
    assert places(*product, affine("n", "p", 2.0, 2.0), conv("b", "n")) == {"r", "n", "b"}
    assert places(*product, layer("n", "batch_norm", "p"), conv("b", "n")) == {"r", "p", "n", "b"}
    assert places(*product, conv("c"), layer("s", "add", "p", "c")) == {"r", "p", "s"}


def test_joined_maps_are_stored_before_and_need_no_quantizer_behind() -> None:
    joined = layer("j", "concat", "r", "b")
    assert places(conv("a"), relu("r", "a"), conv("b", "r"), joined, layer("h", "select", "j"),
                  layer("u", "upsample", "h"), conv("c", "u")) == {"r", "b", "c"}
    assert places(conv("a"), layer("j", "concat", "a", "x"), conv("b", "j")) == {"a", "j", "b"}
    assert places(layer("m", "max_pool", "x"), layer("j", "concat", "x", "m"), conv("b", "j")) == {"b"}


def test_enlarged_maps_are_stored_or_sums() -> None:
    assert places(conv("a"), layer("u", "bilinear", "a"), relu("r", "u"), conv("b", "r")) == {"a", "r", "b"}


def test_signs_follow_from_the_structure() -> None:
    net = network(conv("a"), relu("r", "a"), layer("m", "max_pool", "r"), layer("s", "add", "m", "r"),
                  layer("t", "add", "m", "a"), layer("u", "add", "x", "r"), layer("g", "global_pool", "s"),
                  affine("p", "r", 2.0, 0.5), affine("q", "r", 2.0, -0.5), affine("o", "r", 2.0, offset=-1.0),
                  layer("low", "clamp", "a", lo=-1.0, hi=1.0), layer("high", "clamp", "s", lo=-1.0, hi=1.0),
                  layer("n", "batch_norm", "r"))
    known = signs(net, input_signed=False)
    assert {name for name, sign in known.items() if sign is False} == {"x", "r", "m", "s", "u", "g", "p", "high"}
    assert {name for name, sign in known.items() if sign is None} == {"a", "t", "q", "o", "low", "n"}
    tables = network(conv("a"), function("f", "a"), function("g", "a", "sigmoid"), function("h", "g", "tanh"),
                     layer("p", "multiply", "g", "x"), layer("j", "concat", "g", "f"))
    assert {name for name, sign in signs(tables, False).items() if sign is False} == {"x", "g", "h", "p"}
    known = signs(net, input_signed=True)
    assert {name for name in net.by_name if known[name] is False} == {"r", "m", "s", "g", "p", "high"}


def test_long_networks_are_neither_slow_nor_deep() -> None:
    layers = [conv("y0")]
    for index in range(1, 700):
        layers += [conv(f"c{index}", f"y{index - 1}"), layer(f"y{index}", "add", f"c{index}", f"y{index - 1}")]
    assert len(places(*layers)) == 700
    doubled = [conv("y0"), *(layer(f"y{index}", "add", f"y{index - 1}", f"y{index - 1}") for index in range(1, 90))]
    assert signs(network(*doubled), input_signed=False)["y89"] is None
