"""Fine-tune the float ssl_shift_resnet20 with 4-bit power-of-two weights and 8-bit activations; save a model file.

    python examples/finetune_shift.py --weights shift_float.pt --data cifar-10-python.tar.gz --data-name CIFAR-10 \\
        --epochs 4 --out ssl_shift_resnet20.pt

The zoo's network says where its quantizers are; weights begin as those nearest to the float network's (form nearest:
sign and exponent, 0 included, in 4 bits as form PS has them), displacements as it has learned them, and both go on
learning with the shift loss. Interrupted, the same command goes on; when all epochs are done it only measures and
saves. The model file's card says with what data and recipe it was made, the accuracies on all test images, and of each
shift layer the share of channels that stay, and how far the others move.
"""

import argparse
import copy
from dataclasses import asdict
from pathlib import Path

import image_data
import torch
from finetune import calibration_images, percent, save
from shift_networks import ssl_shift_resnet20
from torch import nn
from training import CannotTrain, Recipe, accuracy, add_recipe, check_out, load_weights, recipe_in, recipe_of, train

from shifthw.errors import ShifthwError
from shifthw.frontend.post_training import weight_scale
from shifthw.nn import ShiftConv2d, ShiftLinear, SparseShift2d
from shifthw.zoo.resnet import WEIGHT_BITS
from shifthw.zoo.seeded import calibrate
from shifthw.zoo.shift_resnet import SparseShiftResNet


def quantized(plain: SparseShiftResNet, images: torch.Tensor) -> SparseShiftResNet:
    """The network of shift layers and quantizers with the nearest weights; statistics and scales of `images`."""
    model = SparseShiftResNet("nearest")
    state = plain.state_dict()
    for path, module in model.named_modules():
        if isinstance(module, ShiftConv2d | ShiftLinear):
            scale = weight_scale(state[f"{path}.weight"], WEIGHT_BITS, 1, per_channel=True)
            state[f"{path}.weight_scale"] = module.weight_scale = scale.reshape(-1, *[1] * (module.weight.ndim - 1))
    model.load_state_dict(model.state_dict() | state)
    calibrate(model, images)
    return model


def shifts_of(model: nn.Module) -> dict[str, dict[str, object]]:
    """Of each shift layer: share of channels that stay, smallest and largest displacement of rows and columns."""
    found: dict[str, dict[str, object]] = {}
    for path, module in model.named_modules():
        if isinstance(module, SparseShift2d):
            whole, _ = module.integer_displacement()
            found[path] = {"channels": module.channels, "sparsity": round(module.sparsity, 4),
                           "rows": [int(whole[:, 0].min()), int(whole[:, 0].max())],
                           "columns": [int(whole[:, 1].min()), int(whole[:, 1].max())]}
    return found


def new_card(options: argparse.Namespace, recipe: Recipe) -> dict[str, object]:
    """What is known before training."""
    training, test = options.data
    checkpoint = options.weights.with_suffix(".checkpoint")
    return {"weights": "trained", "data": options.data_name, "training_images": len(training.labels),
            "test_images": len(test.labels), "method": "quantization-aware fine-tuning of a float network",
            "weight_bits": WEIGHT_BITS, "terms": 1, "activation_bits": 8, "epochs": recipe.epochs, "seed": recipe.seed,
            "recipe": asdict(recipe), "float_recipe": recipe_in(checkpoint),
            "float_epochs": torch.load(checkpoint, weights_only=True)["epoch"] if checkpoint.is_file() else None}


def tuned(options: argparse.Namespace, recipe: Recipe, card: dict[str, object]) -> SparseShiftResNet:
    """The trained network; its accuracies are added to the card. Raises CannotTrain."""
    training, test = options.data
    plain = ssl_shift_resnet20()
    load_weights(plain, options.weights)
    card["float_start_accuracy"] = card["float_accuracy"] = round(accuracy(plain, test), 4)
    card["float_shifts"] = shifts_of(plain)
    model = quantized(plain, calibration_images(training))
    print(f"{percent(card['float_accuracy'])} of the test images in floating point, "
          f"{percent(accuracy(model, test))} quantized without training", flush=True)

    def report(epoch: int) -> None:
        print(f"  {percent(accuracy(model, test))} of the test images, fake-quantized", flush=True)

    train(model, training, recipe, options.out.with_suffix(".checkpoint"), report)
    card["fake_quantized_accuracy"] = round(accuracy(model, test), 4)
    card["shifts"] = shifts_of(model)
    return model


def finetune(options: argparse.Namespace) -> dict[str, object]:
    """Trains, saves; returns the card. Raises CannotTrain, ShifthwError."""
    recipe = recipe_of(options)
    check_out(options.out)
    card = new_card(options, recipe)
    model = tuned(options, recipe, card)
    options.network = "ssl_shift_resnet20"
    save(copy.deepcopy(model), options, options.data[1], card)
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune ssl_shift_resnet20 with power-of-two weights.")
    parser.add_argument("--weights", type=Path, required=True, help="state dict of the float network: train_float.py")
    parser.add_argument("--data", type=image_data.load, required=True, help="see image_data.py")
    parser.add_argument("--data-name", required=True, help="what the card calls the data, such as CIFAR-10")
    parser.add_argument("--out", type=Path, required=True, help="model file to write")
    add_recipe(parser, epochs=4, learning_rate=0.05)
    options = parser.parse_args()
    try:
        card = finetune(options)
    except (CannotTrain, ShifthwError) as error:
        parser.error(str(error))
    print(f"{card['data']}, {card['test_images']} test images: float network {percent(card['float_accuracy'])}, "
          f"fake-quantized {percent(card['fake_quantized_accuracy'])}, integer {percent(card['integer_accuracy'])}; "
          f"saved {options.out}")


if __name__ == "__main__":
    main()
