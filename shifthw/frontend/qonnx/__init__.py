"""QONNX models, as Brevitas exports them, to the integer graph."""

from pathlib import Path

from ...errors import ToolMissing
from ...ir.graph import Graph
from ..reference import Model


def import_qonnx(path: str | Path, name: str | None = None) -> Graph:
    """The integer graph of a QONNX model (Quant nodes in an ONNX file).

    name  of the graph; by default the file's

    Where all scales are powers of two every integer is that of QONNX's real arithmetic. Otherwise the factors of
    the layers become 18-bit multipliers, and metadata["qonnx"] tells how far each layer can be off:

        {"producer": "pytorch 2.13.0", "exact": False, "within": {"layer1.relu": 0.02}, "notes": [...]}

    `within` is in steps of the layer's output, before they are rounded, at worst over all inputs. An output that is
    not quantized becomes integers in steps of its accumulator, if 32 bits can hold them; a bias or a limit
    between two steps is rounded. Otherwise it becomes 16-bit integers of its whole range.

    Nothing in the file is executed. Raises BadModelFile for a file that is not a consistent ONNX model,
    UnsupportedModel, naming the node, for what has no mapping, ToolMissing without the packages that read it.
    """
    return import_qonnx_model(path, name).graph


def import_qonnx_model(path: str | Path, name: str | None = None) -> Model:
    """As import_qonnx, with the network in real arithmetic before its factors are made integer."""
    try:
        from .importer import import_file  # needs packages that only this front end needs
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("shifthw"):
            raise
        raise ToolMissing(f"qonnx: the Python package {error.name} is not installed; pip install 'shifthw[qonnx]'"
                          ) from error
    return import_file(Path(path), name)
