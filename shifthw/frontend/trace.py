"""A module's forward as a torch.fx graph with the shape of every value."""

import copy
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from ..errors import UnsupportedModel
from .layers import OWN, known_type, redefined, refuse_hidden_code

CHUNKS = (torch.chunk, "chunk")
SIZED_SPLITS = (torch.split, "split")
PART_ARGUMENTS = ("chunks", "split_size_or_sections", "split_size")


@dataclass(frozen=True, eq=False)
class Trace:
    """The steps of a model in evaluation mode and the values that the example input gives."""

    model: nn.Module
    nodes: tuple[fx.Node, ...]
    values: dict[fx.Node, Any]

    def is_tensor(self, node: fx.Node) -> bool:
        """Whether the value is a tensor, and not a size."""
        return isinstance(self.values[node], torch.Tensor)

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Shape of one image's value, without the batch dimension."""
        return tuple(self.values[node].shape[1:])

    def arguments(self, node: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of a function behind its first, the tensor, with sizes as the numbers that they are."""
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._number)
        return args[1:], {key: value for key, value in kwargs.items() if key != "input"}

    def _number(self, node: fx.Node) -> Any:
        return node if self.is_tensor(node) else self.values[node]


class _Proxy(fx.Proxy):
    """A traced value that keeps `a += b` in place, as it is for tensors: fx would make it a = a + b."""

    def __iadd__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = known_type(m) is not None and redefined(m) is None
        return known or isinstance(m, OWN) or super().is_leaf_module(m, module_qualified_name)

    def iter(self, obj: fx.Proxy) -> Iterator[fx.Proxy]:
        """The parts of a chunk, or of a split whose sizes are given: fx itself can only unpack a known number."""
        count = _parts(obj.node)
        return super().iter(obj) if count is None else iter([operator.getitem(obj, index) for index in range(count)])

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)


class _Recorder(fx.Interpreter):
    """Keeps every value, and which steps wrote over a value in place: torch counts a tensor's versions."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.values: dict[fx.Node, Any] = {}
        self.overwritten: list[tuple[fx.Node, fx.Node]] = []

    def run_node(self, n: fx.Node) -> Any:
        before = {source: _version(self.values[source]) for source in n.all_input_nodes}
        self.values[n] = super().run_node(n)
        self.overwritten += [(n, source) for source, version in before.items()
                             if _version(self.values[source]) != version]
        return self.values[n]


def trace(model: nn.Module, example_input: torch.Tensor) -> Trace:
    """Trace a copy of `model` in evaluation mode and run it on `example_input` [N, C, H, W] or [N, F].

    Raises UnsupportedModel if forward cannot be traced, fails on the example, or has code that a trace
    does not show.
    """
    name = type(model).__name__
    refuse_hidden_code(model)
    if not example_input.numel():
        raise UnsupportedModel(f"{name}: the example input of shape {list(example_input.shape)} is empty; give real "
                               f"images")
    model = attempt(lambda: copy.deepcopy(model).cpu().eval(), f"{name}: cannot be copied")
    graph = attempt(lambda: _Tracer().trace(model),
                    f"{name}: its forward cannot be traced; it must not branch on values of tensors")
    recorder = _Recorder(fx.GraphModule(model, graph))
    with torch.inference_mode(False), torch.no_grad():  # inference tensors would not count versions
        attempt(lambda: recorder.run(example_input.cpu().clone()),
                f"{name}: its forward fails on the example input of shape {list(example_input.shape)}")
    nodes = tuple(recorder.graph.nodes)
    _refuse_stale_reads(nodes, recorder)
    return Trace(model, nodes, recorder.values)


def path_of(node: fx.Node) -> str:
    """Path of a step's module; of a function call, that of the module whose forward holds it, and the call's name."""
    if node.op == "call_module":
        return str(node.target)
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = stack[-1][0] if stack else ""
    return f"{path}.{node.name}" if path else node.name


def attempt(action: Callable[[], Any], what: str) -> Any:
    """The action's result; whatever the user's code raises becomes one line."""
    try:
        return action()
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnsupportedModel(f"{what}: {reason}") from error


def _parts(node: fx.Node) -> int | None:
    """How many parts a split is asked for, if its arguments say so."""
    asked = node.args[1] if len(node.args) > 1 else next((node.kwargs[name] for name in PART_ARGUMENTS
                                                          if name in node.kwargs), None)
    if node.target in (*CHUNKS, *SIZED_SPLITS) and isinstance(asked, tuple | list):
        return len(asked)
    return asked if node.target in CHUNKS and isinstance(asked, int) else None


def _version(value: Any) -> int:
    return value._version if isinstance(value, torch.Tensor) and not value.is_inference() else 0


def _refuse_stale_reads(nodes: tuple[fx.Node, ...], recorder: _Recorder) -> None:
    """A value that was written over in place, itself or through a view of it, must not be read by its old name.

    The integer graph has no memory to write over: its tensors keep the values that they were made with.
    """
    def storage(node: fx.Node) -> int | None:
        value = recorder.values[node]
        return value.untyped_storage().data_ptr() if isinstance(value, torch.Tensor) else None

    for writer, source in recorder.overwritten:
        moment = nodes.index(writer)
        stale = {node for node in nodes[:moment] if storage(node) == storage(source)}
        for reader in nodes[moment + 1:]:
            reads_value = reader.op == "output" or storage(reader) is not None  # other steps only read sizes
            if reads_value and stale & set(reader.all_input_nodes):
                raise UnsupportedModel(f"{path_of(writer)}: works in place on {path_of(source)}, which "
                                       f"{path_of(reader)} reads afterwards; use inplace=False, or a function that "
                                       f"makes a new tensor (torch.relu, a + b)")
