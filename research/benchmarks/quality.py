"""Time to quality: epochs, FLOP and seconds until validation accuracy first passes a bar.

``python -m research.benchmarks.quality RECIPE [--seeds 0 1 2] [--width 16]``, RECIPE one of:

plain    the loop and the recipe of the tutorials (see plain.py), 15 epochs
plain-16 the same in batches of 16 instead of 32
record   this project's loop with the recipe in params.yaml
fast     the same with the settings in FAST: fewer epochs, the first ones on small images

Runs go to results/quality.json, in place of all earlier ones of that recipe and width. The machine
should be idle otherwise.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from research.benchmarks.common import DATA, machine, read_results, write_results
from research.benchmarks.plain import PlainTraining, extract
from unet.config import Params, load_params
from unet.data.packed import load_split
from unet.inference.evaluation import cost
from unet.runtime.device import set_up
from unet.training.learner import build_model
from unet.training.loop import Training, fit, image_size_of

FAST = {"epochs": 6, "grow_from": 0.5, "grow_until": 0.7}
EXPERIMENT = "mp_tr_bce"
PLAIN_EPOCHS = 15


def run_ours(params: Params, seed: int, width: int, changes: dict) -> list[dict]:
    """Train in this project's loop; one row per epoch."""
    config = replace(params.train, seed=seed, **changes)
    experiment = replace(params.experiments[EXPERIMENT], width=width)
    device = set_up(config.device)
    train, val = (
        load_split(DATA / name, device, boundary=config.boundary) for name in ("train", "val")
    )
    rows: list[dict] = []
    clock = time.perf_counter()

    def on_epoch(training: Training) -> None:
        nonlocal clock
        now = time.perf_counter()
        epoch = len(training.curve)
        size = image_size_of(epoch, config, full=train.image_size, step=2**experiment.depth)
        accuracy = training.curve[-1]["val_accuracy"]
        rows.append({"size": size, "seconds": now - clock, "val_accuracy": accuracy})
        clock = now

    with tempfile.TemporaryDirectory() as checkpoint:
        fit(
            experiment, config, train_split=train, val_split=val,
            foreground_share=train.foreground_share, device=device,
            checkpoint=Path(checkpoint), name=f"seed {seed}", on_epoch=on_epoch,
        )  # fmt: skip
    return rows


def run_plain(params: Params, seed: int, width: int, batch_size: int) -> list[dict]:
    """Train in the plain loop; one row per epoch."""
    device = set_up("auto")
    names = {name: load_split(DATA / name, device).names for name in ("train", "val")}
    size = params.preprocess.image_size
    training = PlainTraining(
        extract(), names, size=size, width=width, batch_size=batch_size, seed=seed,
        device=device.type,
    )  # fmt: skip
    return [{"size": size} | epoch for epoch in islice(training.epochs(), PLAIN_EPOCHS)]


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=("plain", "plain-16", "record", "fast"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--width", type=int, default=16)
    arguments = parser.parse_args()
    recipe, width = arguments.recipe, arguments.width
    params = load_params()
    changes = FAST if recipe == "fast" else {}
    num_images = len(load_split(DATA / "train", torch.device("cpu")))
    experiment = replace(params.experiments[EXPERIMENT], width=width)
    results = [r for r in read_results("quality") if (r["recipe"], r["width"]) != (recipe, width)]
    for seed in arguments.seeds:
        if recipe.startswith("plain"):
            epochs = run_plain(params, seed, width, 16 if recipe == "plain-16" else 32)
        else:
            epochs = run_ours(params, seed, width, changes)
        for epoch in epochs:
            # Forward and backward together cost three times the forward pass.
            gflops = cost(build_model(experiment), epoch["size"])["gflops"]
            epoch["gflop"] = 3 * num_images * gflops
            print(recipe, f"seed {seed}", epoch, file=sys.stderr)
        run = {"recipe": recipe, "seed": seed, "width": width, "changes": changes}
        results.append(run | {"machine": machine(), "epochs": epochs})
        write_results("quality", results)


if __name__ == "__main__":
    main()
