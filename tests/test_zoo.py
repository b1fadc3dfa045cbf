"""The zoo's networks: what they compute, how they are conditioned, how close integers and module are."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

import shifthw
from shifthw import zoo
from shifthw.emulator import Emulator
from shifthw.errors import UnsupportedModel
from shifthw.flow import build_folder, simulate_folder
from shifthw.frontend import convert
from shifthw.frontend.model_file import load_model
from shifthw.frontend.reference import evaluate
from shifthw.ir import Graph, Input, Requantize, ShiftConv2d, interpret
from shifthw.ir.serialize import to_document
from shifthw.lower import compile_graph
from shifthw.zoo.digits import DigitsNet
from shifthw.zoo.files import model_path
from shifthw.zoo.resnet import resnet8, resnet20
from shifthw.zoo.seeded import calibrate, seed_weights, seeded_model, synthetic_images

EXAMPLES = Path(__file__).parents[1] / "examples"
MNIST = ("MNIST", 60_000, 10_000, (1, 28, 28), 10)
CIFAR10 = ("CIFAR-10, JPEG q75 copy", 50_000, 10_000, (3, 32, 32), 10)
WHARF = ("WHARF, windows of 160 samples, 3 subjects left out", 3_084, 787, (1, 160, 3), 12)
TRAINED = {"lenet5": MNIST, "conv_mnist": MNIST, "resnet8": CIFAR10, "resnet20": CIFAR10, "resnet20_w3": CIFAR10,
           "shiftadd_resnet20": CIFAR10, "adder_resnet20": CIFAR10, "ssl_shift_resnet20": CIFAR10,
           "activity_shiftadd": WHARF}
"""Data, training and test images, shape of an image and classes of the networks that examples/finetune.py made."""
SAME_BUDGET = {"resnet8": 0.015, "resnet20": 0.015, "resnet20_w3": 0.025}
"""What may be lost against float training of the same length in all. Networks of adder layers have had a few epochs."""
WITHOUT_FLOAT = ("ssl_shift_resnet20",)
"""Networks whose displacements moved in fine-tuning: the float network they began as is another one."""
CARD = {"weights": str, "data": str, "training_images": int, "test_images": int, "method": str, "weight_bits": int,
        "terms": int, "activation_bits": int, "epochs": int, "seed": int, "recipe": dict, "float_recipe": dict,
        "float_start_accuracy": float, "fake_quantized_accuracy": float, "integer_accuracy": float, "file_bytes": int}
"""What the card of a network that examples/finetune.py made says."""


@pytest.fixture(scope="module", params=zoo.names())
def graph(request: pytest.FixtureRequest) -> Graph:
    return zoo.build(request.param)


def macs(graph: Graph) -> int:
    """Multiply-adds of the shift convolutions that learn, shortcut copies left out."""
    return sum(node.output.height * node.output.width * node.op.weight.sign[0].size for node in graph.nodes
               if isinstance(node.op, ShiftConv2d) and np.abs(node.op.weight.sign).sum() > node.output.channels)


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_names_and_descriptions() -> None:
    assert zoo.names() == ("digits", *TRAINED)
    assert all(zoo.describe(name).startswith("trained: ") for name in zoo.names())
    with pytest.raises(UnsupportedModel, match="zoo: has no network 'vgg'; there are digits, lenet5, conv_mnist"):
        zoo.build("vgg")


def test_sizes_of_the_resnets() -> None:
    assert macs(zoo.build("resnet8")) == pytest.approx(12.5e6, rel=0.005)
    assert macs(zoo.build("resnet20")) == pytest.approx(40.6e6, rel=0.005)
    assert zoo.build("resnet20").nodes[0].output.shape == (3, 32, 32)
    assert sum(isinstance(node.op, ShiftConv2d) for node in zoo.build("resnet20").nodes) == 20 + 2


def test_weights_are_sign_and_three_bit_exponent(graph: Graph) -> None:
    for node in graph.nodes:
        if isinstance(node.op, ShiftConv2d):
            assert node.op.weight.terms == 1
            assert node.op.weight.exponent.max() <= 7


def residual_step(graph: Graph) -> int:
    """The power of two that all multipliers of second inputs share."""
    common = 0
    for node in graph.nodes:
        if isinstance(node.op, Requantize):
            for multiplier in node.op.multiplier[1:]:
                common |= int(np.bitwise_or.reduce(multiplier))
    return common & -common


def test_multipliers_are_18_bits_and_shifts_few(graph: Graph) -> None:
    operations = [node.op for node in graph.nodes if isinstance(node.op, Requantize)]
    assert max(int(abs(op.multiplier[0]).max()) for op in operations) < 1 << 17
    residual = [m for op in operations for m in op.multiplier[1:]]
    assert all(int(abs(m).max()) // residual_step(graph) < 1 << 17 for m in residual)
    assert len({op.shift for op in operations}) <= 4


@pytest.mark.parametrize("name", ["digits", "seeded resnet8"])
def test_activations_use_their_range(name: str) -> None:
    """Of a trained network whose images are here, and of a seeded one, which was calibrated on such."""
    shape = (3, 32, 32)
    if name == "digits":
        graph, images = zoo.build(name), example("digits_data").split()[1].images
    else:
        graph, images = seeded_model(resnet8(), name, shape, 20).graph, synthetic_images(24, shape, 77)
    results = interpret(graph, images, keep="all")
    for node in graph.nodes:
        if isinstance(node.op, Input | Requantize) and node.name != "input":
            values, dtype = results[node.name], node.output.dtype
            assert values.max() > dtype.hi // 2
            assert np.mean((values == dtype.hi) | (values == node.op.lo) & dtype.signed) < 0.05
            assert np.mean(values == 0) < 0.75
    logits = results[graph.outputs[0]].reshape(len(images), -1)
    assert len(np.unique(logits, axis=0)) == len(images)


def test_same_network_every_time(graph: Graph, tmp_path: Path) -> None:
    (document, arrays), (again, arrays_again) = to_document(graph), to_document(zoo.build(graph.name))
    assert document == again
    assert all(np.array_equal(arrays[key], arrays_again[key]) for key in arrays)
    zoo.write(graph.name, tmp_path / "model.pt")
    assert to_document(shifthw.load(tmp_path / "model.pt"))[0] == document


def test_digits_accuracy_on_held_out_images() -> None:
    graph = zoo.build("digits")
    training, held_out = example("digits_data").split()
    assert (len(training.labels), len(held_out.labels)) == (1437, 360)
    logits = interpret(graph, held_out.images)[graph.outputs[0]].reshape(360, 10)
    accuracy = float(np.mean(logits.argmax(axis=1) == held_out.labels))
    card = graph.metadata["card"]
    assert isinstance(card, dict)
    assert round(accuracy, 4) == card["held_out_accuracy"]
    assert accuracy >= 0.97


@pytest.mark.parametrize("name", TRAINED)
def test_card_of_a_trained_network(name: str, tmp_path: Path) -> None:
    zoo.write(name, tmp_path / "model.pt")
    model = load_model(tmp_path / "model.pt")
    graph, card = model.graph, model.graph.metadata["card"]
    assert isinstance(card, dict)
    assert {key: type(card.get(key)) for key in CARD} == CARD
    data, training_images, test_images, shape, classes = TRAINED[name]
    assert (graph.name, card["data"]) == (name, data)
    assert (card["training_images"], card["test_images"]) == (training_images, test_images)
    assert card["file_bytes"] == (tmp_path / "model.pt").stat().st_size
    assert len(set(graph.metadata["classes"])) == classes
    assert graph.nodes[0].output.shape == shape
    assert model.fake_reference is not None
    assert (model.float_reference is None) == (name in WITHOUT_FLOAT)
    assert card["integer_accuracy"] >= card["float_start_accuracy"] - (0.015 if name == "adder_resnet20" else 0.005)
    if name in SAME_BUDGET:
        assert card["integer_accuracy"] >= card["float_accuracy"] - SAME_BUDGET[name]
    assert card["integer_accuracy"] == pytest.approx(card["fake_quantized_accuracy"], abs=0.002)


@pytest.mark.parametrize("name", TRAINED)
def test_integer_network_follows_the_fake_quantized_one(name: str) -> None:
    """On images of no class, through up to twenty layers; logits of real images are larger and agree more."""
    graph = zoo.build(name)
    images = synthetic_images(20, graph.nodes[0].output.shape, 4)
    zoo_model = load_model(model_path(name))
    real = torch.from_numpy(images * np.float64(graph.nodes[0].output.scale))
    assert zoo_model.fake_reference is not None
    expected = evaluate(graph, zoo_model.fake_reference, real, quantized=True)[graph.outputs[0]].flatten(1)
    steps = interpret(graph, images)[graph.outputs[0]].reshape(20, -1)
    off = np.abs(steps - (expected / graph[graph.outputs[0]].output.scale).numpy())
    assert off.max() < 2.5
    assert np.mean(off > 0.5) < (0.35 if name == "ssl_shift_resnet20" else 0.3)


@pytest.mark.parametrize("name", TRAINED)
def test_trained_network_on_a_small_array(name: str) -> None:
    graph = zoo.build(name)
    program = compile_graph(graph, images=1, pixels=4, simd=8, pe=8)
    images = synthetic_images(2, graph.nodes[0].output.shape, 5)
    run = Emulator(program).run(images)
    np.testing.assert_array_equal(run.outputs, interpret(graph, images)[graph.outputs[0]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet5", "conv_mnist"])
def test_trained_network_in_simulation(name: str, tmp_path: Path, simulator_cache: Path) -> None:
    zoo.write(name, tmp_path / "model.pt")
    pins = {"images": 1, "pixels": 2, "simd": 8, "pe": 8}
    report = build_folder(tmp_path / "model.pt", "zc706", tmp_path / "build", pins=pins)
    images = np.random.default_rng(6).integers(0, 256, (2, 1, 28, 28), np.uint8)
    result = simulate_folder(tmp_path / "build", images, stalls_seed=7, cache=simulator_cache)
    assert result["bit_exact"] is True
    assert result["cycles_as_predicted"] is True
    assert result["cycles_per_image"] == report["cycles_per_image"]


NETWORKS = {"digits": DigitsNet, "resnet8 Q": lambda: resnet8("Q"), "resnet8 PS": lambda: resnet8("PS"),
            "resnet20 Q": lambda: resnet20("Q"), "resnet20 PS": lambda: resnet20("PS")}


def outside_the_bound(model: nn.Module, alter: Callable[[Graph], Graph] = lambda graph: graph) -> dict[str, int]:
    """Per quantizer: results that the rounding of multipliers and bias cannot explain.

    Each layer is judged by itself: it gets the graph's integers, and v, its value before rounding, comes from
    the module in float64. A multiplier is off by at most half a unit, so the integer is floor(v + half + e) with
    abs(e) <= (sum of abs(operands) / 2 + 1 / 2) / 2**shift. Following errors through the layers would show
    nothing: an untrained network turns one tie into differences everywhere.
    """
    images = synthetic_images(12, (1, 8, 8), 9) // 16 if isinstance(model, DigitsNet) else \
        synthetic_images(12, (3, 32, 32), 9)
    real = torch.from_numpy(images).double() * float(model.input.scale)
    seed_weights(model, 1)
    calibrate(model, real)
    graph = alter(convert(model, real[:1]))
    results = {name: torch.from_numpy(value) for name, value in interpret(graph, images, keep="all").items()}
    found: dict[str, int] = {}

    def judge(name: str) -> Callable[..., torch.Tensor]:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            node, integers = graph[name], results[name].reshape(output.shape)
            slack = torch.full_like(output, 1e-9)  # of the float64 forward itself
            half = 0.5
            if isinstance(node.op, Requantize):
                steps = (1, residual_step(graph))
                operands = sum(results[operand].abs().double() * step
                               for operand, step in zip(node.inputs, steps, strict=False))
                slack += (operands.reshape(output.shape) / 2 + 0.5) / 2**node.op.shift
            value = inputs[0] / module.scale + half
            lowest, highest = ((value + error).floor().clamp(module.lo, module.hi) for error in (-slack, slack))
            found[name] = int(((integers < lowest) | (integers > highest)).sum())
            return integers * module.scale
        return hook

    for name, module in model.named_modules():
        if isinstance(module, shifthw.nn.Quantizer):
            module.register_forward_hook(judge(name))
    with torch.no_grad():
        model(real)
    assert set(found) <= set(results)
    return found


@pytest.mark.parametrize("constructor", NETWORKS.values(), ids=NETWORKS)
def test_multiplier_rounding_explains_every_difference_from_the_module(constructor: Callable[[], nn.Module]) -> None:
    found = outside_the_bound(constructor().double())
    assert len(found) > 5
    assert not any(found.values()), found


@pytest.mark.parametrize("change", ["multiplier", "bias", "residual", "shift"])
def test_that_bound_notices_a_wrong_constant(change: str) -> None:
    """One per cent on a gain, half a step on a bias, one per cent on the residual, a shift off by one."""
    def alter(graph: Graph) -> Graph:
        op = graph["blocks.0.act2"].op
        assert isinstance(op, Requantize)
        m, mr = op.multiplier
        wrong = {"multiplier": dict(multiplier=(m + m // 100 + np.sign(m) * 5, mr)), "shift": dict(shift=op.shift + 1),
                 "bias": dict(bias=op.bias + (1 << op.shift) // 2), "residual": dict(multiplier=(m, mr + mr // 100))}
        nodes = tuple(replace(node, op=replace(op, **wrong[change])) if node.op is op else node for node in graph.nodes)
        return replace(graph, nodes=nodes)

    found = outside_the_bound(resnet8().double(), alter)
    assert {name for name, count in found.items() if count} == {"blocks.0.act2"}


def test_synthetic_images() -> None:
    images = synthetic_images(8, (3, 32, 32), 1)
    assert (images.dtype, images.shape) == (np.uint8, (8, 3, 32, 32))
    assert (images.min(), images.max()) == (0, 255)
    assert np.array_equal(images, synthetic_images(8, (3, 32, 32), 1))
    assert not np.array_equal(images, synthetic_images(8, (3, 32, 32), 2))
