"""Plain modules as steps: arguments, places, constants, and what cannot be exported."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from shifthw.errors import UnsupportedModel
from shifthw.frontend.export_program import checked_copy
from shifthw.frontend.exported import Exported, Stored, export
from shifthw.nn import PadShortcut, QuantAct

from .plain_models import Net, Standardized, conv, images, norm

AT = r"plain_models.py:\d+"
"""Where Net's forward is, which calls functions of other names."""


def exported(model: nn.Module) -> Exported:
    return export(checked_copy(model), images()[:2])


@pytest.fixture(scope="module")
def branches() -> Exported:
    def forward(m: Net, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = m.body(x)
        return torch.sub(other=y, input=functional.relu(y), alpha=2), y
    return exported(Net(forward, body=nn.Sequential(conv(), norm())))


def test_steps_are_named_by_kind_with_what_they_read(branches: Exported) -> None:
    kinds = [(step.kind, step.inputs, step.shape) for step in branches.steps if step.kind != "getitem"]
    conv2d, batch_norm, relu, sub = kinds
    assert conv2d == ("conv2d", (branches.input,), (2, 4, 8, 8))
    assert [kind for kind, *_ in kinds] == ["conv2d", "batch_norm", "relu", "sub"]
    assert sub[1] == (branches.steps[-2].name, branches.steps[-2].inputs[0])    # in ATen's order, not the call's
    assert branches.steps[-1].options["alpha"] == 2
    assert branches.outputs == (branches.steps[-1].name, branches.steps[-2].inputs[0])
    assert branches.input_shape == branches.steps[0].input_shapes[0] == (2, 3, 8, 8)


def test_steps_know_their_module_and_line(branches: Exported) -> None:
    first, last = branches.steps[0], branches.steps[-1]
    assert (first.path, first.is_module) == ("body.0", True)
    assert first.where.startswith("body.0 (conv2d)")
    assert (last.path, last.is_module) == ("", False)
    assert last.where == f"forward (sub) at {last.line}"
    file, _, line = last.line.rpartition(":")
    assert file == Path(__file__).name
    assert "torch.sub(" in Path(__file__).read_text().splitlines()[int(line) - 1]


def test_parameters_keep_their_names(branches: Exported) -> None:
    weight, mean = branches.steps[0].options["weight"], branches.steps[1].options["running_mean"]
    assert (weight.name, weight.owner, tuple(weight.value.shape)) == ("body.0.weight", "body.0", (4, 3, 3, 3))
    assert (mean.name, mean.owner) == ("body.1.running_mean", "body.1")
    assert Stored("conv.parametrizations.weight.original0", weight.value).owner == "conv"
    assert Stored("weight", weight.value).owner == ""


def test_nothing_works_in_place() -> None:
    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        y = m.a(x)
        functional.relu_(y)
        y += 1
        return y * 2
    steps = exported(Net(forward, a=conv())).steps
    assert [step.kind for step in steps] == ["conv2d", "relu", "add", "mul"]
    assert [step.inputs[0] for step in steps[1:]] == [step.name for step in steps[:-1]]


def test_what_depends_on_no_image_is_computed() -> None:
    layer = parametrizations.weight_norm(conv())
    net = Net(lambda m, x: m.b(m.a(x)) - torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1), a=layer,
              b=Standardized(4, 4, 3))
    first, second, last = exported(net).steps
    assert torch.equal(first.options["weight"].value, layer.weight)
    assert first.options["weight"].owner == "a"
    weight = net.b.weight
    assert torch.equal(second.options["weight"].value, weight - weight.mean((1, 2, 3), keepdim=True))
    assert second.path == "b"
    assert last.options["other"].value.flatten().tolist() == [1, 2, 3, 4]


def test_buffers_that_are_not_saved_and_parts_of_constants() -> None:
    net = Net(lambda m, x: m.a(x) + m.pair.chunk(2)[1], a=conv())
    net.register_buffer("pair", torch.tensor([3.0, 5.0]), persistent=False)
    assert float(exported(net).steps[-1].options["other"].value) == 5.0


def test_only_what_forward_returns_is_an_output() -> None:
    def forward(m: Net, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        m.calls += 1
        functional.relu_(x)
        y = m.a(x)
        return y, y
    net = Net(forward, a=conv())
    net.register_buffer("calls", torch.tensor(0.0))
    found = exported(net)
    assert found.outputs == (found.steps[-1].name,) * 2
    assert float(net.calls) == 0.0


def test_the_module_stays_as_it_was() -> None:
    net = nn.Sequential(conv(), norm(), nn.Dropout()).double().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = images()
    exported(net)
    assert net.training and torch.equal(x, images())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Several(nn.Module):
    """A forward of two tensors."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


def broken(where: str, index: int, value: float) -> nn.Module:
    net = nn.Sequential(conv(), norm())
    net.state_dict()[where].view(-1)[index] = value
    return net


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "branch": (lambda: Net(lambda m, x: m.a(x) if x.sum() > 0 else x, a=conv()),
               r"Net at test_exported.py:\d+: cannot be exported .*branches on, or makes shapes of, the values of "),
    "shape": (lambda: Net(lambda m, x: m.a(x)[x[:, :1].expand(2, 4, 8, 8) > 0.5], a=conv()),
              rf"forward \(index\) at {AT}: gives a shape \[u0\] that depends on the images; .* must be fixed"),
    "fails": (lambda: Net(lambda m, x: m.a(x).undefined(), a=conv()), r"Net at test_exported.py:\d+: .*'undefined'$"),
    "channels": (lambda: nn.Sequential(conv(4)), r"images of shape \[2, 3, 8, 8\]: Given groups=1, .* got 3 channels"),
    "two inputs": (Several, "missing a required argument: 'y'; forward must take one tensor, the images"),
    "nan": (lambda: broken("0.weight", 7, torch.nan), "0.weight: holds 1 NaN or infinite numbers, must be finite"),
    "inf": (lambda: broken("1.running_var", 2, torch.inf), "1.running_var: holds 1 NaN or infinite numbers"),
    "lazy": (lambda: nn.Sequential(nn.LazyConv2d(4, 3)), "0.weight: holds no values yet; run the network once"),
    "meta": (lambda: nn.Sequential(conv()).to("meta"), "0.weight: holds no values yet"),
    "quantized": (lambda: nn.Sequential(conv(), QuantAct(8)), r"1 \(QuantAct\): is a layer of shifthw.nn already"),
    "compiled": (lambda: nn.Sequential(torch.compile(conv())), "0: is compiled; give the network as it was"),
    "scripted": (lambda: torch.jit.script(conv()), "RecursiveScriptModule: is compiled; give the network as it was"),
    "hook": (lambda: nn.Sequential(nn.utils.weight_norm(conv())), r"0 \(Conv2d\): has a forward hook"),
    "constant": (lambda: Net(lambda m, x: (m.a(x), 3), a=conv()), "output: must be a tensor, or a tuple of tensors"),
    "no images": (lambda: Net(lambda m, x: m.a.weight * 2, a=conv()), "output: must be a tensor, or a tuple"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(UnsupportedModel, match=message) as error:
        exported(make())
    assert "\n" not in str(error.value)


def test_the_shortcut_of_shifthw_is_as_good_as_ones_own() -> None:
    assert [step.kind for step in exported(nn.Sequential(PadShortcut(3, 6, 2))).steps] == ["slice", "slice", "pad"]
