"""Evaluate a trained model on a whole split: scores, a table per image, predicted masks."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from unet import metrics
from unet.data.masks import BOUNDARY_RULES, foreground, without_boundary
from unet.data.packed import Split
from unet.model import UNet

COUNTS = ("tp", "fp", "fn", "tn")
# Boundary rule -> ending of its scores' names; scores without one are by the model's own rule.
RULE_ENDINGS = {r: f"_boundary_{r}" for r in BOUNDARY_RULES} | {"ignore": "_boundary_ignored"}


@dataclass(frozen=True)
class Evaluation:
    """A model's results on a split.

    Attributes:
        scores: name -> number; pooled over all pixels unless the name says ``per_image``, by the
            requested boundary rule unless the name says another.
        table: one row per image: its name, counts and scores, by the requested rule.
        masks: (N, S, S) bool, the predicted objects.
    """

    scores: dict[str, float]
    table: pd.DataFrame
    masks: np.ndarray


@torch.inference_mode()
def evaluate(
    model: UNet, split: Split, *, threshold: float, batch_size: int, device: torch.device,
    flip: bool = False, scales: Sequence[float] = (1.0,), boundary: str = "background",
    name: str = "evaluate",
) -> Evaluation:  # fmt: skip
    """Predict every image of ``split`` in float32 and count its pixels.

    Args:
        threshold: a pixel is foreground where its probability is above this, in (0, 1).
        flip, scales: as in :meth:`unet.model.UNet.predict`.
        boundary: ``background | object | middle | ignore``, the boundary rule of scores whose names
            do not say one: the rule that the model was trained with.
    """
    counts: dict[str, list[torch.Tensor]] = defaultdict(list)
    found = []
    batches = torch.arange(len(split)).split(batch_size)
    for indices in tqdm(batches, desc=name, unit="batch", leave=False, disable=None):
        images, masks = split.batch(indices, device)
        probabilities = model.predict(images, flip=flip, scales=scales).squeeze(1)
        predicted = probabilities > threshold
        truth = {rule: foreground(without_boundary(masks, rule)) for rule in BOUNDARY_RULES}
        batch = {rule: metrics.pixel_counts(predicted, *true) for rule, true in truth.items()}
        batch["half"] = metrics.pixel_counts(probabilities > 0.5, *truth[boundary])
        batch["band"] = metrics.boundary_counts(predicted, *truth[boundary])
        batch["middle band"] = metrics.boundary_counts(predicted, *truth["middle"])
        for key, some in batch.items():
            counts[key].append(some.cpu())
        found.append(predicted.cpu().numpy())
    per_image = {key: torch.cat(some) for key, some in counts.items()}
    pooled = {key: table.sum(0) for key, table in per_image.items()}
    main = per_image[boundary]

    def of(counts: torch.Tensor, *names: str) -> dict[str, torch.Tensor]:
        return {name: getattr(metrics, name)(counts) for name in names}

    each = of(main, "accuracy", "iou", "dice") | {"boundary_iou": metrics.iou(per_image["band"])}
    scores = {
        **of(pooled[boundary], "accuracy", "iou", "dice", "precision", "recall"),
        "boundary_iou": metrics.iou(pooled["band"]),
        **{f"{score}_per_image": values.mean() for score, values in each.items()},
        **{
            f"{score}{ending}": value
            for rule, ending in RULE_ENDINGS.items()
            for score, value in of(pooled[rule], "accuracy", "iou").items()
        },
        "boundary_iou_boundary_middle": metrics.iou(pooled["middle band"]),
        "accuracy_at_half": metrics.accuracy(pooled["half"]),
        "iou_at_half": metrics.iou(pooled["half"]),
    }
    table = pd.DataFrame({"name": split.names})
    table[list(COUNTS)] = main.numpy()
    for score, values in each.items():
        table[score] = values.numpy()
    return Evaluation({k: v.item() for k, v in scores.items()}, table, np.concatenate(found))


def cost(model: UNet, image_size: int) -> dict[str, Any]:
    """Number of parameters, and GFLOP of one image's forward pass (a multiply-add is two)."""
    with FlopCounterMode(display=False) as counter:
        model.predict(torch.zeros(1, 3, image_size, image_size, device=model.pixel_mean.device))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "gflops": counter.get_total_flops() / 1e9,
    }
