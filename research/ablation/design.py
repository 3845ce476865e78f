"""What the ablation trains: its validated ``params.yaml`` and the names of its runs."""

from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from unet.runtime.config import STRICT, load_section

HERE = Path("research/ablation")  # relative to the repository's root, where stages run

# An effect is the score of the first level minus that of the second.
FACTORS = {"downsample": ("mp", "str_conv"), "upsample": ("tr", "ups"), "loss": ("bce", "dice")}
NAMED = {
    "mp_tr_bce": "mp-tr-bce",
    "mp_tr_dice": "mp-tr-dice",
    "str_tr_bce": "str_conv-tr-bce",
    "str_ups_dice": "str_conv-ups-dice",
}  # experiment of the root's params.yaml and the published table -> its cell
CELLS = ["-".join(levels) for levels in product(*FACTORS.values())]
# Design -> its cells. The README's tables show the designs of the named experiments in this order.
# To add one (with another width, say), add a line here, a section in params.yaml and a stage in
# dvc.yaml.
DESIGNS = {
    "factorial": CELLS,
    "official": list(NAMED.values()),
    "published": list(NAMED.values()),
}

# The numbers that a run records for the tables and figures, in addition to its settings.
NUMBERS = (
    "accuracy", "iou", "precision", "recall", "boundary_iou", "accuracy_at_half", "iou_at_half",
    "iou_per_image", "iou_boundary_ignored", "accuracy_mirrored", "iou_mirrored", "parameters",
    "gflops", "seconds",
)  # fmt: skip

Seed = Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True, config=STRICT)
class Design:
    """A set of runs that differ only in their cell and seed."""

    split: Literal["official", "sorted"]
    image_size: Annotated[int, Field(ge=8, le=1024)]
    width: Annotated[int, Field(ge=1, le=512)]
    depth: Annotated[int, Field(ge=1, le=7)]
    amp: Literal["bf16", "fp16", "none"]
    threads: Annotated[int, Field(ge=1)]  # per run
    device: Literal["auto", "cuda", "mps", "cpu"]
    seeds: Annotated[list[Seed], Field(min_length=1)]

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds = {self.seeds}: one stands twice")

    def run_names(self, cells: list[str]) -> list[str]:
        """The name ``CELL-SEED`` of each run."""
        return [f"{cell}-{seed}" for cell in cells for seed in self.seeds]

    @property
    def settings(self) -> dict[str, str | int]:
        """What each run records; not the device, as a run records the one it ran on."""
        return {key: value for key, value in asdict(self).items() if key not in ("seeds", "device")}


def load_design(name: str, path: Path = HERE / "params.yaml") -> Design:
    """The design ``name``, one of ``DESIGNS``, in ``path``.

    Raises:
        ValueError: there is no such design, or one of its values is not allowed.
    """
    if name not in DESIGNS:
        raise ValueError(f"{name or 'no design'}: must be one of {', '.join(DESIGNS)}")
    return load_section(name, Design, path)
