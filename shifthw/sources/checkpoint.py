"""State dicts out of checkpoint files, without running anything that a file brings along.

A .pth file is a pickle, and a pickle may name any function to be called while it is loaded. Files of tensors
and plain values load by PyTorch's own restricted reader. Checkpoints often hold more than that - DeepShift
saves its learning rate scheduler as an object - so what that reader refuses is read once more with everything
foreign replaced by inert stand-ins: the tensors are there, no foreign code has run.
"""

import io
import pickle
import types
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import nn

from ..errors import BadModelFile
from ..frontend.archive import is_packed

PLACES = ("state_dict", "model", "model_state_dict", "net")
"""Where training scripts keep the state dict, in the order in which it is looked for."""
DATA_PARALLEL = "module."
"""What DataParallel puts before every key."""
SCRIPT_MARK = b"constants.pkl"
"""Name of a file in TorchScript archives alone, by which torch.load would know one and run it."""
SHOWN = 100
"""Characters of a name from a file that a message shows."""
MOST_SHARED = 64
"""Numbers of all tensors together per byte of the file: tensors may share what is stored, within reason."""


def read_state_dict(path: str | Path, *, trust_pickle: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by their names: real ones as float32, on the CPU, detached, without `module.`.

    path          .safetensors, or a file of torch.save: a state dict, or a dict with one at `state_dict`, `model`,
                  `model_state_dict` or `net`
    trust_pickle  also load whole pickled modules. THIS RUNS CODE that the file names; only for files of one's own

    Raises BadModelFile for a file that is missing, damaged, holds no state dict, or would have to run code.
    """
    path = Path(path)
    content = _content(path)
    found = _safetensors(path, content) if path.suffix == ".safetensors" else _pickled(path, content, trust_pickle)
    state = _state_dict(path, found)
    if all(key.startswith(DATA_PARALLEL) for key in state):
        state = {key.removeprefix(DATA_PARALLEL): tensor for key, tensor in state.items()}
    state = {key: _plain(path, key, tensor) for key, tensor in state.items()}
    numbers = sum(tensor.numel() for tensor in state.values())
    if numbers > MOST_SHARED * len(content):
        raise BadModelFile(f"{path}: its tensors pose as {numbers} numbers, of which the file holds far fewer; must be "
                           f"ordinary ones")
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()}


def _content(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise BadModelFile(f"{path}: must be a regular file; give the path of a checkpoint")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadModelFile(f"{path}: cannot be read ({error.strerror}); give the path of a checkpoint") from error


def _safetensors(path: Path, content: bytes) -> dict[str, torch.Tensor]:
    try:
        return load_safetensors(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise BadModelFile(f"{path}: is not a .safetensors file, or a damaged one; copy it again") from error


def _pickled(path: Path, content: bytes, trust_pickle: bool) -> Any:
    if is_packed(content):
        raise BadModelFile(f"{path}: is a damaged archive, or a compressed one, which torch.save does not write; copy "
                           f"the file again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on kinds of tensors that are refused below
        try:
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception:  # foreign objects, or a damaged file: a second reader tells
            return _load_trusted(path, content) if trust_pickle else _load_inert(path, content)


def _load_trusted(path: Path, content: bytes) -> Any:
    """Everything in the file, by running what it names."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    except (Exception, SystemExit) as error:  # anything that the file's code raises
        raise BadModelFile(f"{path}: cannot be loaded as a pickle ({_line(error)}); the code that it was saved with "
                           f"must be importable, or save its state dict: torch.save(model.state_dict(), path)"
                           ) from error


def _load_inert(path: Path, content: bytes) -> Any:
    if SCRIPT_MARK in content:
        raise BadModelFile(f"{path}: is a TorchScript archive, which holds code, and was not loaded: save the state "
                           f"dict of the module that it was made from: torch.save(model.state_dict(), path)")
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False, pickle_module=INERT_PICKLE)
    except Exception as error:
        raise BadModelFile(f"{path}: is damaged, or not a checkpoint of torch.save ({_line(error)}); copy the file "
                           f"again") from error


class _StandIn:
    """What becomes of an object of a foreign class, or of a foreign function's result: nothing but the name."""

    name = ""
    dump_patches = False
    """Asked of classes whose source lies in a file of old: torch would write their differences to the disk."""

    def __new__(cls, *_: object, **__: object) -> "_StandIn":
        return super().__new__(cls)

    def __call__(self, *_: object, **__: object) -> "_StandIn":
        return self

    def __setstate__(self, state: object) -> None:
        """Does not take the state."""

    def __setitem__(self, key: object, value: object) -> None:
        """Of a kind of dict: does not take the item."""

    def append(self, value: object) -> None:
        """Of a kind of list: does not take the value."""

    def extend(self, values: object) -> None:
        """Of a kind of list: does not take the values."""


def _harmless() -> dict[tuple[str, str], Any]:
    """The functions and types that tensors and plain containers are made of; none calls anything else."""
    makers: list[Callable[..., Any]] = [torch._utils._rebuild_tensor_v2, torch._utils._rebuild_tensor,
                                        torch._utils._rebuild_parameter, torch.Size, torch.device]
    found: dict[tuple[str, str], Any] = {(maker.__module__, maker.__qualname__): maker for maker in makers}
    found |= {("torch", name): getattr(torch, name) for name in dir(torch)
              if isinstance(getattr(torch, name), torch.dtype)}
    return found | {("torch", "Size"): torch.Size, ("torch", "device"): torch.device,
                    ("collections", "OrderedDict"): OrderedDict}


HARMLESS = _harmless()


class _InertUnpickler(pickle._Unpickler):
    """Finds HARMLESS names, and a stand-in for every other: no foreign code is even imported.

    The one written in Python: that in C takes as much memory as a file of a few bytes asks for.
    """

    def find_class(self, module: str, name: str, /) -> Any:
        known = HARMLESS.get((module, name))
        return known if known is not None else type("_StandIn", (_StandIn,), {"name": f"{module}.{name}"})


def _load(file: Any, **options: Any) -> Any:
    return _InertUnpickler(file, **options).load()


INERT_PICKLE = types.SimpleNamespace(__name__="inert", Unpickler=_InertUnpickler, load=_load)
"""In the place of the module pickle, for torch.load."""


def _state_dict(path: Path, found: Any) -> dict[str, torch.Tensor]:
    """The state dict in what was loaded."""
    if isinstance(found, nn.Module):
        found = found.state_dict()
    found = _items(found)
    if isinstance(found, dict) and not _is_state_dict(found):
        place = next((place for place in PLACES if place in found), None)
        if place is None:
            raise BadModelFile(f"{path}: holds no state dict, but a dict of {_names(found)}; must be one, or have it "
                               f"at {', '.join(PLACES)}")
        found = found[place]
        found = _items(found.state_dict() if isinstance(found, nn.Module) else found)
    if isinstance(found, _StandIn):
        raise BadModelFile(f"{path}: holds a whole pickled object ({short(found.name)}), a pickle that runs code "
                           f"when it is loaded, so it was not: save torch.save(model.state_dict(), path) instead, or "
                           f"give --trust-pickle if you trust whoever made the file")
    if not isinstance(found, dict) or not _is_state_dict(found):
        raise BadModelFile(f"{path}: holds no state dict, but {short(type(found).__name__)}; it must map names to "
                           f"tensors only")
    return found


def _items(found: Any) -> Any:
    """A dict as a plain one: that in a file may have attributes in the place of its methods."""
    return dict(dict.items(found)) if isinstance(found, dict) else found


def _is_state_dict(found: dict[Any, Any]) -> bool:
    return bool(found) and all(isinstance(key, str) and isinstance(value, torch.Tensor)
                               for key, value in found.items())


def _plain(path: Path, key: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor detached, without the attributes that it may have in the place of its methods."""
    tensor = torch.Tensor.detach(tensor)
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.device.type != "cpu":
        raise BadModelFile(f"{path}: {short(key)} is a {tensor.layout} {tensor.dtype} tensor on {tensor.device}; must "
                           f"be an ordinary one")
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise BadModelFile(f"{path}: {short(key)} poses as {tensor.numel()} numbers, of which the file holds fewer; "
                           f"must be an ordinary tensor")
    return tensor


def _names(found: dict[Any, Any]) -> str:
    names = [short(key if isinstance(key, str) else type(key).__name__) for key in found]
    return ", ".join(names[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "") or "nothing"


def short(name: str) -> str:
    """A name from a file as messages show it: in one line, not too long."""
    name, more = name[:SHOWN], "..." if len(name) > SHOWN else ""
    return (name if name.isprintable() else ascii(name)) + more


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:200]
