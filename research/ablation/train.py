"""Train and score one run: ``python -m research.ablation.train DESIGN CELL-SEED``."""

import json
import sys
from dataclasses import replace

import torch

from research.ablation.design import DESIGNS, FACTORS, HERE, NUMBERS, Design, load_design
from unet.data.packed import Split, load_split
from unet.inference.config import EvaluateConfig
from unet.inference.evaluation import COUNTS, cost, evaluate
from unet.runtime.config import load_section
from unet.runtime.device import device_name, set_up
from unet.runtime.files import write
from unet.runtime.process import run_stage
from unet.training.checkpoint import unfinished
from unet.training.config import ExperimentConfig, TrainConfig
from unet.training.loop import fit
from unet.training.start import SCRATCH

NUM_WATCHED = 16  # validation images: only to see that the loss is finite; they choose no epoch


def experiment_of(name: str, cells: list[str], design: Design) -> tuple[ExperimentConfig, int]:
    """The variant and the seed of the run ``name`` of a design with the given cells.

    Raises:
        ValueError: the design has no run of that name.
    """
    if name not in design.run_names(cells):
        seeds = ", ".join(map(str, design.seeds))
        raise ValueError(
            f"{name or 'no run'}: must be one of {', '.join(cells)}, then - and a seed of {seeds}"
        )
    cell, _, seed = name.rpartition("-")
    levels = dict(zip(FACTORS, cell.split("-"), strict=True))
    weight = {"pos_weight": "auto"} if levels["loss"] == "bce" else {}
    experiment = ExperimentConfig(**levels, **weight, width=design.width, depth=design.depth)
    return experiment, int(seed)


def recipe(config: TrainConfig, design: Design, seed: int) -> TrainConfig:
    """``config`` with the design's own settings. Whatever it says, training starts from random
    weights, keeps those of the last epoch and counts the boundary as background."""
    own = {key: getattr(design, key) for key in ("amp", "threads", "device")}
    fixed = {"keep": "last", "start_from": SCRATCH, "boundary": "background"}
    return replace(config, **own, **fixed, seed=seed)


def main() -> None:
    """See the module docstring."""
    kind, name = (*sys.argv[1:], "", "")[:2]
    design = load_design(kind)
    experiment, seed = experiment_of(name, DESIGNS[kind], design)
    config = recipe(load_section("train", TrainConfig), design, seed)
    batch_size = load_section("evaluate", EvaluateConfig).batch_size
    device = set_up(config.device)

    data = HERE / "data" / kind
    splits = {split: load_split(data / split, device) for split in ("train", "val", "test")}
    few, val = slice(NUM_WATCHED), splits["val"]
    files = [path for path in data.rglob("*") if path.is_file()]
    with unfinished(
        f"{kind}-{name}", "research.ablation.train", experiment, config, device.type, files=files
    ) as checkpoint:
        model, threshold, training = fit(
            experiment,
            config,
            train_split=splits["train"],
            val_split=Split(val.images[few], val.masks[few], val.names[few]),
            foreground_share=splits["train"].foreground_share,
            device=device,
            checkpoint=checkpoint,
            name=name,
        )
        plain, mirrored = (
            evaluate(
                model, splits["test"], threshold=threshold, batch_size=batch_size,
                device=device, flip=flip, name=name,
            )
            for flip in (False, True)
        )  # fmt: skip
        numbers = plain.scores | cost(model, design.image_size)
        numbers |= {f"{score}_mirrored": mirrored.scores[score] for score in ("accuracy", "iou")}
        numbers |= {"seconds": sum(epoch["seconds"] for epoch in training.timing)}
        row = {factor: getattr(experiment, factor) for factor in FACTORS} | {"seed": seed}
        row |= design.settings | {"epochs": len(training.curve), "threshold": threshold}
        row |= {number: numbers[number] for number in NUMBERS}
        row |= {"torch": torch.__version__, "device": device.type}
        row |= {"device_name": device_name(device)}
        counts = plain.table[["name", *COUNTS]].to_csv(index=False, lineterminator="\n")
        write(HERE / f"runs/{kind}/{name}.csv", counts)
        write(HERE / f"runs/{kind}/{name}.json", json.dumps(row, indent=2) + "\n")


if __name__ == "__main__":
    run_stage("train", main)
