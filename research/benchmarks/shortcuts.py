"""What shortens the way to a good model, over seeds: ``python -m research.benchmarks.shortcuts``.

The ways are growing images, larger batches while the images are small, and fewer epochs, each also
with weights averaged over the steps. They take turns, seed after seed; results/shortcuts.json is
written after each training. The loop is that of unet/training/loop.py, but the batch size may
change between epochs and there are no training scores, snapshots or checkpoints. The seconds of all
ways include averaging. The machine should be idle otherwise.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from research.benchmarks.common import DATA, machine, write_results
from research.benchmarks.quality import EXPERIMENT, FAST, epoch_gflop
from unet.config import Params, load_params
from unet.data.augment import draw_transforms
from unet.data.packed import Split, load_split
from unet.runtime.device import resolve_amp, resolve_device, set_up
from unet.training.learner import Learner
from unet.training.loop import image_size_of, load_batch, one_cycle, validate

DECAY = 0.98  # of the moving average, per step: a window of about 50 steps


@dataclass(frozen=True)
class Way:
    """A shortened recipe; below full image size, batches are ``small_factor`` times as large."""

    epochs: int = FAST["epochs"]
    grow_from: float = FAST["grow_from"]
    small_factor: int = 1


WAYS = {
    "6 epochs at full size": Way(grow_from=1.0),
    "6 epochs, growing (`fast`)": Way(),
    "the same, batches of 32 while small": Way(small_factor=2),
    "4 epochs, growing": Way(epochs=4),
}


def run(
    way: Way, params: Params, splits: dict[str, Split], *, seed: int, width: int
) -> Iterator[dict[str, float]]:
    """Train in this way; after each epoch yield its costs and the validation accuracy of the
    weights and of their average."""
    config = replace(
        params.train, seed=seed, epochs=way.epochs, grow_from=way.grow_from,
        grow_until=FAST["grow_until"],
    )  # fmt: skip
    experiment = replace(params.experiments[EXPERIMENT], width=width)
    device = resolve_device(config.device)
    amp = resolve_amp(config.amp, device)
    learner = Learner(
        experiment,
        config,
        foreground_share=splits["train"].foreground_share,
        device=device,
        amp=amp,
    )
    average = AveragedModel(
        learner.model, multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=True
    )
    split, full = splits["train"], splits["train"].image_size
    num_images, done = len(split), 0

    def accuracy(model: torch.nn.Module) -> float:
        return validate(
            model, learner.loss_function, splits["val"], batch_size=4 * config.batch_size,
            device=device, amp=amp,
        )["accuracy"]  # fmt: skip

    for epoch in range(1, way.epochs + 1):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        size = image_size_of(epoch, config, full=full, step=2**experiment.depth)
        batch_size = config.batch_size * (way.small_factor if size < full else 1)
        started = time.perf_counter()
        learner.model.train()
        for indices in torch.randperm(num_images, generator=generator).split(batch_size):
            # The schedule counts images, so that it does not depend on the batch size.
            rate = one_cycle(
                done, way.epochs * num_images, max_lr=config.max_lr, warmup=config.warmup
            )
            transforms = draw_transforms(len(indices), config.augment, generator)
            batch = load_batch(split, indices, transforms, size=size, device=device)
            learner.step(batch.images, batch.targets, rate)
            average.update_parameters(learner.model)
            done += len(indices)
        row = {"size": size, "batch_size": batch_size, "val_accuracy": accuracy(learner.model)}
        row["seconds"] = time.perf_counter() - started
        row["gflop"] = epoch_gflop(experiment, size, num_images)
        yield row | {"val_accuracy_averaged": accuracy(average)}


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--width", type=int, default=16)
    arguments = parser.parse_args()
    params = load_params()
    device = set_up(params.train.device)
    splits = {name: load_split(DATA / name, device) for name in ("train", "val")}
    runs: list[dict] = []
    for seed in arguments.seeds:
        for name, way in WAYS.items():
            epochs = []
            for epoch in run(way, params, splits, seed=seed, width=arguments.width):
                epochs.append(epoch)
                print(f"{name}, seed {seed}", epoch, file=sys.stderr)
            runs.append({"way": name, "seed": seed, "width": arguments.width, "epochs": epochs})
            write_results("shortcuts", {"machine": machine(), "runs": runs})


if __name__ == "__main__":
    main()
