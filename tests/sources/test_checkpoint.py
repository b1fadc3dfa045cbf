"""Checkpoint files of training scripts, whole, foreign, damaged and hostile."""

import contextlib
import pickle
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from shifthw.errors import BadModelFile
from shifthw.sources.checkpoint import read_state_dict

STATE = {"fc.shift": torch.tensor([[-1.25, -3.0]]), "fc.sign": torch.tensor([[0.75, -1.0]])}


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor] = STATE) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


class Hostile:
    """Unpickled by anything ordinary, creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


class Scheduler:
    """A foreign object beside the state dict, as DeepShift's checkpoints hold one."""

    def __init__(self) -> None:
        self.step_of = {"optimizer": [torch.ones(3)]}


class Shift(nn.Module):
    """A foreign module, as model.pth holds a whole one."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Module()
        for key, value in STATE.items():
            self.fc.register_parameter(key.removeprefix("fc."), nn.Parameter(value))


class OddDict:
    """Becomes a dict whose methods are numbers."""

    def __reduce__(self) -> Any:
        return OrderedDict, (), {"items": 5, "keys": 5, "get": 5}, None, iter(STATE.items())


@pytest.mark.parametrize("content", [
    STATE, {"state_dict": STATE, "epoch": 3, "arch": "resnet20", "best_acc1": torch.tensor(90.0)}, {"model": STATE},
    {"net": STATE, "acc": 90.5}, {"epoch": 1, "model_state_dict": STATE}],
    ids=["bare", "state_dict", "model", "net", "model_state_dict"])
@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_state_dict_is_found(content: dict[str, Any], new: bool, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pth", _use_new_zipfile_serialization=new)
    assert equal(read_state_dict(tmp_path / "file.pth"))


def test_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "file.safetensors")
    assert equal(read_state_dict(tmp_path / "file.safetensors"))


def test_prefix_of_data_parallel_is_stripped(tmp_path: Path) -> None:
    torch.save({"state_dict": {f"module.{key}": value for key, value in STATE.items()}}, tmp_path / "file.pth.tar")
    assert equal(read_state_dict(tmp_path / "file.pth.tar"))


def test_memory_format_does_not_matter(tmp_path: Path) -> None:
    state = {"w": torch.arange(24.0).reshape(2, 3, 2, 2), "t": torch.arange(6.0).reshape(2, 3)}
    torch.save({"w": state["w"].to(memory_format=torch.channels_last), "t": state["t"].t().contiguous().t()},
               tmp_path / "file.pth")
    assert equal(read_state_dict(tmp_path / "file.pth"), state)


def test_a_layer_named_module_stays(tmp_path: Path) -> None:
    state = {"module.weight": torch.ones(2), "other.weight": torch.ones(3)}
    torch.save(state, tmp_path / "file.pth")
    assert equal(read_state_dict(tmp_path / "file.pth"), state)


def test_values_become_detached_float32(tmp_path: Path) -> None:
    state = {"w": nn.Parameter(torch.tensor([0.1], dtype=torch.float64)), "h": torch.tensor([0.5], dtype=torch.half),
             "n": torch.tensor(7)}
    torch.save(state, tmp_path / "file.pth")
    found = read_state_dict(tmp_path / "file.pth")
    assert [found[key].dtype for key in "whn"] == [torch.float32, torch.float32, torch.int64]
    assert not found["w"].requires_grad
    assert found["w"].item() == torch.tensor(0.1).item()


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_objects_beside_the_state_dict_are_left_out(new: bool, tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    content = {"state_dict": STATE, "optimizer": optimizer.state_dict(), "lr_scheduler": schedule,
               "other": Scheduler()}
    torch.save(content, tmp_path / "file.pth.tar", _use_new_zipfile_serialization=new)
    assert equal(read_state_dict(tmp_path / "file.pth.tar"))


# -- code ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("place", ["beside", "inside", "instead"])
@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_code_in_a_file_does_not_run(place: str, new: bool, tmp_path: Path) -> None:
    hostile = Hostile(tmp_path / "touched")
    content = {"beside": {"state_dict": STATE, "epoch": hostile}, "inside": {**STATE, "fc.bias": hostile},
               "instead": hostile}[place]
    torch.save(content, tmp_path / "file.pth", _use_new_zipfile_serialization=new)
    if place == "beside":
        assert equal(read_state_dict(tmp_path / "file.pth"))
    else:
        with pytest.raises(BadModelFile, match=r"file\.pth: holds"):
            read_state_dict(tmp_path / "file.pth")
    assert not (tmp_path / "touched").exists()
    read_trusted(tmp_path / "file.pth")
    assert (tmp_path / "touched").exists()      # so that the test would notice


def read_trusted(path: Path) -> None:
    with contextlib.suppress(BadModelFile):
        read_state_dict(path, trust_pickle=True)


def test_calls_of_builtins_do_not_run(tmp_path: Path) -> None:
    """Written by hand: one opcode per way to call something."""
    mark = tmp_path / "touched"
    for call in (f"cbuiltins\nexec\n(Vopen({str(mark)!r}, 'w')\ntR.", f"(Vopen({str(mark)!r}, 'w')\nibuiltins\nexec\n.",
                 f"ctorch._utils\n_rebuild_tensor_v2.__globals__\n(Vopen({str(mark)!r}, 'w')\ntR."):
        (tmp_path / "file.pth").write_bytes(call.encode())
        with pytest.raises(BadModelFile):
            read_state_dict(tmp_path / "file.pth")
        with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
            archive.writestr("archive/data.pkl", call)
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/byteorder", "little")
        with pytest.raises(BadModelFile):
            read_state_dict(tmp_path / "zip.pth")
    assert not mark.exists()


@pytest.mark.parametrize("content", ["module", "dict"])
@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_whole_modules_need_trust(content: str, new: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(Shift() if content == "module" else {"model": Shift()}, path, _use_new_zipfile_serialization=new)
    with pytest.raises(BadModelFile, match=r"model\.pth: holds a whole pickled object \(.*Shift\), a pickle that runs "
                                           r"code when it is loaded.*state_dict\(\).*--trust-pickle"):
        read_state_dict(path)
    assert equal(read_state_dict(path, trust_pickle=True))


def test_trusted_code_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"cno_such_package\nNet\n(tR.")
    with pytest.raises(BadModelFile, match="cannot be loaded as a pickle.*must be importable"):
        read_state_dict(tmp_path / "model.pth", trust_pickle=True)


def test_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    with pytest.warns(DeprecationWarning):
        torch.jit.script(nn.Linear(2, 2)).save(path)
    with pytest.raises(BadModelFile, match="is a TorchScript archive, which holds code"):
        read_state_dict(path)


# -- bad files -----------------------------------------------------------------------------------

@pytest.mark.parametrize(("content", "what"), [
    ({"epoch": 3, "weights": STATE}, "holds no state dict, but a dict of epoch, weights; must be one, or have it at "),
    ({}, "a dict of nothing"), ([1, 2], "holds no state dict, but list"), (torch.ones(3), "but Tensor"),
    ({"state_dict": {"a": 1}}, "holds no state dict, but dict"), ({"state_dict": 5}, "holds no state dict, but int"),
    ({"w": torch.ones(2).to_sparse()}, "w is a torch.sparse_coo torch.float32 tensor"),
    ({"w": torch.ones(2, dtype=torch.complex64)}, "w is a torch.strided torch.complex64"),
    ({"w": torch.empty(2, device="meta")}, "tensor on meta; must be an ordinary one"),
    ({"w": torch.ones(1).expand(1 << 50)}, "w poses as 1125899906842624 numbers, of which the file holds fewer")])
def test_files_without_a_state_dict(content: object, what: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(BadModelFile, match=what):
        read_state_dict(tmp_path / "file.pth")


@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04", b"\x80\x02", pickle.dumps("text")])
def test_damaged_files_are_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadModelFile) as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
def test_every_truncated_file_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "file.pth":
        torch.save({"state_dict": STATE}, path)
    else:
        save_file(STATE, path)
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        path.write_bytes(whole[:size])
        with pytest.raises(BadModelFile):
            read_state_dict(path)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, \
            zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in plain.namelist():
            bomb.writestr(name, bytes(1 << 24) if name.endswith("data/0") else plain.read(name))
    assert (tmp_path / "bomb.pth").stat().st_size < 1 << 16
    with pytest.raises(BadModelFile, match="is a damaged archive, or a compressed one"):
        read_state_dict(tmp_path / "bomb.pth")


def test_a_pickle_of_a_few_bytes_takes_no_memory(tmp_path: Path) -> None:
    """It wants to remember an object under a large number."""
    (tmp_path / "file.pth").write_bytes(b"\x80\x02}r\xff\xff\xff\x01.")
    tracemalloc.start()
    with pytest.raises(BadModelFile):
        read_state_dict(tmp_path / "file.pth")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 24


def test_tensors_that_share_their_numbers_are_limited(tmp_path: Path) -> None:
    shared = torch.ones(1 << 16, dtype=torch.half)
    torch.save({"a": shared, "tied": shared}, tmp_path / "tied.pth")
    assert len(read_state_dict(tmp_path / "tied.pth")) == 2
    torch.save({f"k{index}": shared[:] for index in range(400)}, tmp_path / "many.pth")
    with pytest.raises(BadModelFile, match="its tensors pose as 26214400 numbers, of which the file holds far fewer"):
        read_state_dict(tmp_path / "many.pth")


def test_attributes_in_the_place_of_methods_do_nothing(tmp_path: Path) -> None:
    torch.save(OddDict(), tmp_path / "dict.pth")
    assert equal(read_state_dict(tmp_path / "dict.pth"))
    tensors = {key: value.clone() for key, value in STATE.items()}
    for tensor in tensors.values():
        tensor.__dict__.update(numel=5, detach=5, is_floating_point=5)
    torch.save(tensors, tmp_path / "tensors.pth")
    assert equal(read_state_dict(tmp_path / "tensors.pth"))


@pytest.mark.parametrize(("content", "what"), [
    ({10**6000: 1}, "a dict of int; must"), ({"a\nb" * 99: 1}, r"a dict of 'a\\nba\\nb.*\.\.\.; must"),
    ({"a\n" * 99: torch.empty(1, device="meta")}, r"'a\\na.*'\.\.\. is a torch.strided")])
def test_names_in_messages_are_short_and_in_one_line(content: object, what: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(BadModelFile, match=what) as caught:
        read_state_dict(tmp_path / "file.pth")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


def test_trusted_code_that_stops_the_program(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"cbuiltins\nexit\n(tR.")
    with pytest.raises(BadModelFile, match="cannot be loaded as a pickle"):
        read_state_dict(tmp_path / "model.pth", trust_pickle=True)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="cannot be read"):
        read_state_dict(tmp_path / "missing.pth")
    with pytest.raises(BadModelFile, match="must be a regular file"):
        read_state_dict(tmp_path)
