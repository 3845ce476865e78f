"""Models, splits and configurations small enough to train within a second."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.repo import ROOT, TINY
from unet.config import load_params
from unet.data.augment import AugmentConfig
from unet.data.masks import BACKGROUND, OBJECT
from unet.data.packed import Split
from unet.data.packing import pack_into
from unet.model import UNet
from unet.training.config import ExperimentConfig, TrainConfig
from unet.training.loop import Training, fit
from unet.training.start import SCRATCH

CPU = torch.device("cpu")

STILL = AugmentConfig(
    flip=False, scale=(1.0, 1.0), shift=0.0, rotate=0.0, brightness=0.0, color=0.0,
    contrast=0.0, saturation=0.0, paste=0.0, soft_edges=False,
)  # fmt: skip


def tiny_augment(**changes: Any) -> AugmentConfig:
    """An augmentation that leaves all as it is, but for ``changes``."""
    return replace(STILL, **changes)


def tiny_experiment(**changes: Any) -> ExperimentConfig:
    settings: dict[str, Any] = {
        "downsample": "mp", "upsample": "tr", "loss": "bce", "width": 4, "depth": 2,
    }  # fmt: skip
    settings |= changes
    if settings["loss"] == "bce":
        settings.setdefault("pos_weight", "auto")
    return ExperimentConfig(**settings)


def tiny_config(**changes: Any) -> TrainConfig:
    settings: dict[str, Any] = {
        "epochs": 3, "batch_size": 8, "seed": 0, "optimizer": "muon", "schedule": "one_cycle",
        "max_lr": 0.02, "warmup": 0.3, "grow_from": 1.0,
        "grow_until": 0.6, "weight_decay": 0.05, "keep": "last", "store": "float32",
        "amp": TINY["amp"], "device": "cpu",
        "threads": 1, "start_from": SCRATCH, "boundary": "background",
        "augment": tiny_augment(flip=True, shift=0.1, brightness=0.1),
    }  # fmt: skip
    return TrainConfig(**settings | changes)


def tiny_model(seed: int = 0, *, random_head: bool = False, **settings: Any) -> UNet:
    """A new U-Net in evaluation mode; ``random_head`` makes its output depend on the images."""
    torch.manual_seed(seed)
    model = UNet(**{"width": 4, "depth": 2} | settings).eval()
    if random_head:
        torch.nn.init.normal_(model.head.weight)
    return model


def tiny_split(num_images: int = 24, size: int = 16, seed: int = 0) -> Split:
    """Bright rectangles, the objects, on dark noise: a problem that a pixel's colour solves."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 100, (num_images, size, size, 3), generator=generator)
    masks = torch.full((num_images, size, size), BACKGROUND, dtype=torch.uint8)
    for image, mask in zip(images, masks, strict=True):
        top, left = torch.randint(0, size // 2, (2,), generator=generator).tolist()
        height, width = torch.randint(size // 4, size // 2, (2,), generator=generator).tolist()
        image[top : top + height, left : left + width] += 130
        mask[top : top + height, left : left + width] = OBJECT
    return Split(images.to(torch.uint8), masks, tuple(f"image_{i}" for i in range(num_images)))


def run_training(checkpoint: Path, **changes: Any) -> Training:
    """Train on 24 tiny images; ``changes`` are arguments of ``fit`` or fields of its config."""
    split = changes.pop("train_split", None) or tiny_split()
    arguments: dict[str, Any] = {
        "experiment": tiny_experiment(),
        "train_split": split,
        "val_split": tiny_split(10, seed=1),
        "foreground_share": split.foreground_share,
        "watched": [0, 4],
        "device": CPU,
        "checkpoint": checkpoint,
        "name": "train",
        "on_epoch": lambda training: None,
        "start": None,
    }
    arguments |= {key: changes.pop(key) for key in list(changes) if key in arguments}
    _, _, training = fit(config=tiny_config(**changes), **arguments)
    return training


def same_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two state dicts agree bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def pack_drawn(folder: Path, raw: Path, *, image_size: int) -> Path:
    """The 48 drawn images of the archives in ``raw``, packed into ``folder``."""
    params = load_params(ROOT / "params.yaml")
    data = replace(params.data, source="synthetic", num_synthetic=48)
    pack_into(folder, raw, data, replace(params.preprocess, image_size=image_size))
    source = {"source": "synthetic", "split": params.preprocess.split}
    (folder / "source.json").write_text(json.dumps(source), encoding="utf-8")  # as preprocess does
    return folder
