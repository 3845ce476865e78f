"""Probabilities at a photograph's own size, following its edges: the guided filter, in colour.

K. He, J. Sun, X. Tang, *Guided Image Filtering*, IEEE TPAMI 35 (2013), section 3.5, fitted on a
small copy and applied at full size (K. He, J. Sun, *Fast Guided Filter*, arXiv 1505.00996).
"""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import uniform_filter
from torch import Tensor
from torch.nn import functional as F

FIT_SIDE = 768  # pixels of the longer side of the copy that the filter is fitted on
LEAST_SIDE = 64  # of its shorter side, of panoramas
RADIUS = 0.03  # of the window, in diagonals of the photograph
EPSILON = 1e-4  # of the fit, for colours in [0, 1]: how little contrast still makes an edge
STRIP = 256  # rows at a time


def refine(probabilities: Tensor, photo: Image.Image) -> Tensor:
    """Probabilities (H, W) float32 in [0, 1] of a photograph of H x W pixels.

    In each window around a pixel, the probabilities are fitted as a linear function of the colour
    (least squares, with a penalty EPSILON on the slopes); a pixel's result is the mean of the
    functions of all windows that it lies in, at its own colour.

    Args:
        probabilities: (h, w) float32 in [0, 1], of the whole photograph at any size.
        photo: RGB, upright.
    """
    factor = min(1, max(FIT_SIDE / max(photo.size), LEAST_SIDE / min(photo.size)))
    width, height = (max(1, round(factor * side)) for side in photo.size)
    copy = photo.resize((width, height), Image.Resampling.BOX) if factor < 1 else photo
    values = F.interpolate(
        probabilities[None, None], (height, width), mode="bilinear", antialias=True
    )[0, 0]
    lines = torch.from_numpy(fit(_colours(copy), values.numpy()))
    refined = torch.empty(photo.height, photo.width)
    for top, line in _strips(lines, photo.size):
        colours = torch.from_numpy(_colours(photo.crop((0, top, photo.width, top + line.shape[1]))))
        refined[top : top + line.shape[1]] = (line[:3] * colours).sum(0) + line[3]
    return refined.clamp_(0, 1)


def fit(colours: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Slopes and offset (4, h, w) float32 of each pixel: ``values`` is about slopes x colours +
    offset.

    Args:
        colours: (3, h, w) float32 in [-0.5, 0.5].
        values: (h, w) float32.
    """
    height, width = values.shape
    size = 2 * round(RADIUS * np.hypot(height, width)) + 1
    inside = uniform_filter(np.ones((height, width)), size, mode="constant")

    def mean(x: np.ndarray) -> np.ndarray:
        """Over the part of each pixel's window that lies in the picture; x: (..., h, w)."""
        return uniform_filter(x, size, mode="constant", axes=(-2, -1)) / inside

    x = np.stack([*colours, values]).astype(np.float64)
    means = mean(x)
    # Of the colours with each other and with the values: (h, w, 3, 4).
    covariance = np.moveaxis(mean(x[:3, None] * x) - means[:3, None] * means, (2, 3), (0, 1))
    of_colours = covariance[..., :3] + EPSILON * np.eye(3)
    slopes = np.linalg.solve(of_colours, covariance[..., 3:])[..., 0].transpose(2, 0, 1)
    offset = means[3] - sum(slopes * means[:3])
    return mean(np.stack([*slopes, offset])).astype(np.float32)


def _colours(picture: Image.Image) -> np.ndarray:
    """(3, H, W) float32, centred: in [-0.5, 0.5]."""
    return np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255 - 0.5


def _strips(lines: Tensor, size: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
    """``lines`` (4, h, w) resized bilinearly to W x H pixels, as strips of rows with their top."""
    width, height = size
    place = (torch.arange(height) + 0.5) * (lines.shape[1] / height) - 0.5
    place = place.clamp_(0, lines.shape[1] - 1)
    for top in range(0, height, STRIP):
        rows = place[top : top + STRIP]
        above = rows.long()
        below = (above + 1).clamp(max=lines.shape[1] - 1)
        strip = torch.lerp(lines[:, above], lines[:, below], (rows - above)[:, None])
        yield top, F.interpolate(strip, width, mode="linear")  # along the rows
