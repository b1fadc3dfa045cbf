"""torch.export of a plain module, and why it fails in one line."""

import copy
import io
import logging
import re
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy

from ..errors import UnsupportedModel
from ..nn import AdderConv2d, AdderLinear, PadShortcut
from .layers import OWN, refuse_hidden_code
from .trace import attempt

NOT_THE_USERS = (str(Path(torch.__file__).parent), sysconfig.get_paths()["stdlib"], __file__, "<")
"""Where no line of the user's code is; nor is one in code that fx has written, whose file is "<...>"."""
FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def checked_copy(model: nn.Module) -> nn.Module:
    """A copy of `model` to read: in float32, on the CPU, in evaluation mode.

    Raises UnsupportedModel, in one line, for a module that holds quantized layers or code that a call would not
    show, or whose weights are missing, NaN or infinite.
    """
    _refuse_unready(model)
    refuse_hidden_code(model)
    return attempt(lambda: copy.deepcopy(model).cpu().float().eval(), f"{type(model).__name__}: cannot be copied")


def export_program(plain: nn.Module, example: torch.Tensor) -> ExportedProgram:
    """The program of a checked_copy for images float32[N, ...], with no operation in place.

    Raises UnsupportedModel, with the line of the source where there is one, for a forward that fails, branches on
    values of tensors, or takes several inputs.
    """
    name = type(plain).__name__
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(plain, (example,)).run_decompositions({})
    except Exception as error:  # the user's code and torch raise anything
        line = _culprit(error)
        raise UnsupportedModel(f"{name}{line and f' at {line}'}: cannot be exported for images of shape "
                               f"{list(example.shape)}: {_reason(error)}") from error
    if len(program.graph_signature.user_inputs) != 1:
        raise UnsupportedModel(f"{name}: forward takes {len(program.graph_signature.user_inputs)} tensors, must take "
                               f"one, the images")
    return program


def user_line(trace: str) -> str:
    """File and number of the last line of the user's own code in a stack trace; "" if there is none."""
    frames = [(path, line) for path, line in FRAME.findall(trace) if not path.startswith(NOT_THE_USERS)]
    return f"{Path(frames[-1][0]).name}:{frames[-1][1]}" if frames else ""


def _refuse_unready(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule) or hasattr(module, "_orig_mod"):
            raise UnsupportedModel(f"{path or type(module).__name__}: is compiled; give the network as it was before "
                                   f"torch.compile or torch.jit")
        plain = isinstance(module, AdderConv2d | AdderLinear) and not module.is_rounded
        if isinstance(module, OWN) and not plain and not isinstance(module, PadShortcut):
            raise UnsupportedModel(f"{path or 'forward'} ({type(module).__name__}): is a layer of shifthw.nn already; "
                                   f"give the plain float network, or write this one with shifthw.save")
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(value) or value.is_meta:
            raise UnsupportedModel(f"{name}: holds no values yet; run the network once, or load its weights")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            count = int((~torch.isfinite(value)).sum())
            raise UnsupportedModel(f"{name}: holds {count} NaN or infinite numbers, must be finite; train or export "
                                   f"the model again")


def _culprit(error: Exception) -> str:
    """File and line that torch.export blames, or else where the user's code was when it failed."""
    blamed = user_line(str(error).partition("following call raised this error")[2])
    return blamed or user_line("".join(traceback.format_tb(error.__traceback__)))


def _reason(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if "data-dependent" in text:
        return "it branches on, or makes shapes of, the values of tensors; use operations on whole tensors"
    if "missing a required argument" in text:
        return f"{text}; forward must take one tensor, the images"
    return text.rstrip(".")


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither warnings nor log lines of torch.export: what matters of them is in the error."""
    logger = logging.getLogger("torch")
    level = logger.level
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)
