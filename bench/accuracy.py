"""Accuracy on a full test split: of model files, or of a float network quantized without training.

    python -m bench.accuracy --data cifar-10-python.tar.gz --data-name CIFAR-10 [--models MODEL ...]
    python -m bench.accuracy --data ... --data-name ... --float-weights W.safetensors \\
        --network examples/networks.py:resnet20 --terms 1 2 3 4 [--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225]

--data takes what examples/image_data.py reads. Models are files or names of the zoo; by default every trained network
of the zoo that takes images of the data's shape. The float network of a model file is the one that was quantized,
before any fine-tuning. Prints a Markdown table, one row as soon as it is known; seconds are this machine's.
"""

import argparse
import runpy
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shifthw import zoo
from shifthw.accuracy import measure
from shifthw.errors import BadModelFile, ShifthwError, UnsupportedModel
from shifthw.frontend import QuantizeOptions
from shifthw.frontend.model_file import load_model
from shifthw.frontend.preprocess import input_integers
from shifthw.frontend.reference import Model
from shifthw.ir import Graph, interpret
from shifthw.quantize_network import InputOptions, quantize_network

IMAGE_DATA = Path(__file__).parents[1] / "examples" / "image_data.py"
INTEGER_BATCH = 500
CALIBRATION_SEED = 1


# -- model files -------------------------------------------------------------------------------

def trained_models(shape: tuple[int, ...]) -> list[str]:
    """Names of the trained networks of the zoo that take images of a shape; prints which others there are."""
    found = []
    for name in zoo.names():
        if not zoo.describe(name).startswith("trained"):
            continue
        takes = zoo.build(name).nodes[0].output.shape
        if takes == shape:
            found.append(name)
        else:
            print(f"left out: {name}, which takes images of shape {takes}")
    return found


def model_file(model: str, folder: Path) -> Path:
    """The path itself, or the file that the zoo writes."""
    if Path(model).exists():
        return Path(model)
    if model not in zoo.names():
        raise BadModelFile(f"{model}: is neither a file nor one of the zoo's networks: {', '.join(zoo.names())}")
    zoo.write(model, folder / f"{model}.pt")
    return folder / f"{model}.pt"


def model_row(model: str, test: Any, data_name: str) -> str:
    """A model's row of the table."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = model_file(model, Path(folder))
        loaded, size = load_model(path), path.stat().st_size
    takes = loaded.graph.nodes[0].output.shape
    if takes != test.images.shape[1:]:
        raise UnsupportedModel(f"{model}: takes images of shape {takes}, the data has {test.images.shape[1:]}; give "
                               f"the data that it was made for")
    rate = len(test.labels) / golden_seconds(loaded.graph, test.images)
    values = accuracies(loaded, test)
    card = loaded.graph.metadata.get("card")
    budget = card.get("float_accuracy") if isinstance(card, dict) else None
    return (f"| {loaded.graph.name} | {data_name} | {len(test.labels):,} | {percent(values.get('float'))} "
            f"| {percent(budget)} | {percent(values.get('fake-quantized'))} | {percent(values['integer'])} "
            f"| {size / 1000:,.0f} | {rate:,.0f} | {time.monotonic() - started:.0f} |")


def golden_seconds(graph: Graph, images: np.ndarray) -> float:
    """Time that the integer golden model takes for all images."""
    started = time.monotonic()
    for start in range(0, len(images), INTEGER_BATCH):
        interpret(graph, input_integers(graph, images[start:start + INTEGER_BATCH]))
    return time.monotonic() - started


def accuracies(model: Model, test: Any) -> dict[str, float]:
    """Share of the test images that each network of a model classifies rightly."""
    found = measure(model, test.images, test.labels, layer_images=1)["accuracy"]
    assert isinstance(found, dict)
    return found


def percent(share: object) -> str:
    """Two decimals; "-" for a figure that there is none of."""
    return f"{100 * share:.2f} %" if isinstance(share, float) else "-"


def print_models(options: argparse.Namespace) -> None:
    """The table of model files."""
    _, test = options.data
    models = options.models or trained_models(test.images.shape[1:])
    print("| model | data | test images | float, as quantized | float, same budget (card) | fake-quantized | integer "
          "| file kB | golden model images/s | s |")
    print("|" + "---|" * 10)
    for model in models:
        print(model_row(model, test, options.data_name), flush=True)


# -- a float network ---------------------------------------------------------------------------

def quantized(terms: int, options: argparse.Namespace) -> Model:
    """Without training: calibrated on training images chosen with a fixed seed."""
    training, _ = options.data
    order = np.random.default_rng(CALIBRATION_SEED).permutation(len(training.labels))[:options.calibration_images]
    return quantize_network(
        options.network, training.images[np.sort(order)], weights=options.float_weights,
        options=QuantizeOptions(terms=terms, weight_bits=options.weight_bits, activation_bits=options.act_bits,
                                batch_norm_images=options.batch_norm_images),
        pixels=InputOptions(mean=options.mean, std=options.std)).model


def print_terms(options: argparse.Namespace) -> None:
    """The table of a float network quantized with several numbers of terms."""
    _, test = options.data
    print(f"{options.network} with {options.float_weights}; {options.data_name}, {len(test.labels):,} test images; "
          f"{options.weight_bits}-bit terms, {options.act_bits}-bit activations, {options.calibration_images} "
          f"calibration images, {options.batch_norm_images} of them for batch norms\n")
    print("| terms | float | fake-quantized | integer | integer less float, points | s |")
    print("|" + "---|" * 6)
    reference: float | None = None
    for terms in options.terms:
        started = time.monotonic()
        model = quantized(terms, options)
        if reference is not None:
            model = replace(model, float_reference=None)    # measured once
        values = accuracies(model, test)
        reference = values.get("float", reference)
        assert reference is not None
        print(f"| {terms} | {percent(reference)} | {percent(values['fake-quantized'])} | {percent(values['integer'])} "
              f"| {100 * (values['integer'] - reference):+.2f} | {time.monotonic() - started:.0f} |", flush=True)


def numbers(text: str) -> tuple[float, ...]:
    """Of an argument like 0.5,0.5,0.5."""
    return tuple(float(part) for part in text.split(","))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description="Accuracy on a full test split.")
    parser.add_argument("--data", type=runpy.run_path(str(IMAGE_DATA))["load"], required=True,
                        help="see examples/image_data.py")
    parser.add_argument("--data-name", required=True, help="what the table calls the data, such as CIFAR-10")
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="files, or names of the zoo")
    parser.add_argument("--float-weights", type=Path, metavar="W", help="state dict of a float network to quantize")
    parser.add_argument("--network", metavar="FILE.py:FUNCTION", help="of those weights")
    parser.add_argument("--terms", type=int, nargs="+", default=[1, 2, 3, 4], help="per weight (default: 1 2 3 4)")
    parser.add_argument("--weight-bits", type=int, default=4, help="of each term (default: 4)")
    parser.add_argument("--act-bits", type=int, default=8, help="of activations (default: 8)")
    parser.add_argument("--calibration-images", type=int, default=1024, help="(default: 1024)")
    parser.add_argument("--batch-norm-images", type=int, default=0, help="of those, 0 to leave batch norms as they are")
    parser.add_argument("--mean", type=numbers, metavar="M,..", help="per channel, that pixels / 255 are less")
    parser.add_argument("--std", type=numbers, metavar="S,..", help="per channel, that they are then divided by")
    options = parser.parse_args()
    if (options.float_weights is None) != (options.network is None):
        parser.error("--float-weights and --network must be given together")
    try:
        if options.float_weights is None:
            print_models(options)
        else:
            print_terms(options)
    except ShifthwError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
