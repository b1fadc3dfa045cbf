"""From trained torch modules and model files to the integer graph."""

from .convert import convert, round_adders
from .model_file import load, save, write_graph
from .post_training import QuantizeOptions, quantize
from .prepare import prepare

__all__ = ["QuantizeOptions", "convert", "load", "prepare", "quantize", "round_adders", "save", "write_graph"]
