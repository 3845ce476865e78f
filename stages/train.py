"""Train one experiment of ``params.yaml``: ``python -m stages.train KEY``."""

import csv
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

from unet.checkpoint import checkpoint_folder, fingerprint, save_model
from unet.config import load_params
from unet.dataset import load_split, load_summary
from unet.factory import build_loss
from unet.hardware import make_repeatable, resolve_amp, resolve_device, set_threads
from unet.process import only_run, run_stage, written_whole
from unet.training import Row, Training, train

DATA = Path("data/packed")
NUM_WATCHED = 6  # validation images whose predictions are kept, evenly spaced over the split


def main() -> None:
    key = sys.argv[1] if len(sys.argv) == 2 else ""
    params = load_params()
    if key not in params.experiments:
        known = ", ".join(params.experiments)
        raise ValueError(f"usage: python -m stages.train KEY, KEY one of: {known} (got {key!r})")
    experiment, config = params.experiments[key], params.train
    device = resolve_device(config.device)
    amp = resolve_amp(config.amp, device)
    threads = set_threads(config.threads)
    make_repeatable(device)

    summary = load_summary(DATA)
    splits = {name: load_split(DATA / name, device) for name in ("train", "val")}
    pet_share = summary["splits"]["train"]["shares"]["pet"]
    watched = np.linspace(0, len(splits["val"]) - 1, NUM_WATCHED).round().astype(int).tolist()

    def write_curves(training: Training) -> None:
        write_csv(Path(f"plots/curves/{key}.csv"), training.curve)
        write_csv(Path(f"plots/timing/{key}.csv"), training.timing)

    settings = (experiment, config, summary, device.type, amp, threads, torch.__version__)
    folder = checkpoint_folder(fingerprint(*settings))
    with only_run(Path(f".checkpoints/{key}.lock"), key), only_run(folder / "lock", key):
        training = train(
            experiment,
            config,
            train_split=splits["train"],
            val_split=splits["val"],
            pet_share=pet_share,
            watched=watched,
            device=device,
            amp=amp,
            checkpoint=folder,
            on_epoch=write_curves,
            name=key,
        )
        info = {
            "experiment": key,
            "downsample_mode": experiment.downsample,
            "upsample_mode": experiment.upsample,
            "width": experiment.width,
            "depth": experiment.depth,
            "loss": experiment.loss,
            "threshold": build_loss(experiment, pet_share).threshold,
            "image_size": summary["image_size"],
            "split": summary["split"],
            "boundary": "background",
            "epoch": training.kept_epoch,
            "epochs": config.epochs,
            "seed": config.seed,
            "device": device.type,
            "amp": amp,
            "threads": threads,
        }
        save_model(Path(f"models/{key}.safetensors"), training.weights, info)
        with (
            written_whole(Path(f"models/{key}.progress.npz")) as temporary,
            temporary.open("wb") as f,
        ):
            np.savez_compressed(
                f,
                indices=np.array(watched),
                epochs=np.array(sorted(training.snapshots)),
                probabilities=np.stack([training.snapshots[e] for e in sorted(training.snapshots)]),
            )
    shutil.rmtree(folder)


def write_csv(path: Path, rows: list[Row]) -> None:
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    run_stage("train", main)
