"""Networks that come with the package, by name: integer graphs ready to compile."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UnsupportedModel
from ..frontend.model_file import load_model, write_model
from ..frontend.reference import Model
from ..ir.graph import Graph
from .architectures import ARCHITECTURES, Architecture
from .blocks import ImageNetwork
from .files import model_path
from .seeded import seeded_model

SEED = 1
"""Of seeded weights."""


@dataclass(frozen=True)
class Entry:
    """One network: what it is, in a line, and how its graph and its real-valued networks are made.

    reduced  makes a small one of the same layers, with seeded weights; only networks with seeded weights have one
    """

    description: str
    build: Callable[[], Model]
    reduced: Callable[[], Model] | None = None


def _trained(name: str, what: str) -> Entry:
    return Entry(f"trained: {what}, 8-bit activations", lambda: load_model(model_path(name)))


def _seeded(name: str, architecture: Architecture) -> Entry:
    def model(network: ImageNetwork, called: str) -> Model:
        return seeded_model(network, called, network.shape, SEED)

    return Entry(f"seeded: {architecture.what}, 4-bit power-of-two weights, 8-bit activations",
                 lambda: model(architecture.full(), name), lambda: model(architecture.reduced(), f"{name}_reduced"))


NAMES: dict[str, Entry] = {name: _trained(name, what) for name, what in (
    ("digits", "8x8 handwritten digits, residual CNN, 4-bit DeepShift weights"),
    ("lenet5", "MNIST LeNet-5, 28x28, 0.4 M MACs, 4-bit power-of-two weights"),
    ("conv_mnist", "DeepShift's MNIST network, 28x28, 2.3 M MACs, 4-bit power-of-two weights"),
    ("resnet8", "CIFAR-10, MLPerf Tiny ResNet-8, 32x32x3, 12.5 M MACs, 4-bit power-of-two weights"),
    ("resnet20", "CIFAR-10 ResNet-20, option-A shortcuts, 32x32x3, 40.6 M MACs, 4-bit power-of-two weights"),
    ("resnet20_w3", "CIFAR-10 ResNet-20 as above with 3-bit power-of-two weights"),
    ("shiftadd_resnet20", "CIFAR-10, ShiftAddNet's ResNet-20, 32x32x3, 83.1 M MACs and |x - w|, 4-bit shift weights"),
    ("adder_resnet20", "CIFAR-10, AdderNet's ResNet-20, 32x32x3, 40.6 M MACs and |x - w|, 4-bit shift weights"),
    ("ssl_shift_resnet20", "CIFAR-10, ShiftResNet-20, sparse shifts, 32x32x3, 16.4 M MACs, 4-bit power-of-two weights"),
    ("activity_shiftadd", "WHARF, ShiftAddNet for 160 accelerometer samples, 4.3 M MACs and |x - w|, 4-bit weights"),
)} | {name: _seeded(name, architecture) for name, architecture in ARCHITECTURES.items()}


def names(seeded: bool = False) -> tuple[str, ...]:
    """The networks that come with trained weights; with `seeded`, those that come with seeded ones."""
    return tuple(name for name in NAMES if (name in ARCHITECTURES) == seeded)


def describe(name: str) -> str:
    """One line: whether the weights are trained or seeded, what the network is."""
    return _entry(name).description


def build(name: str, *, reduced: bool = False) -> Graph:
    """The integer graph of a network, or of its reduced form; the same every time.

    Raises UnsupportedModel for an unknown name, and for a reduced form that there is none of.
    """
    return _model(name, reduced).graph


def write(name: str, path: str | Path, *, reduced: bool = False) -> None:
    """Write the model file of a network, or of its reduced form, atomically. Raises as build does."""
    write_model(_model(name, reduced), path)


def _model(name: str, reduced: bool) -> Model:
    entry = _entry(name)
    if not reduced:
        return entry.build()
    if entry.reduced is None:
        raise UnsupportedModel(f"zoo: {name!r} has trained weights and no reduced form; build it as it is")
    return entry.reduced()


def _entry(name: str) -> Entry:
    if name not in NAMES:
        raise UnsupportedModel(f"zoo: has no network {name!r}; there are {', '.join(NAMES)}")
    return NAMES[name]
