"""What a training starts from: a trained model's weights, or random ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from unet.inference.model_file import load_model
from unet.model import ARCHITECTURE
from unet.runtime.files import file_sha256

SCRATCH = "released/scratch"  # means random weights; DVC requires a file that exists


class Start(NamedTuple):
    """A trained model's weights: the state dict, the file and its SHA-256."""

    weights: dict[str, Tensor]
    file: Path
    sha256: str


def start_file(start_from: str, key: str) -> Path | None:
    """The model's file that ``train.start_from`` names for an experiment; None: random weights."""
    path = Path(start_from)
    if path.parts[-2:] == Path(SCRATCH).parts:  # from any folder: ../released/scratch
        return None
    return path / f"{key}.safetensors" if path.is_dir() else path


def load_start(start_from: str, key: str, needed: Mapping[str, Any]) -> Start | None:
    """What ``train.start_from`` names for the experiment ``key``; None: random weights.

    Args:
        needed: the experiment's settings, among them the four of ARCHITECTURE.

    Raises:
        ValueError: it is not a model, or its architecture is not the experiment's.
    """
    file = start_file(start_from, key)
    if file is None:
        return None
    model, info = load_model(file)
    there, needed = (
        ", ".join(f"{k} {values[k]}" for k in ARCHITECTURE) for values in (info, needed)
    )
    if there != needed:
        raise ValueError(
            f"train.start_from: {file} has {there}; {key} has {needed}: run experiments like the "
            "file alone (`dvc exp run train@KEY`), or name a folder with a KEY.safetensors for each"
        )
    return Start(model.state_dict(), file, file_sha256(file))
