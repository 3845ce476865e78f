"""The section ``evaluate`` of ``params.yaml``."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from unet.runtime.config import STRICT


@dataclass(frozen=True, config=STRICT)
class EvaluateConfig:
    """How test images are predicted."""

    batch_size: Annotated[int, Field(ge=1, le=2**20)]
    tta: bool
    device: Literal["auto", "cuda", "mps", "cpu"]
