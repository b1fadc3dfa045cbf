"""A plain PyTorch module as a list of steps: torch.export's program with named arguments and source lines."""

import copy
import io
import logging
import re
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from ..errors import UnsupportedModel
from .layers import refuse_hidden_code

NOT_THE_USERS = (str(Path(torch.__file__).parent), sysconfig.get_paths()["stdlib"], __file__)
"""Where no line of the user's code is."""
FRAME = re.compile(r'File "([^"]+)", line (\d+)')


@dataclass(frozen=True, eq=False)
class Stored:
    """A parameter or buffer: its name in the state dict and its value."""

    name: str
    value: torch.Tensor

    @property
    def owner(self) -> str:
        """Path of the module that has it."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True, eq=False)
class Step:
    """One operation on tensors.

    name       of its result
    kind       ATen's name of the operation, like "conv2d"; works in place nowhere
    path       of the module whose forward calls it
    line       file and line of the call, if known
    shape      of the result, with the batch
    inputs     names of the results that it reads
    options    ATen's other arguments by name: numbers, lists, Stored
    """

    name: str
    kind: str
    path: str
    line: str
    shape: tuple[int, ...]
    inputs: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """How a message names it."""
        place = f"{self.path or 'forward'} ({self.kind})"
        return f"{place} at {self.line}" if self.line else place


@dataclass(frozen=True, eq=False)
class Exported:
    """Steps in order, the name of the input and those of the outputs."""

    steps: tuple[Step, ...]
    input: str
    input_shape: tuple[int, ...]
    outputs: tuple[str, ...]


def export(model: nn.Module, example_input: torch.Tensor) -> Exported:
    """The steps of `model` in evaluation mode for images of the shape of `example_input`.

    Raises UnsupportedModel if the model cannot be exported, with the line of its source, or has more than
    one input, values that depend on the images, or NaN or infinite weights.
    """
    refuse_hidden_code(model)
    _refuse_bad_weights(model)
    program = _program(model, example_input)
    signature = program.graph_signature
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers,
              **signature.inputs_to_lifted_tensor_constants}
    values: dict[str, torch.Tensor] = {**program.state_dict, **program.constants}
    environment: dict[fx.Node, Any] = {}
    steps: list[Step] = []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in stored:
            environment[node] = Stored(stored[node.name], values[stored[node.name]].detach())
        elif node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem":
            environment[node] = environment[node.args[0]]  # the first of batch_norm's results
        elif node.op == "call_function":
            steps.append(_step(node, environment))
    return Exported(tuple(steps), signature.user_inputs[0], tuple(example_input.shape),
                    _outputs(program, environment))


def _program(model: nn.Module, example_input: torch.Tensor) -> ExportedProgram:
    name = type(model).__name__
    try:
        with _quiet(), torch.no_grad():
            plain = copy.deepcopy(model).cpu().eval()
            program = torch.export.export(plain, (example_input.cpu(),)).run_decompositions({})  # nothing in place
    except Exception as error:  # the user's code and torch raise anything
        raise UnsupportedModel(f"{_culprit(error) or name}: {name} cannot be exported: {_reason(error)}; forward must "
                               f"take one tensor of images and must not branch on values of tensors") from error
    if len(program.graph_signature.user_inputs) != 1:
        raise UnsupportedModel(f"{name}: forward takes {len(program.graph_signature.user_inputs)} tensors, must take "
                               f"one, the images")
    return program


def _step(node: fx.Node, environment: dict[fx.Node, Any]) -> Step:
    target = node.target
    schema = target._schema if isinstance(target, torch._ops.OpOverload) else None
    kind = schema.name.rpartition("::")[2] if schema else getattr(target, "__name__", str(target))
    if kind == "_native_batch_norm_legit_no_training":
        kind = "batch_norm"
    named = dict(node.kwargs)
    for position, argument in enumerate(schema.arguments if schema else ()):
        if position < len(node.args):
            named[argument.name] = node.args[position]
        elif argument.name not in named and argument.has_default_value():
            named[argument.name] = argument.default_value
    resolved = {key: fx.node.map_arg(value, lambda source: _resolved(environment, source))
                for key, value in named.items()}
    inputs = tuple(value.name for value in resolved.values() if isinstance(value, fx.Node))
    value = node.meta.get("val")
    value = value[0] if isinstance(value, tuple | list) else value
    shape = tuple(value.shape) if isinstance(value, torch.Tensor) else ()
    step = Step(node.name, kind, _path(node), _line(node.meta.get("stack_trace") or ""), shape, inputs,
                {key: item for key, item in resolved.items() if not isinstance(item, fx.Node)})
    if not all(isinstance(size, int) for size in shape):
        raise UnsupportedModel(f"{step.where}: gives a shape {list(shape)} that depends on the images; shapes must be "
                               f"fixed")
    environment[node] = node
    return step


def _resolved(environment: dict[fx.Node, Any], node: fx.Node) -> Any:
    """A stored tensor as itself, anything else as the node that computes it."""
    return environment.get(node, node)


def _outputs(program: ExportedProgram, environment: dict[fx.Node, Any]) -> tuple[str, ...]:
    output = next(node for node in program.graph.nodes if node.op == "output")
    results = [environment.get(result, result) for result in output.all_input_nodes]
    if not results or any(isinstance(result, Stored) for result in results):
        raise UnsupportedModel("output: must be a tensor, or a tuple of tensors, that the network computes")
    return tuple(result.name for result in results)


def _path(node: fx.Node) -> str:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]).partition("@")[0] if stack else ""


def _line(trace: str) -> str:
    """The last line of the user's own code in a stack trace."""
    frames = [(path, line) for path, line in FRAME.findall(trace) if not path.startswith(NOT_THE_USERS)]
    return f"{Path(frames[-1][0]).name}:{frames[-1][1]}" if frames else ""


def _culprit(error: Exception) -> str:
    """File and line that torch.export blames, or where the user's forward raised."""
    found = _line(str(error).partition("following call raised this error")[2])
    trace = error.__traceback__
    while trace is not None and not found:
        path = trace.tb_frame.f_code.co_filename
        if trace.tb_next is None and not path.startswith(NOT_THE_USERS):
            found = f"{Path(path).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _reason(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if "data-dependent" in text:
        return "it branches on, or makes shapes of, the values of tensors"
    return text


def _refuse_bad_weights(model: nn.Module) -> None:
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            count = int((~torch.isfinite(value)).sum())
            raise UnsupportedModel(f"{name}: holds {count} values that are NaN or infinite, must be finite; train or "
                                   f"export the model again")


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
