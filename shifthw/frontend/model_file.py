"""model.pt: the integer graph as plain tensors and JSON text, loadable without executing anything.

    {"format": "shifthw model", "version": 1, "graph": JSON text, "arrays": {key: integer tensor}}

written by torch.save; the same graph gives the same bytes.
"""

import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import BadModelFile, ShifthwError
from ..ir.graph import Graph
from ..ir.serialize import from_document, to_document
from ..ir.verify import verify
from .convert import convert

FORMAT = "shifthw model"
VERSION = 1


def save(model: nn.Module, path: str | Path, example_input: torch.Tensor, *, name: str | None = None,
         classes: tuple[str, ...] = (), card: dict[str, object] | None = None) -> Graph:
    """Convert `model` and write it to `path`, atomically; returns the graph that was written.

    example_input  real images [N, C, H, W]: see shifthw.frontend.convert
    classes        names of the output channels, if it is a classifier
    card           what is known of the training: JSON values, kept as graph.metadata["card"]

    Raises UnsupportedModel, naming the layer, for anything that has no mapping; OSError where `path`
    cannot be written.
    """
    metadata: dict[str, object] = {"classes": list(classes), "card": card or {}}
    graph = convert(model, example_input, name, metadata)
    write_graph(graph, path)
    return graph


def write_graph(graph: Graph, path: str | Path) -> None:
    """Write a graph to `path`, atomically: an interrupted write leaves what was there."""
    verify(graph)
    document, arrays = to_document(graph)
    tensors = {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}
    buffer = io.BytesIO()  # torch.save to a path would put the file's name into the bytes
    torch.save({"format": FORMAT, "version": VERSION, "graph": json.dumps(document), "arrays": tensors}, buffer)
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(buffer.getbuffer())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: str | Path) -> Graph:
    """The verified graph in a file that `save` wrote.

    Nothing in the file is executed. Raises BadModelFile for a file that is missing, truncated, not a
    model, of another version, or inconsistent.
    """
    content = _read(Path(path))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BadModelFile(f"{path}: is not a shifthw model; write one with shifthw.save(model, path, example_input)")
    if content.get("version") != VERSION:
        raise BadModelFile(f"{path}: has format version {content.get('version')!r}, this shifthw reads {VERSION}; "
                           f"save the model again")
    try:
        arrays = {str(key): tensor.numpy() for key, tensor in content["arrays"].items()}
        graph = from_document(json.loads(content["graph"]), arrays)
        verify(graph)
    except ShifthwError as error:
        raise BadModelFile(f"{path}: holds an inconsistent graph: {error}") from error
    except Exception as error:  # a damaged document can fail anywhere in decoding
        raise BadModelFile(f"{path}: holds a damaged graph ({_line(error)}); save the model again") from error
    return graph


def _read(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BadModelFile(f"{path}: cannot be read ({error.strerror or _line(error)})") from error
    except Exception as error:  # torch raises half a dozen types for damaged and for refused files
        raise BadModelFile(f"{path}: is damaged, or is a pickle that could run code and was not loaded; write the "
                           f"file again with shifthw.save(model, path, example_input)") from error


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
