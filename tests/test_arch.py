"""ArrayConfig as plain values."""

from shifthw.arch import ArrayConfig


def test_plain_values_and_back() -> None:
    for config in (ArrayConfig(), ArrayConfig(pe=4, shifts=(3, 20), residual=True, ties_to_even=True)):
        assert ArrayConfig.from_json(config.to_json()) == config


def test_engines_without_ties_to_even_are_those_of_before() -> None:
    old = ArrayConfig()
    assert "ties_to_even" not in old.to_json()
    assert old.digest == 0x4414f4d1
    assert ArrayConfig(ties_to_even=True).digest != old.digest
