"""Design-space search: the array that runs a network best within a board's budget."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from math import ceil, floor, inf
from typing import Literal

from ..arch import ArrayConfig
from ..errors import DoesNotFit
from ..ir.graph import Graph
from ..program import Program
from .allocate import largest
from .bound import Bounds
from .compile import Plan, finish, plan, prepare, scaled
from .derive import depth, derive_numbers, skeleton
from .network import Network
from .resources import FAMILIES, Coefficients, Resources, memories, resources

LUT_SHARE, BRAM_SHARE, DSP_SHARE, FF_SHARE = 0.85, 0.92, 0.95, 0.80
"""Parts of the chip that an engine may take and still be placed and routed."""

NEARLY_BEST = 1.04
"""Cycles that are given up, as a factor, for a batch that is over sooner or for a smaller engine."""

_CHOICES = {
    "images": tuple(range(1, 17)),
    "pixels": (2, 4, 8, 16, 32, 64),
    "simd": (2, 4, 8, 16, 32, 64, 128),
    "pe": (1, 2, 4, 8, 16, 32, 64, 128),
}

_NAMES = {"lut": "LUTs", "ff": "flip-flops", "bram36": "block RAMs", "dsp": "DSP slices"}

Goal = Literal["throughput", "latency"]
Need = Callable[[ArrayConfig], Resources]
"""What an engine takes."""


@dataclass(frozen=True)
class Budget:
    """What a board offers: totals of the chip, clock and width of the memory bus."""

    lut: int
    ff: int
    bram36: float
    dsp: int
    clock_mhz: float
    axi_data_bits: int
    family: str = "xc7"
    on_chip: bool = True
    """False: as if maps and weights lay elsewhere; memories take nothing."""

    def limits(self) -> Resources:
        """What an engine may take."""
        return Resources(LUT_SHARE * self.lut, FF_SHARE * self.ff, BRAM_SHARE * self.bram36, DSP_SHARE * self.dsp)


@dataclass(frozen=True, eq=False)
class Found:
    """Result of a search: the program, the estimate, and how many arrays were planned and fitted."""

    program: Program
    estimate: Resources
    planned: int
    fitting: int


def search(graph: Graph, budget: Budget, goal: Goal = "throughput", pins: dict[str, int] | None = None) -> Program:
    """The best program for a budget; see `explore`."""
    return explore(graph, budget, goal, pins).program


def explore(graph: Graph, budget: Budget, goal: Goal = "throughput", pins: dict[str, int] | None = None) -> Found:
    """Search all arrays of at most 16 images; `pins` fixes some of images, pixels, simd, pe.

    throughput: of the arrays within NEARLY_BEST of the most images per cycle, the one whose batch takes the
    fewest cycles; latency: of those within NEARLY_BEST of the fewest cycles of a batch (of one image unless
    images is pinned), the one with the fewest LUTs. DoesNotFit tells what the smallest candidate exceeds.
    """
    network = prepare(graph)
    coefficients, limits = FAMILIES[budget.family], budget.limits()
    need = partial(resources if budget.on_chip else _without_memories, coefficients=coefficients)
    fixed = {"images": 1, **(pins or {})} if goal == "latency" else dict(pins or {})
    least = _Least(network, need, limits)
    bounds = {shape: least.cycles(shape) / (1 if goal == "latency" else shape.images)
              for shape in _shapes(fixed, budget.axi_data_bits)}
    shapes = sorted(bounds, key=lambda c: (bounds[c], -c.lanes, c.images, c.pixels, c.simd))
    plans: dict[tuple[int, int, int], Plan] = {}
    best, planned = inf, 0
    fitting: list[tuple[float, Plan, Resources]] = []
    for shape in shapes:
        if bounds[shape] > best * NEARLY_BEST:
            break   # nor will any behind it be better
        if least.excess(shape) > 1:
            continue
        made, planned = _plan(network, shape, plans), planned + 1
        estimate = need(made.config)
        if _excess(estimate, limits) > 1:
            continue
        cost = made.cycles_per_batch / (1 if goal == "latency" else shape.images)
        best = min(best, cost)
        fitting.append((cost, made, estimate))
    if not fitting:
        nearest = min(shapes, key=least.excess, default=None)
        raise _does_not_fit(network, nearest, need, limits)
    _, chosen, estimate = min((found for found in fitting if found[0] <= best * NEARLY_BEST),
                              key=lambda found: (found[1].cycles_per_batch * (goal == "throughput"), found[2].lut))
    return Found(finish(chosen), estimate, planned, len(fitting))


def _shapes(pins: dict[str, int], axi_data_bits: int) -> Iterator[ArrayConfig]:
    if unknown := set(pins) - set(_CHOICES):
        raise DoesNotFit(f"array: {', '.join(sorted(unknown))} cannot be chosen; only {', '.join(_CHOICES)} can")
    choices = [(pins[name],) if name in pins else values for name, values in _CHOICES.items()]
    for images, pixels, simd, pe in product(*choices):
        if pe <= simd or {"pe", "simd"} <= set(pins):
            yield skeleton(images, pixels, simd, pe, axi_data_bits)


class _Least:
    """What arrays take at least, without a plan; the number of images changes neither numbers nor cycles of a batch."""

    def __init__(self, network: Network, need: Need, limits: Resources) -> None:
        self._bounds, self._need, self._limits = Bounds(network), need, limits
        with_scales = scaled(network)
        self._numbers = cache(lambda pixels, axi_data_bits: derive_numbers(
            with_scales, skeleton(1, pixels, 2, 1, axi_data_bits)))
        self._cycles, self._memories = cache(self._bounds.cycles), cache(self._rows_and_words)
        self.excess = cache(self._excess)

    def cycles(self, shape: ArrayConfig) -> int:
        """Per batch."""
        return self._cycles(dataclasses.replace(shape, images=1))

    def _excess(self, shape: ArrayConfig) -> float:
        """How many times the scarcest resource is needed."""
        rows, words = self._memories(dataclasses.replace(shape, images=1))
        numbers = dataclasses.replace(self._numbers(shape.pixels, shape.axi_data_bits), images=shape.images,
                                      simd=shape.simd, pe=shape.pe, feature_rows=16, weight_words=16, step_words=16,
                                      scale_words=16, instruction_words=16, coordinate_bits=2)
        need = self._need(numbers)      # of LUTs some deeper memories need fewer
        filled = self._need(dataclasses.replace(numbers, feature_rows=rows, weight_words=words))
        return _excess(dataclasses.replace(need, bram36=filled.bram36), self._limits)

    def _rows_and_words(self, shape: ArrayConfig) -> tuple[int, int]:
        return depth(self._bounds.rows(shape)), depth(self._bounds.weight_words(shape))


def _plan(network: Network, shape: ArrayConfig, made: dict[tuple[int, int, int], Plan]) -> Plan:
    """A plan; only the configuration depends on the number of images."""
    key = (shape.pixels, shape.simd, shape.pe)
    if key not in made:
        made[key] = plan(network, shape)
    return dataclasses.replace(made[key], config=dataclasses.replace(made[key].config, images=shape.images))


def _excess(need: Resources, limits: Resources) -> float:
    """How many times the scarcest resource is needed; above 1 it does not fit."""
    return max(_ratio(getattr(need, name), getattr(limits, name)) for name in _NAMES)


def _ratio(need: float, limit: float) -> float:
    return need / limit if limit else (inf if need else 0.0)


def _without_memories(config: ArrayConfig, coefficients: Coefficients) -> Resources:
    return resources(config, coefficients) + memories(config, coefficients) * -1


def _does_not_fit(network: Network, nearest: ArrayConfig | None, required: Need, limits: Resources) -> DoesNotFit:
    """What the array that comes nearest exceeds, and what to do; there is none if the pins allow none."""
    if nearest is None:
        return DoesNotFit(f"{network.name}: pe must divide simd; pin other values")
    made = plan(network, nearest)
    c, need = made.config, required(made.config)
    over = "; ".join(f"{_halves(ceil, getattr(need, name))} {text}, {_halves(floor, getattr(limits, name))} may be used"
                     for name, text in _NAMES.items() if getattr(need, name) > getattr(limits, name))
    remedy = "pin fewer or smaller images, pixels, simd, pe"
    array = required(dataclasses.replace(c, feature_rows=16, weight_words=16))
    if need.bram36 > limits.bram36 and array.lut <= limits.lut:     # deep memories take LUTs as well
        features = c.pixels * c.simd * c.feature_rows * c.images * c.activation_bits // 8
        weights = c.weight_words * c.weight_word_bits // 8
        remedy = (f"feature memory has {features} bytes, the largest being {largest(made.layouts)}, weight memory "
                  f"{weights} bytes: use smaller images, fewer channels, fewer bits, or a larger board")
    return DoesNotFit(f"{network.name}: the nearest array (images={c.images}, pixels={c.pixels}, simd={c.simd}, "
                      f"pe={c.pe}) needs {over}: {remedy}")


def _halves(towards: Callable[[float], int], number: float) -> str:
    """In halves, which block RAMs come in: what is too much must not look like what is allowed."""
    return f"{towards(2 * number) / 2:.1f}".removesuffix(".0")
