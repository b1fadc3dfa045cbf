"""Hand-made QONNX models, and the comparison of an import with QONNX's own execution."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.util.cleanup import cleanup_model

from shifthw.frontend.qonnx import import_qonnx
from shifthw.frontend.qonnx.reader import QONNX_DOMAIN
from shifthw.ir import Graph, interpret


class Qonnx:
    """A model in the making; methods give the names of their results."""

    def __init__(self, *shape: int | str, opset: int = 13) -> None:
        self.shape, self.opset = shape, opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, values: Any, dtype: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, domain: str = "", name: str | None = None, **attributes: Any) -> str:
        result = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [result], domain=domain,
                                           name=f"{kind}_{len(self.nodes)}" if name is None else name, **attributes))
        return result

    def quant(self, x: str, scale: Any, bits: float = 8, *, signed: int = 1, narrow: int = 0, mode: str = "ROUND",
              zero: float = 0.0, domain: str = QONNX_DOMAIN, **options: Any) -> str:
        return self.op("Quant", x, self.const(scale), self.const(zero), self.const(bits), domain=domain, signed=signed,
                       narrow=narrow, rounding_mode=mode, **options)

    def weights(self, values: Any, scale: Any = 1.0, bits: int = 8, **options: Any) -> str:
        return self.quant(self.const(values), scale, bits, **options)

    def proto(self, *outputs: str, flat: bool = False) -> onnx.ModelProto:
        """`flat`: the outputs are [N, F]."""
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(self.shape))]
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list("nf" if flat else "nchw"))
                   for name in outputs]
        graph = helper.make_graph(self.nodes, "made", inputs, results, self.constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(QONNX_DOMAIN, 2)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def write(self, path: Path, *outputs: str, flat: bool = False) -> Path:
        file = path / "made.onnx"
        onnx.save(self.proto(*outputs, flat=flat), file)
        return file


def extreme_images(graph: Graph, count: int, seed: int = 1) -> np.ndarray:
    """Integer images in the range of the input's quantizer: all lowest, all highest, both at random, then random."""
    tensor = graph.nodes[0].output
    limits: Any = graph.metadata.get("input", {"lo": tensor.dtype.lo, "hi": tensor.dtype.hi})
    lo, hi = limits["lo"], limits["hi"]
    rng = np.random.default_rng(seed)
    images = rng.integers(lo, hi + 1, (count, *tensor.shape))
    images[0], images[1 % count] = lo, hi
    if count > 2:
        images[2] = rng.choice([lo, hi], tensor.shape)
    return images


def executed(file: Path, real: np.ndarray) -> list[np.ndarray]:
    """The outputs of QONNX's own execution, but for scalars, for images in the units of the model's input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = cleanup_model(ModelWrapper(str(file)))
        shape = model.get_tensor_shape(model.graph.input[0].name)
        runs = [list(execute_onnx(model, {model.graph.input[0].name: part.reshape(shape).astype(np.float32)}).values())
                for part in np.split(real, len(real) // shape[0])]
    return [np.concatenate(results) for results in zip(*runs, strict=True) if results[0].ndim]


def agree(file: Path, count: int | None = None, images: np.ndarray | None = None) -> Graph:
    """The graph of a model, whose integers are all those of QONNX's execution, to the last one."""
    graph = import_qonnx(file)
    assert graph.metadata["qonnx"]["exact"] is True, graph.metadata  # type: ignore[index]
    if images is None:
        images = extreme_images(graph, count or onnx.load(file).graph.input[0].type.tensor_type.shape.dim[0].dim_value)
    results = interpret(graph, images)
    expected = executed(file, images * graph.nodes[0].output.scale)
    for name, value in zip(graph.outputs, expected, strict=True):
        steps = value.astype(np.float64) / graph[name].output.scale
        assert np.array_equal(results[name].ravel(), steps.ravel()), name
        assert len(np.unique(results[name])) > 1
    return graph
