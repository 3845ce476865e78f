"""Rank the images by how much their mask contradicts the predictions.

``python -m research.labels.rank`` judges each image by models that have not seen it, and writes
``suspects.csv``, all images with the worst first, and ``suspects.jpg``, the worst thirty.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from research.labels.fold import HERE, NUM_LEVELS, joined, load_labels, packed_splits
from unet import metrics
from unet.data.masks import foreground
from unet.data.packed import Split
from unet.report.outlines import save_outlines
from unet.runtime.files import write
from unet.runtime.process import run_stage

NUM_SHOWN = 30
# Temperature of the soft minimum. At cleanlab's 0.1 a few bad pixels decide, and any rough outline
# has some; at 0.2 the masks that are known to be inverted rank first (README.md).
TEMPERATURE = 0.2


def label_quality(probabilities: Tensor, masks: Tensor) -> Tensor:
    """How well each mask agrees with the predictions: float32 (N,) in [0, 1]; low is suspect.

    The soft minimum, over the counted pixels, of the probability of each pixel's label, with the
    boundary as background: V. Lad, J. Mueller, *Estimating label quality and errors in semantic
    segmentation data via any model*, arXiv 2307.05080 (``cleanlab.segmentation``, softmin).

    Args:
        probabilities: (N, H, W) in [0, 1], of the object; 0.5 if both classes are equally likely.
        masks: (N, H, W) uint8 codes.
    """
    is_object, counted = foreground(masks)
    own = torch.where(is_object, probabilities, 1 - probabilities).flatten(1)
    weights = ((1 - own) / TEMPERATURE).exp() * counted.flatten(1)
    total = weights.sum(1)  # 0 if no pixel counts; then nothing is contradicted
    return torch.where(total > 0, (own * weights).sum(1) / total.clamp(min=1e-9), 1.0)


def even(probabilities: Tensor, threshold: float) -> Tensor:
    """Shift probabilities so that ``threshold`` becomes 0.5. A weighted loss multiplies the odds
    by its weight; its threshold is where the true odds are even."""
    odds = probabilities * (1 - threshold)
    return odds / (odds + (1 - probabilities) * threshold)


def write_ranking(
    splits: dict[str, Split], probabilities: dict[str, Tensor], csv: Path, picture: Path
) -> None:
    """Rank the images of all ``splits`` together; write a table and a picture of the worst.

    Columns: name, split, score, IoU, and the object's share of the counted pixels, predicted and
    labelled.

    Args:
        probabilities: split -> (N, S, S) in [0, 1]; above 0.5 is object.
    """
    images, given = joined(*splits.values()), torch.cat([probabilities[s] for s in splits])
    predicted, (is_object, counted) = given > 0.5, foreground(images.masks)
    num_counted = counted.flatten(1).sum(1).clamp(min=1)
    ranking = pd.DataFrame(
        {
            "name": images.names,
            "split": [name for name, split in splits.items() for _ in split.names],
            "score": label_quality(given, images.masks),
            "iou": metrics.iou(metrics.pixel_counts(predicted, is_object, counted)),
            "predicted_share": (predicted & counted).flatten(1).sum(1) / num_counted,
            "labelled_share": (is_object & counted).flatten(1).sum(1) / num_counted,
        }
    ).sort_values(["score", "name"])
    write(csv, ranking.to_csv(index=False, lineterminator="\n", float_format="%.5f"))
    tiles = [
        (f"{row['name']}\n{row['split']}, {row['score']:.3f}", images.images[index],
         is_object[index], predicted[index])
        for index, row in ranking.head(NUM_SHOWN).iterrows()
    ]  # fmt: skip
    save_outlines(picture, tiles, title="Masks that the predictions contradict most")


def main() -> None:
    """See the module docstring."""
    config = load_labels()
    splits = packed_splits()
    left_out: dict[str, Tensor] = {}
    test = torch.zeros(splits["test"].masks.shape)
    for number in config.folds:
        with np.load(HERE / f"folds/{number}.npz") as fold:
            threshold, names = float(fold["threshold"]), fold["names"].tolist()
            own, of_test = (
                even(torch.from_numpy(fold[key]).float() / NUM_LEVELS, threshold)
                for key in ("left_out", "test")
            )
        left_out |= dict(zip(names, own, strict=True))
        test += of_test / len(config.folds)
    probabilities = {"test": test}
    for name in ("train", "val"):
        probabilities[name] = torch.stack([left_out[image] for image in splits[name].names])
    write_ranking(splits, probabilities, HERE / "suspects.csv", HERE / "suspects.jpg")


if __name__ == "__main__":
    run_stage("rank", main)
