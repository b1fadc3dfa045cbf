"""Networks that come with the package, by name: integer graphs ready to compile."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..errors import UnsupportedModel
from ..frontend.convert import convert_model
from ..frontend.model_file import load_model, write_model
from ..frontend.reference import Model
from ..ir.graph import Graph
from .files import model_path
from .resnet import CLASSES, resnet8
from .seeded import CALIBRATION_IMAGES, calibrate, seed_weights, synthetic_images

SEED = 20
CIFAR_SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class Entry:
    """One network: what it is, in a line, and how its graph and its real-valued networks are made."""

    description: str
    build: Callable[[], Model]


def _seeded(name: str, constructor: Callable[[], nn.Module]) -> Model:
    """Seeded weights; calibrated in float64, so that no integer depends on the machine's order of additions."""
    model = constructor().double()
    images = torch.from_numpy(synthetic_images(CALIBRATION_IMAGES, CIFAR_SHAPE, SEED)).double() / 255
    seed_weights(model, SEED)
    calibrate(model, images)
    card: dict[str, object] = {"weights": "seeded", "seed": SEED}
    return convert_model(model, images[:1], name, {"classes": list(CLASSES), "card": card})


NAMES: dict[str, Entry] = {
    "digits": Entry("trained: 8x8 handwritten digits, residual CNN, 4-bit DeepShift weights, 8-bit activations",
                    lambda: load_model(model_path("digits"))),
    "lenet5": Entry("trained: MNIST LeNet-5, 28x28, 0.4 M MACs, 4-bit power-of-two weights, 8-bit activations",
                    lambda: load_model(model_path("lenet5"))),
    "conv_mnist": Entry("trained: DeepShift's MNIST network, 28x28, 2.3 M MACs, 4-bit power-of-two weights, 8-bit "
                        "activations", lambda: load_model(model_path("conv_mnist"))),
    "resnet8": Entry("seeded: MLPerf Tiny image classification ResNet-8, 32x32x3, 12.5 M MACs, 4-bit DeepShift weights",
                     lambda: _seeded("resnet8", resnet8)),
    "resnet20": Entry("trained: CIFAR-10 ResNet-20, option-A shortcuts, 32x32x3, 40.6 M MACs, 4-bit power-of-two "
                      "weights, 8-bit activations", lambda: load_model(model_path("resnet20"))),
}


def names() -> tuple[str, ...]:
    """The networks there are."""
    return tuple(NAMES)


def describe(name: str) -> str:
    """One line: whether the weights are trained or seeded, what the network is."""
    return _entry(name).description


def build(name: str) -> Graph:
    """The integer graph of a network; the same every time. Raises UnsupportedModel for an unknown name."""
    return _entry(name).build().graph


def write(name: str, path: str | Path) -> None:
    """Write the network's model file, atomically."""
    write_model(_entry(name).build(), path)


def _entry(name: str) -> Entry:
    if name not in NAMES:
        raise UnsupportedModel(f"zoo: has no network {name!r}; there are {', '.join(NAMES)}")
    return NAMES[name]
