"""The sections ``data`` and ``preprocess`` of ``params.yaml``."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from unet.runtime.config import STRICT

DOWNLOADED = Path("data/raw")  # where the stage `download` leaves the archives

Value = Annotated[int, Field(ge=0, le=65535)]  # a pixel value of a mask
Md5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


@dataclass(frozen=True, config=STRICT)
class DataConfig:
    """Where the photographs and masks come from."""

    # The folder of the downloaded archives, or a user's own (unet.data.sources).
    path: Annotated[str, Field(min_length=1)]
    object_values: (
        Literal["auto", "half", "dark"] | Annotated[tuple[Value, ...], Field(min_length=1)]
    )
    not_counted: Value | None
    source: Literal["official", "synthetic"]
    url: str  # of the official release; the environment variable OXFORD_PETS_URL overrides it
    images_md5: Md5
    annotations_md5: Md5
    num_synthetic: Annotated[int, Field(ge=40)]  # images that `source: synthetic` draws

    def __post_init__(self) -> None:
        if not isinstance(self.object_values, str) and self.not_counted in self.object_values:
            raise ValueError(
                f"data.not_counted = {self.not_counted} is one of data.object_values: a value can "
                "mean one thing"
            )

    @property
    def is_downloaded(self) -> bool:
        """Whether ``path`` is the folder of the stage ``download``."""
        return Path(self.path) == DOWNLOADED


@dataclass(frozen=True, config=STRICT)
class PreprocessConfig:
    """What the packed arrays hold."""

    image_size: Annotated[int, Field(ge=8, le=1024)]  # pixels a side
    split: Literal["official", "sorted"]
    val_fraction: Annotated[float, Field(gt=0, lt=1)]  # share of what is not test
    test_fraction: Annotated[float, Field(gt=0, lt=1)]  # share of a folder without lists
    seed: Annotated[int, Field(ge=0)]
    limit: Annotated[int, Field(ge=2)] | None  # maximum number of images per split
