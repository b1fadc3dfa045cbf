"""A checkpoint as a torch module that computes what the framework computes."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..errors import UnsupportedModel
from ..nn import AdderConv2d, AdderLinear
from .addernet import ADDER_NET
from .architectures import Architecture
from .checkpoint import read_state_dict
from .deepshift import DEEPSHIFT_PS, DEEPSHIFT_Q
from .framework import Framework, Plain, SourceLayer, SourceOptions, Tensors
from .keys import check, expected_shapes, joined, with_todays_names
from .shiftaddnet import SHIFT_ADD_NET
from .torchshiftadd import TORCH_SHIFT_ADD
from .user_module import build_module, names_a_function

MOST_CLASSES = 1 << 16
"""That a classifier in a file may have."""
FRAMEWORKS: Mapping[str, Framework] = {framework.name: framework for framework in (
    DEEPSHIFT_Q, DEEPSHIFT_PS, SHIFT_ADD_NET, TORCH_SHIFT_ADD, ADDER_NET)}


@dataclass(frozen=True, eq=False)
class Source:
    """A loaded checkpoint.

    plain        the architecture with the weights as the framework rounds them, activations not rounded
    layers       the shift and adder layers by their paths; the other convolutions and linear layers are ordinary
    input_shape  (channels, height, width) of an image; None if only the user knows it
    """

    plain: nn.Module
    layers: Mapping[str, SourceLayer]
    input_shape: tuple[int, int, int] | None

    def module(self) -> nn.Module:
        """The module that computes what the framework computes, in float32, in evaluation mode."""
        module = copy.deepcopy(self.plain)
        for path, layer in self.layers.items():
            if not path:
                return copy.deepcopy(layer).eval()
            module.set_submodule(path, copy.deepcopy(layer))
        return module.eval()


def load_model(source: str, path: str | Path, architecture: str, *, trust_pickle: bool = False,
               options: SourceOptions | None = None) -> nn.Module:
    """A checkpoint as a torch module in evaluation mode that computes what its framework computes, bit for bit.

    source        name of the framework, one of FRAMEWORKS
    architecture  name of the network, or file.py:function of a constructor of plain torch layers
    trust_pickle  see read_state_dict

    Raises BadModelFile or UnsupportedModel, in one line.
    """
    return load_source(source, path, architecture, trust_pickle=trust_pickle, options=options).module()


def load_source(source: str, path: str | Path, architecture: str, *, trust_pickle: bool = False,
                options: SourceOptions | None = None) -> Source:
    """As load_model, in parts."""
    framework, options = _framework(source), options or SourceOptions()
    known = None if names_a_function(architecture) else _known(framework, architecture)
    state: Tensors = read_state_dict(path, trust_pickle=trust_pickle)
    model = build_module(architecture).float() if known is None else known.build(_classes(known, state))
    state = with_todays_names(model, state)
    check(f"{path} ({architecture})", expected_shapes(model, framework, state), state)
    layers = dict(_layers(model, framework, state, options))
    _fill(model, layers, state)
    return Source(model.eval(), layers, known.input_shape if known else None)


def _framework(name: str) -> Framework:
    if name not in FRAMEWORKS:
        raise UnsupportedModel(f"{name}: is no format of a source framework; there are {', '.join(FRAMEWORKS)}")
    return FRAMEWORKS[name]


def _known(framework: Framework, name: str) -> Architecture:
    if name not in framework.architectures:
        raise UnsupportedModel(f"{name}: is no architecture of {framework.name}; there are "
                               f"{', '.join(framework.architectures)}, and file.py:function for one of your own")
    return framework.architectures[name]


def _classes(known: Architecture, state: Tensors) -> int:
    """As many as the classifier in the file has, 10 if it has none; what is wrong with it, the check of shapes says."""
    for name in ("shift", "weight"):
        tensor = state.get(f"{known.classifier}.{name}")
        if tensor is not None and tensor.ndim and tensor.numel() and tensor.shape[0] <= MOST_CLASSES:
            return int(tensor.shape[0])
    return 10


def _layers(model: nn.Module, framework: Framework, state: Tensors,
            options: SourceOptions) -> Iterator[tuple[str, SourceLayer]]:
    for path, plain in _weighted(model):
        _require_own_parameters(path, plain)
        make = framework.kind(path, state).make
        if make is not None:
            yield path, make(path, plain, _below(path, state), options)
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, AdderLinear):
            raise UnsupportedModel(f"{path} (AdderLinear): {framework.name} has no linear adder layers; make it an "
                                   f"AdderConv2d with a kernel of 1, and reshape its weights")
        if isinstance(module, AdderConv2d):
            if framework.adder is None:
                raise UnsupportedModel(f"{path} (AdderConv2d): {framework.name} has no adder layers; take the format "
                                       f"of a framework that has")
            yield path, framework.adder(path, module, _below(path, state, deep=True), options)


def _require_own_parameters(path: str, plain: Plain) -> None:
    own = {name for name, _ in plain.named_parameters(recurse=False)}
    if own != {"weight"} | ({"bias"} if plain.bias is not None else set()):
        raise UnsupportedModel(f"{path} ({type(plain).__name__}): its parameters are {', '.join(sorted(own)) or 'none'}"
                               f"; must be weight and bias themselves, not what they are computed from or with")


def _weighted(model: nn.Module) -> list[tuple[str, Plain]]:
    """Convolutions and linear layers by path; by each of its paths, if one is used in several places."""
    return [(path, module) for path, module in model.named_modules(remove_duplicate=False)
            if isinstance(module, nn.Conv2d | nn.Linear)]


def _below(path: str, state: Tensors, *, deep: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of the module at `path`, by their names in it; `deep`: and of modules below it."""
    prefix = joined(path, "")
    return {key.removeprefix(prefix): tensor for key, tensor in state.items()
            if key.startswith(prefix) and (deep or "." not in key.removeprefix(prefix))}


def _fill(model: nn.Module, layers: Mapping[str, SourceLayer], state: Tensors) -> None:
    """Give the plain model all values: of shift and adder layers the rounded ones, of the others those of the file."""
    values = {key: tensor for key, tensor in state.items() if key in model.state_dict()}
    for path, layer in layers.items():
        if isinstance(layer.layer, AdderConv2d):
            values[joined(path, "adder")] = layer.layer.rounded_weight().detach()
            continue
        bias = layer.layer.rounded_bias()
        values[joined(path, "weight")] = layer.layer.rounded_weight().detach()
        if bias is not None:
            values[joined(path, "bias")] = bias.detach()
    counters = {key: tensor for key, tensor in model.state_dict().items() if key not in values}
    model.load_state_dict(values | counters)
