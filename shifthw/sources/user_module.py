"""A user's own constructor of a torch module, named as `file.py:function`."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..errors import UnsupportedModel


def names_a_function(text: str) -> bool:
    """Whether `text` is of the form file.py:function."""
    file, colon, function = text.rpartition(":")
    return bool(colon) and file.endswith(".py") and function.isidentifier()


def build_module(text: str) -> nn.Module:
    """The module that `function` of `file.py` returns; the file is run, and finds modules beside itself.

    Raises UnsupportedModel for a file or a function that is not there, fails, or returns no module.
    """
    file, _, function = text.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise UnsupportedModel(f"{file}: is not there; give file.py:function of a function that returns the module")
    folder = str(path.absolute().parent)
    sys.path.insert(0, folder)
    try:
        constructor = getattr(_run(path), function, None)
        if not callable(constructor):
            raise UnsupportedModel(f"{file}: has no function {function}; give file.py:function")
        module = constructor()
    except UnsupportedModel:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        reason = (str(error).splitlines() or [""])[0]
        raise UnsupportedModel(f"{text}: fails ({type(error).__name__}: {reason}); it must work without arguments"
                               ) from error
    finally:
        sys.path.remove(folder)
    if not isinstance(module, nn.Module):
        raise UnsupportedModel(f"{text}: returns {type(module).__name__}; must return a torch.nn.Module")
    _require_tensors(text, module)
    return module


def _require_tensors(text: str, module: nn.Module) -> None:
    """Raise UnsupportedModel unless all that the module keeps are tensors with values."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if is_lazy(value) or value.is_meta:
            raise UnsupportedModel(f"{text}: {name} has no {'shape' if is_lazy(value) else 'values'} yet; must be an "
                                   f"ordinary tensor, of layers whose sizes are given")
    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise UnsupportedModel(f"{text}: keeps {type(value).__name__} at {name}; must keep tensors only")


def _run(path: Path) -> Any:
    name = f"shifthw_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None     # of a .py file there is a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module                              # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
