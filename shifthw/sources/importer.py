"""A checkpoint of a source framework as an integer network, and how far that is from the framework's own."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import fx, nn

from ..errors import BadImages, UnsupportedModel
from ..frontend.calibrate import calibrate
from ..frontend.convert import convert_model, round_adders
from ..frontend.placement import NARROW, Place
from ..frontend.plain_modules import PlainWeighted, ShiftLayer
from ..frontend.post_training import QuantizeOptions
from ..frontend.post_training import shift_layer as nearest_layer
from ..frontend.prepare import prepare
from ..frontend.preprocess import Preprocess
from ..frontend.reference import Model
from ..nn import AdderConv2d, QuantAct, Quantizer
from ..quantize import MAX_NEAREST_BITS
from .compare import Comparison, compare
from .framework import SourceOptions, fixed_point
from .load import Source, load_source
from .readers import deviations, listed, nearest_grid, use_framework_rounding

COMPARED_IMAGES = 256
"""Calibration images that are compared, at most."""
SEEDED_VALUES, MOST_SEEDED, SEED = 1 << 19, 16, 3
"""Pixels of all seeded images together, so that those of ImageNet are few, and images at most."""
DEFAULT_BITS = 8
"""Of activations where neither the framework nor the user says any."""
EXAMPLES = 4
"""Images that the conversion checks itself on, at most."""


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How a checkpoint becomes an integer network.

    source          what the framework was told: see SourceOptions
    act_bits        2..16: activations of that many bits, calibrated on images, instead of the framework's format;
                    None with images: 8 of a network of adder layers whose framework rounds nothing, like AdderNet
    ordinary_terms  1..4: round the real weights of layers that are no shift layers to the nearest sum of as many
                    powers of two; None: refuse such layers
    input_shape     (channels, height, width) of an image, for networks that are not known by name
    mean, std       per channel, that pixels / 255 are normalized with
    trust_pickle    see shifthw.sources.checkpoint.read_state_dict
    """

    source: SourceOptions = SourceOptions()
    act_bits: int | None = None
    ordinary_terms: int | None = None
    input_shape: tuple[int, int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    trust_pickle: bool = False

    def __post_init__(self) -> None:
        def require(holds: bool, name: str, must: str) -> None:
            if not holds:
                raise UnsupportedModel(f"{name}: must be {must}, not {getattr(self, name)}")
        require(self.act_bits is None or 2 <= self.act_bits <= 16, "act_bits", "2..16")
        require(self.ordinary_terms is None or 1 <= self.ordinary_terms <= 4, "ordinary_terms", "1..4")
        require(self.std is None or all(value > 0 for value in self.std), "std", "positive")


@dataclass(frozen=True, eq=False)
class Imported:
    """The network with its real-valued reference, and what the comparison on `images` images found."""

    model: Model
    comparison: Comparison


def import_checkpoint(source: str, path: str | Path, architecture: str, *, options: ImportOptions | None = None,
                      calibration: np.ndarray | None = None) -> Imported:
    """The integer network of a checkpoint.

    source, architecture  as for shifthw.sources.load_model
    calibration           images [N, C, H, W]: uint8 pixels, or real numbers as the network takes them; without
                          them the comparison is on seeded noise

    Raises BadModelFile, UnsupportedModel or BadImages, in one line.
    """
    options = options or ImportOptions()
    loaded = load_source(source, path, architecture, trust_pickle=options.trust_pickle, options=options.source)
    _refuse_unmapped(loaded.plain, loaded, options)
    options = replace(options, act_bits=_act_bits(loaded, options, calibrated=calibration is not None))
    rule = _preprocess(loaded, options, calibration)
    images = _images(loaded, options, calibration, rule)
    prepared = _prepare(loaded, options, images, calibrated=calibration is not None)
    name = architecture.rpartition(":")[2]
    card = {"imported": {"format": source, "file": Path(path).name, "architecture": architecture,
                         "weight_bits": options.source.weight_bits, "act_format": list(options.source.act_format),
                         "act_bits": options.act_bits}}
    metadata: dict[str, object] = {"classes": [], "card": card}
    if rule is not None:
        metadata["preprocess"] = {"scale": rule.scale, "mean": list(rule.mean), "std": list(rule.std)}
    model = convert_model(prepared, images[:EXAMPLES], name, metadata)
    if len(model.graph.outputs) != 1:
        raise UnsupportedModel(f"{architecture}: gives {len(model.graph.outputs)} results, must give one tensor")
    reasons = deviations(prepared, loaded.layers)
    comparison = compare(loaded.module(), model.graph, images[:COMPARED_IMAGES], reasons,
                         softmax=bool(prepared.meta["dropped"]))
    return Imported(model, comparison)


def _refuse_unmapped(plain: nn.Module, loaded: Source, options: ImportOptions) -> None:
    ordinary = [path for path, module in plain.named_modules()
                if isinstance(module, nn.Conv2d | nn.Linear) and path not in loaded.layers]
    if ordinary and options.ordinary_terms is None:
        raise UnsupportedModel(f"{listed(ordinary)}: ordinary layers with real weights in this checkpoint, must be "
                               f"shift layers; give --ordinary-terms N to round their weights to the nearest sums of N "
                               f"powers of two, or another format")


def _act_bits(loaded: Source, options: ImportOptions, *, calibrated: bool) -> int | None:
    layers = loaded.layers.values()
    free = bool(layers) and all(isinstance(item.layer, AdderConv2d) and item.rounding is None for item in layers)
    standard = options.source.act_format == SourceOptions().act_format
    return DEFAULT_BITS if options.act_bits is None and calibrated and free and standard else options.act_bits


def _preprocess(loaded: Source, options: ImportOptions, calibration: np.ndarray | None) -> Preprocess | None:
    """As the options say; pixels without more are taken as pixels / 255, which is what the frameworks' scripts do."""
    shape = _shape(loaded, options, calibration)
    pixels = calibration is not None and calibration.dtype == np.uint8
    if options.mean is None and options.std is None and not pixels:
        return None
    mean, std = (options.mean or (0.0,) * shape[0]), (options.std or (1.0,) * shape[0])
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != shape[0]:
            raise UnsupportedModel(f"{name}: must be one number per channel of the images, {shape[0]}, not "
                                   f"{len(values)}")
    return Preprocess(1 / 255, mean, std)


def _shape(loaded: Source, options: ImportOptions, calibration: np.ndarray | None) -> tuple[int, int, int]:
    shape = loaded.input_shape or options.input_shape
    if calibration is not None:
        if calibration.ndim != 4 or not len(calibration) or (shape and calibration.shape[1:] != shape):
            wanted = ", ".join(map(str, shape)) if shape else "c, h, w"
            raise BadImages(f"calibration images: must be of shape (n, {wanted}), not {calibration.shape}")
        return calibration.shape[1], calibration.shape[2], calibration.shape[3]
    if shape is None:
        raise UnsupportedModel("input_shape: must be given for a network of your own, or --calib images of its shape")
    return shape


def _images(loaded: Source, options: ImportOptions, calibration: np.ndarray | None,
            rule: Preprocess | None) -> torch.Tensor:
    """Real images float32, as the framework gets them."""
    images = calibration
    if images is None:
        shape = _shape(loaded, options, None)
        count = min(MOST_SEEDED, max(1, SEEDED_VALUES // math.prod(shape)))
        images = np.random.default_rng(SEED).integers(0, 256, (count, *shape), dtype=np.uint8)
    if images.dtype == np.uint8:
        images = (rule or Preprocess(1 / 255, (0.0,) * images.shape[1], (1.0,) * images.shape[1])).real(images)
    elif images.dtype.kind != "f":
        raise BadImages(f"calibration images: must be uint8 pixels or finite real numbers, not {images.dtype}")
    with np.errstate(over="ignore"):
        real = images.astype(np.float32)
    if not np.isfinite(real).all():
        raise BadImages(f"calibration images: must be uint8 pixels or finite real numbers, not {images.dtype} with NaN "
                        f"or infinite ones, or such that float32 cannot hold")
    return torch.from_numpy(real)


def _prepare(loaded: Source, options: ImportOptions, images: torch.Tensor, *, calibrated: bool) -> fx.GraphModule:
    """The network of shift and adder layers, with the framework's fixed point or calibrated quantizers."""
    if options.act_bits is not None and not calibrated:
        raise UnsupportedModel("act_bits: the ranges of activations must be calibrated; give --calib images, or leave "
                               "the framework's format with --act-format")
    signed_input = bool(images.min() < 0)
    unrounded = nearest_grid(loaded.layers, fixed_point(options.source.act_format))

    def quantizer(place: Place) -> Quantizer:
        if options.act_bits is None:
            return unrounded()
        bits = min(NARROW, options.act_bits) if place.is_narrow else options.act_bits
        return QuantAct(bits, signed_input if place.is_input else place.signed is not False)

    def layer(path: str, plain: PlainWeighted) -> ShiftLayer:
        source = loaded.layers[path].layer if path in loaded.layers else None
        if source is not None:
            assert not isinstance(source, AdderConv2d)
            return source
        rounding = QuantizeOptions(weight_bits=min(options.source.weight_bits, MAX_NEAREST_BITS),
                                   terms=options.ordinary_terms or 1)
        return nearest_layer(path, plain, rounding, [path])

    prepared = prepare(loaded.plain, images[:EXAMPLES], layer, quantizer).eval()
    if options.act_bits is None:
        use_framework_rounding(prepared, loaded.layers)
    else:
        calibrate(prepared, images)
    round_adders(prepared, images[:EXAMPLES])
    return prepared
