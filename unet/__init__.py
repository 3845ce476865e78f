"""A from-scratch U-Net for object-against-background segmentation: ``unet.cutout(photo)``."""

from importlib import import_module
from typing import Any

_HOME = {"cutout": "pictures", "load_model": "model_file", "predict": "predict"}  # in inference


def __getattr__(name: str) -> Any:
    """Import what the package offers when it is first used: the stages do without it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"unet.inference.{_HOME[name]}"), name)
