"""Where accuracy is lost: the float, the fake-quantized and the integer network on the same images.

The signal-to-noise ratio of an activation compares the integer network's values, in real units, with a
reference's: 10 log10(sum reference**2 / sum (value - reference)**2). Noise that comes with a layer's inputs
is not its own: what it adds is its noise, relative to its signal, less that of the worst of its inputs.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise

import numpy as np
import torch

from .frontend.preprocess import input_grid, input_integers, real_images
from .frontend.reference import Model, evaluate
from .image_files import check_labels
from .ir import Graph, Input, Node, Requantize, interpret

FLOAT, FAKE, INTEGER = "float", "fake-quantized", "integer"
LAYER_IMAGES = 256
"""Images on which the layers are compared unless told otherwise."""
ELEMENTS_PER_BATCH = 1 << 19
"""Elements of a batch's largest tensor: the activations of three networks then fit into a gigabyte."""
MARKED_NOISE, MOST_MARKED = 1e-3, 3
"""The layers that add most noise are marked: this many, from this share of the signal's power on (30 dB)."""
MOST_NOISE = 1e4
"""Relative noise where there is no signal, or more noise than this: -40 dB."""
EXACT = "exact"
"""In place of a ratio where there is no noise at all."""

Values = dict[str, dict[str, torch.Tensor]]
"""Network -> tensor -> float64 values of a batch: steps in the integer network, real units in the others."""


def measure(model: Model, images: np.ndarray, labels: np.ndarray | None = None, *, layer_images: int = LAYER_IMAGES,
            progress: Callable[[float], None] = lambda done: None) -> dict[str, object]:
    """Accuracy and agreement of the networks of `model` on all images, and the layers on the first `layer_images`.

    images    [N, C, H, W] as input_integers takes them
    labels    a class number per image, for the accuracy
    progress  called with the share of the images that is done

    "networks", "accuracy" (None without labels) and "agreement" (share of the images for which both networks
    of a pair find the same class) hold the networks that the model has. Each of "layers" is an Input or a
    Requantize, with "snr_db" by reference (a number, or "exact"), "noise_added" and "marked" against the float
    network (the fake-quantized one if there is no float one; None without both), the share "saturated" of
    values at an end of the grid, and the integers in use, "smallest" and "largest", of "lo".."hi".
    Raises BadImages where images or labels do not suit the network.
    """
    graph = model.graph
    integers = input_integers(graph, images)
    check_labels(labels, graph[graph.outputs[0]].output.shape)
    layers = [_layer(model, node) for node in graph.nodes if isinstance(node.op, Input | Requantize)]
    classes: dict[str, list[torch.Tensor]] = {}
    for start, end in _batches(graph, len(images), layer_images):
        detailed = end <= layer_images
        keep = {layer.node.name for layer in layers} if detailed else set(graph.outputs)
        values = _run(model, images[start:end], integers[start:end], keep)
        for network, tensors in values.items():
            classes.setdefault(network, []).append(tensors[graph.outputs[0]].argmax(dim=1))
        for layer in layers if detailed else ():
            layer.add(values)
        progress(end / len(images))
    found = {network: torch.cat(batches).numpy() for network, batches in classes.items()}
    return {"images": len(images), "layer_images": min(layer_images, len(images)),
            **_result(graph, found, labels, layers)}


def _batches(graph: Graph, images: int, layer_images: int) -> Sequence[tuple[int, int]]:
    """First image and end of each batch; one ends where the detailed ones do."""
    size = max(1, ELEMENTS_PER_BATCH // max(int(np.prod(node.output.shape)) for node in graph.nodes))
    bounds = {*range(0, images, size), min(layer_images, images), images}
    return list(pairwise(sorted(bounds)))


def _run(model: Model, images: np.ndarray, integers: np.ndarray, keep: Collection[str]) -> Values:
    """Float in float32, as it is trained; fake-quantized in float64, so that it rounds as real numbers do."""
    graph = model.graph
    values: Values = {}
    if model.float_reference is not None:
        real = torch.from_numpy(real_images(graph, images)).float()
        found = evaluate(graph, model.float_reference, real, quantized=False, keep=keep)
        values[FLOAT] = {name: value.double() for name, value in found.items()}
    if model.fake_reference is not None:
        real = torch.from_numpy(integers * np.float64(graph.nodes[0].output.scale))
        values[FAKE] = evaluate(graph, model.fake_reference, real, quantized=True, keep=keep)
    results = interpret(graph, integers, keep="outputs" if set(keep) <= set(graph.outputs) else "all")
    values[INTEGER] = {name: torch.from_numpy(results[name]).double() for name in keep}
    return values


# -- layers ------------------------------------------------------------------------------------

@dataclass(eq=False)
class _Layer:
    """What is counted of one activation, over all batches; `ends` are the integers that count as saturated."""

    node: Node
    lo: int
    hi: int
    ends: tuple[int, ...]
    signal: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    values: int = 0
    saturated: int = 0
    smallest: float = math.inf
    largest: float = -math.inf

    def add(self, values: Values) -> None:
        """Count a batch."""
        name = self.node.name
        steps = values[INTEGER][name]
        self.smallest, self.largest = min(self.smallest, float(steps.min())), max(self.largest, float(steps.max()))
        self.values += steps.numel()
        self.saturated += sum(int((steps == end).sum()) for end in self.ends)
        for network in [network for network in values if network != INTEGER]:
            reference = values[network][name]
            noise = (steps * self.node.output.scale - reference).square().sum()
            self.signal[network] = self.signal.get(network, 0.0) + float(reference.square().sum())
            self.noise[network] = self.noise.get(network, 0.0) + float(noise)

    def relative_noise(self, network: str) -> float:
        """Power of the noise over the signal's, against a reference."""
        signal, noise = self.signal[network], self.noise[network]
        return min(noise / signal, MOST_NOISE) if signal else MOST_NOISE * (noise > 0)

    def snr(self, network: str) -> float | str:
        """In dB, or EXACT."""
        noise = self.relative_noise(network)
        return -10 * math.log10(noise) if noise else EXACT


def _layer(model: Model, node: Node) -> _Layer:
    if not isinstance(node.op, Requantize):
        grid = input_grid(model.graph)
        return _Layer(node, grid.lo, grid.hi, ())
    limits = (-math.inf, math.inf)
    if model.fake_reference is not None:
        affine = model.fake_reference.affine[node.name]
        limits = affine.lo, affine.hi
    return _Layer(node, node.op.lo, node.op.hi, _ends(node.op, node.output.scale, limits))


def _ends(op: Requantize, scale: float, limits: tuple[float, float]) -> tuple[int, ...]:
    """The ends of the grid at which values were cut off: not 0, where a ReLU ends or nothing is below, and not where
    the activation function ends by itself."""
    below = op.lo != 0 and limits[0] / scale <= op.lo - 0.5
    above = limits[1] / scale >= op.hi + 0.5
    return ((op.lo,) if below else ()) + ((op.hi,) if above else ())


def _added_noise(graph: Graph, layers: Sequence[_Layer], network: str) -> dict[str, float]:
    """By activation: relative noise beyond that of the noisiest activation that it is computed from."""
    relative = {layer.node.name: layer.relative_noise(network) for layer in layers}

    def before(name: str) -> float:
        """Pools and accumulators carry the noise of what they read."""
        return relative[name] if name in relative else max(before(source) for source in graph[name].inputs)

    return {layer.node.name: max(0.0, relative[layer.node.name] - max(map(before, layer.node.inputs), default=0.0))
            for layer in layers}


# -- the result --------------------------------------------------------------------------------

def _result(graph: Graph, classes: dict[str, np.ndarray], labels: np.ndarray | None,
            layers: Sequence[_Layer]) -> dict[str, object]:
    agreement: dict[str, dict[str, float]] = {network: {} for network in classes}
    for one, other in combinations(classes, 2):
        agreement[one][other] = agreement[other][one] = float(np.mean(classes[one] == classes[other]))
    accuracy = None if labels is None else {
        network: float(np.mean(found[:, 0, 0] == labels)) for network, found in classes.items()}
    return {"model": graph.name, "networks": list(classes), "accuracy": accuracy, "agreement": agreement,
            "layers": _layer_results(graph, layers)}


def _layer_results(graph: Graph, layers: Sequence[_Layer]) -> list[dict[str, object]]:
    networks = list(layers[0].signal)
    added = _added_noise(graph, layers, networks[0]) if networks else {}
    marked = sorted((name for name in added if added[name] >= MARKED_NOISE), key=lambda name: -added[name])
    return [{
        "name": layer.node.name, "inputs": list(layer.node.inputs),
        "snr_db": {network: layer.snr(network) for network in networks},
        "noise_added": added.get(layer.node.name), "marked": layer.node.name in marked[:MOST_MARKED],
        "saturated": layer.saturated / layer.values, "lo": layer.lo, "hi": layer.hi,
        "smallest": int(layer.smallest), "largest": int(layer.largest),
    } for layer in layers]
