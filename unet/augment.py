"""Random flip, window, rotation and colour of a whole batch at once, on its device."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from unet.config import AugmentConfig


def augment(
    images: Tensor, targets: Tensor, config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Transform each image of a batch, and its target likewise, by its own random draw.

    Args:
        images: (N, 3, H, W) float in [0, 1]; sampled bilinearly, mirrored beyond the border.
        targets: (N, 1, H, W) float in {0, 1}; the nearest pixel, mirrored alike.
        generator: of the CPU, so that the same seed draws the same transforms on every device.

    Returns:
        Both, of the same shapes, dtypes and ranges.
    """
    n = len(images)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

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
    ).to(images.device)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    options = {"padding_mode": "reflection", "align_corners": False}
    images = F.grid_sample(images, grid, mode="bilinear", **options)
    targets = F.grid_sample(targets, grid, mode="nearest", **options)
    images = images * factor.to(images.device) + offset.to(images.device)
    return images.clamp(0, 1), targets
