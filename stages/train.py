"""Train one experiment of ``params.yaml``: ``python -m stages.train KEY``."""

import csv
import io
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from unet.data.packed import load_split
from unet.inference.model_file import ARCHITECTURE, load_model, save_model
from unet.losses import build_loss
from unet.runtime.config import load_section
from unet.runtime.device import set_up
from unet.runtime.files import atomic_write, exclusive, file_sha256, sha256
from unet.runtime.process import run_stage
from unet.runtime.source import source_hashes
from unet.training.checkpoint import (
    STATE,
    checkpoint_folder,
    fingerprint,
    other_states,
    remove_checkpoint,
)
from unet.training.config import (
    ExperimentConfig,
    TrainConfig,
    load_experiments,
    select_experiment,
)
from unet.training.distributed import joined, num_ranks, rank
from unet.training.loop import Row, Start, Training, train
from unet.training.steps import SCRATCH, is_scratch

DATA = Path("data/packed")
NUM_WATCHED = 6  # validation images whose predictions are kept, evenly spaced over the split


def main() -> None:
    config = load_section("train", TrainConfig)
    experiments = load_experiments()
    key = select_experiment(experiments, sys.argv[1:])

    def check_params() -> None:
        now = load_experiments().get(key)
        if (now, load_section("train", TrainConfig)) != (experiments[key], config):
            raise ValueError(  # DVC records the params as they are when the stage ends
                f"params.yaml changed while {key} trained: change it back and run again, which "
                "resumes, or run again to train with the new params"
            )

    with joined(set_up(config.device)) as device:
        train_one(key, experiments[key], config, device, before_saving=check_params)


def train_one(
    key: str,
    experiment: ExperimentConfig,
    config: TrainConfig,
    device: torch.device,
    *,
    before_saving: Callable[[], None] = lambda: None,
) -> None:
    """Train the experiment ``key`` and write its model, snapshots, curve and timing.

    Args:
        before_saving: called on rank 0; may raise, and then no model is written.

    Raises:
        ValueError: another run is at work, the loss is not finite, or the start file is unusable,
            or pixels do not count and there are several ranks.
    """
    splits = {
        name: load_split(DATA / name, device, boundary=config.boundary) for name in ("train", "val")
    }
    if num_ranks() > 1 and any(split.partly_counted for split in splits.values()):
        reason = "train.boundary = ignore" if config.boundary == "ignore" else "data.not_counted"
        raise ValueError(
            f"{reason} with {num_ranks()} ranks: each would divide its loss by its own pixels that "
            "count: train on one device"
        )
    share = splits["train"].foreground_share
    source = json.loads((DATA / "source.json").read_text(encoding="utf-8"))
    watched = np.linspace(0, len(splits["val"]) - 1, NUM_WATCHED).round().astype(int).tolist()
    curve = Path(f"plots/curves/{key}.csv")
    origin = start_file(config.start_from, key)
    start = load_start(origin, key, experiment) if origin else None
    content = file_sha256(origin) if origin else None

    def write_curves(training: Training) -> None:
        write_csv(curve, training.curve)
        write_csv(Path(f"plots/timing/{key}.csv"), training.timing)

    # Neither the dtype on disk nor the threshold affects training.
    trained = (replace(experiment, threshold="auto"), replace(config, store="float32"))
    settings = (*trained, content, source, device.type, num_ranks(), torch.__version__)
    files = [path for name in ("train", "val") for path in (DATA / name).iterdir()]
    name = fingerprint(*settings, source_hashes("stages.train"), files=files)
    folder = checkpoint_folder(key, name)
    writes = rank() == 0
    with ExitStack() as stack:
        if writes:
            for lock in (Path(f".checkpoints/{key}.lock"), folder / "lock"):
                stack.enter_context(exclusive(lock, key))
            if not (folder / STATE).exists() and (others := other_states(folder)):
                tqdm.write(
                    f"{key}: starts anew; {len(others)} unfinished training(s) of other params, "
                    f"code or data cannot be resumed by this one: {others[0]}. (A schedule spans "
                    "all its epochs, so another train.epochs is another training.)"
                )
        training = train(
            experiment,
            config,
            train_split=splits["train"],
            val_split=splits["val"],
            foreground_share=share,
            watched=watched,
            device=device,
            checkpoint=folder,
            on_epoch=write_curves,
            name=key,
            start=start,
        )
        if not writes:
            return
        before_saving()
        if origin and file_sha256(origin) != content:
            raise ValueError(  # DVC records the file as it is when the stage ends
                f"{origin} changed while {key} trained: put the old one back and run again, which "
                "resumes, or run again to start from the new one"
            )
        loss = build_loss(experiment.loss, pos_weight=experiment.pos_weight, share=share)
        threshold = loss.threshold if experiment.threshold == "auto" else experiment.threshold
        info = {
            "experiment": key,
            "downsample": experiment.downsample,
            "upsample": experiment.upsample,
            "width": experiment.width,
            "depth": experiment.depth,
            "loss": experiment.loss,
            "threshold": threshold,
            "image_size": splits["train"].image_size,
            **source,  # "source" and "split"
            "boundary": config.boundary,
            "epoch": training.kept_epoch,
            "epochs": config.epochs,
            "seed": config.seed,
            "device": device.type,
            "amp": training.amp,
            "threads": training.threads,
            "ranks": num_ranks(),
        }
        if origin:  # otherwise no entry, so that models from random weights keep recorded bytes
            info["start_from"] = f"{origin.name}, SHA-256 {content}"
        save_model(Path(f"models/{key}.safetensors"), training.weights, info, store=config.store)
        write_progress(Path(f"models/{key}.progress.npz"), training, watched, curve)
    remove_checkpoint(folder)


def start_file(start_from: str, key: str) -> Path | None:
    """The model file to start from, or None for random weights.

    Raises:
        ValueError: no such file, or a folder without ``KEY.safetensors``.
    """
    if is_scratch(start_from):
        return None
    path = Path(start_from)
    file = path / f"{key}.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(
            f"train.start_from = {start_from}: there is no {file}: name a model's file, or "
            f"{SCRATCH} for random weights"
        )
    return file


def load_start(file: Path, key: str, experiment: ExperimentConfig) -> Start:
    """Load the initial weights from ``file``.

    Raises:
        ValueError: it is not a model, or its architecture is not the experiment's.
    """
    try:
        model, info = load_model(file)
    except ValueError as error:
        raise ValueError(f"train.start_from: {error}") from None
    there, needed = (
        ", ".join(f"{name} {value}" for name, value in zip(ARCHITECTURE, values, strict=True))
        for values in (map(info.get, ARCHITECTURE), map(vars(experiment).get, ARCHITECTURE))
    )
    if there != needed:
        raise ValueError(
            f"train.start_from: {file} has {there}; {key} has {needed}: run experiments like the "
            "file alone (`dvc exp run train@KEY`), or name a folder with a KEY.safetensors for each"
        )
    return Start(str(file), model.state_dict())


def write_progress(path: Path, training: Training, watched: list[int], curve: Path) -> None:
    """Write the snapshots, with the curve's hash, which says which training they belong to."""
    epochs = sorted(training.snapshots)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        indices=np.array(watched),
        epochs=np.array(epochs),
        probabilities=np.stack([training.snapshots[epoch] for epoch in epochs]),
        curve=np.array(sha256(curve)),
    )
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def write_csv(path: Path, rows: list[Row]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[-1].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    run_stage("train", main)
