"""Train on all folds of train and val except one, then predict that fold and test.

``python -m research.labels.fold K`` writes ``folds/K.npz``; after an interruption it resumes.
"""

import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from unet.data.masks import foreground
from unet.data.packed import Split, load_split
from unet.inference.config import EvaluateConfig
from unet.model import UNet
from unet.runtime.config import STRICT, load_section
from unet.runtime.device import set_up
from unet.runtime.files import write
from unet.runtime.process import run_stage
from unet.training.checkpoint import unfinished
from unet.training.config import TrainConfig, load_experiments, select_experiment
from unet.training.loop import fit
from unet.training.start import load_start

HERE, DATA = Path("research/labels"), Path("data/packed")  # stages run in the root
CPU = torch.device("cpu")
NUM_LEVELS = 255  # probabilities are stored as uint8
NUM_WATCHED = 16  # left-out images: only to see that the loss is finite; they choose no epoch


@dataclass(frozen=True, config=STRICT)
class LabelsConfig:
    """The section ``suspects`` of ``params.yaml``; training uses the root's section ``train``."""

    experiment: str  # a key in the root's params.yaml
    seed: Annotated[int, Field(ge=0, lt=2**31)]  # for drawing the folds
    folds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2)]

    def __post_init__(self) -> None:
        if self.folds != list(range(len(self.folds))):
            raise ValueError(f"folds = {self.folds}: must count 0, 1, 2 and on")


def load_labels() -> LabelsConfig:
    """The section ``suspects`` of ``params.yaml`` here; a ValueError if it is not valid."""
    return load_section("suspects", LabelsConfig, HERE / "params.yaml")


def fold_of(num_images: int, config: LabelsConfig) -> Tensor:
    """The fold of each image: (N,) int64; the folds' sizes differ by at most one image."""
    order = np.random.default_rng(config.seed).permutation(num_images)
    return torch.from_numpy(order % len(config.folds))


def packed_splits(device: torch.device = CPU) -> dict[str, Split]:
    """The splits train, val and test, by name."""
    return {name: load_split(DATA / name, device) for name in ("train", "val", "test")}


def joined(*splits: Split) -> Split:
    """Concatenate several splits."""
    images, masks = (torch.cat([getattr(s, part) for s in splits]) for part in ("images", "masks"))
    return Split(images, masks, tuple(name for split in splits for name in split.names))


def part(split: Split, rows: Tensor) -> Split:
    """The images of ``split`` at the indices ``rows`` (n,)."""
    rows = rows.to(split.images.device)
    names = tuple(split.names[row] for row in rows.tolist())
    return Split(split.images[rows], split.masks[rows], names)


@torch.inference_mode()
def predict_split(model: UNet, split: Split, batch_size: int, device: torch.device) -> Tensor:
    """Probabilities (N, S, S) of all images, float32 on the CPU."""
    found = []
    for rows in torch.arange(len(split)).split(batch_size):
        images, _ = split.batch(rows, device)
        found.append(model.predict(images).squeeze(1).cpu())
    return torch.cat(found)


def levels(probabilities: Tensor) -> np.ndarray:
    """Probabilities in [0, 1] as uint8; 1 becomes NUM_LEVELS."""
    return (probabilities * NUM_LEVELS).round().to(torch.uint8).numpy()


def main() -> None:
    """See the module docstring."""
    labels = load_labels()
    if sys.argv[1:] not in [[str(number)] for number in labels.folds]:
        raise ValueError(f"say which fold: one of {', '.join(map(str, labels.folds))}")
    number = int(sys.argv[1])
    experiments = load_experiments()
    key = select_experiment(experiments, [labels.experiment])
    # The images to be judged must not choose the epoch whose weights judge them.
    config = replace(load_section("train", TrainConfig), keep="last", boundary="background")
    batch_size = load_section("evaluate", EvaluateConfig).batch_size
    device = set_up(config.device)
    start = load_start(config.start_from, key, vars(experiments[key]))

    train_split, val_split, test = packed_splits(device).values()
    everything = joined(train_split, val_split)
    folds = fold_of(len(everything), labels)
    seen, unseen = (
        part(everything, rows.nonzero()[:, 0]) for rows in (folds != number, folds == number)
    )
    is_object, counted = foreground(seen.masks)
    share = ((is_object & counted).sum() / counted.sum()).item()
    if not 0 < share < 1:
        raise ValueError(
            f"suspects.folds: without fold {number} the masks hold no object, or nothing else: "
            "take other folds, or another suspects.seed"
        )
    settings = (number, labels, experiments[key], config, start and start.sha256, device.type)
    files = [path for name in ("train", "val") for path in (DATA / name).iterdir()]
    with unfinished(
        f"labels-{number}", "research.labels.fold", *settings, files=files
    ) as checkpoint:
        model, threshold, _ = fit(
            experiments[key],
            config,
            train_split=seen,
            val_split=part(unseen, torch.arange(min(NUM_WATCHED, len(unseen)))),
            foreground_share=share,
            device=device,
            checkpoint=checkpoint,
            name=f"fold {number}",
            start=start,
        )
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            names=np.array(unseen.names),
            left_out=levels(predict_split(model, unseen, batch_size, device)),
            test=levels(predict_split(model, test, batch_size, device)),
            threshold=np.array(threshold),
        )
        write(HERE / f"folds/{number}.npz", buffer.getbuffer())


if __name__ == "__main__":
    run_stage("fold", main)
