"""How many steps a training makes, and what to do where they are few.

Without heavy imports, and apart from the other params: the stage `preprocess` says it, too.
"""

import math
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from unet.runtime.config import STRICT

FEW_STEPS = 200  # fewer teach little: the first tens of them only find the foreground's share
SCRATCH = "released/scratch"  # stands for random weights; DVC wants a file that is there

Count = Annotated[int, Field(ge=1, le=2**20)]


@dataclass(frozen=True, config=STRICT | {"extra": "ignore"})
class Length:
    """Of the section ``train``, what decides how many steps are made and how many are needed."""

    epochs: Count
    batch_size: Count
    start_from: Annotated[str, Field(min_length=1)]  # SCRATCH, a model's file or a folder of them

    def num_steps(self, num_images: int) -> int:
        """The steps of all epochs, the last batch of each included."""
        return self.epochs * math.ceil(num_images / self.batch_size)

    def hint(self, num_images: int) -> str:
        """What helps where a training on so many images makes few steps; else empty."""
        if (steps := self.num_steps(num_images)) >= FEW_STEPS:
            return ""
        more = (
            f"{FEW_STEPS} or more come of more train.epochs (= {self.epochs}), a smaller "
            f"train.batch_size (= {self.batch_size}) or more images"
        )
        few = f"{steps} step{'s are' if steps > 1 else ' is'} few"
        if self.start_from == SCRATCH:
            return (
                f"{few}, expect a poor model; {more}; from trained weights fewer do: "
                "train.start_from=released"
            )
        return f"{few}, they change little of what it starts from; {more}"
