"""Figures that compare experiments: numbers and arrays in, matplotlib figures out."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torchvision.utils import draw_segmentation_masks

# Mostly Okabe and Ito's colour-blind-safe palette; no variant has the colour of a hit or a miss.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#000000", "#882255", "#999933")
LEGEND = {"hit": "#56B4E9", "miss": "#F0E442", "false alarm": "#D81B60"}
STYLES = ("-", "--", "-.", ":")
# Colour and style of a variant's lines: all 32 pairs, eight colours at a time.
LOOKS = [(COLORS[i % 8], STYLES[(i + i // 8) % 4]) for i in range(32)]

WIDTH = 10.0  # inches; at 100 dpi, the width that a README shows


def learning_curves(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Validation IoU and accuracy of each variant over the epochs, and the losses by kind.

    Args:
        curves: experiment -> the rows of its learning-curve CSV; ``attrs["loss_name"]`` names its
            loss.
    """
    kinds = sorted({frame.attrs["loss_name"] for frame in curves.values()})
    figure = Figure(figsize=(WIDTH, 7), layout="constrained")
    columns = math.lcm(2, len(kinds))  # so that each row of panels fills it
    grid = figure.add_gridspec(2, columns)
    axes = [
        figure.add_subplot(grid[row, place * columns // count : (place + 1) * columns // count])
        for row, count in enumerate((2, len(kinds)))
        for place in range(count)
    ]
    for (key, frame), (color, style) in zip(curves.items(), cycle(LOOKS), strict=False):
        for ax, values in zip(axes, (frame["val_iou"], 100 * frame["val_accuracy"]), strict=False):
            ax.plot(frame["epoch"], values, style, color=color, label=key, marker=".", lw=1.6)
        ax = axes[2 + kinds.index(frame.attrs["loss_name"])]
        ax.plot(frame["epoch"], frame["train_loss"], ":", color=color, label=f"{key}, training")
        ax.plot(frame["epoch"], frame["val_loss"], "-", color=color, label=f"{key}, validation")
    axes[0].set(title="validation IoU", ylabel="IoU")
    axes[1].set(title="validation accuracy", ylabel="accuracy [%]")
    for ax, kind in zip(axes[2:], kinds, strict=True):
        unit = {"bce": "weighted BCE [nats a pixel]", "dice": "Dice loss"}.get(kind, kind)
        ax.set(title=f"losses of the {kind} variants", ylabel=unit)
    for ax in axes:
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    figure.suptitle("Learning curves (training values: augmented images, weights still moving)")
    return figure


def comparison(
    images: np.ndarray, targets: np.ndarray, masks: Mapping[str, np.ndarray],
    labels: Sequence[str], captions: Mapping[str, Sequence[str]], *, title: str,
) -> Figure:  # fmt: skip
    """A grid with one row per image; columns: photograph, truth, and each variant's prediction.

    Args:
        images: (K, S, S, 3) uint8.
        targets: (K, S, S) bool.
        masks: experiment -> (K, S, S) bool.
        labels: the K rows' labels.
        captions: experiment -> K texts to put under its tiles.
    """
    columns = ["photograph", "truth", *masks]
    height = len(images) * (WIDTH / len(columns) + 0.02) + 0.8
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(len(images), len(columns), squeeze=False)
    for row, (image, target) in enumerate(zip(images, targets, strict=True)):
        _show(axes[row, 0], image)
        _show(axes[row, 1], overlay(image, target, target))
        for ax, (key, mask) in zip(axes[row, 2:], masks.items(), strict=True):
            _show(ax, overlay(image, mask[row], target))
            ax.set_xlabel(captions[key][row], fontsize=8, labelpad=2)
        axes[row, 0].set_ylabel(labels[row], fontsize=8)
    for ax, column in zip(axes[0], columns, strict=True):
        ax.set_title(column, fontsize=10)
    return _finished(figure, title)


def iou_spread(
    tables: Mapping[str, pd.DataFrame],
    tiles: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]], *, title: str,
) -> Figure:  # fmt: skip
    """The distribution of the IoU per image for each variant, above some examples.

    Args:
        tables: experiment -> its table of images, with a column ``iou``.
        tiles: (caption, image (S, S, 3) uint8, predicted (S, S) bool, target (S, S) bool).
    """
    per_row = 6
    rows = -(-len(tiles) // per_row)
    heights = (3.6, rows * (WIDTH / per_row + 0.55))
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=heights)
    left, right = top.subplots(1, 2)
    for (key, table), (color, style) in zip(tables.items(), cycle(LOOKS), strict=False):
        look = {"color": color, "ls": style, "lw": 1.5}
        left.hist(table["iou"], np.linspace(0, 1, 41), histtype="step", label=key, **look)
        ordered = np.sort(table["iou"])
        share = np.arange(1, len(ordered) + 1) / len(ordered) * 100
        right.plot(ordered, share, label=f"{key}: median {np.median(ordered):.3f}", **look)
    left.set(title="images by IoU", xlabel="IoU of an image", ylabel="images a bin of 0.025")
    right.set(title="share of images below", xlabel="IoU of an image", ylabel="images [%]")
    for ax in (left, right):
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8, loc="upper left")
    axes = bottom.subplots(rows, per_row, squeeze=False).flat
    for ax, (caption, image, predicted, target) in zip(axes, tiles, strict=False):
        _show(ax, overlay(image, predicted, target), caption)
    return _finished(figure, title)


def progress(
    images: np.ndarray, targets: np.ndarray, masks: Mapping[str, np.ndarray],
    epochs: Sequence[int], *, title: str,
) -> Figure:  # fmt: skip
    """The same images predicted after the given epochs: photograph, truth, one row per variant.

    Args:
        images: (K, S, S, 3) uint8.
        targets: (K, S, S) bool.
        masks: experiment -> (epochs, K, S, S) bool.
    """
    span = max(2, len(epochs))  # columns of an image: the first row needs two
    columns = len(images) * span
    height = (len(masks) + 1) * WIDTH / columns + 1.1
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(len(masks) + 1, columns, squeeze=False)
    for k, (image, target) in enumerate(zip(images, targets, strict=True)):
        of_image = axes[:, k * span : (k + 1) * span]
        _show(of_image[0, 0], image, "photograph")
        _show(of_image[0, 1], overlay(image, target, target), "truth")
        for row, (key, mask) in zip(of_image[1:], masks.items(), strict=True):
            row[0].set_ylabel("" if k else key, fontsize=8)
            for ax, predicted in zip(row, mask[:, k], strict=False):
                _show(ax, overlay(image, predicted, target))
        for ax, epoch in zip(of_image[1], epochs, strict=False):
            ax.set_title(f"epoch {epoch}", fontsize=8)
    return _finished(figure, title)


def overlay(image: np.ndarray, predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``image`` (S, S, 3) uint8 in grey, coloured by (S, S) bool masks: hit, miss, false alarm."""
    grey = image.mean(-1, keepdims=True).round().astype(np.uint8).repeat(3, -1)
    groups = np.stack([predicted & target, ~predicted & target, predicted & ~target])
    grey, groups = torch.from_numpy(grey).permute(2, 0, 1), torch.from_numpy(groups)
    colors = list(LEGEND.values())
    return draw_segmentation_masks(grey, groups, 0.55, colors).permute(1, 2, 0).numpy()


def _show(ax: Axes, picture: np.ndarray, title: str = "") -> None:
    ax.imshow(picture, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=8)
    ax.spines[:].set_visible(False)


def _finished(figure: Figure, title: str) -> Figure:
    for ax in figure.axes:
        if not ax.has_data():
            ax.axis("off")
    figure.suptitle(title, fontsize=11)
    patches = [Patch(color=color, label=label) for label, color in LEGEND.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=9)
    return figure
