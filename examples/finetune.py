"""Fine-tune a float network of catalog.py with power-of-two weights and integer activations; save a model file.

    python examples/finetune.py resnet20 --weights resnet20_float.pt --data cifar-10-python.tar.gz \\
        --data-name CIFAR-10 --weight-bits 4 --terms 1 --epochs 30 --out resnet20.pt

quantize makes the start; training then moves the real weights behind the rounded ones, in the ordinary loop of
training.py. Interrupted, the same command goes on. The model file's card says with what data and recipe it was made,
and the accuracy on all test images: of the float network at the start, fake-quantized and integer.
"""

import argparse
import copy
from dataclasses import asdict
from pathlib import Path

import image_data
import numpy as np
import torch
from catalog import CLASSES, NETWORKS
from image_data import Images
from torch import fx
from training import (
    CannotTrain,
    Recipe,
    accuracy,
    add_recipe,
    check_out,
    load_weights,
    real,
    recipe_in,
    recipe_of,
    train,
)

import shifthw
from shifthw.errors import ShifthwError
from shifthw.frontend import QuantizeOptions, quantize
from shifthw.ir import Graph, interpret
from shifthw.nn import compile_adders

TEST_EVERY = 5
"""Epochs."""
INTEGER_BATCH = 500
MOST_SAVES = 4


def quantize_options(options: argparse.Namespace, images: int) -> QuantizeOptions:
    """What the command line says of weights and activations. Input is uint8 pixels over 255.

    Activation scales stay as they are calibrated, so batch norms are first brought to what they will be in training,
    by all `images` calibration images.
    """
    return QuantizeOptions(
        weight_bits=options.weight_bits, terms=options.terms, first_terms=options.first_terms,
        last_terms=options.last_terms, per_channel=not options.per_layer, activation_bits=options.act_bits,
        input_scale=1 / 255, batch_norm_images=images)


def calibration_images(data: Images) -> torch.Tensor:
    """Real training images, chosen with a fixed seed."""
    order = np.random.default_rng(image_data.CALIBRATION_SEED).permutation(len(data.labels))
    return real(data.images[np.sort(order[:image_data.CALIBRATION_IMAGES])])


def integer_accuracy(graph: Graph, data: Images) -> float:
    """Fraction of `data` that the integer network classifies rightly: what the hardware computes."""
    right = 0
    for start in range(0, len(data.labels), INTEGER_BATCH):
        logits = interpret(graph, data.images[start:start + INTEGER_BATCH])[graph.outputs[0]]
        right += int((logits.reshape(len(logits), -1).argmax(1) == data.labels[start:start + INTEGER_BATCH]).sum())
    return right / len(data.labels)


def save(model: fx.GraphModule, options: argparse.Namespace, test: Images, card: dict[str, object]) -> Graph:
    """Write the model file with the integer network's accuracy and the file's own size in its card."""
    def write() -> Graph:
        return shifthw.save(model, options.out, real(test.images[:2]), name=options.out.stem,
                            classes=CLASSES[options.network], card=card)

    graph = write()
    card["integer_accuracy"] = round(integer_accuracy(graph, test), 4)
    for _ in range(MOST_SAVES):         # the card says the size of the file that it is in
        card["file_bytes"] = options.out.stat().st_size
        graph = write()
        if card["file_bytes"] == options.out.stat().st_size:
            break
    return graph


def percent(share: object) -> str:
    """As it is printed."""
    return f"{100 * float(str(share)):.2f} %"


def new_card(options: argparse.Namespace, recipe: Recipe) -> dict[str, object]:
    """What is known before training."""
    training, test = options.data
    card: dict[str, object] = {
        "weights": "trained", "data": options.data_name, "training_images": len(training.labels),
        "test_images": len(test.labels), "method": "quantization-aware fine-tuning of a float network",
        "weight_bits": options.weight_bits, "terms": options.terms, "first_terms": options.first_terms or options.terms,
        "last_terms": options.last_terms or options.terms, "activation_bits": options.act_bits,
        "epochs": recipe.epochs, "seed": recipe.seed, "recipe": asdict(recipe),
    }
    float_recipe = recipe_in(options.weights.with_suffix(".checkpoint"))
    if float_recipe is not None:
        card["float_recipe"] = float_recipe
    if options.float_accuracy is not None:
        card["float_accuracy"] = round(options.float_accuracy / 100, 4)
    return card


def finetune(options: argparse.Namespace) -> dict[str, object]:
    """Trains, saves; returns the card. Raises CannotTrain, ShifthwError."""
    recipe = recipe_of(options)
    check_out(options.out)
    if options.float_accuracy is not None and not 0 < options.float_accuracy <= 100:
        raise CannotTrain(f"--float-accuracy must be a percentage, not {options.float_accuracy}")
    training, test = options.data
    plain = NETWORKS[options.network]()
    load_weights(plain, options.weights)
    card = new_card(options, recipe)
    start = copy.deepcopy(plain)
    if recipe.compiled:
        compile_adders(start)
    card["float_start_accuracy"] = round(accuracy(start, test), 4)
    images = calibration_images(training)
    model = quantize(plain.eval(), images, quantize_options(options, len(images)))
    if recipe.compiled:
        compile_adders(model)
    print(f"{percent(card['float_start_accuracy'])} of the test images at the start, "
          f"{percent(accuracy(model, test))} quantized without training", flush=True)

    def report(epoch: int) -> None:
        if epoch % TEST_EVERY == 0:
            print(f"  {percent(accuracy(model, test))} of the test images, fake-quantized", flush=True)

    train(model, training, recipe, options.out.with_suffix(".checkpoint"), report,
          {name: card[name] for name in ("weight_bits", "terms", "first_terms", "last_terms", "activation_bits")})
    card["fake_quantized_accuracy"] = round(accuracy(model, test), 4)
    save(model, options, test, card)
    return card


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Fine-tune a float network with power-of-two weights.")
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--weights", type=Path, required=True, help="state dict of the float network: train_float.py")
    parser.add_argument("--data", type=image_data.load, required=True, help="see image_data.py")
    parser.add_argument("--data-name", required=True, help="what the card calls the data, such as CIFAR-10")
    parser.add_argument("--weight-bits", type=int, default=4, help="2..5, of each term, sign included (default: 4)")
    parser.add_argument("--terms", type=int, default=1, help="powers of two per weight, 1..4 (default: 1)")
    parser.add_argument("--first-terms", type=int, help="of the first layer (default: as all)")
    parser.add_argument("--last-terms", type=int, help="of the last layer (default: as all)")
    parser.add_argument("--per-layer", action="store_true", help="one weight scale per layer, not per output channel")
    parser.add_argument("--act-bits", type=int, default=8, help="of activations, 2..16 (default: 8)")
    parser.add_argument("--float-accuracy", type=float, metavar="PERCENT",
                        help="kept in the card: of a float network trained on the same data for as long in all")
    parser.add_argument("--out", type=Path, required=True, help="model file to write")
    add_recipe(parser, epochs=30, learning_rate=0.05)
    return parser


def main() -> None:
    parser = arguments()
    options = parser.parse_args()
    try:
        card = finetune(options)
    except (CannotTrain, ShifthwError) as error:
        parser.error(str(error))
    print(f"{card['data']}, {card['test_images']} test images: float network at the start "
          f"{percent(card['float_start_accuracy'])}, fake-quantized {percent(card['fake_quantized_accuracy'])}, "
          f"integer {percent(card['integer_accuracy'])}; saved {options.out}")


if __name__ == "__main__":
    main()
