"""Random flip, window, rotation and colour of a whole batch at once, on its device."""

import math
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional as F

from unet.runtime.config import STRICT

Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, config=STRICT)
class AugmentConfig:
    """Ranges of the random transforms of training images; 0 (or [1, 1]) leaves one out."""

    flip: bool  # left to right, half of the images
    scale: tuple[Positive, Positive]  # side of the sampled window, in image sides
    shift: Annotated[float, Field(ge=0, le=1)]  # of the window's centre, in image sides
    rotate: Annotated[float, Field(ge=0, le=180)]  # degrees
    brightness: Annotated[float, Field(ge=0, lt=1)]  # factor 1 - b to 1 + b
    color: Annotated[float, Field(ge=0, lt=1)]  # offset of each channel, pixels in [0, 1]

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale = {list(self.scale)}: the lower bound stands first")


class Transforms(NamedTuple):
    """What is done to each of N images.

    Attributes:
        theta: (N, 2, 3) float, output to input coordinates, as ``F.affine_grid`` takes them.
        factor: (N, 1, 1, 1) float, of the pixels.
        offset: (N, 3, 1, 1) float, added to each channel.
    """

    theta: Tensor
    factor: Tensor
    offset: Tensor


def draw_transforms(
    num_images: int, config: AugmentConfig, generator: torch.Generator
) -> Transforms:
    """Random transforms for ``num_images`` images.

    Args:
        generator: of the CPU, so that the same seed draws the same transforms on every device.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(num_images, *shape, generator=generator)

    scale = uniform(*config.scale)
    angle = uniform(-config.rotate, config.rotate) * math.pi / 180
    mirror = 1 - 2 * (uniform(0, 1) < 0.5 * config.flip).float()
    centre = uniform(-2 * config.shift, 2 * config.shift, 2)  # an image is 2 wide in grid units
    factor = uniform(1 - config.brightness, 1 + config.brightness, 1, 1, 1)
    offset = uniform(-config.color, config.color, 3, 1, 1)

    cos, sin = scale * angle.cos(), scale * angle.sin()
    # Output to input coordinates: mirror, then rotate and scale, then shift.
    theta = torch.stack(
        [
            torch.stack([cos * mirror, -sin, centre[:, 0]], dim=1),
            torch.stack([sin * mirror, cos, centre[:, 1]], dim=1),
        ],
        dim=1,
    )
    return Transforms(theta, factor, offset)


def augment(
    images: Tensor, targets: Tensor, transforms: Transforms, *, size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Transform each image of a batch, and its target likewise.

    Args:
        images: (N, 3, H, W) float in [0, 1]; sampled bilinearly, mirrored beyond the border.
        targets: (N, C, H, W) float; the nearest pixel, mirrored alike.
        transforms: N of them, on any device.
        size: sample the same window at ``size`` x ``size`` pixels instead (no less than half of
            H: each output pixel blends 2 x 2 input pixels, so that fewer would skip some).

    Returns:
        Both, float, in the same ranges.
    """
    theta, factor, offset = (t.to(images.device, non_blocking=True) for t in transforms)
    height, width = (size, size) if size else images.shape[2:]
    grid = F.affine_grid(theta, [len(images), 3, height, width], align_corners=False)
    options = {"padding_mode": "reflection", "align_corners": False}
    images = F.grid_sample(images, grid, mode="bilinear", **options)
    targets = F.grid_sample(targets, grid, mode="nearest", **options)
    return (images * factor + offset).clamp_(0, 1), targets
