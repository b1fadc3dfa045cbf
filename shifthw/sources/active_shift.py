"""AS-ResNet of the Active-Shift Caffe fork (jyh2986/Active-Shift): a file of tensors by layer, batch norms folded.

Jeon and Kim, "Constructing Fast Network through Deconstruction of Convolution", NeurIPS 2018. Layers are named
conv0, shift0_0/2, conv2_1/3, conv/shortcut2 ...; convolutions and the classifier have weight (and bias), Scale layers
scale and bias, which are batch norms as they were folded, ActiveShift layers xpos and ypos in pixels.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import BadImages, BadModelFile
from ..frontend.calibrate import calibrate
from ..frontend.convert import convert_model
from ..frontend.post_training import QuantizeOptions, shift_layer
from ..frontend.preprocess import Preprocess
from ..frontend.reference import Model
from ..nn import ActiveShift2d, QuantAct, ShiftConv2d, ShiftLinear
from ..nn.moving import bilinear
from ..zoo.as_resnet import STAGES, as_resnet
from .checkpoint import read_state_dict

PIXEL_SCALE = 0.01735
MEAN = (123.68, 116.78, 103.94)
"""Red, green, blue, in pixels: real = (pixel - mean) * PIXEL_SCALE. The released network takes blue first."""
EXAMPLES = 2
"""Images that the conversion checks itself on."""

State = Mapping[str, torch.Tensor]


class ExactShift2d(nn.Module):
    """An active shift by the displacements as trained, fractions of pixels: bilinear interpolation."""

    def __init__(self, displacement: torch.Tensor, stride: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("displacement", displacement)
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.displacement, torch.Tensor)
        return bilinear(x, self.displacement.to(x.dtype), self.stride)


@dataclass(frozen=True, eq=False)
class Imported:
    """The integer network, and the fake-quantized torch module that it was made of."""

    model: Model
    module: nn.Module


def preprocess() -> Preprocess:
    """What becomes of RGB pixels."""
    return Preprocess(PIXEL_SCALE, tuple(mean * PIXEL_SCALE for mean in MEAN), (1.0, 1.0, 1.0))


def read_state(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a file by name, checked against the architecture. Nothing in the file is run.

    Raises BadModelFile for tensors that are missing, too many or misshaped, or NaN or infinite.
    """
    state = {name: tensor.float() for name, tensor in read_state_dict(Path(path)).items()}
    for name in ("conv0.weight", "fc/linear.weight"):
        if name not in state or state[name].ndim != (4 if name == "conv0.weight" else 2):
            raise BadModelFile(f"{path}: has no tensor {name} of a convolution, or a linear layer; must be an "
                               f"AS-ResNet with its batch norms folded into scales")
    wanted = {name: tuple(shape) for name, shape in _shapes(state).items()}
    for name in sorted(wanted.keys() | state.keys()):
        found = tuple(state[name].shape) if name in state else None
        if found != wanted.get(name):
            raise BadModelFile(f"{path}: tensor {name} is {found or 'missing'}, must be "
                               f"{wanted.get(name, 'absent')} in an AS-ResNet-w{len(state['conv0.weight'])}")
        if not torch.isfinite(state[name]).all():
            raise BadModelFile(f"{path}: tensor {name} has NaN or infinite values; train it again")
    return state


def float_network(state: State, *, exact: bool = True) -> nn.Module:
    """The network with real weights and activations, for RGB images preprocessed as `preprocess` says.

    exact  displacements as trained; else rounded to half pixels, as the integer network has them
    """
    def shift(name: str, module: ActiveShift2d) -> nn.Module:
        displacement = _displacement(state, name)
        return ExactShift2d(displacement if exact else torch.round(2 * displacement) / 2, module.stride)

    return _network(state, lambda path, layer: layer, shift, lambda module: nn.Identity()).eval()


def quantizable_network(state: State, options: QuantizeOptions) -> nn.Module:
    """The network of shift layers and quantizers without scales, displacements rounded to half pixels."""
    def shift(name: str, module: ActiveShift2d) -> nn.Module:
        with torch.no_grad():
            module.displacement.copy_(_displacement(state, name))
        return module

    paths = [path for path, module in _skeleton(state).named_modules() if isinstance(module, ShiftConv2d | ShiftLinear)]
    return _network(state, lambda path, layer: shift_layer(path, layer, options, paths), shift,
                    lambda module: QuantAct(options.activation_bits, module.dtype.signed)).eval()


def import_active_shift(path: str | Path, images: np.ndarray, options: QuantizeOptions | None = None) -> Imported:
    """An integer network of shift weights and half-pixel shifts, calibrated on images.

    path    .safetensors with the released tensors
    images  uint8[N, 3, H, W], RGB, of the size that the network is to take

    Raises BadModelFile, BadImages or UnsupportedModel, in one line.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise BadImages(f"calibration images: are {images.dtype}{list(images.shape)}, must be uint8 [N, 3, H, W] with "
                        f"N at least 1, red first")
    options, rule = options or QuantizeOptions(), preprocess()
    module = quantizable_network(read_state(path), options)
    real = torch.from_numpy(rule.real(images).astype(np.float32))
    calibrate(module, real, options.calibration, options.percentile, options.power_of_two)
    metadata: dict[str, object] = {
        "classes": [], "preprocess": {"scale": rule.scale, "mean": list(rule.mean), "std": list(rule.std)},
        "card": {"imported": {"format": "active-shift", "file": Path(path).name, "calibration_images": len(images),
                              "weight_bits": options.weight_bits, "terms": options.terms}}}
    return Imported(convert_model(module, real[:EXAMPLES], "as_resnet", metadata), module)


# -- from names of tensors to the zoo's module -----------------------------------------------------
def _skeleton(state: State) -> nn.Module:
    return as_resnet(len(state["conv0.weight"]), classes=len(state["fc/linear.weight"]))


def _network(state: State, layer: Callable[[str, nn.Conv2d | nn.Linear], nn.Module],
             shift: Callable[[str, ActiveShift2d], nn.Module], quantizer: Callable[[QuantAct], nn.Module]) -> nn.Module:
    """The zoo's module with its layers, shifts and quantizers replaced, and the file's batch norms."""
    network = _skeleton(state)
    names = _names()
    for path, module in list(network.named_modules()):
        if isinstance(module, ShiftConv2d | ShiftLinear):
            _set(network, path, layer(path, _plain(state, names[path], module)))
        elif isinstance(module, ActiveShift2d):
            _set(network, path, shift(names[path], module))
        elif isinstance(module, nn.BatchNorm2d):
            _load_scale(module, state, names[path])
        elif isinstance(module, QuantAct):
            _set(network, path, QuantAct(8, signed=True) if path == "input" else module)
            _set(network, path, quantizer(network.get_submodule(path)))  # type: ignore[arg-type]
    return network


def _names() -> dict[str, str]:
    """Layer of the file for each path of the zoo's module that has tensors."""
    names = {"layers.0": "conv0", "classifier": "fc/linear"}
    path = 1
    for stage, (_, blocks) in enumerate(STAGES):
        for block in range(blocks) if stage == 0 else range(1, blocks + 1):
            key, here = f"{stage}_{block}", f"layers.{path}"
            names |= {f"{here}.before.bn": f"scale{key}", f"{here}.conv1.layer.conv": f"conv{key}/1",
                      f"{here}.conv1.layer.bn": f"scale{key}/1", f"{here}.shift": f"shift{key}/2",
                      f"{here}.conv2": f"conv{key}/3", f"{here}.shortcut": f"conv/shortcut{stage}"}
            path += 1
    return names | {f"layers.{path}.bn": "scale/bnlast"}


def _shapes(state: State) -> dict[str, torch.Size]:
    """Shape of every tensor that an AS-ResNet of this width has."""
    names, shapes = _names(), {}
    for path, module in _skeleton(state).named_modules():
        if isinstance(module, ShiftConv2d | ShiftLinear):
            shapes[f"{names[path]}.weight"] = module.latent_weight().shape
            if module.bias is not None:
                shapes[f"{names[path]}.bias"] = module.bias.shape
        elif isinstance(module, ActiveShift2d):
            shapes |= {f"{names[path]}.{axis}pos": torch.Size([module.channels]) for axis in "xy"}
        elif isinstance(module, nn.BatchNorm2d):
            shapes |= {f"{names[path]}.{kind}": module.weight.shape for kind in ("scale", "bias")}
    return shapes


def _plain(state: State, name: str, module: ShiftConv2d | ShiftLinear) -> nn.Conv2d | nn.Linear:
    """A torch layer with the file's weights; the first takes red first."""
    weight = state[f"{name}.weight"]
    plain: nn.Conv2d | nn.Linear
    if isinstance(module, ShiftLinear):
        plain = nn.Linear(module.in_features, module.out_features)
    else:
        plain = nn.Conv2d(module.in_channels, module.out_channels, module.kernel_size, module.stride,
                          module.padding[:2], bias=False)
    with torch.no_grad():
        plain.weight.copy_(weight.flip(1) if name == "conv0" else weight)
        if plain.bias is not None:
            plain.bias.copy_(state[f"{name}.bias"])
    return plain


def _load_scale(norm: nn.BatchNorm2d, state: State, name: str) -> None:
    """A batch norm that multiplies by the file's scale and adds its bias."""
    with torch.no_grad():
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0)
        norm.weight.copy_(state[f"{name}.scale"] * math.sqrt(1.0 + norm.eps))
        norm.bias.copy_(state[f"{name}.bias"])


def _displacement(state: State, name: str) -> torch.Tensor:
    return torch.stack([state[f"{name}.ypos"], state[f"{name}.xpos"]], dim=1)


def _set(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)
