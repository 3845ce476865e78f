"""What the study trains: ``study/params.yaml``, checked, and the names of its runs."""

import json
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from unet.training.config import ExperimentConfig

# Effects are the first level's score minus the second's.
FACTORS = {"downsample": ("mp", "str_conv"), "upsample": ("tr", "ups"), "loss": ("bce", "dice")}
NAMED = {
    "mp_tr_bce": "mp-tr-bce",
    "mp_tr_dice": "mp-tr-dice",
    "str_tr_bce": "str_conv-tr-bce",
    "str_ups_dice": "str_conv-ups-dice",
}  # the experiments of params.yaml and the published table -> their cells
CELLS = ["-".join(levels) for levels in product(*FACTORS.values())]

Seed = Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Design:
    """Some runs that differ in their cell and their seed alone."""

    split: Literal["official", "sorted"]
    image_size: Annotated[int, Field(ge=8, le=1024)]
    width: Annotated[int, Field(ge=1, le=512)]
    depth: Annotated[int, Field(ge=1, le=7)]
    amp: Literal["bf16", "fp16", "none"]
    threads: Annotated[int, Field(ge=1)]  # of a run
    seeds: Annotated[list[Seed], Field(min_length=1)]

    def __post_init__(self) -> None:
        step = 2**self.depth
        if self.image_size % step or self.image_size < 2 * step:
            raise ValueError(
                f"image_size = {self.image_size} with depth = {self.depth}: must be a multiple of "
                f"{step} and at least {2 * step}"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds = {self.seeds}: one stands twice")


def load_design(name: str, path: Path = Path("study/params.yaml")) -> Design:
    """The design ``name`` (``factorial`` or ``published``) in ``path``.

    Raises:
        ValueError: there is none of that name, or a value that is not allowed.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TypeAdapter(Design).validate_json(json.dumps(raw[name]))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([name, *map(str, first["loc"])])
        problem = first.get("ctx", {}).get("error") or f"{first['input']!r}: {first['msg']}"
        raise ValueError(f"{path}: {where}: {problem}") from None
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"{path}: no design {name} can be read of it ({problem})") from None


def run_names(cells: list[str], design: Design) -> list[str]:
    """``CELL-SEED`` of each run."""
    return [f"{cell}-{seed}" for cell in cells for seed in design.seeds]


def experiment_of(name: str, design: Design) -> tuple[ExperimentConfig, int]:
    """The variant and the seed of the run ``name``.

    Raises:
        ValueError: no run is called so.
    """
    cell, _, seed = name.rpartition("-")
    if cell not in CELLS or not seed.isdecimal():
        raise ValueError(f"{name}: must be one of {', '.join(CELLS)}, then - and a seed")
    levels = dict(zip(FACTORS, cell.split("-"), strict=True))
    weight = {"pos_weight": "auto"} if levels["loss"] == "bce" else {}
    experiment = ExperimentConfig(**levels, **weight, width=design.width, depth=design.depth)
    return experiment, int(seed)


def settings(design: Design) -> dict:
    """The design's settings that each of its runs records."""
    return {key: value for key, value in asdict(design).items() if key != "seeds"}
