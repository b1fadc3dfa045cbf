"""One training loop for every example: one-cycle schedule, a checkpoint after each epoch, resumed where it stopped."""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_data import Images
from torch import nn
from torch.nn import functional

from shifthw.nn import compile_adders, total_shift_loss


class CannotTrain(Exception):
    """Network, data, weights and recipe do not go together; one line."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; kept in its checkpoint and its model card."""

    epochs: int
    learning_rate: float
    batch: int = 128
    weight_decay: float = 5e-4
    momentum: float = 0.9
    crop: int = 4
    """Pixels that a training image is moved by at most."""
    flip: bool = True
    seed: int = 1
    bfloat16: bool = False
    """Whether layers compute in bfloat16 where torch's autocast allows."""
    compiled: bool = False
    """Whether adder layers run compiled."""
    small_epochs: int = 0
    """First epochs, on images of half the height and width: a quarter of the work, for networks that end in a mean."""


def add_recipe(parser: argparse.ArgumentParser, epochs: int, learning_rate: float) -> None:
    """The options that recipe_of reads."""
    parser.add_argument("--epochs", type=int, default=epochs, help=f"passes over the data (default: {epochs})")
    parser.add_argument("--learning-rate", type=float, default=learning_rate,
                        help=f"of the schedule's top (default: {learning_rate})")
    parser.add_argument("--crop", type=int, default=4, help="pixels that images are moved by at most (default: 4)")
    parser.add_argument("--no-flip", action="store_true", help="never mirror images: digits are none then")
    parser.add_argument("--seed", type=int, default=1, help="of weights, order and moves (default: 1)")
    parser.add_argument("--bfloat16", action="store_true", help="compute layers in bfloat16: faster on some CPUs")
    parser.add_argument("--compiled", action="store_true",
                        help="compile adder layers: several times faster, needs a C++ compiler")
    parser.add_argument("--small-epochs", type=int, default=0,
                        help="first epochs, on images of half the size, for networks that take any (default: 0)")


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe that the options say. Raises CannotTrain for a number out of range."""
    for name, least in (("epochs", 1), ("crop", 0), ("seed", 0), ("small_epochs", 0)):
        if getattr(options, name) < least:
            raise CannotTrain(f"--{name.replace('_', '-')} must be {least} or more, not {getattr(options, name)}")
    if not 0 < options.learning_rate < float("inf"):
        raise CannotTrain(f"--learning-rate must be greater than 0, not {options.learning_rate}")
    if options.small_epochs >= options.epochs:
        raise CannotTrain(f"--small-epochs must be fewer than the {options.epochs} of --epochs, not "
                          f"{options.small_epochs}")
    return Recipe(epochs=options.epochs, learning_rate=options.learning_rate, crop=options.crop,
                  flip=not options.no_flip, seed=options.seed, bfloat16=options.bfloat16, compiled=options.compiled,
                  small_epochs=options.small_epochs)


def check_out(path: Path) -> None:
    """Raises CannotTrain where no file can be written: before hours of training, not after."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise CannotTrain(f"{path}: must be a file in a folder that is there; give another --out")


def real(images: np.ndarray) -> torch.Tensor:
    """uint8 images as the networks' real input, 0..1."""
    return torch.from_numpy(images).float() / 255


def train(model: nn.Module, data: Images, recipe: Recipe, checkpoint: Path,
          after_epoch: Callable[[int], None] = lambda epoch: None, network: dict[str, object] | None = None) -> None:
    """Train `model` on `data`, or go on from `checkpoint`; `model` ends in evaluation mode.

    `network` is what a checkpoint must have been made with beside the recipe, such as bits of weights.
    On one thread the same whether interrupted or not, to the last bit. Raises CannotTrain.
    """
    check(model, data, recipe)
    if recipe.compiled:
        compile_adders(model)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(model, recipe)
    steps = len(data.labels) // recipe.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.epochs * steps)
    made_with = asdict(recipe) | (network or {})
    first = _resume(checkpoint, made_with, model, optimizer, schedule)
    for epoch in range(first, recipe.epochs):
        started = time.monotonic()
        loss, right = _epoch(model, data, recipe, optimizer, schedule, np.random.default_rng((recipe.seed, epoch)),
                             epoch < recipe.small_epochs)
        print(f"epoch {epoch + 1:2} of {recipe.epochs}: loss {loss:.3f}, {100 * right:.2f} % of the training images "
              f"right, {time.monotonic() - started:.0f} s", flush=True)
        _save(checkpoint, {"recipe": made_with, "epoch": epoch + 1, "model": model.state_dict(),
                           "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()})
        after_epoch(epoch + 1)
    model.eval()


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Weights decay; biases, the batch norms' gains and displacements, which have a loss of their own, do not."""
    decays = {name: parameter.ndim > 1 and name.rpartition(".")[2] != "displacement"
              for name, parameter in model.named_parameters()}
    groups: list[dict[str, Any]] = [
        {"params": [parameter for name, parameter in model.named_parameters() if decays[name]],
         "weight_decay": recipe.weight_decay},
        {"params": [parameter for name, parameter in model.named_parameters() if not decays[name]]},
    ]
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True)


def _epoch(model: nn.Module, data: Images, recipe: Recipe, optimizer: torch.optim.Optimizer,
           schedule: torch.optim.lr_scheduler.LRScheduler, generator: np.random.Generator,
           small: bool) -> tuple[float, float]:
    """Mean loss and share of images classified rightly, over all whole batches."""
    model.train()
    labels = torch.from_numpy(data.labels.astype(np.int64))
    order = generator.permutation(len(labels))
    steps = len(labels) // recipe.batch
    loss_sum, right = 0.0, 0
    for start in range(0, steps * recipe.batch, recipe.batch):
        chosen = order[start:start + recipe.batch]
        images = real(augmented(data.images[chosen], recipe, generator)).to(memory_format=torch.channels_last)
        if small:
            images = functional.avg_pool2d(images, 2)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
            logits = model(images)
        loss = functional.cross_entropy(logits.float(), labels[chosen]) + total_shift_loss(model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        loss_sum += loss.item()
        right += int((logits.argmax(1) == labels[chosen]).sum())
    return loss_sum / steps, right / (steps * recipe.batch)


def augmented(images: np.ndarray, recipe: Recipe, generator: np.random.Generator) -> np.ndarray:
    """Each image moved by up to `crop` pixels in each direction over a border of zeros, and perhaps mirrored."""
    count, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (recipe.crop,) * 2, (recipe.crop,) * 2))
    top, left = generator.integers(0, 2 * recipe.crop, (2, count), endpoint=True)
    columns = np.arange(width)[None] + left[:, None]
    mirrored = np.arange(width)[None, ::-1] + left[:, None]
    if recipe.flip:
        columns = np.where(generator.random(count)[:, None] < 0.5, mirrored, columns)
    rows = np.arange(height)[None] + top[:, None]
    moved = padded[np.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return np.ascontiguousarray(moved.transpose(0, 3, 1, 2))


@torch.no_grad()
def accuracy(model: nn.Module, data: Images, batch: int = 500) -> float:
    """Fraction of `data` that `model`, in evaluation mode, classifies rightly."""
    was_training = model.training
    model.eval()
    right = 0
    for start in range(0, len(data.labels), batch):
        logits = model(real(data.images[start:start + batch]))
        right += int((logits.flatten(1).argmax(1).numpy() == data.labels[start:start + batch]).sum())
    model.train(was_training)
    return right / len(data.labels)


@torch.no_grad()
def check(model: nn.Module, data: Images, recipe: Recipe) -> None:
    """Raises CannotTrain if there are too few images, or the network takes no such images or has too few classes."""
    if len(data.labels) < recipe.batch:
        raise CannotTrain(f"the data has {len(data.labels)} training images, must have at least one batch of "
                          f"{recipe.batch}")
    image = real(data.images[:1])
    classes = _classes(model, image, "give other --data")
    if recipe.small_epochs:
        _classes(model, functional.interpolate(image, scale_factor=0.5), "leave out --small-epochs")
    if data.labels.max() >= classes:
        raise CannotTrain(f"the data has labels up to {data.labels.max()}, the network {classes} classes; "
                          "give other --data")


def _classes(model: nn.Module, image: torch.Tensor, remedy: str) -> int:
    try:
        return model.eval()(image).flatten(1).shape[1]
    except (RuntimeError, ValueError) as error:
        raise CannotTrain(f"the network does not take images of shape {tuple(image.shape[1:])} "
                          f"({str(error).splitlines()[0]}); {remedy}") from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict that torch.save wrote, without executing anything in it. Raises CannotTrain."""
    try:
        model.load_state_dict(torch.load(path, weights_only=True))
    except Exception as error:  # torch raises half a dozen types for damaged and for other files
        line = " ".join(str(error).split())
        raise CannotTrain(f"{path}: holds no weights of this network ({line:.200}); give a file that train_float.py "
                          "wrote for it") from error


def recipe_in(checkpoint: Path) -> dict[str, object] | None:
    """The recipe of a checkpoint that train wrote; None if there is none."""
    if not checkpoint.is_file():
        return None
    try:
        return dict(torch.load(checkpoint, weights_only=True)["recipe"])
    except Exception as error:  # as in load_weights
        raise CannotTrain(f"{checkpoint}: is damaged; remove it") from error


def _resume(checkpoint: Path, made_with: dict[str, object], model: nn.Module, optimizer: torch.optim.Optimizer,
            schedule: torch.optim.lr_scheduler.LRScheduler) -> int:
    """The epoch to go on with: 0 without a checkpoint."""
    if not checkpoint.exists():
        return 0
    try:
        state = torch.load(checkpoint, weights_only=True)
        if state["recipe"] == made_with:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
            return int(state["epoch"])
    except Exception as error:  # as in load_weights
        raise CannotTrain(f"{checkpoint}: is damaged or belongs to another network; remove it, or give another "
                          "--out") from error
    raise CannotTrain(f"{checkpoint}: belongs to another recipe ({state['recipe']}); remove it, or give another --out")


def _save(checkpoint: Path, state: dict[str, object]) -> None:
    """Write atomically: an interrupted write leaves the epoch before."""
    temporary = checkpoint.with_suffix(".new")
    torch.save(state, temporary)
    temporary.replace(checkpoint)
