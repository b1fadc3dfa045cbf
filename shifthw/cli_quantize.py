"""The verb `shifthw quantize`: its arguments, and the work behind them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_import import given, per_channel
from .errors import ShifthwError

if TYPE_CHECKING:
    from .quantize_network import LayerSummary, Quantized

COLUMNS = ("layer", "weights", "weight SNR dB", "activations", "step", "range")
OPTIONS = ("weight_bits", "terms", "weight_snr", "first_terms", "last_terms", "layer_terms", "per_channel",
           "activation_bits", "calibration", "percentile", "power_of_two", "batch_norm_images", "adder_bits")
"""Those of QuantizeOptions, by its names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the verb."""
    parser.add_argument("network", metavar="FILE.py:FUNCTION",
                        help="a function that returns the network in plain torch layers; THE FILE IS RUN")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.pt", help="model file to write")
    parser.add_argument("--calib", type=Path, required=True, metavar="X.npz",
                        help="calibration images of shape (n, c, h, w), uint8 pixels or real numbers as the network "
                             "takes them: .npy, or .npz with images; a few hundred are enough")
    parser.add_argument("--weights", type=Path, metavar="W.pt",
                        help="state dict: .safetensors, .pt, .pth.tar; nothing in it is run (default: the "
                             "network's own)")
    parser.add_argument("--weight-bits", type=int, metavar="N",
                        help="2..5 per power of two, sign included (default: 4)")
    parser.add_argument("--terms", type=_terms, metavar="N | A..B",
                        help="powers of two per weight, 1..4; of a range, the fewest that reach --weight-snr in a "
                             "layer (default: 2)")
    parser.add_argument("--weight-snr", type=float, metavar="DB",
                        help="signal to rounding error of a layer's weights (default: 25)")
    parser.add_argument("--first-terms", type=int, metavar="N", help="terms of the first layer")
    parser.add_argument("--last-terms", type=int, metavar="N", help="terms of the last layer")
    parser.add_argument("--layer-terms", type=_layer_terms, action="append", metavar="PATH=N",
                        help="terms of one layer; may be given several times")
    parser.add_argument("--per-tensor", dest="per_channel", action="store_false", default=None,
                        help="one weight scale per layer instead of one per output channel")
    parser.add_argument("--act-bits", dest="activation_bits", type=int, metavar="N",
                        help="2..16 per activation (default: 8)")
    parser.add_argument("--calibration", choices=("minmax", "percentile", "mse"),
                        help="how ranges of activations are chosen (default: mse, the least squared error)")
    parser.add_argument("--percentile", type=float, metavar="P", help="share of values in range (default: 0.9999)")
    parser.add_argument("--power-of-two", action="store_true", default=None, help="steps are powers of two")
    parser.add_argument("--batch-norm-images", type=int, metavar="N",
                        help="measure statistics of batch norms anew on N calibration images (default: 0, keep them)")
    parser.add_argument("--adder-bits", type=int, metavar="N",
                        help="4..16 per weight of an adder layer, sign included (default: as many as they take)")
    parser.add_argument("--pixel-scale", dest="scale", type=float, metavar="S",
                        help="real value of one step of a uint8 pixel (default: 1/255)")
    parser.add_argument("--mean", type=per_channel, metavar="M,..", help="per channel, that scaled pixels are less")
    parser.add_argument("--std", type=per_channel, metavar="S,..", help="per channel, that they are then divided by")
    parser.add_argument("--name", help="of the model (default: the function's)")
    parser.add_argument("--classes", type=lambda text: tuple(text.split(",")), default=(), metavar="A,B,..",
                        help="names of the outputs")


def run(options: argparse.Namespace) -> "Quantized":
    """Quantizes and writes the model."""
    from .emit.bundle import check_writable
    from .frontend.model_file import write_model
    from .frontend.post_training import QuantizeOptions
    from .image_files import read_images
    from .quantize_network import InputOptions, quantize_network
    output: Path = options.output
    check_writable(output)
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise ShifthwError(f"{output}: must be a file in a folder that exists: choose another with -o")
    chosen: dict[str, Any] = given(options, *OPTIONS)
    if "layer_terms" in chosen:
        chosen["layer_terms"] = _together(chosen["layer_terms"])
    quantized = quantize_network(
        options.network, read_images(options.calib), weights=options.weights, options=QuantizeOptions(**chosen),
        pixels=InputOptions(**given(options, "scale", "mean", "std")), name=options.name, classes=options.classes)
    write_model(quantized.model, output)
    return quantized


def cells(layer: "LayerSummary") -> tuple[str, ...]:
    """One row of the table, in the order of COLUMNS."""
    snr = "" if layer.snr_db is None else "exact" if layer.snr_db == float("inf") else f"{layer.snr_db:.1f}"
    stored = (layer.activations, f"{layer.step:.4g}", f"{layer.lo:.4g}..{layer.hi:.4g}") if layer.activations else \
        ("", "", "")
    return layer.name, layer.weights, snr, *stored


def remarks(quantized: "Quantized", output: Path) -> list[str]:
    """What to say below the table."""
    graph = quantized.model.graph
    shape = "x".join(map(str, graph.nodes[0].output.shape))
    images = f"uint8 pixels or {graph.nodes[0].output.dtype} integers" if "preprocess" in graph.metadata else \
        f"{graph.nodes[0].output.dtype} integers"
    left_out = [f"left out: {name.strip('_')} at the end, which does not change the class"
                for name in quantized.dropped]
    return [*left_out, f"written to {output}: {graph.name}, for images of {shape}, {images}"]


def _terms(text: str) -> int | tuple[int, int]:
    parts = text.split("..")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() and len(part) < 3 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number, or a range like 1..4")
    return int(parts[0]) if len(parts) == 1 else (int(parts[0]), int(parts[1]))


def _layer_terms(text: str) -> tuple[str, int]:
    path, _, terms = text.rpartition("=")
    if not path or not (terms.isascii() and terms.isdigit() and len(terms) < 3):
        raise argparse.ArgumentTypeError(f"{text!r} must be the path of a layer, =, and a number")
    return path, int(terms)


def _together(pairs: list[tuple[str, int]]) -> dict[str, int]:
    paths = [path for path, _ in pairs]
    repeated = next((path for path in paths if paths.count(path) > 1), None)
    if repeated:
        raise ShifthwError(f"--layer-terms: gives terms of {repeated} twice; give each layer once")
    return dict(pairs)
