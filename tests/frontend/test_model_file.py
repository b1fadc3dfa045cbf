"""Model files: what is written is read back, and nothing that is not a model gets in."""

import copy
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import shifthw
from shifthw import zoo
from shifthw.errors import BadModelFile, UnsupportedModel
from shifthw.frontend import write_graph
from shifthw.frontend.convert import capture_float
from shifthw.frontend.model_file import load_model, write_model
from shifthw.ir import interpret
from shifthw.ir.serialize import to_document


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(shifthw.nn.FixedPoint(3, 5), shifthw.nn.ShiftConv2d(3, 4, 3), nn.ReLU(),
                         shifthw.nn.FixedPoint(4, 4), nn.AdaptiveAvgPool2d(1), shifthw.nn.FixedPoint(4, 4))


@pytest.fixture
def saved(model: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    shifthw.save(model, path, torch.randn(2, 3, 6, 6), name="small", classes=("a", "b", "c", "d"), card={"seed": 5})
    return path


def test_round_trip(saved: Path, model: nn.Module) -> None:
    graph = shifthw.load(saved)
    assert graph.name == "small"
    assert graph.metadata == {"classes": ["a", "b", "c", "d"], "card": {"seed": 5},
                              "input": {"rounding": "floor", "lo": -128, "hi": 96}}
    x = torch.randn(5, 3, 6, 6)
    images = model[0].integers(x).numpy()
    expected = model[5].integers(model(x)).numpy()
    assert np.array_equal(interpret(graph, images)[graph.outputs[0]], expected)


def test_same_model_same_bytes(saved: Path, model: nn.Module, tmp_path: Path) -> None:
    other = tmp_path / "another name.pt"
    shifthw.save(model, other, torch.randn(1, 3, 6, 6), name="small", classes=("a", "b", "c", "d"), card={"seed": 5})
    assert other.read_bytes() == saved.read_bytes()


def test_order_of_weights_in_memory_does_not_matter(tmp_path: Path) -> None:
    adder = shifthw.nn.AdderConv2d(4, 5, 3)
    adder.set_step(2.0**-5)
    network = nn.Sequential(shifthw.nn.FixedPoint(3, 5), shifthw.nn.ShiftConv2d(3, 4, 3), shifthw.nn.FixedPoint(3, 5),
                            adder, shifthw.nn.FixedPoint(8, 4))
    shifthw.save(network, tmp_path / "first.pt", torch.randn(2, 3, 6, 6), name="small")
    network.to(memory_format=torch.channels_last)
    assert not adder.adder.is_contiguous()
    shifthw.save(network, tmp_path / "last.pt", torch.randn(2, 3, 6, 6), name="small")
    assert (tmp_path / "last.pt").read_bytes() == (tmp_path / "first.pt").read_bytes()
    assert shifthw.load(tmp_path / "last.pt").name == "small"


def test_failed_save_leaves_what_was_there(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()
    with pytest.raises(UnsupportedModel):
        shifthw.save(nn.Conv2d(3, 3, 3), saved, torch.randn(1, 3, 6, 6))

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        zoo.write("digits", saved)
    assert saved.read_bytes() == before
    assert list(tmp_path.iterdir()) == [saved]


class Evil:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_with_code_is_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    path, mark = tmp_path / "evil.pt", tmp_path / "mark"
    if zipped:
        torch.save({"format": "shifthw model", "version": 1, "graph": Evil(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Evil(mark)))
    refused(path, "a pickle that could run code and was not loaded")
    assert not mark.exists()


def test_whole_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "module.pt"
    torch.save(nn.Linear(2, 2), path)
    refused(path, "could run code and was not loaded")


def test_every_truncation_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    for length in [0, 1, 4, 100, len(content) // 2, len(content) - 1, *range(0, len(content), 1999)]:
        saved.write_bytes(content[:length])
        refused(saved, "is truncated or damaged, .*; copy the file again, or write it with")


def test_files_that_are_no_models(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.pt", "cannot be read [(]No such file or directory")
    refused(tmp_path, "cannot be read [(]Is a directory")
    text = tmp_path / "text.pt"
    text.write_text("import os")
    refused(text, "is truncated or damaged, or is a pickle")
    checkpoint = tmp_path / "checkpoint.pt"
    torch.save(nn.Linear(2, 2).state_dict(), checkpoint)
    refused(checkpoint, "is not a shifthw model; write one with shifthw.save")
    torch.save(torch.zeros(3), checkpoint)
    refused(checkpoint, "is not a shifthw model")


def test_a_compressed_archive_is_refused_before_it_is_unpacked(saved: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(saved) as plain, zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name) + bytes(1 << 20))
    refused(tmp_path / "b.pt", "is truncated or damaged")
    with pytest.raises(BadModelFile) as caught:
        shifthw.load(tmp_path / "b.pt")
    assert "compressed" in str(caught.value.__cause__)


def test_attributes_in_the_place_of_methods_do_nothing(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)

    class Odd:
        def __reduce__(self) -> object:
            return OrderedDict, (), {"get": 5, "items": 5}, None, iter(content.items())

    torch.save(Odd(), saved)
    assert shifthw.load(saved).outputs


def altered(path: Path, **changes: object) -> None:
    """Rewrite the file with some of its entries changed; `nodes` edits the graph's text."""
    content = torch.load(path, weights_only=True)
    edit = changes.pop("nodes", None)
    if edit is not None:
        document = json.loads(content["graph"])
        edit(document["nodes"])
        content["graph"] = json.dumps(document)
    torch.save(content | changes, path)


def test_other_version(saved: Path) -> None:
    altered(saved, version=2)
    refused(saved, "has format version 2, this shifthw reads 1")
    for version in (torch.ones(2), True, 1.0, None):
        altered(saved, version=version)
        refused(saved, f"has format version of type {type(version).__name__}, this shifthw reads 1")
    altered(saved, format=torch.ones(2))
    refused(saved, "is not a shifthw model")


@pytest.mark.parametrize(("metadata", "message"), [
    ([], "metadata must be dict"), ({"classes": "abc"}, "classes must be a list of strings"),
    ({"classes": [1]}, "classes must be a list of strings"), ({"card": 3}, "card must be an object"),
    ({"preprocess": [1]}, "preprocess must be an object with scale, mean and std"),
    ({"preprocess": {"scale": 1.0, "mean": [0.0], "std": [1.0]}}, "a mean and a std for each of 3 channels"),
    ({"preprocess": {"scale": 1.0, "mean": [0.0] * 3, "std": [1.0, 0.0, 1.0]}}, "each std must be positive"),
    ({"preprocess": {"scale": "x", "mean": [0.0] * 3, "std": [1.0] * 3}}, "preprocess must hold finite numbers"),
    ({"preprocess": {"scale": 1.0, "mean": [float("inf")] * 3, "std": [1.0] * 3}}, "must hold finite numbers"),
    ({"input": {"rounding": "floor"}}, "input must be an object with rounding, lo and hi"),
    ({"input": {"rounding": "up", "lo": 0, "hi": 1}}, "'up' is not a valid Rounding"),
    ({"input": {"rounding": "floor", "lo": -129, "hi": 1}}, "input must have lo..hi inside -128..127"),
    ({"input": {"rounding": "floor", "lo": 0.0, "hi": 1}}, "input must have lo..hi inside"),
])
def test_damaged_metadata(saved: Path, metadata: object, message: str) -> None:
    document = json.loads(torch.load(saved, weights_only=True)["graph"])
    altered(saved, graph=json.dumps(document | {"metadata": metadata}))
    refused(saved, f"holds a damaged graph .*{message}")


class Scripted(nn.Module):
    """For a TorchScript archive."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def evil_pickle(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps(Evil(mark)))


def torchscript(path: Path, mark: Path) -> None:
    torch.jit.save(torch.jit.trace(Scripted(), torch.zeros(2)), path)


def quantized_tensor(path: Path, mark: Path) -> None:
    zeros = torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8)
    torch.save({"format": "shifthw model", "version": 1, "graph": "{}", "arrays": {"a": zeros}}, path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", [evil_pickle, torchscript, quantized_tensor])
def test_refusal_is_the_only_line_on_stderr(write: Callable[[Path, Path], None], tmp_path: Path) -> None:
    path, mark = tmp_path / "file.pt", tmp_path / "mark"
    write(path, mark)
    code = ("import sys, shifthw\n"
            "from shifthw.errors import BadModelFile\n"
            "try:\n    shifthw.load(sys.argv[1])\n"
            "except BadModelFile as error:\n    print(error, file=sys.stderr)\n")
    done = subprocess.run([sys.executable, "-W", "always", "-c", code, str(path)], capture_output=True, text=True,
                          check=True)
    assert done.stderr.startswith(f"{path}: ")
    assert done.stderr.count("\n") == 1
    assert not mark.exists()


@pytest.mark.parametrize(("changes", "message"), [
    (dict(graph="{"), "holds a damaged graph [(]JSONDecodeError"),
    (dict(graph="[]"), "holds a damaged graph"),
    (dict(arrays={}), "holds a damaged graph [(]KeyError"),
    (dict(arrays=7), "holds a damaged graph"),
    (dict(nodes=lambda nodes: nodes[0].pop("bits")), "holds a damaged graph [(]KeyError: 'bits'"),
    (dict(nodes=lambda nodes: nodes.reverse()), "holds an inconsistent graph"),
    (dict(nodes=lambda nodes: nodes[0].update(shape=[3, 7, 6])), "holds an inconsistent graph: 1 .*has output shape"),
    (dict(nodes=lambda nodes: nodes[0].update(shape=[3, "x", 6])), "damaged graph .*shape must be a list of int"),
    (dict(nodes=lambda nodes: nodes[0].update(signed="no")), "damaged graph .*signed must be bool, not 'no'"),
    (dict(nodes=lambda nodes: nodes[0].update(signed=1)), "damaged graph .*signed must be bool, not 1"),
    (dict(nodes=lambda nodes: nodes[0].update(bits=8.0)), "damaged graph .*bits must be int, not 8.0"),
    (dict(nodes=lambda nodes: nodes[0].update(bits=True)), "damaged graph .*bits must be int, not True"),
    (dict(nodes=lambda nodes: nodes[0].update(scale="1")), "damaged graph .*scale must be float or int"),
    (dict(nodes=lambda nodes: nodes[0].update(scale=float("nan"))), "inconsistent graph: 0 .*has scale nan"),
    (dict(nodes=lambda nodes: nodes[0].update(name=5)), "damaged graph .*name must be str, not 5"),
    (dict(nodes=lambda nodes: nodes[0].update(name="a\n\x1b[31m")), "inconsistent graph: small: node 0 has name"),
    (dict(nodes=lambda nodes: nodes[1].update(stride="11")), "damaged graph .*stride must be list, not '11'"),
    (dict(nodes=lambda nodes: nodes[1].update(groups=1.0)), "damaged graph .*groups must be int"),
    (dict(nodes=lambda nodes: nodes[1].update(inputs=[["0"]])), "damaged graph .*inputs must be a list of str"),
    (dict(nodes=lambda nodes: nodes[1].update(op=["Input"])), "damaged graph .*unknown operation"),
    (dict(nodes=lambda nodes: nodes.append(7)), "damaged graph .*nodes must be a list of dict"),
    (dict(graph="[" * 200000), "damaged graph [(]RecursionError"),
    (dict(graph=torch.zeros(2)), "damaged graph [(]TypeError"),
    (dict(arrays={5: torch.zeros(2)}), "damaged graph .*array 5"),
    (dict(arrays={"a": [1]}), "damaged graph .*array 'a' must be a tensor, not list"),
    (dict(arrays={"a": torch.zeros(1).expand(1 << 20, 1 << 20)}), "damaged graph .*must be contiguous"),
    (dict(nodes=lambda nodes: nodes[2].update(shift=99)), "inconsistent graph: 3 .*has shift 99"),
    (dict(nodes=lambda nodes: nodes[2].update(shift="9")), "damaged graph .*shift must be int, not '9'"),
])
def test_damaged_graphs(saved: Path, changes: dict[str, object], message: str) -> None:
    altered(saved, **changes)
    refused(saved, message)


def test_array_of_another_type(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    content["arrays"] = {key: value.double() for key, value in content["arrays"].items()}
    torch.save(content, saved)
    refused(saved, "must have int8 signs and exponents")


# -- the real-valued networks --------------------------------------------------------------------

@pytest.fixture
def with_float(model: nn.Module, tmp_path: Path) -> Path:
    """A file with both networks; the float one before the weights were trained on."""
    path = tmp_path / "model.pt"
    other = copy.deepcopy(model)
    other.float_reference = capture_float(other, torch.randn(2, 3, 6, 6))
    with torch.no_grad():
        other[1].weight.mul_(-1.0)
    shifthw.save(other, path, torch.randn(2, 3, 6, 6), name="small")
    return path


def test_references_round_trip(with_float: Path, model: nn.Module) -> None:
    read = load_model(with_float)
    assert read.fake_reference is not None
    assert read.float_reference is not None
    latent = model[1].weight.detach().numpy()
    assert np.array_equal(read.float_reference.weight["1"], latent)
    assert read.float_reference.weight["1"].dtype == np.float32
    assert np.array_equal(np.sign(read.fake_reference.weight["1"]), -np.sign(latent))
    for reference in (read.fake_reference, read.float_reference):
        assert list(reference.affine) == ["3", "5"]
        assert (reference.affine["3"].lo, reference.affine["3"].hi) == (0.0, np.inf)
        assert np.allclose(reference.affine["3"].offset, model[1].bias.detach(), rtol=0, atol=1e-15)
        assert np.allclose(reference.affine["5"].gain[0], 1 / 16)


def test_the_same_references_give_the_same_bytes(with_float: Path, tmp_path: Path) -> None:
    write_model(load_model(with_float), tmp_path / "again.pt")
    assert (tmp_path / "again.pt").read_bytes() == with_float.read_bytes()


def test_a_graph_alone_is_a_model_file_too(with_float: Path, tmp_path: Path) -> None:
    """As those of before there were references."""
    write_graph(shifthw.load(with_float), tmp_path / "alone.pt")
    assert set(torch.load(tmp_path / "alone.pt", weights_only=True)) == {"format", "version", "graph", "arrays"}
    read = load_model(tmp_path / "alone.pt")
    assert (read.fake_reference, read.float_reference) == (None, None)
    assert to_document(read.graph)[0] == to_document(shifthw.load(with_float))[0]


def test_only_the_fake_quantized_network(saved: Path) -> None:
    read = load_model(saved)
    assert read.fake_reference is not None
    assert read.float_reference is None
    assert not any("weight" in key for key in torch.load(saved, weights_only=True)["reference_arrays"])


def test_malformed_metadata_are_not_written(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="small: its metadata is malformed: preprocess must have a mean"):
        shifthw.save(model, tmp_path / "x.pt", torch.randn(2, 3, 6, 6), name="small",
                     preprocess={"scale": 1.0, "mean": [0.5], "std": [0.5]})
    assert list(tmp_path.iterdir()) == []


REFERENCE: list[tuple[Callable[[dict[str, object], dict[str, torch.Tensor]], object], str]] = [
    (lambda d, a: d.pop("fake"), "damaged graph .*an object with fake and float"),
    (lambda d, a: d.update(more=1), "damaged graph .*an object with fake and float"),
    (lambda d, a: d.update(fake=None), "damaged graph .*has an array 'fake/3/gain0' of no node"),
    (lambda d, a: d.update(float=[]), "damaged graph .*float must be an object with the limits of every"),
    (lambda d, a: d["fake"].pop("3"), "damaged graph .*fake must be an object with the limits of every"),
    (lambda d, a: d["fake"].update({"9": [0, 1]}), "damaged graph .*and of no other node"),
    (lambda d, a: d["fake"].update({"3": [0]}), r"damaged graph .*limits of 3 must be two numbers or null, not \[0\]"),
    (lambda d, a: d["fake"].update({"3": ["0", None]}), "damaged graph .*limits of 3 must be"),
    (lambda d, a: d["fake"].update({"3": [True, None]}), "damaged graph .*limits of 3 must be"),
    (lambda d, a: d["fake"].update({"3": [float("nan"), None]}), "inconsistent graph: 3: has the limits nan"),
    (lambda d, a: d["fake"].update({"3": [2, 1]}), "inconsistent graph: 3: has the limits 2.0..1.0; they must ascend"),
    (lambda d, a: a.pop("float/1/weight"), "damaged graph [(]KeyError: 'float/1/weight'"),
    (lambda d, a: a.pop("fake/3/gain0"), "damaged graph [(]KeyError: 'fake/3/gain0'"),
    (lambda d, a: a.update({"fake/1/weight": torch.zeros(4, 3, 3, 3)}), "has an array 'fake/1/weight' of no node"),
    (lambda d, a: a.update({"float/1/weight": torch.zeros(4, 3, 3)}), "inconsistent graph: 1: has real weights"),
    (lambda d, a: a.update({"float/1/weight": torch.zeros(4, 3, 3, 3).long()}), "inconsistent graph: 1: .*int64"),
    (lambda d, a: a["float/1/weight"].fill_(float("nan")), "inconsistent graph: 1: .*must be finite"),
    (lambda d, a: a["fake/5/offset"].fill_(float("inf")), "inconsistent graph: 5: .*must be finite"),
    (lambda d, a: a.update({"fake/5/offset": torch.zeros(1).expand(4)}), "damaged graph .*must be contiguous"),
    (lambda d, a: a.update({"fake/5/offset": torch.zeros(4).bfloat16()}), "damaged graph"),
    (lambda d, a: a.update({"fake/5/offset": [0]}), "damaged graph .*must be a tensor, not list"),
]


@pytest.mark.parametrize(("edit", "message"), REFERENCE)
def test_damaged_references(edit: Callable[[object, object], object], message: str, with_float: Path) -> None:
    content = torch.load(with_float, weights_only=True)
    document, arrays = json.loads(content["reference"]), content["reference_arrays"]
    edit(document, arrays)
    altered(with_float, reference=json.dumps(document), reference_arrays=arrays)
    refused(with_float, message)


@pytest.mark.parametrize("changes", [dict(reference="["), dict(reference="[]"), dict(reference=None),
                                     dict(reference_arrays=3), dict(reference="[" * 200000)])
def test_references_of_nonsense(changes: dict[str, object], with_float: Path) -> None:
    altered(with_float, **changes)
    refused(with_float, "holds a damaged graph")


@pytest.mark.parametrize("key", ["reference", "reference_arrays"])
def test_half_of_a_reference(key: str, with_float: Path) -> None:
    content = torch.load(with_float, weights_only=True)
    del content[key]
    torch.save(content, with_float)
    refused(with_float, f"holds a damaged graph [(]KeyError: '{key}'")


def refused(path: Path, message: str) -> None:
    """Loading fails with one line that begins with the path."""
    with pytest.raises(BadModelFile, match=message) as caught:
        shifthw.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_document_is_plain_json(saved: Path) -> None:
    document, arrays = to_document(shifthw.load(saved))
    assert json.loads(json.dumps(document)) == document
    assert {array.dtype.name for array in arrays.values()} == {"int8", "int64"}
