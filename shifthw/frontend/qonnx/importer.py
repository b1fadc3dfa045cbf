"""The steps of a QONNX model to the integer graph, one after the other."""

from collections.abc import Callable
from pathlib import Path

from ...errors import UnsupportedModel
from ..reference import Model
from . import arithmetic, layers, quantize, shapes
from .builder import Builder
from .reader import Step, first_line, read_onnx
from .values import Value

OPERATORS: dict[str, Callable[[Builder, Step], Value]] = {
    "Quant": quantize.quant, "IntQuant": quantize.quant, "BipolarQuant": quantize.quant, "Trunc": quantize.trunc,
    "Conv": layers.conv, "Gemm": layers.gemm, "MatMul": layers.matmul, "MaxPool": layers.max_pool,
    "AveragePool": layers.average_pool, "GlobalAveragePool": layers.global_pool, "ReduceMean": layers.reduce_mean,
    "Add": arithmetic.add, "Sub": arithmetic.sub, "Mul": arithmetic.mul, "Div": arithmetic.div,
    "BatchNormalization": arithmetic.batch_norm, "Relu": arithmetic.relu, "Clip": arithmetic.clip,
    "Flatten": shapes.reshape, "Reshape": shapes.reshape, "Squeeze": shapes.reshape, "Unsqueeze": shapes.reshape,
    "Transpose": shapes.transpose, "Pad": shapes.pad, "Identity": shapes.same, "Dropout": shapes.dropout,
    "Softmax": shapes.softmax, "LogSoftmax": shapes.softmax,
}
"""What has a mapping."""


def _mapped(build: Builder, step: Step) -> Value:
    try:
        return OPERATORS[step.op](build, step)
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UnsupportedModel(f"{step.where}: has attributes or inputs that do not fit together "
                               f"({first_line(error)}); export the model again") from error


def import_file(path: Path, name: str | None) -> Model:
    """See import_qonnx_model."""
    build = Builder(read_onnx(path, tuple(OPERATORS)), name or path.stem)
    build.define_input(quantize.model_input(build))
    for step in build.model.steps:
        if step.op not in OPERATORS:
            raise UnsupportedModel(f"{step.where}: works on values that are not constant, which is not supported; "
                                   f"supported are {', '.join(OPERATORS)}")
        build.define(step, _mapped(build, step))
    return build.finish(quantize.outputs(build))
