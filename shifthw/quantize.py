"""Weights as signed powers of two, or sums of a few: DeepShift's two forms, and rounding to the nearest.

Form Q keeps a latent real weight and rounds its logarithm; form PS keeps a latent shift and a latent
sign. Both follow DeepShift (https://github.com/mostafaelhoushi/DeepShift) to the last bit for one term.
Form nearest keeps a latent real weight and takes the nearest sum of signed powers of two: the least error
for a network that was trained without any of this.
"""

import math
from functools import cache
from typing import Literal

import numpy as np
import torch

from .errors import UnsupportedModel
from .ir.types import ShiftWeight
from .ir.verify import MAX_EXPONENT

Form = Literal["Q", "PS", "nearest"]
MIN_WEIGHT_BITS, MAX_WEIGHT_BITS = 2, 8
MAX_NEAREST_BITS = 5
"""Of form nearest: more exponents than 5 bits give do not fit into the engine's shifts."""


def smallest_exponent(form: Form, weight_bits: int) -> int:
    """Exponent of the smallest non-zero magnitude; the largest is 0.

    Q: -(2**(weight_bits-1) - 1); PS and nearest, which spend a code on 0: -(2**(weight_bits-1) - 2).
    """
    return -((1 << (weight_bits - 1)) - (1 if form == "Q" else 2))


def round_logarithm(magnitude: torch.Tensor) -> torch.Tensor:
    """round(log2(magnitude)): thresholds at 2**(k + 1/2). The quotient of natural logarithms is upstream's, in float32:
    a copy of a network in float64 must have the same weights."""
    return torch.round(torch.log(magnitude.float()) / math.log(2)).to(magnitude.dtype)


def q_terms(weight: torch.Tensor, weight_bits: int, terms: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Form Q: signs in {-1, 0, 1} and exponents in smallest..0 (0 where the sign is 0), float[terms, *weight.shape].

    First term: magnitudes below 2**smallest are raised to it, those above 1 lowered to 1, exact 0 stays 0.
    Each further term rounds what the terms before leave; less than half of 2**smallest left is 0.
    """
    smallest = smallest_exponent("Q", weight_bits)
    rest = weight.detach()
    signs, exponents = [], []
    for index in range(terms):
        magnitude = rest.abs()
        used = magnitude > (0.0 if index == 0 else 2.0 ** (smallest - 1))
        exponent = round_logarithm(magnitude.clamp(2.0**smallest, 1.0))
        signs.append(torch.where(used, rest.sign(), 0.0))
        exponents.append(torch.where(used, exponent, 0.0))
        rest = rest - signs[-1] * powers_of_two(exponents[-1])
    return torch.stack(signs), torch.stack(exponents)


def ps_terms(shift: torch.Tensor, sign: torch.Tensor, weight_bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Form PS: signs and exponents as q_terms gives them, from latents float[terms, ...].

    Both latents are rounded half to even; shifts are clamped to smallest..0 first. |sign| <= 0.5 is weight 0.
    """
    rounded = torch.round(shift.detach().clamp(smallest_exponent("PS", weight_bits), 0))
    signs = torch.sign(torch.round(sign.detach()))
    return signs, torch.where(signs == 0, 0.0, rounded)


@cache
def _sums(weight_bits: int, terms: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All sums of up to `terms` signed powers of two that are 0 or more, ascending, float64[values], and a shortest
    list of terms for each: whole numbers in units of 2**smallest, float64[terms, values]."""
    powers = [1 << exponent for exponent in range(1 - smallest_exponent("nearest", weight_bits))]
    digits = [*powers, *(-power for power in powers)]
    shortest: dict[int, tuple[int, ...]] = {0: ()}
    newest = dict(shortest)
    for _ in range(terms):
        grown = {value + digit: (*used, digit) for value, used in newest.items() for digit in digits}
        newest = {value: used for value, used in grown.items() if value not in shortest}
        shortest |= newest
    values = sorted(value for value in shortest if value >= 0)
    table = [[*shortest[value], *[0] * (terms - len(shortest[value]))] for value in values]
    return torch.tensor(values, dtype=torch.float64), torch.tensor(table, dtype=torch.float64).T.contiguous()


def _nearest_index(weight: torch.Tensor, weight_bits: int, terms: int) -> torch.Tensor:
    """Where in _sums the magnitudes of `weight` are; halfway between two values is the smaller one."""
    values, _ = _sums(weight_bits, terms)
    unit = 2.0 ** smallest_exponent("nearest", weight_bits)
    middles = ((values[1:] + values[:-1]) / 2 * unit).to(weight.dtype)
    return torch.bucketize(weight.detach().abs().contiguous(), middles)


def nearest_values(weight: torch.Tensor, weight_bits: int, terms: int) -> torch.Tensor:
    """Form nearest: the weights as used, the sums that nearest_terms gives the terms of."""
    values, _ = _sums(weight_bits, terms)
    magnitudes = (values * 2.0 ** smallest_exponent("nearest", weight_bits)).to(weight.dtype)
    return magnitudes[_nearest_index(weight, weight_bits, terms)] * weight.detach().sign()


def nearest_terms(weight: torch.Tensor, weight_bits: int, terms: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Form nearest: signs and exponents as q_terms gives them, of the nearest sum of at most `terms` terms.

    Exponents smallest..0, each term may be 0; of several ways to write a sum, one with the fewest terms.
    """
    _, table = _sums(weight_bits, terms)
    chosen = table.to(weight.dtype)[:, _nearest_index(weight, weight_bits, terms)] * weight.detach().sign()
    signs = chosen.sign()
    exponents = torch.round(torch.log2(chosen.abs().clamp(min=1.0))) + smallest_exponent("nearest", weight_bits)
    return signs, torch.where(signs == 0, 0.0, exponents)


def powers_of_two(exponent: torch.Tensor) -> torch.Tensor:
    """2**exponent for whole exponents in -127..0, exactly: taken from a table, since torch's pow may round."""
    table = torch.tensor([2.0**-e for e in range(MAX_TABLE_EXPONENT + 1)], dtype=exponent.dtype, device=exponent.device)
    return table[(-exponent).to(torch.int64)]


MAX_TABLE_EXPONENT = (1 << (MAX_WEIGHT_BITS - 1)) - 1


def term_values(signs: torch.Tensor, exponents: torch.Tensor) -> torch.Tensor:
    """The weights: sum over the first dimension of sign * 2**exponent."""
    return (signs * powers_of_two(exponents)).sum(dim=0)


def integer_weight(signs: torch.Tensor, exponents: torch.Tensor, where: str) -> tuple[ShiftWeight, int]:
    """Integer weights and the exponent e of their unit: real weight = integer * 2**e.

    signs, exponents: [terms, out, in/groups, kh, kw]. The smallest exponent in use becomes 0.
    Raises UnsupportedModel, naming `where`, if the exponents in use span more than 16 values.
    """
    sign = signs.to(torch.int8).numpy(force=True)
    exponent = exponents.to(torch.int64).numpy(force=True)
    used = exponent[sign != 0]
    unit = int(used.min()) if used.size else 0
    span = int(used.max()) - unit if used.size else 0
    if span > MAX_EXPONENT:
        raise UnsupportedModel(f"{where}: its weights use exponents {unit}..{unit + span}, must span at most "
                               f"{MAX_EXPONENT + 1} values; use weight_bits of 5 or less")
    terms = np.flatnonzero(np.any(sign != 0, axis=(1, 2, 3, 4)))    # those that any weight uses, but at least one
    terms = terms if terms.size else np.zeros(1, np.int64)
    stored = np.where(sign == 0, 0, exponent - unit).astype(np.int8)
    return ShiftWeight(sign[terms].copy(), stored[terms].copy()), unit
