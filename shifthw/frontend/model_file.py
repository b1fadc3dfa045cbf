"""model.pt: the integer graph as plain tensors and JSON text, loadable without executing anything.

    {"format": "shifthw model", "version": 1, "graph": JSON text, "arrays": {key: integer tensor},
     "reference": JSON text, "reference_arrays": {key: real tensor}}

written by torch.save; the same model gives the same bytes. The last two entries, the real-valued networks
that `shifthw check` compares with, may be absent.
"""

import io
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import BadModelFile, ShifthwError, UnsupportedModel
from ..ir.graph import Graph
from ..ir.serialize import from_document, to_document
from ..ir.verify import verify
from . import reference_document
from .archive import is_packed
from .convert import convert_model
from .preprocess import check_metadata
from .reference import Model

FORMAT = "shifthw model"
VERSION = 1


def save(model: nn.Module, path: str | Path, example_input: torch.Tensor, *, name: str | None = None,
         classes: tuple[str, ...] = (), card: dict[str, object] | None = None,
         preprocess: dict[str, object] | None = None) -> Graph:
    """Convert `model` and write it to `path`, atomically; returns the graph that was written.

    example_input  real images [N, C, H, W]: see shifthw.frontend.convert
    classes        names of the output channels, if it is a classifier
    card           what is known of the training: JSON values, kept as graph.metadata["card"]
    preprocess     {"scale": s, "mean": [...], "std": [...]}: what raw uint8 pixels are normalized by before the
                   network, real = (pixel * s - mean) / std per channel

    Raises UnsupportedModel, naming the layer, for anything that has no mapping; OSError where `path`
    cannot be written.
    """
    metadata: dict[str, object] = {"classes": list(classes), "card": card or {}}
    if preprocess is not None:
        metadata["preprocess"] = preprocess
    converted = convert_model(model, example_input, name, metadata)
    write_model(converted, path)
    return converted.graph


def write_graph(graph: Graph, path: str | Path) -> None:
    """Write a graph alone to `path`, atomically."""
    write_model(Model(graph), path)


def write_model(model: Model, path: str | Path) -> None:
    """Write a graph and its real-valued networks to `path`, atomically: an interrupted write leaves what was there."""
    content = model_bytes(model)
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def model_bytes(model: Model) -> bytes:
    """The content of a model file. Raises UnsupportedModel for a graph or metadata that load would refuse."""
    verify(model.graph)
    try:
        _check_metadata(model.graph)
    except (TypeError, ValueError) as error:
        raise UnsupportedModel(f"{model.graph.name}: its metadata is malformed: {error}") from None
    document, arrays = to_document(model.graph)
    content = {"format": FORMAT, "version": VERSION, "graph": json.dumps(document), "arrays": _tensors(arrays)}
    if model.fake_reference is not None or model.float_reference is not None:
        document, arrays = reference_document.to_document(model)
        content |= {"reference": json.dumps(document), "reference_arrays": _tensors(arrays)}
    buffer = io.BytesIO()  # torch.save to a path would put the file's name into the bytes
    torch.save(content, buffer)
    return buffer.getvalue()


def load(path: str | Path) -> Graph:
    """The verified graph in a file that `save` wrote.

    Nothing in the file is executed. Raises BadModelFile for a file that is missing, truncated, not a
    model, of another version, or inconsistent.
    """
    return load_model(path).graph


def load_model(path: str | Path) -> Model:
    """As load, with the real-valued networks that the file holds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks on kinds of files and tensors that are refused below
        return _load(Path(path))


def _load(path: Path) -> Model:
    content = _read(path)
    content = dict(dict.items(content)) if isinstance(content, dict) else content   # its methods may be the file's
    if not isinstance(content, dict) or not _is(content.get("format"), FORMAT):
        raise BadModelFile(f"{path}: is not a shifthw model; write one with shifthw.save(model, path, example_input)")
    version = content.get("version")
    if not _is(version, VERSION):
        shown = version if type(version) in (int, str) else f"of type {type(version).__name__}"
        raise BadModelFile(f"{path}: has format version {shown}, this shifthw reads {VERSION}; save the model again")
    try:
        graph = from_document(json.loads(content["graph"]), _arrays(content["arrays"]))
        verify(graph)
        _check_metadata(graph)
        if "reference" not in content and "reference_arrays" not in content:
            return Model(graph)
        return reference_document.from_document(graph, json.loads(content["reference"]),
                                                _arrays(content["reference_arrays"]))
    except ShifthwError as error:
        raise BadModelFile(f"{path}: holds an inconsistent graph: {error}") from error
    except Exception as error:  # a damaged document can fail anywhere in decoding
        raise BadModelFile(f"{path}: holds a damaged graph ({_line(error)}); save the model again") from error


def _read(path: Path) -> Any:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise BadModelFile(f"{path}: cannot be read (not a regular file); give the path of a model file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadModelFile(f"{path}: cannot be read ({error.strerror or _line(error)})") from error
    try:
        if is_packed(content):
            raise ValueError("a compressed archive, which torch.save does not write")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for damaged and for refused files
        raise BadModelFile(f"{path}: is truncated or damaged, or is a pickle that could run code and was not loaded; "
                           f"copy the file again, or write it with shifthw.save(model, path, example_input)") from error


def _is(value: object, expected: str | int) -> bool:
    """Equality of plain values only: a tensor's would be a tensor."""
    return type(value) is type(expected) and value == expected


def _arrays(tensors: object) -> dict[str, np.ndarray]:
    if not isinstance(tensors, dict):
        raise TypeError(f"arrays must be a dict, not {type(tensors).__name__}")
    for key, tensor in tensors.items():
        if not isinstance(key, str) or not isinstance(tensor, torch.Tensor):
            raise TypeError(f"array {key!r:.80} must be a tensor, not {type(tensor).__name__}")
        if not tensor.is_contiguous():  # one stored number may pose as any count of them
            raise ValueError(f"array {key!r:.80} must be contiguous")
    return {key: tensor.numpy() for key, tensor in tensors.items()}


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Copies in the order of their dimensions: weights of a channels-last network come in another."""
    return {key: torch.from_numpy(np.array(array, order="C")) for key, array in arrays.items()}


def _check_metadata(graph: Graph) -> None:
    metadata = graph.metadata
    classes = metadata.get("classes", [])
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise TypeError("classes must be a list of strings")
    if not isinstance(metadata.get("card", {}), dict):
        raise TypeError("card must be an object")
    check_metadata(graph)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
