"""An ONNX file as plain steps: read without running anything, checked, cleaned by QONNX's own passes.

The qonnx package trusts its files: it imports the Python module that an operator's domain names, and
evaluates the text of layout annotations. So the domains are restricted and the annotations taken off before
any of its passes sees the model.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import checker, external_data_helper, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.fold_constants import FoldConstants
from qonnx.transformation.infer_shapes import InferShapes

from ...errors import BadModelFile, ShifthwError, UnsupportedModel
from ...ir.types import IntType

ONNX_DOMAINS = ("", "ai.onnx")
QONNX_DOMAIN = "qonnx.custom_op.general"
QONNX_DOMAINS = (QONNX_DOMAIN, "onnx.brevitas", "finn.custom_op.general", "finn")
"""Where QONNX's operators have been over the years; one class of them now."""
QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "Trunc")
FOLDABLE = ("Abs", "Cast", "Ceil", "Concat", "Constant", "Exp", "Floor", "Gather", "Log", "Max", "Min", "Neg", "Pow",
            "Round", "Shape", "Slice", "Sqrt")
"""Operators that exporters compute shapes and constants with; on constants only. None makes much out of little."""
MAX_ELEMENTS = 1 << 28
"""Of any tensor in a model: what a small file could otherwise ask to be computed."""
LONGEST_NAME = 200


@dataclass(frozen=True, eq=False)
class Step:
    """One operation on a value that is not constant, or a quantizer of a constant.

    path     the layer's path in the exported module where the file tells, otherwise the node's name
    inputs   names of tensors, "" where one is left out
    """

    path: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{self.path} ({self.op})"


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A model of fixed shapes, in topological order.

    shapes     of every tensor, with the batch dimension
    annotated  types of the tensors that hold integers, as QONNX's annotations say
    opset      version of ONNX's own operators
    """

    steps: tuple[Step, ...]
    constants: dict[str, np.ndarray]
    shapes: dict[str, tuple[int, ...]]
    input: str
    annotated: dict[str, IntType]
    outputs: tuple[str, ...]
    opset: int
    producer: str


def read_onnx(path: Path, supported: tuple[str, ...]) -> OnnxModel:
    """The model in a file; `supported` are the operators that may work on values.

    Raises BadModelFile for a file that is missing, damaged, not ONNX or not consistent, UnsupportedModel,
    naming the node, for operators and shapes that have no mapping.
    """
    model = _parse(path)
    try:
        _refuse_foreign(model, supported)
        _load_external(path, model)
        checker.check_model(model)
        annotated = _take_annotations(model)
        name = _only_input(model)
        _fix_batch(model, name)
        return _steps(_clean(model), name, annotated)
    except ShifthwError:
        raise
    except Exception as error:  # of onnx, onnxruntime, numpy or qonnx; a damaged file can fail anywhere
        raise BadModelFile(f"{path}: is not a consistent ONNX model ({first_line(error)}); export it again") from error


def first_line(error: Exception) -> str:
    """What a library's error says first, in one line, which may repeat names of the file's."""
    return shown(next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__))


def shown(name: str) -> str:
    """A text from the file as messages show it: in one line, not too long."""
    name = name[:LONGEST_NAME]
    return name if name.isprintable() else ascii(name)


def _parse(path: Path) -> onnx.ModelProto:
    if path.exists() and not path.is_file():
        raise BadModelFile(f"{path}: cannot be read (not a regular file); give the path of an ONNX model")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise BadModelFile(f"{path}: cannot be read ({error.strerror}); give the path of an ONNX model") from error
    except Exception as error:  # protobuf's, of a type that depends on how it was built
        raise BadModelFile(f"{path}: is not an ONNX model, or a truncated one; export it again") from error
    if not model.graph.node:
        raise BadModelFile(f"{path}: is not an ONNX model, or an empty one; export it again")
    return model


def _refuse_foreign(model: onnx.ModelProto, supported: tuple[str, ...]) -> None:
    """Leave only operators of ONNX and QONNX that are known, each in its one domain."""
    if model.functions:
        raise UnsupportedModel(f"{model.functions[0].name[:LONGEST_NAME]!r}: is a function inside the file, which is "
                               f"not supported; export with functions inlined")
    if model.graph.sparse_initializer:
        raise UnsupportedModel("graph: has sparse initializers, which are not supported; make them dense")
    for index, node in enumerate(model.graph.node):
        where = f"{_path(node, index)} ({shown(node.op_type)})"
        if node.op_type in QUANTIZERS and node.domain in ("", *QONNX_DOMAINS):
            node.domain = QONNX_DOMAIN
        elif "channels_last" in node.domain:
            raise UnsupportedModel(f"{where}: has its channels last (NHWC), must be NCHW; export it without "
                                   f"ConvertToChannelsLast")
        elif node.domain not in ONNX_DOMAINS or node.op_type not in (*supported, *FOLDABLE):
            domain = f" of {node.domain[:LONGEST_NAME]!r}" if node.domain not in ONNX_DOMAINS else ""
            raise UnsupportedModel(f"{where}: is an operator{domain} that is not supported; supported are "
                                   f"{', '.join(supported)}")
        elif not node.output or any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise UnsupportedModel(f"{where}: has a graph inside or no result, which is not supported")
        else:
            node.domain = ""
    versions = [entry.version for entry in model.opset_import if entry.domain in ONNX_DOMAINS]
    if not versions:
        raise UnsupportedModel("graph: does not say which version of ONNX's operators it uses (opset_import), must say "
                               "one; export it again")
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", max(versions)), helper.make_opsetid(QONNX_DOMAIN, 2)])


def _load_external(path: Path, model: onnx.ModelProto) -> None:
    """Tensors kept in files of their own: onnx opens only regular files inside the model's folder."""
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # half a dozen types, one of them of the C++ part
        raise BadModelFile(f"{path}: its external data cannot be read ({first_line(error)}); keep the data file "
                           f"beside the model, as the exporter wrote it") from error


def _take_annotations(model: onnx.ModelProto) -> dict[str, IntType]:
    """The integer types that QONNX's annotations give, by tensor; all annotations are removed."""
    found = {}
    for entry in model.graph.quantization_annotation:
        for pair in entry.quant_parameter_tensor_names:
            kind = re.fullmatch(r"(U?)INT([0-9]{1,2})", pair.value) if pair.key == "finn_datatype" else None
            if kind and 2 <= int(kind[2]) <= 32:
                found[entry.tensor_name] = IntType(int(kind[2]), not kind[1])
    del model.graph.quantization_annotation[:]
    return found


def _only_input(model: onnx.ModelProto) -> str:
    constant = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in constant]
    if len(names) != 1:
        raise UnsupportedModel(f"graph: has {len(names)} inputs ({shown(', '.join(names))}), must have one")
    for value in [value for value in model.graph.input if value.name in constant]:
        model.graph.input.remove(value)
    return names[0]


def _fix_batch(model: onnx.ModelProto, name: str) -> None:
    """One image where the batch is left open; every other dimension must be a number already."""
    tensor = model.graph.input[0].type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        raise UnsupportedModel(f"{shown(name)}: is an input of type {_type_name(tensor.elem_type)}, must be float32; "
                               f"quantize inside the model")
    dimensions = tensor.shape.dim
    if len(dimensions) not in (2, 4):
        raise UnsupportedModel(f"{shown(name)}: is an input of {len(dimensions)} dimensions, must have 4 "
                               f"([N, C, H, W]) or 2 ([N, F])")
    for index, dimension in enumerate(dimensions):
        if index and dimension.dim_value < 1:
            found = repr(dimension.dim_param[:LONGEST_NAME]) if dimension.dim_param else "not given"
            raise UnsupportedModel(f"{shown(name)}: its dimension {index} is dynamic ({found}), only the batch may be; "
                                   f"export with a fixed size")
    if dimensions[0].dim_value < 1:
        dimensions[0].dim_value = 1
        del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")  # may name the batch, or be what the exporter guessed


def _type_name(elem_type: int) -> str:
    known = elem_type in onnx.TensorProto.DataType.values()
    return onnx.TensorProto.DataType.Name(elem_type).lower() if known else str(elem_type)


def _clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with all shapes, without what only computes constants: by QONNX's own passes."""
    _constants_to_initializers(model)
    wrapper = ModelWrapper(model).transform(InferShapes())
    folding, more = FoldConstants(exclude_op_types=list(QUANTIZERS)), True
    while more:
        _refuse_huge(wrapper.model)     # a folded constant may be the size of another
        wrapper, more = folding.apply(wrapper)
    return wrapper.model


def _constants_to_initializers(model: onnx.ModelProto) -> None:
    """Constant nodes as initializers, all at once: FoldConstants takes one, and infers all shapes again."""
    for node in [node for node in model.graph.node if node.op_type == "Constant"]:
        if len(node.attribute) == 1 and node.attribute[0].name == "value":
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            model.graph.node.remove(node)


def _shapes(model: onnx.ModelProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor's shape; dimensions that are not known are 0."""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        yield value.name, tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
    for tensor in model.graph.initializer:
        yield tensor.name, tuple(tensor.dims)


def _refuse_huge(model: onnx.ModelProto) -> None:
    for name, shape in _shapes(model):
        if np.prod([float(size) for size in shape]) > MAX_ELEMENTS:
            raise UnsupportedModel(f"{shown(name)}: has shape {list(shape)[:8]}, must have at most "
                                   f"{MAX_ELEMENTS} elements")


def _steps(model: onnx.ModelProto, name: str, annotated: dict[str, IntType]) -> OnnxModel:
    shapes = dict(_shapes(model))
    steps = []
    for index, node in enumerate(model.graph.node):
        step = Step(_path(node, index), node.op_type, tuple(node.input), tuple(node.output),
                    {item.name: _plain(helper.get_attribute_value(item)) for item in node.attribute})
        if 0 in shapes.get(step.outputs[0], (0,)):
            raise UnsupportedModel(f"{step.where}: the shape of its result is not fixed; only the batch dimension may "
                                   f"be dynamic")
        steps.append(step)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    opset = max(entry.version for entry in model.opset_import if not entry.domain)
    producer = f"{model.producer_name} {model.producer_version}".strip()
    return OnnxModel(tuple(steps), constants, shapes, name, annotated,
                     tuple(value.name for value in model.graph.output), opset,
                     producer[:LONGEST_NAME] if producer.isprintable() else "")


def _plain(value: Any) -> Any:
    """An attribute's value in types of Python."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return tuple(value) if not isinstance(value, int | float | str | onnx.TensorProto) else value


def _path(node: onnx.NodeProto, index: int) -> str:
    """The layer's path in the exported module, from what torch's two exporters leave; otherwise the node's name."""
    scopes = [pair.value for pair in node.metadata_props if pair.key == "pkg.torch.onnx.name_scopes"]
    names = re.findall(r"'([^']*)'", scopes[0]) if scopes else []
    if names:
        path = next((name for name in reversed(names[:-1]) if name), names[-1])
    elif node.name.startswith("/") and node.name.strip("/"):
        path = _joined([part for part in node.name.split("/") if part], node.op_type)
    else:
        path = node.name
    path = re.sub(r"\.export_handler(_[0-9]+)?$", "", path)  # Brevitas' own, not the user's
    return path if path.isprintable() and 0 < len(path) <= LONGEST_NAME else f"{node.op_type[:LONGEST_NAME]}_{index}"


def _joined(parts: list[str], op: str) -> str:
    """/layer1/layer1.0/conv/Conv is layer1.0.conv; an operation outside of every layer keeps its own name."""
    scopes = parts[:-1] if parts[-1].split("_")[0] == op else parts
    path = ""
    for part in scopes:
        path = part if part.startswith(f"{path}.") or not path else f"{path}.{part}"
    return path or parts[-1]
