"""Train an ordinary network of catalog.py in floating point; interrupted, the same command goes on.

    python examples/train_float.py resnet20 --data cifar-10-python.tar.gz --epochs 30 --out resnet20_float.pt
    python examples/train_float.py lenet5 --data mnist --no-flip --crop 2 --epochs 8 --out lenet5_float.pt

--data takes what image_data.py reads. Writes the state dict, and beside it NAME.checkpoint after every epoch.
"""

import argparse
from pathlib import Path

import image_data
import torch
from catalog import NETWORKS
from training import CannotTrain, accuracy, add_recipe, check_out, load_weights, recipe_of, train

TEST_EVERY = 5
"""Epochs."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Train an ordinary network in floating point.")
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--data", type=image_data.load, required=True, help="see image_data.py")
    parser.add_argument("--start", type=Path, help="state dict to start from (default: random weights)")
    parser.add_argument("--out", type=Path, required=True, help="state dict to write")
    add_recipe(parser, epochs=30, learning_rate=0.2)
    options = parser.parse_args()
    training, test = options.data
    torch.manual_seed(options.seed)
    model = NETWORKS[options.network]()

    def report(epoch: int) -> None:
        if epoch % TEST_EVERY == 0:
            print(f"  {100 * accuracy(model, test):.2f} % of the test images", flush=True)

    try:
        check_out(options.out)
        if options.start:
            load_weights(model, options.start)
        train(model, training, recipe_of(options), options.out.with_suffix(".checkpoint"), report)
    except CannotTrain as error:
        parser.error(str(error))
    torch.save(model.state_dict(), options.out)
    print(f"{100 * accuracy(model, test):.2f} % of the {len(test.labels)} test images; saved {options.out}")


if __name__ == "__main__":
    main()
