"""What the ablation trains: its ``params.yaml``, checked, and the names of its runs."""

from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from unet.runtime.config import STRICT, load_section

HERE = Path("research/ablation")  # stages run in the repository's root

# Effects are the first level's score minus the second's.
FACTORS = {"downsample": ("mp", "str_conv"), "upsample": ("tr", "ups"), "loss": ("bce", "dice")}
NAMED = {
    "mp_tr_bce": "mp-tr-bce",
    "mp_tr_dice": "mp-tr-dice",
    "str_tr_bce": "str_conv-tr-bce",
    "str_ups_dice": "str_conv-ups-dice",
}  # the experiments of the root's params.yaml and the published table -> their cells
CELLS = ["-".join(levels) for levels in product(*FACTORS.values())]
# A design -> its cells. Those of the named experiments stand in the README's tables, in this order;
# another of them (another width, say) is a line here, a section of params.yaml and a stage of
# dvc.yaml.
DESIGNS = {
    "factorial": CELLS,
    "official": list(NAMED.values()),
    "published": list(NAMED.values()),
}

# What a run records beside its settings: the numbers that the tables and figures need.
NUMBERS = (
    "accuracy", "iou", "precision", "recall", "boundary_iou", "accuracy_at_half", "iou_at_half",
    "iou_per_image", "iou_boundary_ignored", "accuracy_mirrored", "iou_mirrored", "parameters",
    "gflops", "seconds",
)  # fmt: skip

Seed = Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True, config=STRICT)
class Design:
    """Some runs that differ in their cell and their seed alone."""

    split: Literal["official", "sorted"]
    image_size: Annotated[int, Field(ge=8, le=1024)]
    width: Annotated[int, Field(ge=1, le=512)]
    depth: Annotated[int, Field(ge=1, le=7)]
    amp: Literal["bf16", "fp16", "none"]
    threads: Annotated[int, Field(ge=1)]  # of a run
    device: Literal["auto", "cuda", "mps", "cpu"]
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


def load_design(name: str, path: Path = HERE / "params.yaml") -> Design:
    """The design ``name``, one of ``DESIGNS``, in ``path``.

    Raises:
        ValueError: there is none of that name, or a value that is not allowed.
    """
    if name not in DESIGNS:
        raise ValueError(f"{name or 'no design'}: must be one of {', '.join(DESIGNS)}")
    return load_section(name, Design, path)


def run_names(cells: list[str], design: Design) -> list[str]:
    """``CELL-SEED`` of each run."""
    return [f"{cell}-{seed}" for cell in cells for seed in design.seeds]


def named_designs(split: str, path: Path = HERE / "params.yaml") -> dict[str, Design]:
    """The designs of the named experiments on ``split``, in the order of ``DESIGNS``."""
    names = [name for name, cells in DESIGNS.items() if cells == list(NAMED.values())]
    designs = {name: load_design(name, path) for name in names}
    return {name: design for name, design in designs.items() if design.split == split}


def settings(design: Design) -> dict[str, str | int]:
    """The design's settings that each of its runs records; of the device it records what it was."""
    left_out = ("seeds", "device")
    return {key: value for key, value in asdict(design).items() if key not in left_out}
