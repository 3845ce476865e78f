"""Drawn photographs with an object in them, and models that look for it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.tiny import tiny_model
from unet.inference.model_file import TrainedModel

INFO = {
    "downsample": "mp", "upsample": "tr", "width": 4, "depth": 2, "threshold": 0.5, "epoch": 1,
    "image_size": 16,
}  # fmt: skip
BOX = (20, 10, 60, 40)  # of the object: left, top, right, bottom
SIZE = (96, 64)


def other_model(**info: object) -> TrainedModel:
    """A model that was not trained, whose answer depends on all of the picture."""
    return TrainedModel(tiny_model(seed=3, random_head=True), INFO | info)


def photograph(size: tuple[int, int] = SIZE, box: tuple[int, ...] = BOX) -> Image.Image:
    """A bright rectangle on dark noise."""
    pixels = np.random.default_rng(0).integers(0, 100, (size[1], size[0], 3))
    left, top, right, bottom = box
    pixels[top:bottom, left:right] += 130
    return Image.fromarray(pixels.astype(np.uint8))


def truth(size: tuple[int, int] = SIZE, box: tuple[int, ...] = BOX) -> Tensor:
    mask = torch.zeros(size[1], size[0], dtype=torch.bool)
    left, top, right, bottom = box
    mask[top:bottom, left:right] = True
    return mask


def iou(a: Tensor, b: Tensor) -> float:
    return ((a & b).sum() / (a | b).sum()).item()


def pixels_of(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path)))
