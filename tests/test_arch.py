"""ArrayConfig as plain values."""

import pytest

from shifthw.arch import ArrayConfig
from shifthw.errors import DoesNotFit


def test_plain_values_and_back() -> None:
    for config in (ArrayConfig(), ArrayConfig(pe=4, shifts=(3, 20), residual=True, ties_to_even=True),
                   ArrayConfig(residual=True, product=True, tables=3)):
        assert ArrayConfig.from_json(config.to_json()) == config


def test_engines_without_later_fields_are_those_of_before() -> None:
    old = ArrayConfig()
    assert not {"ties_to_even", "adder", "product", "tables", "residual_delay"} & old.to_json().keys()
    assert old.digest == 0x4414f4d1
    later = [ArrayConfig(ties_to_even=True), ArrayConfig(adder=True), ArrayConfig(residual=True, product=True),
             ArrayConfig(tables=1), ArrayConfig(tables=2), ArrayConfig(residual=True),
             ArrayConfig(residual=True, residual_delay=True)]
    assert len({config.digest for config in (old, *later)}) == 8


def test_tables_take_a_cycle_and_nothing_else_does() -> None:
    plain = ArrayConfig(residual=True)
    for config, cycles in ((ArrayConfig(residual=True, tables=2), 1), (ArrayConfig(residual=True, product=True), 0)):
        assert config.code_latency == plain.code_latency == plain.conv_result_latency
        assert config.conv_result_latency - plain.conv_result_latency == cycles
        assert config.write_latency(pool=False) - plain.write_latency(pool=False) == cycles
        assert config.write_latency(pool=True) == plain.write_latency(pool=True)
        assert config.residual_period == plain.residual_period


@pytest.mark.parametrize(("bits", "words"), [(3, 2), (8, 64)])
def test_a_word_has_an_entry_of_each_quarter_of_the_codes(bits: int, words: int) -> None:
    assert ArrayConfig(activation_bits=bits, tables=1).table_words == words


@pytest.mark.parametrize(("fields", "message"), [
    ({"product": True}, "product must be off without a residual and multipliers, not True"),
    ({"product": True, "residual": True, "multiplier_bits": 0}, "product must be off without"),
    ({"residual_delay": True}, "residual_delay must be off without a residual, not True"),
    ({"tables": 1, "activation_bits": 9}, r"activation_bits must be 3\.\.8 with tables, not 9"),
    ({"tables": 1, "activation_bits": 2}, r"activation_bits must be 3\.\.8 with tables, not 2"),
])
def test_units_that_do_not_go_together(fields: dict[str, int], message: str) -> None:
    with pytest.raises(DoesNotFit, match=message):
        ArrayConfig(**fields)
