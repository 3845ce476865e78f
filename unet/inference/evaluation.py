"""A trained model on a whole split: scores, a table of its images, predicted masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from unet import metrics
from unet.data.masks import BOUNDARY_RULES, foreground
from unet.data.packed import Split
from unet.model import UNet

COUNTS = ("tp", "fp", "fn", "tn")
# What the scores by a rule for the boundary end with; those by the model's own rule have no ending.
RULE_ENDINGS = {
    "background": "_boundary_background",
    "object": "_boundary_object",
    "ignore": "_boundary_ignored",
}


@dataclass(frozen=True)
class Evaluation:
    """What a model did on a split.

    Attributes:
        scores: a number a name; pooled over all pixels unless the name says ``per_image``, by the
            rule for the boundary that was asked for unless the name says another.
        table: a row an image: its name, counts and scores, by that rule.
        masks: (N, S, S) bool, the predicted objects.
    """

    scores: dict[str, float]
    table: pd.DataFrame
    masks: np.ndarray


@torch.inference_mode()
def evaluate(
    model: UNet,
    split: Split,
    *,
    threshold: float,
    batch_size: int,
    device: torch.device,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    boundary: str = "background",
    name: str = "evaluate",
) -> Evaluation:
    """Predict every image of ``split`` in float32 and count its pixels.

    Args:
        threshold: a pixel is foreground where its probability is above this, in (0, 1).
        flip, scales: as of :meth:`unet.model.UNet.predict`.
        boundary: what the boundary is in the scores whose names do not say it: ``background |
            object | ignore``, the rule that the model was trained by.
    """
    counts: dict[str, list[torch.Tensor]] = {key: [] for key in (*BOUNDARY_RULES, "half", "band")}
    found = np.empty(split.masks.shape, dtype=bool)
    bar = tqdm(total=len(split), desc=name, unit="image", leave=False, disable=None)
    for indices in torch.arange(len(split)).split(batch_size):
        images, masks = split.batch(indices, device)
        probabilities = model.predict(images, flip=flip, scales=scales).squeeze(1)
        predicted = probabilities > threshold
        for rule in BOUNDARY_RULES:
            target, counted = foreground(masks, boundary=rule)
            counts[rule].append(metrics.pixel_counts(predicted, target, counted).cpu())
        target, counted = foreground(masks, boundary=boundary)
        counts["half"].append(metrics.pixel_counts(probabilities > 0.5, target, counted).cpu())
        counts["band"].append(metrics.boundary_counts(predicted, target, counted).cpu())
        found[indices.numpy()] = predicted.cpu().numpy()
        bar.update(len(indices))
    bar.close()
    per_image = {key: torch.cat(batches) for key, batches in counts.items()}
    pooled = {key: table.sum(0) for key, table in per_image.items()}
    main, whole = per_image[boundary], pooled[boundary]
    # Background's have names of their own where it is not the rule: the record has none of them.
    rules = [rule for rule in RULE_ENDINGS if rule != "background" or boundary != "background"]

    scores = {
        "accuracy": metrics.accuracy(whole),
        "iou": metrics.iou(whole),
        "dice": metrics.dice(whole),
        "precision": metrics.precision(whole),
        "recall": metrics.recall(whole),
        "boundary_iou": metrics.iou(pooled["band"]),
        "accuracy_per_image": metrics.accuracy(main).mean(),
        "iou_per_image": metrics.iou(main).mean(),
        "dice_per_image": metrics.dice(main).mean(),
        "boundary_iou_per_image": metrics.iou(per_image["band"]).mean(),
        **{
            f"{score}{RULE_ENDINGS[rule]}": getattr(metrics, score)(pooled[rule])
            for rule in rules
            for score in ("accuracy", "iou")
        },
        "accuracy_at_half": metrics.accuracy(pooled["half"]),
        "iou_at_half": metrics.iou(pooled["half"]),
    }
    table = pd.DataFrame({"name": split.names})
    table[list(COUNTS)] = main.numpy()
    for score in ("accuracy", "iou", "dice"):
        table[score] = getattr(metrics, score)(main).numpy()
    table["boundary_iou"] = metrics.iou(per_image["band"]).numpy()
    return Evaluation({k: v.item() for k, v in scores.items()}, table, found)


def cost(model: UNet, image_size: int) -> dict[str, Any]:
    """Parameters, and GFLOP of one image's forward pass (a multiplication and an addition are
    two)."""
    with FlopCounterMode(display=False) as counter:
        model.predict(torch.zeros(1, 3, image_size, image_size, device=model.pixel_mean.device))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "gflops": counter.get_total_flops() / 1e9,
    }
