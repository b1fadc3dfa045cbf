"""Train the zoo's `digits` network and save it as a model file.

    python examples/train_digits.py --out digits.pt

Quantization-aware from the first step, about a minute on one CPU core. Prints the held-out accuracy of
the integer network, the one that the hardware computes.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from digits_data import SPLIT_SEED, Digits, split
from torch.nn import functional

import shifthw
from shifthw.frontend import convert
from shifthw.ir import Graph, interpret
from shifthw.zoo.digits import CLASSES, DigitsNet

SEED = 7
EPOCHS = 40
BATCH = 64
INPUT_STEP = 1 / 16
"""Real value of one grey level of 0..16."""


def real(images: np.ndarray) -> torch.Tensor:
    """Images as the network's real input."""
    return torch.from_numpy(images.astype(np.float32)) * INPUT_STEP


def augmented(images: torch.Tensor) -> torch.Tensor:
    """Each image moved by up to one pixel in each direction."""
    padded = functional.pad(images, (1, 1, 1, 1))
    offsets = torch.randint(0, 3, (len(images), 2)).tolist()
    return torch.stack([image[:, y:y + 8, x:x + 8] for image, (y, x) in zip(padded, offsets, strict=True)])


def train(data: Digits, epochs: int) -> DigitsNet:
    """A trained network in evaluation mode; the same every time on one machine."""
    torch.manual_seed(SEED)
    model = DigitsNet()
    images, labels = real(data.images), torch.from_numpy(data.labels.astype(np.int64))
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for epoch in range(epochs):
        order = torch.randperm(len(images))
        losses = []
        for start in range(0, len(images) - BATCH + 1, BATCH):
            chosen = order[start:start + BATCH]
            loss = functional.cross_entropy(model(augmented(images[chosen])), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1:2} of {epochs}: loss {np.mean(losses):.3f}")
    return model.eval()


def accuracy(graph: Graph, data: Digits) -> float:
    """Fraction of `data` that the integer network classifies rightly."""
    logits = interpret(graph, data.images)[graph.outputs[0]]
    return float(np.mean(logits.reshape(len(logits), -1).argmax(axis=1) == data.labels))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the digits network and save its model file.")
    parser.add_argument("--out", type=Path, default=Path("digits.pt"), help="model file (default: digits.pt)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"passes over the data (default: {EPOCHS})")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # small tensors: one thread is fastest, and always adds in the same order
    training, held_out = split()
    model = train(training, arguments.epochs)
    card: dict[str, object] = {
        "weights": "trained", "data": "scikit-learn load_digits", "training_images": len(training.labels),
        "held_out_images": len(held_out.labels), "split_seed": SPLIT_SEED, "seed": SEED, "epochs": arguments.epochs,
    }
    graph = convert(model, real(training.images[:64]))
    card["held_out_accuracy"] = round(accuracy(graph, held_out), 4)
    shifthw.save(model, arguments.out, real(training.images[:64]), name="digits", classes=CLASSES, card=card)
    print(f"held-out accuracy of the integer network: {100 * accuracy(graph, held_out):.1f} % "
          f"({len(held_out.labels)} images); saved {arguments.out}")


if __name__ == "__main__":
    main()
