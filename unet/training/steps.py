"""The number of steps of a training, and advice if there are few.

Separate from the other params and without heavy imports: the stage `preprocess` uses it, too.
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
        more = (
            f"{FEW_STEPS} or more come of more train.epochs (= {self.epochs}), a smaller "
            f"train.batch_size (= {self.batch_size}) or more images"
        )
        few = f"{steps} step{'s are' if steps > 1 else ' is'} few"
        if is_scratch(self.start_from):
            return (
                f"{few}, expect a poor model; {more}; from trained weights fewer do: "
                "train.start_from=released"
            )
        return f"{few}, they change little of what it starts from; {more}"
