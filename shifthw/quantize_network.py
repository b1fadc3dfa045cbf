"""A network in a user's Python file, its weights and calibration images to a quantized model."""

import math
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import fx, nn

from .errors import BadImages, UnsupportedModel
from .frontend.convert import convert_model
from .frontend.post_training import QuantizeOptions, quantize
from .frontend.preprocess import Preprocess
from .frontend.reference import Model
from .ir import Graph, IntType
from .nn import AdderConv2d, AdderLinear, Quantizer, ShiftConv2d, ShiftConvTranspose2d, ShiftLinear
from .sources.checkpoint import read_state_dict
from .sources.keys import COUNTER, check
from .sources.user_module import build_module, names_a_function

EXAMPLES = 4
"""Images that the conversion checks itself on."""
BLOCK = 256
"""Images that are normalized at a time."""
PIXEL_SCALE = 1 / 255


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What becomes of uint8 pixels before the network: real = (pixel * scale - mean) / std, per channel.

    Without mean and std the engine takes the pixels themselves.
    """

    scale: float = PIXEL_SCALE
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def normalizes(self) -> bool:
        """Whether there is more to do than to scale."""
        return self.mean is not None or self.std is not None

    def rule(self, channels: int) -> Preprocess:
        """For images of so many channels. Raises UnsupportedModel for other counts of numbers, or a std of 0."""
        mean, std = self.mean or (0.0,) * channels, self.std or (1.0,) * channels
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != channels:
                raise UnsupportedModel(f"{name}: must be one number per channel of the images, {channels}, not "
                                       f"{len(values)}")
        if not all(value > 0 for value in std):
            raise UnsupportedModel(f"std: must be positive, not {min(std):g}")
        if not 0 < self.scale < math.inf:
            raise UnsupportedModel(f"pixel_scale: must be positive, not {self.scale:g}")
        return Preprocess(self.scale, mean, std)


@dataclass(frozen=True)
class LayerSummary:
    """What was decided about one layer, or about the values behind it.

    weights        "2 x 4 bits", of an adder layer "adder, 8 bits", "" if the layer has none
    snr_db         signal to rounding error of its weights; inf where there is none; None without weights
    activations    "u8": unsigned, 8 bits; "" if its values are not stored
    step, lo, hi   real value of one step, and the smallest and largest values that are stored
    """

    name: str
    weights: str = ""
    snr_db: float | None = None
    activations: str = ""
    step: float = 0.0
    lo: float = 0.0
    hi: float = 0.0


@dataclass(frozen=True, eq=False)
class Quantized:
    """The model, what was decided for each layer, and the steps at the end that were left out."""

    model: Model
    layers: tuple[LayerSummary, ...]
    dropped: tuple[str, ...]


def quantize_network(network: str, images: np.ndarray, *, weights: Path | None = None,
                     options: QuantizeOptions | None = None, pixels: InputOptions | None = None,
                     name: str | None = None, classes: tuple[str, ...] = ()) -> Quantized:
    """A plain float network with weights that are sums of powers of two, calibrated on images.

    network  file.py:function; the file is run, and the function returns the network
    images   [N, C, H, W]: uint8 pixels, or real numbers as the network takes them
    weights  .safetensors or a file of torch.save with its state dict; nothing in it is run. None: the network
             has its weights already
    name     of the graph; by default the function's
    classes  names of the outputs

    Raises UnsupportedModel, BadModelFile or BadImages, in one line.
    """
    options, pixels = options or QuantizeOptions(), pixels or InputOptions()
    module = load_network(network, weights)
    metadata: dict[str, object] = {"classes": list(classes)}
    if images.dtype == np.uint8:
        rule = pixels.rule(images.shape[1])
        if pixels.normalizes:
            metadata["preprocess"] = {"scale": rule.scale, "mean": list(rule.mean), "std": list(rule.std)}
        real = _real_images(images, rule)
    else:
        _check_real(images, pixels)
        with np.errstate(over="ignore"):    # of float64: infinite is what quantize refuses
            real = torch.from_numpy(images.astype(np.float32))
    as_they_are = images.dtype == np.uint8 and not pixels.normalizes
    options = replace(options, input_scale=pixels.scale if as_they_are else None)
    quantized = quantize(module, real, options)
    metadata["card"] = {"quantized": {
        "network": f"{Path(network.rpartition(':')[0]).name}:{network.rpartition(':')[2]}",
        "weights": weights.name if weights else None, "calibration_images": len(images), "torch": torch.__version__,
        **asdict(options)}}
    model = convert_model(quantized, real[:EXAMPLES], name or network.rpartition(":")[2], metadata)
    _check_classes(model.graph, classes)
    return Quantized(model, tuple(_summaries(quantized)), tuple(quantized.meta["dropped"]))


def load_network(network: str, weights: Path | None) -> nn.Module:
    """The network that file.py:function returns, with the weights of a file.

    Raises UnsupportedModel, naming them, for weights that are missing, too many, misshaped, NaN or infinite.
    """
    if not names_a_function(network):
        raise UnsupportedModel(f"{network}: must be file.py:function, of a function that returns the network")
    module = build_module(network)
    if weights is not None:
        state, own = read_state_dict(weights), module.state_dict()
        shapes = {key: tuple(value.shape) for key, value in own.items() if key.rpartition(".")[2] != COUNTER}
        check(f"{weights} ({network})", shapes, state)
        module.load_state_dict({**own, **{key: state[key] for key in shapes}})
    return module.eval()


def _real_images(images: np.ndarray, rule: Preprocess) -> torch.Tensor:
    if not len(images):
        raise BadImages("calibration images: are none, must be at least one; tens to hundreds give good scales")
    blocks = [rule.real(images[start:start + BLOCK]).astype(np.float32) for start in range(0, len(images), BLOCK)]
    return torch.from_numpy(np.concatenate(blocks))


def _check_real(images: np.ndarray, pixels: InputOptions) -> None:
    if images.dtype.kind != "f":
        raise BadImages(f"calibration images: must be uint8 pixels or real numbers, not {images.dtype}")
    if pixels != InputOptions():
        raise UnsupportedModel(f"pixel_scale, mean, std: are for uint8 pixels, the calibration images are "
                               f"{images.dtype}, which is taken as the network gets it; leave them out, or give uint8 "
                               f"images")


def _check_classes(graph: Graph, classes: tuple[str, ...]) -> None:
    channels = graph[graph.outputs[0]].output.channels
    if classes and len(classes) != channels:
        raise UnsupportedModel(f"classes: are {len(classes)} names, must be {channels}, one per output")


def _summaries(quantized: fx.GraphModule) -> list[LayerSummary]:
    """In the order of the calls; a layer and the quantizer right behind it are one, of maps that share one each."""
    rows: dict[str, LayerSummary] = {}
    called: set[str] = set()
    for node in quantized.graph.nodes:
        module = quantized.get_submodule(node.target) if node.op == "call_module" else None
        path = str(node.target)
        if isinstance(module, ShiftConv2d | ShiftConvTranspose2d | ShiftLinear) and path not in rows:
            rows[path] = LayerSummary(path, f"{module.terms} x {module.weight_bits} bits", weight_snr(module))
        elif isinstance(module, AdderConv2d | AdderLinear) and path not in rows:
            units = module.integer_weight(path)
            bits = IntType.holding(int(units.min()), int(units.max())).bits
            rows[path] = LayerSummary(path, f"adder, {bits} bits", weight_snr(module))
        elif isinstance(module, Quantizer):
            if path in called:
                path = str(node.args[0].target)
            called.add(str(node.target))
            path, scale = re.sub(r"_quantizer(_\d+)?$", r"\1", path), float(module.scale)
            before = rows.get(path, LayerSummary(path))
            rows[path] = LayerSummary(path, before.weights, before.snr_db, str(module.dtype), scale,
                                      module.lo * scale, module.hi * scale)
    return list(rows.values())


def weight_snr(layer: ShiftConv2d | ShiftConvTranspose2d | ShiftLinear | AdderConv2d | AdderLinear) -> float:
    """Signal to rounding error of a layer's weights in dB; inf where there is no error."""
    real, used = layer.latent_weight().detach().double(), layer.rounded_weight().detach().double()
    error = float(((real - used) ** 2).sum())
    return math.inf if error == 0 else 10 * math.log10(float((real**2).sum()) / error)
