"""A plain PyTorch module as a list of steps: torch.export's program with named arguments and source lines."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind, TensorArgument

from ..errors import UnsupportedModel
from .export_program import export_program, user_line

PARAMETRIZATIONS = ".parametrizations."
"""What torch.nn.utils.parametrize puts between a module's path and the tensors that its parameter is made of."""

SPLITS = ("split", "split_with_sizes", "chunk", "tensor_split", "unbind")
"""Operations with several results, each a part of one tensor."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A parameter, buffer or constant: its name in the state dict, or one for it, and its value."""

    name: str
    value: torch.Tensor

    @property
    def owner(self) -> str:
        """Path of the module that has it."""
        return self.name.partition(PARAMETRIZATIONS)[0] if PARAMETRIZATIONS in self.name else \
            self.name.rpartition(".")[0]


@dataclass(frozen=True, eq=False)
class Step:
    """One operation on tensors that depend on the images; of an operation that takes a tensor apart, one part.

    name          of its result
    kind          ATen's name of the operation, like "conv2d"; works in place nowhere
    path          of the module whose forward calls it
    is_module     whether that is one of torch.nn's own, so that the step is what the module does
    line          file and line of the call, if known
    shape         of the result, with the batch
    inputs        names of the results that it reads, in the order of ATen's arguments, lists of them included
    input_shapes  of those
    options       ATen's other arguments by name: numbers, lists, Stored; of a part also its number, "part"
    """

    name: str
    kind: str
    path: str
    is_module: bool
    line: str
    shape: tuple[int, ...]
    inputs: tuple[str, ...]
    input_shapes: tuple[tuple[int, ...], ...]
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


def export(plain: nn.Module, example: torch.Tensor) -> Exported:
    """The steps of a checked_copy of a module, for images of the shape of `example`.

    What does not depend on the images, like a weight that a parametrization computes, is computed here.
    Raises UnsupportedModel if the module cannot be exported: see export_program.
    """
    program = export_program(plain, example)
    signature = program.graph_signature
    constants: Mapping[str, str] = {**signature.inputs_to_parameters, **signature.inputs_to_buffers,
                                    **signature.inputs_to_lifted_tensor_constants}
    values: dict[str, Any] = {**program.state_dict, **program.constants}
    known: dict[fx.Node, Any] = {}
    steps: list[Step] = []
    with torch.no_grad():
        for node in program.graph.nodes:
            if node.op == "placeholder" and node.name in constants:
                name = constants[node.name]
                known[node] = Stored(name, values[name].detach())
            elif node.op == "call_function" and not _is_assertion(node):
                found = _constant(node, known)
                if found is not None:
                    known[node] = found
                elif _kind(node) not in SPLITS:
                    steps.append(_step(node, known))
    return Exported(tuple(steps), signature.user_inputs[0], tuple(example.shape), _outputs(program, known))


def _is_assertion(node: fx.Node) -> bool:
    """Whether it only checks, as the casts of x.float() do."""
    return node.meta.get("val") is None and not node.users


def _constant(node: fx.Node, known: dict[fx.Node, Any]) -> Any:
    """The result of a step that reads constants only; None if it depends on the images."""
    if any(source not in known for source in node.all_input_nodes):
        return None
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: _value(known[source]))
    result = node.target(*args, **kwargs)  # type: ignore[operator]
    return Stored(f"{_caller(node)[0]}.{node.name}", result) if isinstance(result, torch.Tensor) else result


def _value(constant: Any) -> Any:
    return constant.value if isinstance(constant, Stored) else constant


def _step(node: fx.Node, known: dict[fx.Node, Any]) -> Step:
    call, part = _split_of(node)
    resolved = {key: fx.node.map_arg(value, lambda source: known.get(source, source))
                for key, value in _arguments(call).items()}
    read = [source for value in resolved.values() for source in _nodes(value)]
    path, module = _caller(call)
    line = user_line(call.meta.get("stack_trace") or "")
    step = Step(node.name, _kind(call), path, module.startswith("torch.nn."), line, _shape(node),
                tuple(value.name for value in read), tuple(_shape(value) for value in read),
                {key: item for key, item in resolved.items() if not _nodes(item)} | part)
    if not all(isinstance(size, int) for size in step.shape):
        raise UnsupportedModel(f"{step.where}: gives a shape {list(step.shape)} that depends on the images; shapes "
                               f"must be fixed")
    return step


def _split_of(node: fx.Node) -> tuple[fx.Node, dict[str, Any]]:
    """The call that takes a tensor apart and the number of the part that `node` is; or `node` itself."""
    source = node.args[0] if node.args else None
    if isinstance(source, fx.Node) and _kind(node) == "getitem" and _kind(source) in SPLITS:
        return source, {"part": node.args[1]}
    return node, {}


def _nodes(value: Any) -> list[fx.Node]:
    """The results of other steps that an argument is, or is a list of."""
    return [item for item in (value if isinstance(value, list | tuple) else [value]) if isinstance(item, fx.Node)]


def _arguments(node: fx.Node) -> dict[str, Any]:
    """The arguments by ATen's names and in its order, defaults filled in."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return {**{str(position): value for position, value in enumerate(node.args)}, **node.kwargs}
    named = {}
    for position, argument in enumerate(node.target._schema.arguments):
        if position < len(node.args):
            named[argument.name] = node.args[position]
        elif argument.name in node.kwargs:
            named[argument.name] = node.kwargs[argument.name]
        elif argument.has_default_value():
            named[argument.name] = argument.default_value
    return named


def _kind(node: fx.Node) -> str:
    target = node.target
    kind = target._schema.name.rpartition("::")[2] if isinstance(target, torch._ops.OpOverload) else \
        getattr(target, "__name__", str(target))
    return "batch_norm" if kind == "_native_batch_norm_legit_no_training" else kind


def _shape(node: fx.Node) -> tuple[int, ...]:
    """Of a step's result, the first of several; () of one that is no tensor."""
    value = node.meta.get("val")
    value = value[0] if isinstance(value, tuple | list) and value else value
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def _caller(node: fx.Node) -> tuple[str, str]:
    """Path and type, with its module, of the module whose forward calls it."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path, kind = stack[-1] if stack else ("", "")
    return str(path).partition("@")[0], kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__name__}"


def _outputs(program: ExportedProgram, known: dict[fx.Node, Any]) -> tuple[str, ...]:
    constants = {node.name for node in known}
    names = []
    for output in program.graph_signature.output_specs:
        if output.kind is OutputKind.USER_OUTPUT:
            if not isinstance(output.arg, TensorArgument) or output.arg.name in constants:
                raise UnsupportedModel("output: must be a tensor, or a tuple of tensors, that the network computes")
            names.append(output.arg.name)
    if not names:
        raise UnsupportedModel("output: is missing; forward must return what the network computes")
    return tuple(names)
