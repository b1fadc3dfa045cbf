"""The boards, and the files of a Vivado project for them."""

from .board import Board, load, names

__all__ = ["Board", "load", "names"]
