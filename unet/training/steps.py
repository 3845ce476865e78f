"""The length of a training, and what it starts from.

Separate from the other params and without heavy imports: other stages use it, too.
"""

import math
import os
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from unet.runtime.config import STRICT

FEW_STEPS = 200  # fewer teach little: the first tens of them only find the foreground's share
SCRATCH = "released/scratch"  # means random weights; DVC requires a file that exists

Count = Annotated[int, Field(ge=1, le=2**20)]


def is_scratch(start_from: str) -> bool:
    """Whether it names SCRATCH, from whatever folder (``../released/scratch``)."""
    return Path(os.path.normpath(start_from)).parts[-2:] == Path(SCRATCH).parts


def start_file(start_from: str, key: str) -> Path | None:
    """The model's file that ``train.start_from`` names for an experiment; None: random weights."""
    if is_scratch(start_from):
        return None
    path = Path(start_from)
    return path / f"{key}.safetensors" if path.is_dir() else path


@dataclass(frozen=True, config=STRICT | {"extra": "ignore"})
class Length:
    """The settings in ``train`` that decide how many steps are taken and how many are needed."""

    epochs: Count
    batch_size: Count
    start_from: Annotated[str, Field(min_length=1)]  # SCRATCH, a model's file or a folder of them

    def num_steps(self, num_images: int) -> int:
        """The number of steps of all epochs, including the last batch of each."""
        return self.epochs * math.ceil(num_images / self.batch_size)

    def hint(self, num_images: int) -> str:
        """Advice if training on ``num_images`` images takes few steps; else empty."""
        if (steps := self.num_steps(num_images)) >= FEW_STEPS:
            return ""
        return (
            f"{steps} steps are few, {FEW_STEPS} or more teach more: raise train.epochs "
            f"(= {self.epochs}) or lower train.batch_size (= {self.batch_size})"
            + (", or set train.start_from=released" if is_scratch(self.start_from) else "")
        )
