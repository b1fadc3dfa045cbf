"""How near the integer AS-ResNet is to the released float one: `python -m bench.active_shift WEIGHTS.safetensors`.

On crops of scikit-learn's two photographs, of which the first half calibrates the quantizers. Each row is one step on
the way from the float network: half-pixel shifts, shift weights and 8-bit activations, integers. Agreement is of the
most probable class, and of it being among the float network's five. Then the error of every layer's result, as signal
to noise, and what half-pixel shifts cost in taps.
"""

import sys

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

from shifthw.frontend.post_training import QuantizeOptions
from shifthw.frontend.reference import evaluate
from shifthw.ir import interpret
from shifthw.ir.graph import Requantize, SpatialShift2d
from shifthw.nn import ActiveShift2d
from shifthw.sources.active_shift import float_network, import_active_shift, preprocess, read_state

SIZE = 224
SCALES = (256, 320, 400, 427)
"""Pixels of the shorter side that photographs are scaled to."""


def crops() -> np.ndarray:
    """uint8[N, 3, SIZE, SIZE], RGB: three of every photograph and scale, side by side, and their mirror images."""
    found = []
    for photograph in load_sample_images().images:
        for shorter in SCALES:
            factor = shorter / min(photograph.shape[:2])
            size = round(photograph.shape[1] * factor), round(photograph.shape[0] * factor)
            scaled = np.asarray(Image.fromarray(photograph).resize(size, Image.Resampling.BILINEAR))
            top = (scaled.shape[0] - SIZE) // 2
            for left in (0, (scaled.shape[1] - SIZE) // 2, scaled.shape[1] - SIZE):
                crop = scaled[top:top + SIZE, left:left + SIZE]
                found += [crop, crop[:, ::-1]]
    return np.stack(found).transpose(0, 3, 1, 2)


def agreement(logits: torch.Tensor, reference: torch.Tensor) -> str:
    """Top 1 in common, and top 1 among the reference's five."""
    first = logits.argmax(dim=1)
    five = reference.topk(5, dim=1).indices
    return f"{int((first == five[:, 0]).sum())} | {int((first[:, None] == five).any(dim=1).sum())} | {len(first)}"


def main() -> None:
    """Prints Markdown tables."""
    torch.manual_seed(0)
    state, pictures = read_state(sys.argv[1]), crops()
    order = np.random.default_rng(0).permutation(len(pictures))
    calibration, held_out = pictures[order[::2]], pictures[order[1::2]]
    real = torch.from_numpy(preprocess().real(held_out).astype(np.float32))
    exact, halves = float_network(state), float_network(state, exact=False)
    with torch.no_grad():
        reference, half = exact(real), halves(real)
    print("| network | same class | among the first five | images |\n|---|---|---|---|")
    print(f"| displacements in half pixels | {agreement(half, reference)} |")
    for terms in (1, 2, 3):
        imported = import_active_shift(sys.argv[1], calibration, QuantizeOptions(terms=terms))
        graph = imported.model.graph
        source = imported.module.get_submodule("input")
        integers = source.integers(real).numpy()    # type: ignore[operator]
        result = interpret(graph, integers)[graph.outputs[0]].reshape(len(integers), -1)
        print(f"| integers, {terms} powers of two a weight | {agreement(torch.from_numpy(result), reference)} |")
    _layers(imported.model, halves, real[:8], integers[:8])
    _taps(imported.module)


def _layers(model: object, halves: nn.Module, real: torch.Tensor, integers: np.ndarray) -> None:
    """Signal to noise of every quantized result against the fake-quantized network's exact values."""
    graph, fake = model.graph, model.fake_reference  # type: ignore[attr-defined]
    names = [node.name for node in graph.nodes if isinstance(node.op, Requantize)]
    found = interpret(graph, integers, keep="all")
    wanted = evaluate(graph, fake, real, quantized=False, keep=names)
    print("\n| layer | signal to noise, dB |\n|---|---|")
    for name in names:
        value = torch.from_numpy(found[name]) * graph[name].output.scale
        noise = float(((value - wanted[name]) ** 2).sum())
        print(f"| {name} | {10 * np.log10(float((wanted[name] ** 2).sum()) / max(noise, 1e-30)):.1f} |")
    shifts = [node.name for node in graph.nodes if isinstance(node.op, SpatialShift2d)]
    print(f"\n{len(shifts)} spatial shifts, none of them stored")


def _taps(module: nn.Module) -> None:
    odd = np.concatenate([np.abs(each.integer_displacement()[0]) % 2 for each in module.modules()
                          if isinstance(each, ActiveShift2d)]).sum(axis=1)
    counts = [int((odd == n).sum()) for n in range(3)]
    taps = (counts[0] + 2 * counts[1] + 4 * counts[2]) / sum(counts)
    print(f"channels in whole pixels {counts[0]}, in half pixels along one axis {counts[1]}, along both {counts[2]}: "
          f"{taps:.2f} taps a channel")


if __name__ == "__main__":
    main()
