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
from collections.abc import Iterator
from dataclasses import replace
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


def run_ours(params: Params, seed: int, width: int, changes: dict) -> Iterator[dict]:
    """Train in this project's loop; yield one row per epoch, all of them at the end."""
    config = replace(params.train, seed=seed, **changes)
    experiment = replace(params.experiments[EXPERIMENT], width=width)
    device = set_up(config.device)
    splits = {
        name: load_split(DATA / name, device, boundary=config.boundary) for name in ("train", "val")
    }
    full = splits["train"].image_size
    rows: list[dict] = []
    clock = time.perf_counter()

    def on_epoch(training: Training) -> None:
        nonlocal clock
        now = time.perf_counter()
        epoch = len(training.curve)
        size = image_size_of(epoch, config, full=full, step=2**experiment.depth)
        accuracy = training.curve[-1]["val_accuracy"]
        rows.append({"size": size, "seconds": now - clock, "val_accuracy": accuracy})
        clock = now

    with tempfile.TemporaryDirectory() as checkpoint:
        fit(
            experiment, config, train_split=splits["train"], val_split=splits["val"],
            foreground_share=splits["train"].foreground_share, device=device,
            checkpoint=Path(checkpoint), name=f"seed {seed}", on_epoch=on_epoch,
        )  # fmt: skip
    yield from rows


def run_plain(
    params: Params, seed: int, width: int, *, batch_size: int, epochs: int = 15
) -> Iterator[dict]:
    """Train in the plain loop; yield one row per epoch."""
    device = set_up("auto")
    names = {name: load_split(DATA / name, device).names for name in ("train", "val")}
    size = params.preprocess.image_size
    folder = extract()
    training = PlainTraining(
        folder, names, size=size, width=width, batch_size=batch_size, seed=seed,
        device=device.type,
    )  # fmt: skip
    for _, epoch in zip(range(epochs), training.epochs(), strict=False):
        yield {"size": size} | epoch


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
        run = {"recipe": recipe, "seed": seed, "width": width, "changes": changes}
        run |= {"machine": machine(), "epochs": []}
        results.append(run)
        if recipe.startswith("plain"):
            batch_size = 16 if recipe == "plain-16" else 32
            epochs = run_plain(params, seed, width, batch_size=batch_size)
        else:
            epochs = run_ours(params, seed, width, changes)
        for epoch in epochs:
            # Forward and backward together cost three times the forward pass.
            gflops = cost(build_model(experiment), epoch["size"])["gflops"]
            run["epochs"].append(epoch | {"gflop": 3 * num_images * gflops})
            print(recipe, f"seed {seed}", len(run["epochs"]), epoch, file=sys.stderr)
            write_results("quality", results)


if __name__ == "__main__":
    main()
