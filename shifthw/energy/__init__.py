"""The energy model: published unit energies times exact counts of operations and memory accesses."""

from .model import MODEL, energy_report

__all__ = ["MODEL", "energy_report"]
