"""Train one experiment of ``params.yaml``: ``python -m stages.train KEY``."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from unet.data.packed import load_split
from unet.inference.model_file import save_model
from unet.model import ARCHITECTURE
from unet.runtime.config import load_section
from unet.runtime.device import set_up
from unet.runtime.files import atomic_write, file_sha256, sha256, write
from unet.runtime.process import run_stage
from unet.training.checkpoint import unfinished
from unet.training.config import TrainConfig, load_experiments, select_experiment
from unet.training.distributed import joined, num_ranks, rank
from unet.training.loop import Training, fit
from unet.training.start import load_start

DATA = Path("data/packed")
NUM_WATCHED = 6  # validation images whose predictions are kept, evenly spaced over the split


def main() -> None:
    config = load_section("train", TrainConfig)
    experiments = load_experiments()
    key = select_experiment(experiments, sys.argv[1:])
    experiment = experiments[key]
    curve = Path(f"plots/curves/{key}.csv")

    def write_curves(training: Training) -> None:
        timing = Path(f"plots/timing/{key}.csv")
        for path, rows in ((curve, training.curve), (timing, training.timing)):
            write(path, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n", na_rep="nan"))

    with joined(set_up(config.device)) as device:
        train_split, val_split = (
            load_split(DATA / name, device, boundary=config.boundary) for name in ("train", "val")
        )
        source = json.loads((DATA / "source.json").read_text(encoding="utf-8"))
        watched = np.linspace(0, len(val_split) - 1, NUM_WATCHED).round().astype(int).tolist()
        start = load_start(config.start_from, key, vars(experiment))
        # Neither the dtype on disk nor the threshold affects training.
        settings = (replace(experiment, threshold="auto"), replace(config, store="float32"))
        settings += (start and start.sha256, source, device.type, num_ranks())
        files = [path for name in ("train", "val") for path in (DATA / name).iterdir()]
        with unfinished(key, "stages.train", *settings, files=files) as checkpoint:
            _, threshold, training = fit(
                experiment, config, train_split=train_split, val_split=val_split,
                foreground_share=train_split.foreground_share, device=device,
                checkpoint=checkpoint, name=key, start=start, watched=watched,
                on_epoch=write_curves,
            )  # fmt: skip
            if rank() > 0:
                return
            # DVC records params and start file as they are when the stage ends.
            now = load_experiments().get(key), load_section("train", TrainConfig)
            changed = "" if now == (experiment, config) else "params.yaml"
            if start and file_sha256(start.file) != start.sha256:
                changed = start.file
            if changed:
                raise ValueError(
                    f"{changed} changed while {key} trained: bring the old one back and run again, "
                    "which resumes, or run again to train with the new one"
                )
            info = {
                "experiment": key,
                **{name: getattr(experiment, name) for name in (*ARCHITECTURE, "loss")},
                "threshold": threshold if experiment.threshold == "auto" else experiment.threshold,
                "image_size": train_split.image_size,
                **source,  # "source" and "split"
                **{name: getattr(config, name) for name in ("boundary", "epochs", "seed")},
                "epoch": training.kept_epoch,
                "device": device.type,
                "amp": training.amp,
                "threads": training.threads,
                "ranks": num_ranks(),
            }
            if experiment.loss_options:
                info["loss_options"] = experiment.loss_options
            if start:  # otherwise no entry, so that models from random weights keep their bytes
                info["start_from"] = f"{start.file.name}, SHA-256 {start.sha256}"
            model = Path(f"models/{key}.safetensors")
            save_model(model, training.weights, info, store=config.store)
            write_progress(model.with_suffix(".progress.npz"), training, watched, curve)


def write_progress(path: Path, training: Training, watched: list[int], curve: Path) -> None:
    """Write the snapshots, with the curve's hash, which says which training they belong to."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            indices=np.array(watched),
            epochs=np.array(list(training.snapshots)),
            probabilities=np.stack(list(training.snapshots.values())),
            curve=np.array(sha256(curve)),
        )


if __name__ == "__main__":
    run_stage("train", main)
