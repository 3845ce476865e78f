"""Train one experiment of ``params.yaml``: ``python -m stages.train KEY``.

With ``--profile`` a few steps are traced instead, to ``profile/KEY.json.gz``.
"""

import csv
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from unet.checkpoint import checkpoint_folder, fingerprint, save_model
from unet.config import Params, experiment_key, load_params
from unet.dataset import load_split, load_summary
from unet.factory import build_loss
from unet.hardware import (
    keep_freed_memory,
    make_repeatable,
    resolve_amp,
    resolve_device,
    set_threads,
)
from unet.process import only_run, run_stage, written_whole
from unet.profiling import profile_training
from unet.ranks import from_first, joined, launch, num_ranks, rank
from unet.training import Row, Training, train

DATA = Path("data/packed")
NUM_WATCHED = 6  # validation images whose predictions are kept, evenly spaced over the split


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--profile"]
    params = load_params()
    key = experiment_key(params, arguments)
    device = resolve_device(params.train.device)
    if len(arguments) < len(sys.argv[1:]):
        profile_one(params, key, device)
    elif not launch("stages.train", key, device=device):
        with joined(device) as device:
            train_one(params, key, device)


def train_one(params: Params, key: str, device: torch.device) -> None:
    experiment, config = params.experiments[key], params.train
    # `auto` measures: the ranks are to agree on what came of it.
    amp = from_first(resolve_amp(config.amp, device).encode(), device).decode()
    threads = set_threads(config.threads)
    make_repeatable(device)
    keep_freed_memory()

    summary = load_summary(DATA)
    splits = {name: load_split(DATA / name, device) for name in ("train", "val")}
    watched = np.linspace(0, len(splits["val"]) - 1, NUM_WATCHED).round().astype(int).tolist()

    def write_curves(training: Training) -> None:
        write_csv(Path(f"plots/curves/{key}.csv"), training.curve)
        write_csv(Path(f"plots/timing/{key}.csv"), training.timing)

    settings = (experiment, config, summary, device.type, amp, threads, num_ranks())
    files = [path for name in ("train", "val") for path in (DATA / name).iterdir()]
    folder = checkpoint_folder(fingerprint(*settings, torch.__version__, files=files))
    writes = rank() == 0
    locks = [Path(f".checkpoints/{key}.lock"), folder / "lock"]
    first, second = (only_run(lock, key) if writes else nullcontext() for lock in locks)
    with first, second:
        training = train(
            experiment,
            config,
            train_split=splits["train"],
            val_split=splits["val"],
            pet_share=summary.pet_share,
            watched=watched,
            device=device,
            amp=amp,
            checkpoint=folder,
            on_epoch=write_curves,
            name=key,
        )
        if not writes:
            return
        info = {
            "experiment": key,
            "downsample_mode": experiment.downsample,
            "upsample_mode": experiment.upsample,
            "width": experiment.width,
            "depth": experiment.depth,
            "loss": experiment.loss,
            "threshold": build_loss(experiment, summary.pet_share).threshold,
            "image_size": splits["train"].image_size,
            "split": summary.split,
            "boundary": "background",
            "epoch": training.kept_epoch,
            "epochs": config.epochs,
            "seed": config.seed,
            "device": device.type,
            "amp": amp,
            "threads": threads,
            "ranks": num_ranks(),
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


def profile_one(params: Params, key: str, device: torch.device) -> None:
    set_threads(params.train.threads)
    make_repeatable(device)
    keep_freed_memory()
    trace = Path(f"profile/{key}.json.gz")
    table = profile_training(
        params.experiments[key],
        params.train,
        split=load_split(DATA / "train", device),
        pet_share=load_summary(DATA).pet_share,
        device=device,
        amp=resolve_amp(params.train.amp, device),
        trace=trace,
    )
    print(f"{table}\n{trace}: open it at ui.perfetto.dev")


def write_csv(path: Path, rows: list[Row]) -> None:
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    run_stage("train", main)
