"""The sections ``data`` and ``preprocess`` of ``params.yaml``."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from unet.runtime.config import STRICT

Md5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


@dataclass(frozen=True, config=STRICT)
class DataConfig:
    """Where the two archives come from."""

    source: Literal["official", "synthetic"]
    url: str  # of the official release; the environment's OXFORD_PETS_URL names a mirror instead
    images_md5: Md5
    annotations_md5: Md5
    num_synthetic: Annotated[int, Field(ge=40)]  # images that `source: synthetic` draws


@dataclass(frozen=True, config=STRICT)
class PreprocessConfig:
    """What the packed arrays hold."""

    image_size: Annotated[int, Field(ge=8, le=1024)]  # pixels a side
    split: Literal["official", "sorted"]
    val_fraction: Annotated[float, Field(gt=0, lt=1)]  # of trainval (official split)
    seed: Annotated[int, Field(ge=0)]
    limit: Annotated[int, Field(ge=2)] | None  # null, or at most so many images a split
