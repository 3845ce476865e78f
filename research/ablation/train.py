"""Train and score one run: ``python -m research.ablation.train factorial | published CELL-SEED``."""

import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from research.ablation.design import FACTORS, experiment_of, load_design, settings
from unet.config import load_params
from unet.data.packed import Split, load_split, load_summary
from unet.inference.evaluation import COUNTS, cost, evaluate
from unet.losses import build_loss
from unet.model import UNet
from unet.runtime.device import (
    keep_freed_memory,
    make_repeatable,
    resolve_amp,
    resolve_device,
    set_threads,
)
from unet.runtime.files import atomic_write, exclusive
from unet.runtime.process import run_stage
from unet.training.checkpoint import checkpoint_folder, fingerprint
from unet.training.learner import build_model
from unet.training.loop import train

CODE = ("unet", "study", "__main__")
NUM_WATCHED = 16  # validation images: their loss is to stay finite, nothing else comes of them


@dataclass(frozen=True)
class Mirrored:
    """A model that answers with the mean over an image and its mirror image."""

    model: UNet

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (N, 1, H, W) of images (N, 3, H, W) in [0, 1]."""
        mirrored = self.model.predict(images.flip(-1)).flip(-1)
        return (self.model.predict(images) + mirrored) / 2


def main() -> None:
    """See the module's text."""
    if len(sys.argv) != 3:
        raise ValueError("say which: factorial or published, and CELL-SEED")
    kind, name = sys.argv[1:]
    params, design = load_params(), load_design(kind)
    experiment, seed = experiment_of(name, design)
    config = replace(params.train, seed=seed, amp=design.amp, threads=design.threads)
    device = resolve_device(config.device)
    amp = resolve_amp(config.amp, device)
    set_threads(config.threads)
    make_repeatable(device)
    keep_freed_memory()

    data = Path("study/data") / kind
    summary = load_summary(data)
    splits = {split: load_split(data / split, device) for split in ("train", "val", "test")}
    few, val = slice(NUM_WATCHED), splits["val"]
    val = Split(val.images[few], val.trimaps[few], val.names[few])
    files = [path for path in data.rglob("*") if path.is_file()]
    identity = {
        "code": fingerprint(modules=CODE),
        "data": fingerprint(files=files, modules=()),
        "recipe": fingerprint(replace(config, seed=0), modules=()),
        "torch": torch.__version__,
        "device": device.type,
    }
    folder = checkpoint_folder(fingerprint(experiment, seed, identity, modules=()))
    with exclusive(folder / "lock", name):
        training = train(
            experiment,
            config,
            train_split=splits["train"],
            val_split=val,
            foreground_share=summary.foreground_share,
            watched=[0],
            device=device,
            amp=amp,
            checkpoint=folder,
            on_epoch=lambda training: None,
            name=name,
        )
        model = build_model(experiment).to(device, memory_format=torch.channels_last)
        model.load_state_dict(training.weights)
        threshold = build_loss(experiment, summary.foreground_share).threshold
        plain, mirrored = (
            evaluate(
                predictor, splits["test"], threshold=threshold,
                batch_size=params.evaluate.batch_size, device=device, name=name,
            )
            for predictor in (model, Mirrored(model))
        )  # fmt: skip
        row = {factor: getattr(experiment, factor) for factor in FACTORS} | {"seed": seed}
        row |= settings(design) | {"epochs": len(training.curve), "threshold": threshold}
        row |= plain.scores | cost(model, design.image_size)
        row |= {f"{score}_mirrored": mirrored.scores[score] for score in ("accuracy", "iou")}
        row |= {"seconds": sum(epoch["seconds"] for epoch in training.timing)} | identity
        with atomic_write(Path(f"study/runs/{kind}/{name}.csv")) as temporary:
            columns = ["name", *COUNTS]
            plain.table[columns].to_csv(temporary, index=False, lineterminator="\n")
        with atomic_write(Path(f"study/runs/{kind}/{name}.json")) as temporary:
            temporary.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder)


if __name__ == "__main__":
    run_stage("train", main)
