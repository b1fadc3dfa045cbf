"""Pipelined sum of several numbers, as plain logic."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, Value


def adder_tree(m: Module, terms: Sequence[Value], highest: int, levels: int) -> Value:
    """The sum of unsigned terms of at most `highest` each, `levels` cycles later.

    Three numbers at a time are added up, for which a bit takes one LUT with two outputs and no more of the carry
    chain than for two. That takes fewer levels than a tree of pairs; registers at its end make up for them. `levels`
    is at least what the tree of three takes.
    """
    bounds = [highest] * len(terms)
    for level in range(1, levels + 1):
        bounds = [sum(bounds[n:n + 3]) for n in range(0, len(bounds), 3)]
        sums = [Signal(range(bound + 1), name=f"sum{level}_{n}", reset_less=True)
                for n, bound in enumerate(bounds)]
        m.d.sync += [s.eq(sum(terms[3 * n + 1:3 * n + 3], terms[3 * n])) for n, s in enumerate(sums)]
        terms = sums
    return terms[0]
