"""Where a simulation first differs from the golden model: layer, image, index, both values."""

from dataclasses import dataclass

import numpy as np

from shifthw.emulator import EmulationError, Emulator
from shifthw.ir import Graph, interpret
from shifthw.program import Program


@dataclass(frozen=True)
class Mismatch:
    """The first integer that differs."""

    layer: str
    """The first layer that computes something else, or "RTL only: output NAME" if no layer of the program does."""
    image: int
    index: tuple[int, int, int]
    """Channel, y, x."""
    expected: int
    actual: int

    def __str__(self) -> str:
        return (f"{self.layer}: image {self.image}, index {list(self.index)}: "
                f"expected {self.expected}, actual {self.actual}")


def first_mismatch(
    graph: Graph, program: Program, images: np.ndarray, expected: np.ndarray, actual: np.ndarray
) -> Mismatch | None:
    """None if `actual` equals `expected` in every integer; both int[n, c, h, w] for the same `images`.

    Else the batch with the first difference runs layer by layer, in the emulator and in the golden model: the
    first layer that differs there is to blame. If none does, compiler and program are right and the RTL is not.
    """
    output = _difference(graph.outputs[0], expected, actual)
    if output is None:
        return None
    first = output.image // program.config.images * program.config.images
    batch = images[first:first + program.config.images]
    try:
        blamed = _first_layer(graph, program, batch)
    except EmulationError as error:
        return Mismatch(f"program ({error}): output {output.layer}", output.image, output.index, output.expected,
                        output.actual)
    if blamed:
        return Mismatch(blamed.layer, first + blamed.image, blamed.index, blamed.expected, blamed.actual)
    return Mismatch(f"RTL only: output {output.layer}", output.image, output.index, output.expected, output.actual)


def _first_layer(graph: Graph, program: Program, images: np.ndarray) -> Mismatch | None:
    golden = interpret(graph, images, keep="all")
    names = tuple(layer.output for layer in program.layers if layer.output in golden)
    emulated = Emulator(program).run(images, capture=names).tensors
    differences = (_difference(name, golden[name], emulated[name]) for name in names)
    return next((difference for difference in differences if difference), None)


def _difference(layer: str, expected: np.ndarray, actual: np.ndarray) -> Mismatch | None:
    places = np.argwhere(expected != actual)
    if not len(places):
        return None
    image, c, y, x = map(int, places[0])
    return Mismatch(layer, image, (c, y, x), int(expected[image, c, y, x]), int(actual[image, c, y, x]))
