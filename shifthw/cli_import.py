"""The verb `shifthw import`: its arguments, and what it says about an import."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ShifthwError

if TYPE_CHECKING:
    from .frontend.reference import Model
    from .ir import Graph
    from .sources.compare import Comparison
    from .sources.importer import ImportOptions

QONNX, ACTIVE_SHIFT = "qonnx", "active-shift"
FORMATS = ("deepshift-q", "deepshift-ps", "shiftaddnet", "torchshiftadd", "addernet", ACTIVE_SHIFT, QONNX)
WIDE_BITS = 16
"""Activations of more bits are remarked on."""
ONLY_CHECKPOINTS = ("arch", "weight_bits", "act_format", "act_bits", "calib", "sign_threshold", "ordinary_terms",
                    "add_quant", "add_bits", "input_shape", "mean", "std", "exact", "trust_pickle")
"""Options that a QONNX file leaves nothing to say for."""
NOT_ACTIVE_SHIFT = tuple(name for name in ONLY_CHECKPOINTS if name not in ("weight_bits", "act_bits", "calib",
                                                                           "ordinary_terms"))
"""Options that the released active-shift networks leave nothing to say for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the verb."""
    parser.add_argument("format", choices=FORMATS, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    parser.add_argument("file", type=Path, help="checkpoint (.pth, .pth.tar, .safetensors), or .onnx file of QONNX")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.pt", help="model file to write")
    parser.add_argument("--arch", metavar="NAME", help="network: a name (a wrong one lists them), or file.py:function "
                                                       "of a function that returns it in plain torch layers")
    parser.add_argument("--weight-bits", type=int, metavar="N", help="of shift weights, as trained (default: 5)")
    parser.add_argument("--act-format", type=_pair, metavar="I,F",
                        help="integer and fraction bits of activations, as trained (default: 16,16); of ShiftAddNet: "
                             "16 and train.py's --shift_quant_bits")
    parser.add_argument("--act-bits", type=int, metavar="N",
                        help="give the engine activations of N bits, calibrated on --calib, instead of --act-format")
    parser.add_argument("--calib", type=Path, metavar="X.npz",
                        help="images of shape (n, c, h, w), uint8 pixels or real numbers: .npy, or .npz with images")
    parser.add_argument("--sign-threshold", type=float, metavar="T",
                        help="|sign| up to it is weight 0 (default: the framework's)")
    parser.add_argument("--ordinary-terms", type=int, metavar="N",
                        help="round layers that were not converted to sums of N powers of two")
    parser.add_argument("--input-shape", type=_shape, metavar="C,H,W", help="of a network of your own, without --calib")
    parser.add_argument("--mean", type=per_channel, metavar="M,..", help="per channel, that pixels / 255 are less")
    parser.add_argument("--std", type=per_channel, metavar="S,..", help="per channel, that they are then divided by")
    parser.add_argument("--add-quant", choices=("wageubn", "sbm"),
                        help="ShiftAddNet's adder layers were trained with --add_quant True and this --quantize_v")
    parser.add_argument("--add-bits", type=int, metavar="N", help="and with these --add_bits (default: 8)")
    parser.add_argument("--exact", action="store_true", default=None,
                        help="the file's weights must be powers of two already, of --weight-bits bits")
    parser.add_argument("--trust-pickle", action="store_true", default=None,
                        help="load whole pickled modules, which RUNS CODE that the file names")


def run(options: argparse.Namespace) -> list[str]:
    """Imports and writes the model; what to print, in lines."""
    from .emit.bundle import check_writable
    from .frontend.model_file import write_model
    output: Path = options.output
    check_writable(output)
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise ShifthwError(f"{output}: must be a file in a folder that exists: choose another with -o")
    if output.exists() and options.file.exists() and output.samefile(options.file):
        raise ShifthwError(f"{output}: is the file to import, which would be lost: choose another with -o")
    if options.format == QONNX:
        model = _import_qonnx(options)
        write_model(model, output)
        return [_written(output, model.graph), *_exactness(model.graph)]
    if options.format == ACTIVE_SHIFT:
        model = _import_active_shift(options)
        write_model(model, output)
        return [_written(output, model.graph), "displacements are rounded to half pixels"]
    from .image_files import read_images
    from .sources.importer import import_checkpoint
    if options.arch is None:
        raise ShifthwError(f"import: {options.format} must come with --arch: the name of the network, or "
                           f"file.py:function")
    imported = import_checkpoint(options.format, options.file, options.arch, options=_import_options(options),
                                 calibration=read_images(options.calib) if options.calib else None)
    write_model(imported.model, output)
    return [_written(output, imported.model.graph), *_compared(imported.comparison, calibrated=bool(options.calib)),
            *_remarks(imported.model.graph)]


def _import_qonnx(options: argparse.Namespace) -> "Model":
    from .frontend.qonnx import import_qonnx_model
    given = [name for name in ONLY_CHECKPOINTS if getattr(options, name) is not None]
    if given:
        raise ShifthwError(f"import: qonnx takes no --{given[0].replace('_', '-')}: the file says it; leave it out")
    return import_qonnx_model(options.file)


def _import_active_shift(options: argparse.Namespace) -> "Model":
    from .frontend.post_training import QuantizeOptions
    from .image_files import read_images
    from .sources.active_shift import import_active_shift
    refused = [name for name in NOT_ACTIVE_SHIFT if getattr(options, name) is not None]
    if refused:
        raise ShifthwError(f"import: active-shift takes no --{refused[0].replace('_', '-')}: the network is known; "
                           f"leave it out")
    if options.calib is None:
        raise ShifthwError("import: active-shift must come with --calib: RGB photographs, uint8, that scales are "
                           "calibrated on")
    chosen = {"weight_bits": options.weight_bits, "activation_bits": options.act_bits, "terms": options.ordinary_terms}
    rounding = QuantizeOptions(**{name: value for name, value in chosen.items() if value is not None})
    return import_active_shift(options.file, read_images(options.calib), rounding).model


def _import_options(options: argparse.Namespace) -> "ImportOptions":
    from .sources.framework import SourceOptions
    from .sources.importer import ImportOptions
    source = given(options, "weight_bits", "act_format", "sign_threshold", "exact", "add_quant", "add_bits")
    rest = given(options, "act_bits", "ordinary_terms", "input_shape", "mean", "std", "trust_pickle")
    return ImportOptions(source=SourceOptions(**source), **rest)


def given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those options that were given: the others keep the defaults of where they go."""
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _pair(text: str) -> tuple[int, int]:
    values = _integers(text, 2, "I,F: integer and fraction bits")
    return values[0], values[1]


def _shape(text: str) -> tuple[int, int, int]:
    values = _integers(text, 3, "C,H,W: channels, height and width")
    if min(values) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be positive numbers")
    return values[0], values[1], values[2]


def _integers(text: str, count: int, what: str) -> list[int]:
    parts = text.split(",")
    if len(parts) != count or not all(part.isascii() and part.isdigit() and len(part) < 7 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} must be {what}")
    return [int(part) for part in parts]


def per_channel(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(math.isfinite(value) for value in values):
        raise argparse.ArgumentTypeError(f"{text!r} must be one number per channel, with commas between them")
    return values


# -- what is printed ---------------------------------------------------------------------------

def _written(output: Path, graph: "Graph") -> str:
    shape = "x".join(map(str, graph.nodes[0].output.shape))
    return f"written to {output}: {graph.name}, {shape} images of {graph.nodes[0].output.dtype.bits} bits"


def _compared(c: "Comparison", *, calibrated: bool) -> list[str]:
    images = f"{c.images} {'calibration images' if calibrated else 'images of seeded noise'}"
    classes = f"the same class for {c.same_class} of {c.images}"
    if not c.differing:
        return [f"against the framework's own forward pass on {images}: all {c.outputs} outputs are equal; {classes}"]
    found = f"{c.differing} of {c.outputs} outputs differ, by {c.largest} steps of {c.step:.3g} at most"
    if c.softmax:
        found = "compared by class, since its softmax is left out"
    lines = [f"against the framework's own forward pass on {images}: {found}; {classes}"]
    if c.differing_exactly != c.differing and not c.softmax:
        lines.append(f"with the sums of float64 instead of float32: {c.differing_exactly} of {c.outputs} differ")
    return lines + [f"because {reason}" for reason in c.reasons]


def _remarks(graph: "Graph") -> list[str]:
    from .ir.verify import is_accumulator
    bits = max(node.output.dtype.bits for node in graph.nodes if not is_accumulator(node))
    if bits <= WIDE_BITS:
        return []
    return [f"activations have {bits} bits, as in the framework: --act-bits 8 with --calib makes a far smaller engine"]


def _exactness(graph: "Graph") -> list[str]:
    about = graph.metadata.get("qonnx")
    if not isinstance(about, dict):
        return []
    within = about.get("within") or {}
    lines = ["exact: every integer is that of QONNX's arithmetic"] if about.get("exact") else [
        f"not exact: {name} is off by up to {steps:.3g} steps before it is rounded" for name, steps in within.items()]
    return [*lines, *about.get("notes", ())]
