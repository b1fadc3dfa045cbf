"""Where the trained model files are."""

from importlib import resources
from pathlib import Path


def model_path(name: str) -> Path:
    """The model file of a trained network inside the package."""
    return Path(str(resources.files(__package__) / f"{name}.pt"))
