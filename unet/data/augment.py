"""Random geometric and colour augmentation of a whole batch at once, on its device."""

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
    """Ranges of the random transforms of training images; 0 (or [1, 1]) turns one off."""

    flip: bool  # left to right, half of the images
    scale: tuple[Positive, Positive]  # side of the sampled window, in image sides
    shift: Annotated[float, Field(ge=0, le=1)]  # of the window's centre, in image sides, either way
    rotate: Annotated[float, Field(ge=0, le=180)]  # degrees, either way
    brightness: Annotated[float, Field(ge=0, lt=1)]  # factor 1 - b to 1 + b
    color: Annotated[float, Field(ge=0, lt=1)]  # offset of each channel, of pixels in [0, 1]
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0  # factor 1 - c to 1 + c
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0  # factor 1 - s to 1 + s
    paste: Annotated[float, Field(ge=0, le=1)] = 0.0  # share that gets the next image's object
    soft_edges: bool = False  # targets between 0 and 1 along the edges

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale = {list(self.scale)}: the lower bound stands first")


class Transforms(NamedTuple):
    """The transforms of N images. None: not applied.

    Attributes:
        theta: (N, 2, 3) float, output to input coordinates, as ``F.affine_grid`` takes them.
        factor: (N, 1, 1, 1) float, brightness: factor of the pixels.
        offset: (N, 3, 1, 1) float, added to each channel.
        contrast: (N, 1, 1, 1) float, factor of a pixel's difference from its image's mean.
        saturation: (N, 1, 1, 1) float, factor of a pixel's difference from its own grey.
        paste: (N, 1, 1, 1) float, 1 where the object of the next image of the batch is pasted.
    """

    theta: Tensor
    factor: Tensor
    offset: Tensor
    contrast: Tensor | None = None
    saturation: Tensor | None = None
    paste: Tensor | None = None

    def part(self, images: Tensor) -> "Transforms":
        """The transforms of the images at the indices ``images`` (n,)."""
        return Transforms(*(None if t is None else t[images] for t in self))

    def to(self, device: torch.device) -> "Transforms":
        """The same transforms on ``device``."""
        return Transforms(*(None if t is None else t.to(device) for t in self))


def draw_transforms(
    num_images: int, config: AugmentConfig, generator: torch.Generator
) -> Transforms:
    """Draw random transforms for ``num_images`` images, on the CPU.

    Args:
        generator: a CPU generator, so that a seed draws the same transforms on every device.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(num_images, *shape, generator=generator)

    def around_1(width: float) -> Tensor | None:
        return uniform(1 - width, 1 + width, 1, 1, 1) if width else None

    scale = uniform(*config.scale)
    angle = uniform(-config.rotate, config.rotate) * math.pi / 180
    mirror = 1 - 2 * (uniform(0, 1) < 0.5 * config.flip).float()
    centre = uniform(-2 * config.shift, 2 * config.shift, 2)  # an image is 2 wide in grid units
    factor = uniform(1 - config.brightness, 1 + config.brightness, 1, 1, 1)
    offset = uniform(-config.color, config.color, 3, 1, 1)
    contrast, saturation = around_1(config.contrast), around_1(config.saturation)
    paste = (uniform(0, 1, 1, 1, 1) < config.paste).float() if config.paste else None

    cos, sin = scale * angle.cos(), scale * angle.sin()
    # Output to input coordinates: mirror, then rotate and scale, then shift.
    theta = torch.stack(
        [
            torch.stack([cos * mirror, -sin, centre[:, 0]], dim=1),
            torch.stack([sin * mirror, cos, centre[:, 1]], dim=1),
        ],
        dim=1,
    )
    return Transforms(theta, factor, offset, contrast, saturation, paste)


def augment(
    images: Tensor, targets: Tensor, transforms: Transforms, *, size: int | None = None,
    soft_edges: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Transform each image of a batch, and move its target with it.

    Args:
        images: (N, 3, H, W) float in [0, 1]; sampled bilinearly, mirrored beyond the border.
        targets: (N, C, H, W) float in [0, 1], the object in channel 0; also mirrored.
        transforms: of the N images, on any device.
        size: side in pixels of the output (default: as the input). At least half of H: an output
            pixel blends 2 x 2 input pixels, so a smaller size would skip some.
        soft_edges: sample the targets bilinearly, too, instead of the nearest pixel.

    Returns:
        Images and targets, float in [0, 1], at the output size.
    """
    theta, factor, offset, contrast, saturation, paste = transforms.to(images.device)
    height, width = (size, size) if size else images.shape[2:]
    grid = F.affine_grid(theta, [len(images), 3, height, width], align_corners=False)
    options = {"padding_mode": "reflection", "align_corners": False}
    images = F.grid_sample(images, grid, mode="bilinear", **options)
    mode = "bilinear" if soft_edges else "nearest"
    targets = F.grid_sample(targets, grid, mode=mode, **options)
    if contrast is not None:
        mean = images.mean((1, 2, 3), keepdim=True)
        images = mean + (images - mean) * contrast
    if saturation is not None:
        grey = images.mean(1, keepdim=True)
        images = grey + (images - grey) * saturation
    images = (images * factor + offset).clamp_(0, 1)
    if paste is not None:
        images, targets = paste_next(images, targets, paste)
    return images, targets


def paste_next(images: Tensor, targets: Tensor, paste: Tensor) -> tuple[Tensor, Tensor]:
    """Where ``paste`` is 1, paste the object of the batch's next image at its own position.

    Copy-paste augmentation (Ghiasi et al. 2021, arXiv 2012.07177), which shows an object on many
    backgrounds. Its edge is blended over 3 pixels.

    Args:
        images: (N, 3, H, W) float.
        targets: (N, C, H, W) float, the object in channel 0; other channels are pasted with it.
        paste: (N, 1, 1, 1) float, 0 or 1.
    """
    others, their_targets = images.roll(-1, 0), targets.roll(-1, 0)
    objects = their_targets[:, :1] * paste
    weight = F.avg_pool2d(objects, 3, stride=1, padding=1, count_include_pad=False)
    pasted = torch.where(objects > 0, their_targets, targets)
    # Along a soft edge both images show: a pixel counts there if it counts in both.
    soft = (objects > 0) & (objects < 0.999)
    both = torch.minimum(targets[:, 1:], their_targets[:, 1:])
    pasted[:, 1:] = torch.where(soft, both, pasted[:, 1:])
    pasted[:, :1] = torch.maximum(targets[:, :1], objects)
    return torch.lerp(images, others, weight), pasted
