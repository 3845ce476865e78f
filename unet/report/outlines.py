"""A picture of images with two outlines on each: of the mask and of the prediction."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from unet.runtime.files import write

LABELLED, PREDICTED = "#F0E442", "#D81B60"  # yellow and red
COLUMNS = 6


def save_outlines(
    path: Path, tiles: Sequence[tuple[str, Tensor, Tensor, Tensor]], *, title: str
) -> None:
    """Write a JPEG with a grid of images, six in a row.

    Args:
        tiles: (caption, image (S, S, 3) uint8, labelled and predicted (S, S) bool), on the CPU.
        title: the colours are added to it.
    """
    rows = -(-len(tiles) // COLUMNS)
    figure = Figure(figsize=(12, 2.4 * rows + 0.7), layout="constrained")
    for ax in (axes := figure.subplots(rows, COLUMNS, squeeze=False)).flat:
        ax.axis("off")
    for ax, (caption, image, labelled, predicted) in zip(axes.flat, tiles, strict=False):
        ax.imshow(image.numpy())
        for mask, color in ((labelled, LABELLED), (predicted, PREDICTED)):
            if mask.any() and not mask.all():
                ax.contour(mask.numpy(), [0.5], colors=color, linewidths=1.5)
        ax.set_title(caption, fontsize=8, parse_math=False)
    figure.suptitle(f"{title}: mask yellow, prediction red", parse_math=False)
    save_figure(figure, path, dpi=100)


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Write the kind of image that ``path`` ends in; ``options`` as of matplotlib's ``savefig``."""
    figure.savefig(buffer := io.BytesIO(), format=path.suffix[1:], **options)
    write(path, buffer.getbuffer())
