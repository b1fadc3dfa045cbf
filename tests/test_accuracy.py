"""What shifthw check finds: agreement, accuracy, and the layer at which noise is added."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from shifthw import accuracy, flow, zoo
from shifthw.accuracy import measure
from shifthw.errors import BadImages
from shifthw.frontend.convert import capture_float, convert_model
from shifthw.frontend.model_file import load_model, write_model
from shifthw.frontend.reference import Model, evaluate
from shifthw.ir import Input, Requantize, interpret
from shifthw.nn import FixedPoint, QuantAct, ShiftConv2d, ShiftLinear
from shifthw.zoo.digits import digits_path
from shifthw.zoo.seeded import synthetic_images

IMAGES = synthetic_images(40, (1, 12, 12), 3)
QUANTIZERS = ("input", "act1", "act2", "act3", "logits")


class Plain(nn.Module):
    """Three convolutions, one residual, a classifier; shift layers of many terms: 8-bit noise only."""

    def __init__(self) -> None:
        super().__init__()
        shared = dict(form="nearest", weight_bits=5, terms=4)
        self.input = QuantAct(8, scale=1 / 255)
        self.conv1, self.act1 = ShiftConv2d(1, 8, 3, padding=1, **shared), QuantAct(8)
        self.conv2, self.act2 = ShiftConv2d(8, 8, 3, padding=1, **shared), QuantAct(8)
        self.pool = nn.MaxPool2d(2)
        self.conv3, self.act3 = ShiftConv2d(8, 8, 3, 2, 1, **shared), QuantAct(8, signed=True)
        self.classifier, self.logits = ShiftLinear(8 * 9, 10, **shared), QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act1(self.conv1(self.input(x)).relu())
        x = self.pool(self.act2((self.conv2(x) + x).relu()))
        return self.logits(self.classifier(self.act3(self.conv3(x)).flatten(1)))


def network() -> Plain:
    torch.manual_seed(6)
    model = Plain()
    model(torch.from_numpy(IMAGES) / 255)
    return model.eval()


def converted(model: Plain, original: Plain | None = None) -> Model:
    """`model` with the float network of `original`, by default its own."""
    images = torch.from_numpy(IMAGES) / 255
    model.float_reference = capture_float(original or model, images)
    return convert_model(model, images, "plain")


def layers(values: dict[str, object]) -> dict[str, dict[str, object]]:
    found = values["layers"]
    assert isinstance(found, list)
    return {row["name"]: row for row in found}


def test_a_good_network_has_no_marks() -> None:
    values = measure(converted(network()), IMAGES)
    rows = layers(values)
    assert tuple(rows) == QUANTIZERS
    assert values["networks"] == ["float", "fake-quantized", "integer"]
    assert (values["images"], values["layer_images"], values["accuracy"]) == (40, 40, None)
    assert not any(row["marked"] for row in rows.values())
    assert rows["input"]["snr_db"] == {"float": pytest.approx(140, abs=20), "fake-quantized": "exact"}
    for name in QUANTIZERS[1:]:
        assert 30 < rows[name]["snr_db"]["float"] < 60
        assert rows[name]["saturated"] < 0.001
    assert rows["act2"]["inputs"] == ["conv2", "act1"]
    assert values["agreement"]["fake-quantized"]["integer"] == 1.0


@pytest.mark.parametrize("name", ["act1", "act2", "act3", "logits"])
def test_a_limit_that_is_far_too_small_is_pointed_at(name: str) -> None:
    model = network()
    getattr(model, name).scale.div_(20)
    rows = layers(measure(converted(model), IMAGES))
    added = {name: row["noise_added"] for name, row in rows.items()}
    assert max(added, key=lambda name: added[name]) == name
    assert rows[name]["marked"]
    assert rows[name]["saturated"] > 0.2
    assert rows[name]["largest"] == rows[name]["hi"]
    before = QUANTIZERS[:QUANTIZERS.index(name)]
    assert not any(rows[other]["marked"] or rows[other]["saturated"] > 0.01 for other in before)


def test_a_grid_that_is_far_too_coarse_is_pointed_at() -> None:
    model = network()
    model.act2.scale.mul_(60)
    rows = layers(measure(converted(model), IMAGES))
    assert rows["act2"]["marked"]
    assert rows["act2"]["largest"] < 10
    assert rows["act2"]["saturated"] == 0.0
    assert not rows["act1"]["marked"]


@pytest.mark.parametrize("layer", ["conv1", "conv2", "conv3", "classifier"])
def test_a_layer_whose_weights_are_wrong_is_pointed_at(layer: str) -> None:
    model = network()
    with torch.no_grad():
        getattr(model, layer).weight.mul_(torch.rand(getattr(model, layer).weight.shape).round())
    rows = layers(measure(converted(model, network()), IMAGES))
    (after,) = [name for name, row in rows.items() if layer in row["inputs"]]
    added = {name: row["noise_added"] for name, row in rows.items()}
    assert max(added, key=lambda name: added[name]) == after
    assert rows[after]["marked"]
    snr = rows[after]["snr_db"]
    assert snr["float"] < 15
    assert snr["fake-quantized"] == "exact" or snr["fake-quantized"] > 25


def test_wrong_integers_are_seen_against_the_fake_quantized_network() -> None:
    """Without a float network: a multiplier that is a tenth too small."""
    model = converted(network())
    nodes = tuple(replace(node, op=replace(node.op, multiplier=tuple(m - m // 10 for m in node.op.multiplier)))
                  if node.name == "act3" else node for node in model.graph.nodes)
    wrong = Model(replace(model.graph, nodes=nodes), model.fake_reference)
    rows = layers(measure(wrong, IMAGES))
    assert [name for name, row in rows.items() if row["marked"]] == ["act3"]
    assert rows["act3"]["snr_db"] == {"fake-quantized": pytest.approx(20, abs=1)}


def test_numbers_are_those_of_the_definition() -> None:
    model = converted(network())
    graph, images = model.graph, IMAGES[:7]
    assert model.float_reference is not None
    integers = interpret(graph, images, keep="all")
    names = [node.name for node in graph.nodes if isinstance(node.op, Input | Requantize)]
    real = evaluate(graph, model.float_reference, torch.from_numpy(images / 255).float(), quantized=False, keep=names)
    noise = {}
    for name in names:
        reference = real[name].double().numpy()
        off = integers[name] * graph[name].output.scale - reference
        noise[name] = (off**2).sum() / (reference**2).sum()
    values = measure(model, IMAGES, layer_images=7)
    rows = layers(values)
    assert (values["images"], values["layer_images"]) == (40, 7)
    for name in names:
        assert rows[name]["snr_db"]["float"] == pytest.approx(-10 * np.log10(noise[name]))
        assert rows[name]["smallest"] == integers[name].min()
        assert rows[name]["largest"] == integers[name].max()
    sources = {"input": [], "act1": ["input"], "act2": ["act1"], "act3": ["act2"], "logits": ["act3"]}
    for name, before in sources.items():
        expected = max(0.0, noise[name] - max((noise[source] for source in before), default=0.0))
        assert rows[name]["noise_added"] == pytest.approx(expected)


@pytest.mark.parametrize("elements", [1, 8 * 144 * 3, 1 << 30])
def test_batches_change_nothing(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, labels = converted(network()), np.arange(40) % 10
    expected = measure(model, IMAGES, labels, layer_images=10)
    monkeypatch.setattr(accuracy, "ELEMENTS_PER_BATCH", elements)
    done: list[float] = []
    values = measure(model, IMAGES, labels, layer_images=10, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == 1.0
    for key in ("networks", "accuracy", "agreement", "images", "layer_images"):
        assert values[key] == expected[key]
    for name, row in layers(values).items():
        assert row["saturated"] == layers(expected)[name]["saturated"]
        if row["snr_db"]["fake-quantized"] != "exact":
            assert row["snr_db"] == pytest.approx(layers(expected)[name]["snr_db"], rel=1e-4)


def test_accuracy_and_agreement_are_shares_of_images() -> None:
    model = converted(network())
    graph = model.graph
    classes = interpret(graph, IMAGES)["logits"][:, :, 0, 0].argmax(axis=1)
    labels = classes.copy()
    labels[:8] = (labels[:8] + 1) % 10
    values = measure(model, IMAGES, labels)
    assert values["accuracy"]["integer"] == 0.8
    assert model.float_reference is not None
    real = evaluate(graph, model.float_reference, torch.from_numpy(IMAGES / 255), quantized=False)["logits"]
    found = real[:, :, 0, 0].argmax(dim=1).numpy()
    assert values["accuracy"]["float"] == np.mean(found == labels)
    assert values["agreement"]["float"]["integer"] == np.mean(found == classes)
    assert values["agreement"]["integer"] == {"float": values["agreement"]["float"]["integer"],
                                              "fake-quantized": values["agreement"]["fake-quantized"]["integer"]}


def test_functions_own_limits_are_no_saturation() -> None:
    """Where a ReLU6 or a Hardtanh ends inside the grid; a grid that ends before them saturates."""
    class Limited(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.input, self.conv = QuantAct(8, scale=1 / 255), ShiftConv2d(1, 4, 3)
            self.limit, self.act = nn.Hardtanh(-1 / 32, 1 / 32), QuantAct(8, True, scale=scale)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(self.limit(self.conv(self.input(x))))

    shares = {}
    for scale in (2.0**-12, 2.0**-11, 2.0**-14):
        torch.manual_seed(3)
        model = convert_model(Limited(scale).eval(), torch.from_numpy(IMAGES) / 255)
        row = layers(measure(model, IMAGES))["act"]
        assert row["largest"] == row["hi"] == min(127, int(1 / 32 / scale))
        shares[scale] = row["saturated"]
    assert shares[2.0**-12] > 0.001    # the upper limit is 128 steps, one more than there are
    assert shares[2.0**-11] == 0.0
    assert shares[2.0**-14] > shares[2.0**-12]


def test_zeros_of_an_unsigned_grid_are_no_saturation() -> None:
    rows = layers(measure(converted(network()), IMAGES))
    assert rows["act1"]["smallest"] == 0
    assert rows["act1"]["saturated"] < 0.001


def test_normalized_pixels_reach_all_networks() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(FixedPoint(4, 6), ShiftConv2d(1, 4, 3), nn.ReLU(), FixedPoint(6, 6), nn.AdaptiveAvgPool2d(1),
                          FixedPoint(6, 8)).eval()
    rule = {"scale": 1 / 255, "mean": [0.25], "std": [0.25]}
    real = (torch.from_numpy(IMAGES) / 255 - 0.25) / 0.25
    model.float_reference = capture_float(model, real)
    found = convert_model(model, real, metadata={"preprocess": rule})
    raw, normalized = measure(found, IMAGES), measure(found, real.double().numpy())
    assert raw["agreement"] == normalized["agreement"]
    assert layers(raw)["0"]["snr_db"]["float"] == pytest.approx(layers(normalized)["0"]["snr_db"]["float"], abs=0.1)
    assert 40 < layers(raw)["0"]["snr_db"]["float"] < 50
    assert layers(raw)["0"]["lo"] == -512
    assert layers(raw)["0"]["hi"] == 7 * 64


def test_a_graph_alone_has_ranges_only() -> None:
    graph = converted(network()).graph
    values = measure(Model(graph), IMAGES, np.zeros(40, np.int64))
    assert values["networks"] == ["integer"]
    assert set(values["accuracy"]) == {"integer"}
    assert values["agreement"] == {"integer": {}}
    for row in layers(values).values():
        assert (row["snr_db"], row["noise_added"], row["marked"]) == ({}, None, False)
    assert layers(values)["act1"]["largest"] > 127


def test_maps_agree_position_by_position_and_have_no_labels() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(QuantAct(8, scale=1 / 255), ShiftConv2d(1, 4, 3, padding=1), QuantAct(8, True, scale=0.02))
    found = convert_model(model.eval(), torch.from_numpy(IMAGES) / 255)
    assert 0.99 < measure(found, IMAGES)["agreement"]["fake-quantized"]["integer"] <= 1.0
    with pytest.raises(BadImages, match="one number per class, not maps"):
        measure(found, IMAGES, np.zeros(40, np.int64))


def test_a_tensor_of_zeros_has_no_noise() -> None:
    model = nn.Sequential(QuantAct(8, scale=1 / 255), ShiftConv2d(1, 4, 3, bias=False), QuantAct(8, True, scale=0.02))
    with torch.no_grad():
        model[1].weight.zero_()
    rows = layers(measure(convert_model(model.eval(), torch.from_numpy(IMAGES) / 255), IMAGES))
    assert rows["2"]["snr_db"] == {"fake-quantized": "exact"}


def test_digits_lose_nothing(tmp_path: Path) -> None:
    zoo.write("digits", tmp_path / "digits.pt")
    images = synthetic_images(64, (1, 8, 8), 3) // 16
    values = flow.check_model(tmp_path / "digits.pt", images, np.zeros(64, np.int64), result=tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == values
    assert values["networks"] == ["fake-quantized", "integer"]
    assert values["agreement"]["integer"]["fake-quantized"] > 0.95
    assert all(row["snr_db"]["fake-quantized"] == "exact" or row["snr_db"]["fake-quantized"] > 40
               for row in layers(values).values())


def test_the_file_of_a_model_is_measured_as_the_model(tmp_path: Path) -> None:
    model = converted(network())
    write_model(model, tmp_path / "model.pt")
    assert measure(load_model(tmp_path / "model.pt"), IMAGES) == measure(model, IMAGES)
    assert load_model(digits_path()).fake_reference is not None
