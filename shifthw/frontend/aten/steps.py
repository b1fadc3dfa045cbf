"""What the handlers of all operations need: a layer of a step, and a line about one that has none."""

from typing import Any, NoReturn

from ...errors import UnsupportedModel
from ..exported import Step
from ..plain_layers import Layer


def refuse(step: Step, what: str) -> NoReturn:
    """Raise UnsupportedModel about a step."""
    raise UnsupportedModel(f"{step.where}: {what}")


def one(step: Step, kind: str, **options: Any) -> list[Layer]:
    """The layer that a step is."""
    return [Layer(step.name, kind, step, step.inputs, step.shape, options)]


def pair(value: Any) -> tuple[int, int]:
    """Rows and columns of a number for both, or of a list of one or two."""
    if isinstance(value, int):
        return value, value
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


def shown(shape: tuple[int, ...]) -> str:
    """A shape as messages have it."""
    return "x".join(map(str, shape))
