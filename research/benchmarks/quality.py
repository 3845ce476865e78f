"""Time to quality: epochs, FLOP and seconds until validation accuracy first passes a bar.

``python -m research.benchmarks.quality RECIPE [--seeds 0 1 2] [--width 16]``, RECIPE one of:

plain    the loop and the recipe of the tutorials (see plain.py), 15 epochs
plain-16 the same in batches of 16 instead of 32
record   this project's loop with the recipe in params.yaml
fast     the same with the settings in FAST: fewer epochs, the first ones on small images

Runs go to results/quality.json. A run replaces an earlier one of the same recipe, seed and width,
and all runs of that recipe and width with other settings or other code. The machine should be
idle otherwise.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from research.benchmarks.common import DATA, machine, read_results, write_results
from research.benchmarks.plain import PlainTraining, extract
from unet.config import Params, load_params
from unet.data.packed import load_split
from unet.inference.evaluation import cost
from unet.runtime.device import set_up
from unet.runtime.source import source_hashes
from unet.training.checkpoint import fingerprint
from unet.training.config import ExperimentConfig
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


def epoch_gflop(experiment: ExperimentConfig, size: int, num_images: int) -> float:
    """GFLOP per epoch; forward and backward together cost three times the forward pass."""
    return 3 * num_images * cost(build_model(experiment), size)["gflops"]


def replaces(run: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether ``run`` repeats ``other``, or ``other`` has outdated settings or code."""
    if (run["recipe"], run["width"]) != (other["recipe"], other["width"]):
        return False
    return run["seed"] == other["seed"] or run.get("made_of") != other.get("made_of")


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=("plain", "plain-16", "record", "fast"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--width", type=int, default=16)
    arguments = parser.parse_args()
    params = load_params()
    changes = FAST if arguments.recipe == "fast" else {}
    num_images = len(load_split(DATA / "train", torch.device("cpu")))
    experiment = replace(params.experiments[EXPERIMENT], width=arguments.width)
    for seed in arguments.seeds:
        run = {"recipe": arguments.recipe, "seed": seed, "width": arguments.width}
        if arguments.recipe.startswith("plain"):
            batch_size = 16 if arguments.recipe == "plain-16" else 32
            epochs = run_plain(params, seed, arguments.width, batch_size=batch_size)
            run["made_of"] = fingerprint(source_hashes("research.benchmarks.plain"))
        else:
            epochs = run_ours(params, seed, arguments.width, changes)
            run["changes"] = changes
            config = replace(params.train, **changes, seed=0)
            run["made_of"] = fingerprint(config, source_hashes("unet.training.loop"))
        run |= {"machine": machine(), "epochs": []}
        for epoch in epochs:
            gflop = epoch_gflop(experiment, epoch["size"], num_images)
            run["epochs"].append(epoch | {"gflop": gflop})
            print(run["recipe"], f"seed {seed}", len(run["epochs"]), epoch, file=sys.stderr)
            others = [r for r in read_results("quality") if not replaces(run, r)]
            write_results("quality", [*others, run])


if __name__ == "__main__":
    main()
