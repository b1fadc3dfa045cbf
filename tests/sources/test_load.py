"""Loaded checkpoints compute, bit for bit, what the frameworks' layers compute; files that do not fit are named."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from shifthw.errors import UnsupportedModel
from shifthw.nn import AdderConv2d
from shifthw.sources import SourceOptions, load_model
from shifthw.sources.load import FRAMEWORKS, load_source

from . import upstream_layers as upstream

OWN = """
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(2, 6, 3, 2, 1, groups=2), nn.ReLU(), nn.Conv2d(6, 4, 3, dilation=(1, 2)),
                         nn.ReLU(), nn.Flatten(), nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 3, bias=False))

def broken():
    raise RuntimeError("no network today")

def nothing():
    return 5

def lazy():
    return nn.Sequential(nn.LazyConv2d(2, 3))

def without_values():
    with torch.device("meta"):
        return net()

def computed():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 6, 3)))

class Extra(nn.Conv2d):
    def get_extra_state(self):
        return {}

def extra():
    return nn.Sequential(Extra(2, 6, 3))
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(OWN)
    return f"{tmp_path}/own.py:net"


def plain_net() -> nn.Module:
    names: dict[str, object] = {}
    exec(OWN, names)
    return names["net"]()       # type: ignore[operator]


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(8)) * 2


def equal(one: nn.Module, other: nn.Module, x: torch.Tensor) -> bool:
    with torch.no_grad():
        return torch.equal(one(x.clone()), other(x.clone()))


def known(framework: str, name: str, classes: int = 10) -> nn.Module:
    return FRAMEWORKS[framework].architectures[name].build(classes)


@pytest.mark.parametrize("form", ["PS", "Q"])
@pytest.mark.parametrize(("bits", "act"), [(5, (16, 16)), (4, (8, 8)), (3, (3, 5)), (2, (4, 4))])
@pytest.mark.parametrize("kind", ["weights.pth", "checkpoint.pth.tar", "net.safetensors"])
def test_deepshift_networks_of_ones_own(form: str, bits: int, act: tuple[int, int], kind: str, own: str,
                                        tmp_path: Path) -> None:
    network = upstream.seed(upstream.converted(plain_net(), upstream.deepshift(form, bits, act)), 5)
    path = tmp_path / kind
    if kind == "weights.pth":
        torch.save(upstream.rounded(copy.deepcopy(network)).state_dict(), path)
        network = upstream.rounded(network)
    elif kind == "checkpoint.pth.tar":
        torch.save(upstream.checkpoint(network, parallel=True), path)
    else:
        save_file(network.state_dict(), path)
    options = SourceOptions(weight_bits=bits, act_format=act)
    assert equal(load_model(f"deepshift-{form.lower()}", path, own, options=options), network, images(3, 2, 9, 11))


@pytest.mark.parametrize("form", ["PS", "Q"])
@pytest.mark.parametrize("name", ["LinearMNIST", "ConvMNIST", "resnet20"])
def test_deepshift_networks_by_name(form: str, name: str, tmp_path: Path) -> None:
    framework = f"deepshift-{form.lower()}"
    network = upstream.seed(upstream.converted(known(framework, name), upstream.deepshift(form)), 6)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    shape = FRAMEWORKS[framework].architectures[name].input_shape
    assert equal(load_model(framework, tmp_path / "weights.pth", name), network, images(2, *shape))


@pytest.mark.parametrize("threshold", [None, 0.5, 0.3])
@pytest.mark.parametrize("fraction", [16, 8, 0])
def test_shiftaddnet_flags_reach_the_top_only(threshold: float | None, fraction: int, tmp_path: Path) -> None:
    def convert(path: str, plain: nn.Conv2d | nn.Linear) -> nn.Module:
        assert isinstance(plain, nn.Conv2d)
        return upstream.Conv2dShift(plain) if "." in path else upstream.Conv2dShift(plain, 5, (16, fraction), threshold)

    network = upstream.seed(upstream.converted(known("shiftaddnet", "resnet20_shift"), convert), 7)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "ckpt.pth.tar")
    options = SourceOptions(act_format=(16, fraction), sign_threshold=threshold)
    loaded = load_model("shiftaddnet", tmp_path / "ckpt.pth.tar", "resnet20_shift", options=options)
    assert equal(loaded, network, images(2, 3, 32, 32))


def with_adders(model: nn.Module) -> nn.Module:
    for path, module in list(model.named_modules()):
        if isinstance(module, AdderConv2d):
            model.set_submodule(path, upstream.Adder2d(module.adder, module.stride[0], module.padding[0]))
    return model


@pytest.mark.parametrize(("framework", "name", "threshold"), [
    ("shiftaddnet", "resnet20_shiftadd", None), ("torchshiftadd", "resnet20_shiftadd", 0.3),
    ("torchshiftadd", "resnet20_shift", 0.3), ("torchshiftadd", "resnet20_adder", None),
    ("shiftaddnet", "resnet20_add", None), ("addernet", "resnet20", None)])
def test_shift_and_adder_networks(framework: str, name: str, threshold: float | None, tmp_path: Path) -> None:
    network = with_adders(known(framework, name))
    if "shift" in name:
        upstream.converted(network, lambda path, plain: upstream.Conv2dShift(plain, threshold=threshold))  # type: ignore[arg-type]
    x = images(1, 3, 32, 32)
    upstream.calibrated(upstream.seed(network, 8), images(4, 3, 32, 32)[:, :, ::2, ::2].repeat(1, 1, 2, 2))
    torch.save({"state_dict": network.state_dict(), "epoch": 1}, tmp_path / "ckpt.pth.tar")
    assert equal(load_model(framework, tmp_path / "ckpt.pth.tar", name), network, x)


def test_number_of_keys_is_upstreams(tmp_path: Path) -> None:
    network = with_adders(known("shiftaddnet", "resnet20_shiftadd"))
    upstream.converted(network, lambda path, plain: upstream.Conv2dShift(plain))     # type: ignore[arg-type]
    assert len(network.state_dict()) == 174
    assert {"layer2.0.downsample.0.sign", "layer2.0.downsample.1.adder", "layer2.0.downsample.2.weight",
            "layer1.2.conv2.1.adder", "fc.shift", "bn2.running_var"} <= network.state_dict().keys()


def test_old_names_of_adders(tmp_path: Path) -> None:
    network = upstream.seed(with_adders(known("addernet", "resnet20")), 9)
    old = {key.replace(".adder", ".weight"): value for key, value in network.state_dict().items()}
    assert not any("adder" in key for key in old)
    torch.save(old, tmp_path / "old.pth")
    assert equal(load_model("addernet", tmp_path / "old.pth", "resnet20"), network, images(1, 3, 32, 32))


def test_fixed_shift_layers(tmp_path: Path) -> None:
    network = upstream.converted(known("shiftaddnet", "resnet20_shift"),
                                 lambda path, plain: upstream.SEConv2d(plain))       # type: ignore[arg-type]
    upstream.seed(network, 10, shifts=(-7.4, 0.4))
    for module in network.modules():
        if isinstance(module, upstream.SEConv2d):
            module.weight.data = torch.exp2(module.weight.data.abs().log2().round()) * module.weight.data.sign()
    upstream.calibrated(network, images(4, 3, 32, 32))
    torch.save(network.state_dict(), tmp_path / "ckpt.pth.tar")
    loaded = load_model("shiftaddnet", tmp_path / "ckpt.pth.tar", "resnet20_shift")
    assert equal(loaded, network, images(2, 3, 32, 32))


def test_classes_are_those_of_the_file(tmp_path: Path) -> None:
    network = upstream.converted(known("deepshift-ps", "resnet20", 100), upstream.deepshift("PS"))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    with torch.no_grad():
        assert load_model("deepshift-ps", tmp_path / "weights.pth", "resnet20")(images(1, 3, 32, 32)).shape == (1, 100)


def test_shift_of_a_weight_that_was_zero(own: str, tmp_path: Path) -> None:
    """convert_to_shift leaves log2(0); the layer clamps it."""
    network = upstream.seed(upstream.converted(plain_net(), upstream.deepshift("PS")), 11)
    state = copy.deepcopy(network.state_dict())
    state["0.shift"][0, 0, 0, 0], network.get_submodule("0").shift.data[0, 0, 0, 0] = -torch.inf, -torch.inf
    torch.save(state, tmp_path / "weights.pth")
    assert equal(load_model("deepshift-ps", tmp_path / "weights.pth", own), network, images(2, 2, 9, 11))


def test_layers_that_were_not_converted_stay_ordinary(own: str, tmp_path: Path) -> None:
    convert = upstream.deepshift("PS")
    network = upstream.converted(plain_net(), lambda path, plain: None if path == "0" else convert(path, plain))
    torch.save(upstream.seed(network, 12).state_dict(), tmp_path / "weights.pth")
    assert sorted(load_source("deepshift-ps", tmp_path / "weights.pth", own).layers) == ["2", "5", "7"]
    assert equal(load_model("deepshift-ps", tmp_path / "weights.pth", own), network, images(2, 2, 9, 11))


def test_exact_passes_rounded_files(own: str, tmp_path: Path) -> None:
    for form in ("PS", "Q"):
        network = upstream.seed(upstream.converted(plain_net(), upstream.deepshift(form)), 13)
        torch.save(network.state_dict(), tmp_path / "latent.pth")
        with torch.no_grad():
            network(images(1, 2, 9, 11))                # clamps in place, as before every save of upstream
        torch.save(upstream.rounded(network).state_dict(), tmp_path / "weights.pth")
        options = SourceOptions(exact=True)
        load_model(f"deepshift-{form.lower()}", tmp_path / "weights.pth", own, options=options)
        with pytest.raises(UnsupportedModel, match=r"^0\.(shift|weight): \d+ of 54 .*must be exact as asked"):
            load_model(f"deepshift-{form.lower()}", tmp_path / "latent.pth", own, options=options)


@pytest.mark.parametrize(("form", "what"), [
    ("PS", r"0\.shift: holds -7..0; must be within -2..0, or weights change: give the --weight-bits"),
    ("Q", r"0\.weight: holds magnitudes 0.00781..1; must be within 0.125..1, or weights change: give the --weight-b")])
def test_exact_needs_the_bits_of_the_training(form: str, what: str, own: str, tmp_path: Path) -> None:
    """With fewer the weights of the file would be raised to the smallest power of two there is."""
    network = upstream.seed(upstream.converted(plain_net(), upstream.deepshift(form, 5)), 15, shifts=(-7.4, 0.4))
    torch.save(upstream.rounded(network).state_dict(), tmp_path / "weights.pth")
    framework = f"deepshift-{form.lower()}"
    load_model(framework, tmp_path / "weights.pth", own, options=SourceOptions(exact=True))
    with pytest.raises(UnsupportedModel, match=f"^{what}"):
        load_model(framework, tmp_path / "weights.pth", own, options=SourceOptions(exact=True, weight_bits=3))


# -- files that do not fit -------------------------------------------------------------------------

def state(form: str = "PS") -> dict[str, torch.Tensor]:
    return upstream.seed(upstream.converted(plain_net(), upstream.deepshift(form)), 14).state_dict()


def refused(state: dict[str, torch.Tensor], architecture: str, folder: Path, framework: str = "deepshift-ps",
            options: SourceOptions | None = None) -> str:
    torch.save(state, folder / "weights.pth")
    with pytest.raises(UnsupportedModel) as caught:
        load_model(framework, folder / "weights.pth", architecture, options=options)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


def test_missing_keys_are_named(own: str, tmp_path: Path) -> None:
    found = state()
    del found["0.sign"], found["5.bias"]
    assert "weights.pth" in refused(found, own, tmp_path)
    assert "misses 0.sign, 5.bias; give the architecture that was trained" in refused(found, own, tmp_path)
    only = {"7.sign": found["7.sign"]}
    assert "misses 0.shift, 0.sign, 0.bias and 7 more;" in refused(only, own, tmp_path)


def test_extra_keys_are_named(own: str, tmp_path: Path) -> None:
    found = state() | {f"more.{n}": torch.ones(1) for n in range(5)}
    assert "has more than the architecture: more.0, more.1, more.2 and 2 more;" in refused(found, own, tmp_path)


def test_misshaped_keys_are_named(own: str, tmp_path: Path) -> None:
    found = state() | {"2.shift": torch.ones(4, 6, 3, 5)}
    assert "has other shapes: 2.shift [4, 6, 3, 5], must be [4, 6, 3, 3];" in refused(found, own, tmp_path)


@pytest.mark.parametrize(("key", "value"), [("2.sign", torch.nan), ("5.bias", torch.inf), ("0.shift", torch.nan),
                                            ("0.shift", torch.inf), ("2.sign", -torch.inf)])
def test_bad_numbers_are_named(key: str, value: float, own: str, tmp_path: Path) -> None:
    found = state()
    found[key].flatten()[1] = value
    assert f"holds NaN or infinite numbers: {key};" in refused(found, own, tmp_path)


def test_names_of_the_file_stay_in_one_line(own: str, tmp_path: Path) -> None:
    text = refused(state() | {"more\n" * 999: torch.ones(1)}, own, tmp_path)
    assert "has more than the architecture: 'more\\nmore" in text
    assert len(text) < 600


def test_computed_weights_are_refused(own: str, tmp_path: Path) -> None:
    found = {"0.bias": torch.ones(6), "0.parametrizations.weight.original0": torch.ones(6, 1, 1, 1),
             "0.parametrizations.weight.original1": torch.ones(6, 2, 3, 3)}
    text = refused(found, own.replace(":net", ":computed"), tmp_path)
    assert text.startswith("0 (ParametrizedConv2d): its parameters are bias; must be weight and bias themselves")


@pytest.mark.parametrize("shape", [(1 << 40, 0), (1 << 20, 1)])
def test_a_classifier_that_only_claims_its_size(shape: tuple[int, int], tmp_path: Path) -> None:
    text = refused({"linear.shift": torch.empty(shape)}, "resnet20", tmp_path)
    assert "misses conv1.shift, conv1.sign, bn1.weight and" in text


def test_another_form_is_noticed(own: str, tmp_path: Path) -> None:
    assert "misses 0.weight, 2.weight, 5.weight and 1 more" in refused(state("PS"), own, tmp_path, "deepshift-q")


def test_unknown_names_list_the_known_ones(tmp_path: Path) -> None:
    assert refused(state(), "resnet21", tmp_path) == (
        "resnet21: is no architecture of deepshift-ps; there are LinearMNIST, ConvMNIST, resnet20, resnet32, resnet44, "
        "resnet56, resnet18, resnet50, and file.py:function for one of your own")
    assert refused(state(), "resnet20", tmp_path, "deepsift") == (
        "deepsift: is no format of a source framework; there are deepshift-q, deepshift-ps, shiftaddnet, "
        "torchshiftadd, addernet")


def test_form_q_has_no_threshold(own: str, tmp_path: Path) -> None:
    assert "0: is of form Q, whose signs are its weights' and have no threshold" in refused(
        state("Q"), own, tmp_path, "deepshift-q", SourceOptions(sign_threshold=0.5))


def test_fixed_shift_layers_must_hold_powers_of_two(own: str, tmp_path: Path) -> None:
    network = upstream.converted(plain_net(), lambda path, plain: upstream.SEConv2d(plain)
                                 if isinstance(plain, nn.Conv2d) else None)
    found = network.state_dict()
    found["0.weight"].fill_(0.75)
    found["2.weight"].fill_(0.25)
    assert "0.weight: 54 of 54 weights are not powers of two, the first is 0.75" in refused(
        found, own, tmp_path, "shiftaddnet")
    found["0.weight"].fill_(2.0)
    assert "0.weight: holds magnitudes 2..2; must be within 3.05e-05..1" in refused(found, own, tmp_path, "shiftaddnet")


@pytest.mark.parametrize(("name", "what"), [
    ("own.py:missing", "has no function missing"), ("own.py:broken", r"fails \(RuntimeError: no network today\)"),
    ("own.py:nothing", "returns int; must return a torch.nn.Module"), ("missing.py:net", "is not there"),
    ("own.py:lazy", r"0\.weight has no shape yet"), ("own.py:without_values", r"0\.weight has no values yet"),
    ("own.py:extra", r"keeps dict at 0\._extra_state; must keep tensors only"),
    ("bad.py:net", r"fails \(SyntaxError")])
def test_constructors_that_do_not_work(name: str, what: str, own: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def net(:\n")
    torch.save(state(), tmp_path / "weights.pth")
    with pytest.raises(UnsupportedModel, match=what):
        load_model("deepshift-ps", tmp_path / "weights.pth", f"{tmp_path}/{name}")


def test_constructors_find_modules_beside_their_file(tmp_path: Path) -> None:
    (tmp_path / "beside_net.py").write_text(OWN)
    (tmp_path / "net.py").write_text("def make():\n    from beside_net import net\n    return net()\n")
    torch.save(state(), tmp_path / "weights.pth")
    load_model("deepshift-ps", tmp_path / "weights.pth", f"{tmp_path}/net.py:make")


@pytest.mark.parametrize(("options", "what"), [
    ({"weight_bits": 9}, "weight_bits: must be 2..8, not 9"), ({"act_format": (16, 17)}, "act_format: must be at lea"),
    ({"act_format": (1, 4)}, "act_format"), ({"sign_threshold": 1.5}, "sign_threshold: must be in 0..1, not 1.5")])
def test_options_out_of_range(options: dict[str, object], what: str) -> None:
    with pytest.raises(UnsupportedModel, match=what):
        SourceOptions(**options)        # type: ignore[arg-type]
