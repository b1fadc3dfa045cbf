"""Checkpoints of DeepShift, ShiftAddNet, torchshiftadd and AdderNet, with their exact arithmetic."""

from .framework import SourceOptions
from .load import FRAMEWORKS, load_model

__all__ = ["FRAMEWORKS", "SourceOptions", "load_model"]
