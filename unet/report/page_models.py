"""The models of a page, as its browser runs them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def page_models(root: Path, keys: Sequence[str]) -> dict[str, tuple[dict[str, Any], bytes]]:
    """Key -> what the page says of the model, and its ONNX file, kernels as float16.

    Args:
        root: the repository whose ``models/`` hold the experiments ``keys``; else their released
            ones, and the model for photographs.
    """
    return {}
