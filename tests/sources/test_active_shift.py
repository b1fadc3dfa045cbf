"""AS-ResNets of the Active-Shift fork: a small checkpoint made here, its float network, its integer one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from shifthw.cli import main
from shifthw.errors import BadImages, BadModelFile
from shifthw.frontend.model_file import load
from shifthw.ir.graph import SpatialShift2d
from shifthw.lower import compile_graph
from shifthw.sources.active_shift import float_network, import_active_shift, preprocess, read_state
from shifthw.zoo.as_resnet import STAGES

BASE, CLASSES = 4, 3


def tensors(seed: int = 1) -> dict[str, torch.Tensor]:
    """The tensors of an AS-ResNet-w4, as the released files name them."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, gain: float = 1.0) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * gain

    def scale(name: str, channels: int) -> dict[str, torch.Tensor]:
        return {f"{name}.scale": 0.5 + torch.rand(channels, generator=generator), f"{name}.bias": normal(channels)}

    state = {"conv0.weight": normal(BASE, 3, 3, 3, gain=0.3), "fc/linear.weight": normal(CLASSES, 8 * BASE),
             "fc/linear.bias": normal(CLASSES)}
    inputs = BASE
    for stage, (multiple, blocks) in enumerate(STAGES):
        for block in range(blocks) if stage == 0 else range(1, blocks + 1):
            key, outputs = f"{stage}_{block}", multiple * BASE
            state |= scale(f"scale{key}", inputs) | scale(f"scale{key}/1", outputs)
            state[f"conv{key}/1.weight"] = normal(outputs, inputs, 1, 1, gain=inputs**-0.5)
            state[f"conv{key}/3.weight"] = normal(outputs, outputs, 1, 1, gain=outputs**-0.5)
            state |= {f"shift{key}/2.{axis}pos": normal(outputs) for axis in "xy"}
            if stage and block == 1:
                state[f"conv/shortcut{stage}.weight"] = normal(outputs, inputs, 1, 1, gain=inputs**-0.5)
            inputs = outputs
    return state | scale("scale/bnlast", inputs)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("active_shift") / "small.safetensors"
    save_file(tensors(), path)
    return path


def pictures(count: int = 6, size: int = 48) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def test_the_float_network_takes_red_first_and_the_exact_displacements(checkpoint: Path) -> None:
    state = read_state(checkpoint)
    real = torch.from_numpy(preprocess().real(pictures(2)).astype(np.float32))
    with torch.no_grad():
        first = float_network(state).layers[0](real)
        expected = torch.nn.functional.conv2d(real.flip(1), state["conv0.weight"], None, 2, 1)
        exact, halves = (float_network(state, exact=each)(real) for each in (True, False))
    assert torch.allclose(first, expected, atol=1e-5)
    assert exact.shape == halves.shape == (2, CLASSES)
    assert not torch.equal(exact, halves)


def test_whole_displacements_make_both_float_networks_one(tmp_path: Path) -> None:
    state = {name: torch.round(2 * value) / 2 if "shift" in name else value for name, value in tensors().items()}
    save_file(state, tmp_path / "half.safetensors")
    read, real = read_state(tmp_path / "half.safetensors"), torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(float_network(read)(real), float_network(read, exact=False)(real))


def test_the_integer_network_has_half_pixel_shifts_and_no_copies(checkpoint: Path) -> None:
    graph = import_active_shift(checkpoint, pictures()).model.graph
    shifts = [node.op for node in graph.nodes if isinstance(node.op, SpatialShift2d)]
    assert len(shifts) == sum(blocks for _, blocks in STAGES)
    assert all(op.per_pixel == 2 for op in shifts)
    program = compile_graph(graph, images=1, pixels=4, simd=8, pe=8)
    assert not any(layer.copy for layer in program.layers)


def test_the_command_writes_a_model(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "calib.npy", pictures())
    output = tmp_path / "model.pt"
    assert main(["import", "active-shift", str(checkpoint), "--calib", str(tmp_path / "calib.npy"), "-o",
                 str(output)]) == 0
    assert "3x48x48 images of 8 bits" in capsys.readouterr().out
    assert load(output).metadata["preprocess"]["scale"] == 0.01735


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "must come with --calib"), (["--arch", "resnet20", "--calib", "x.npy"], "takes no --arch"),
])
def test_arguments_that_do_not_suit(arguments: list[str], message: str, checkpoint: Path, tmp_path: Path,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "active-shift", str(checkpoint), "-o", str(tmp_path / "m.pt"), *arguments]) == 2
    assert message in capsys.readouterr().err


DAMAGES = {
    "missing": (lambda state: state.pop("shift1_2/2.xpos"), "shift1_2/2.xpos is missing, must be"),
    "too many": (lambda state: state.update(extra=torch.zeros(1)), r"tensor extra is \(1,\), must be absent"),
    "misshaped": (lambda state: state.update({"conv0_0/1.weight": torch.zeros(1)}), r"conv0_0/1.weight is \(1,"),
    "no numbers": (lambda state: state["scale0_0.bias"].fill_(torch.nan), "scale0_0.bias has NaN"),
    "another network": (lambda state: state.pop("conv0.weight"), "has no tensor conv0.weight"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_files_that_do_not_suit(damage: object, message: str, tmp_path: Path) -> None:
    state = tensors()
    damage(state)  # type: ignore[operator]
    save_file(state, tmp_path / "damaged.safetensors")
    with pytest.raises(BadModelFile, match=message):
        read_state(tmp_path / "damaged.safetensors")


def test_images_that_do_not_suit(checkpoint: Path) -> None:
    with pytest.raises(BadImages, match=r"float64\[1, 3, 48, 48\], must be uint8 \[N, 3, H, W\]"):
        import_active_shift(checkpoint, np.zeros((1, 3, 48, 48)))
