"""A trained torch module to the integer graph."""

import numpy as np
import torch
from torch import nn

from ..ir.graph import Graph
from ..nn import AdderConv2d, AdderLinear, ShiftConv2d, ShiftConvTranspose2d, ShiftLinear
from .check import check
from .converter import Converter
from .reference import Model, Reference, rounded_weights, verify_reference
from .trace import trace


def convert(model: nn.Module, example_input: torch.Tensor, name: str | None = None,
            metadata: dict[str, object] | None = None) -> Graph:
    """The integer graph of `model` in evaluation mode.

    model          its input and every activation between layers pass a quantizer of shifthw.nn
    example_input  real images [N, C, H, W] (or [N, F]); gives the shapes and, where an output is not
                   quantized, the scale of the signed 8-bit quantizer that is added: its largest magnitude
                   on these images is 127 steps
    name           of the graph; by default the class of the model

    Raises UnsupportedModel, naming the layer, for anything that has no mapping.
    """
    return convert_model(model, example_input, name, metadata).graph


def convert_model(model: nn.Module, example_input: torch.Tensor, name: str | None = None,
                  metadata: dict[str, object] | None = None) -> Model:
    """As convert, with the real-valued networks: the fake-quantized one, and the float one that `model` has as its
    attribute `float_reference` (a graph module: in its `meta`), if it has one.

    A network trained with quantization from its start has none: its latent weights were never used unrounded.
    """
    traced = trace(model, example_input)
    converter = Converter(traced, name or type(model).__name__)
    graph = converter.draft.finish(converter.run(), (metadata or {}) | converter.input_metadata)
    check(graph, traced.model, example_input, converter.calls)
    fake = Reference(rounded_weights(graph.nodes), converter.draft.affine())
    float_reference = getattr(model, "float_reference", getattr(model, "meta", {}).get("float_reference"))
    if float_reference is not None:
        verify_reference(graph, float_reference)
    return Model(graph, fake, float_reference)


def capture_float(model: nn.Module, example_input: torch.Tensor) -> Reference:
    """The float network that the latent weights and biases of `model` are now, with its batch norms as they are: to
    be attached as `model.float_reference` before training changes them.

    Raises UnsupportedModel as convert does.
    """
    traced = trace(model, example_input)
    for module in traced.model.modules():
        if isinstance(module, ShiftConv2d | ShiftConvTranspose2d | ShiftLinear):
            module.bias_format = None
    converter = Converter(traced, type(model).__name__)
    converter.draft.drop_unused(converter.run())
    weights = {name: converter.weighted.latent.get(name, copied).astype(np.float32)
               for name, copied in rounded_weights(converter.draft.nodes).items()}
    return Reference(weights, converter.draft.affine())


def round_adders(model: nn.Module, example_input: torch.Tensor) -> dict[str, float]:
    """Round the weights of every adder layer of `model` to steps of its input, the scale of the quantizer before it.

    To be called when the quantizers are calibrated, and again whenever their scales have moved: |x - w| of integers
    needs one step for both. Returns the steps by the layers' paths. Raises UnsupportedModel as convert does.
    """
    converter = Converter(trace(model, example_input), type(model).__name__)
    converter.weighted.steps = {}
    converter.run()
    for path, step in converter.weighted.steps.items():
        layer = model.get_submodule(path)
        assert isinstance(layer, AdderConv2d | AdderLinear)
        layer.set_step(step)
    return converter.weighted.steps
