"""Train and score one run: ``python -m research.ablation.train DESIGN CELL-SEED``."""

import json
import sys
from dataclasses import replace

import torch

from research.ablation.design import (
    DESIGNS,
    FACTORS,
    HERE,
    NUMBERS,
    Design,
    load_design,
    run_names,
    settings,
)
from unet.data.packed import Split, load_split
from unet.inference.config import EvaluateConfig
from unet.inference.evaluation import COUNTS, cost, evaluate
from unet.losses import build_loss
from unet.runtime.config import load_section
from unet.runtime.device import device_name, set_up
from unet.runtime.files import atomic_write, exclusive
from unet.runtime.process import run_stage
from unet.runtime.source import source_hashes
from unet.training.checkpoint import checkpoint_folder, fingerprint, remove_checkpoint
from unet.training.config import ExperimentConfig, TrainConfig
from unet.training.learner import build_model
from unet.training.loop import train
from unet.training.steps import SCRATCH

NUM_WATCHED = 16  # validation images: only to see that the loss is finite; they choose no epoch


def experiment_of(name: str, cells: list[str], design: Design) -> tuple[ExperimentConfig, int]:
    """The variant and the seed of the run ``name`` of a design with the given cells.

    Raises:
        ValueError: the design has no run of that name.
    """
    if name not in run_names(cells, design):
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
    if len(sys.argv) != 3:
        raise ValueError(f"say which: DESIGN ({', '.join(DESIGNS)}) and CELL-SEED")
    kind, name = sys.argv[1:]
    design = load_design(kind)
    experiment, seed = experiment_of(name, DESIGNS[kind], design)
    config = recipe(load_section("train", TrainConfig), design, seed)
    batch_size = load_section("evaluate", EvaluateConfig).batch_size
    device = set_up(config.device)

    data = HERE / "data" / kind
    splits = {split: load_split(data / split, device) for split in ("train", "val", "test")}
    share = splits["train"].foreground_share
    few, val = slice(NUM_WATCHED), splits["val"]
    val = Split(val.images[few], val.masks[few], val.names[few])
    parts = (experiment, config, device.type, torch.__version__)
    files = [path for path in data.rglob("*") if path.is_file()]
    folder = checkpoint_folder(
        f"{kind}-{name}",
        fingerprint(*parts, source_hashes("research.ablation.train"), files=files),
    )
    with exclusive(folder / "lock", name):
        training = train(
            experiment,
            config,
            train_split=splits["train"],
            val_split=val,
            foreground_share=share,
            watched=[0],
            device=device,
            checkpoint=folder,
            on_epoch=lambda training: None,
            name=name,
        )
        model = build_model(experiment).to(device, memory_format=torch.channels_last)
        model.load_state_dict(training.weights)
        loss = build_loss(experiment.loss, pos_weight=experiment.pos_weight, share=share)
        plain, mirrored = (
            evaluate(
                model, splits["test"], threshold=loss.threshold, batch_size=batch_size,
                device=device, flip=flip, name=name,
            )
            for flip in (False, True)
        )  # fmt: skip
        numbers = plain.scores | cost(model, design.image_size)
        numbers |= {f"{score}_mirrored": mirrored.scores[score] for score in ("accuracy", "iou")}
        numbers |= {"seconds": sum(epoch["seconds"] for epoch in training.timing)}
        row = {factor: getattr(experiment, factor) for factor in FACTORS} | {"seed": seed}
        row |= settings(design) | {"epochs": len(training.curve), "threshold": loss.threshold}
        row |= {number: numbers[number] for number in NUMBERS}
        row |= {"torch": torch.__version__, "device": device.type}
        row |= {"device_name": device_name(device)}
        with atomic_write(HERE / f"runs/{kind}/{name}.csv") as temporary:
            columns = ["name", *COUNTS]
            plain.table[columns].to_csv(temporary, index=False, lineterminator="\n")
        with atomic_write(HERE / f"runs/{kind}/{name}.json") as temporary:
            text = json.dumps(row, indent=2) + "\n"
            temporary.write_text(text, encoding="utf-8", newline="\n")
    remove_checkpoint(folder)


if __name__ == "__main__":
    run_stage("train", main)
