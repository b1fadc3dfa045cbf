"""The back end: integer graph to program and array configuration."""

from .compile import compile_graph

__all__ = ["compile_graph"]
