"""Trained weights to start from, instead of random ones."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from unet.inference.model_file import ARCHITECTURE, load_model
from unet.runtime.files import file_sha256
from unet.training.config import ExperimentConfig
from unet.training.steps import start_file


class Start(NamedTuple):
    """A trained model's weights: the state dict, the file and its SHA-256."""

    weights: dict[str, Tensor]
    file: Path
    sha256: str


def load_start(start_from: str, key: str, experiment: ExperimentConfig) -> Start | None:
    """What ``train.start_from`` names for the experiment ``key``; None: random weights.

    Raises:
        ValueError: it is not a model, or its architecture is not the experiment's.
    """
    file = start_file(start_from, key)
    if file is None:
        return None
    try:
        model, info = load_model(file)
    except ValueError as error:
        raise ValueError(f"train.start_from = {start_from}: {error}") from None
    there, needed = (
        ", ".join(f"{name} {values[name]}" for name in ARCHITECTURE)
        for values in (info, vars(experiment))
    )
    if there != needed:
        raise ValueError(
            f"train.start_from: {file} has {there}; {key} has {needed}: run experiments like the "
            "file alone (`dvc exp run train@KEY`), or name a folder with a KEY.safetensors for each"
        )
    return Start(model.state_dict(), file, file_sha256(file))
