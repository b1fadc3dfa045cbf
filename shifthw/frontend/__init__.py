"""From trained torch modules and model files to the integer graph."""

from .convert import convert
from .model_file import load, save, write_graph

__all__ = ["convert", "load", "save", "write_graph"]
