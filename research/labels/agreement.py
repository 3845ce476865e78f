"""How well two masks of one photograph agree: ``python -m research.labels.agreement``.

Some photographs are in the dataset twice, each time with a mask of its own. ``agreement.csv`` has
the scores of ``metrics/scores/`` for one mask as the prediction and the other as the truth. Both
masks carry an annotator's errors, so a model may well exceed them against one mask.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from research.labels.fold import HERE, joined, packed_splits
from unet import metrics
from unet.data.masks import foreground, without_boundary
from unet.runtime.files import write
from unet.runtime.process import run_stage

NUM_RESAMPLES = 10_000
RULES = ("background", "object", "ignore")  # for the boundary
# Score of metrics/scores/ -> title, key of its counts, function, whether it is a mean per image.
SCORES: dict[str, tuple[str, str, Callable[[Tensor], Tensor], bool]] = {
    "accuracy": ("accuracy", "background", metrics.accuracy, False),
    "iou": ("IoU", "background", metrics.iou, False),
    "dice": ("Dice", "background", metrics.dice, False),
    "boundary_iou": ("boundary IoU", "band", metrics.iou, False),
}
SCORES |= {
    f"{name}_per_image": (f"{title}, mean over images", counts, score, True)
    for name, (title, counts, score, _) in SCORES.items()
}
SCORES |= {
    f"{name}_{ending}": (f"{SCORES[name][0]}, {words}", counts, SCORES[name][2], False)
    for ending, words, counts in (
        ("boundary_object", "boundary as object", "object"),
        ("boundary_ignored", "boundary ignored", "ignore"),
        ("outlined", "boundary as object in both masks", "outlined"),
    )
    for name in ("accuracy", "iou")
}


def counts_of(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """Counts (N, 4) by each rule for the boundary, and of the boundary bands (``band``), with the
    masks ``first`` (N, H, W) as predictions and ``second`` (N, H, W) as the truth.

    The prediction is the object without its boundary, as a model predicts it. Only in ``outlined``
    do both masks include the boundary, like a model that learnt it as object.
    """
    outlined, _ = foreground(without_boundary(first, "object"))
    predicted, _ = foreground(first)
    truth = {rule: foreground(without_boundary(second, rule)) for rule in RULES}
    found = {rule: metrics.pixel_counts(predicted, *truth[rule]) for rule in RULES}
    found["outlined"] = metrics.pixel_counts(outlined, *truth["object"])
    return found | {"band": metrics.boundary_counts(predicted, *foreground(second))}


def agreement(first: Tensor, second: Tensor, photographs: list[int]) -> pd.DataFrame:
    """Scores with 95 % percentile intervals of a bootstrap over the photographs.

    Args:
        first, second: masks (N, H, W) uint8 of N pairs; each is prediction once and truth once.
        photographs: N numbers, equal for pairs of the same photograph (if it is there three times).
    """
    there, back = counts_of(first, second), counts_of(second, first)
    # (photographs, pairs): the pairs of one photograph are drawn together.
    member = torch.from_numpy(pd.get_dummies(photographs).to_numpy().T.astype("float64"))
    draws = np.random.default_rng(0).multinomial(
        len(member), np.full(len(member), 1 / len(member)), NUM_RESAMPLES
    )
    weights = torch.cat([torch.ones(1, len(member)).double(), torch.from_numpy(draws).double()])
    weights = weights @ member  # (1 + resamples, pairs)
    rows = []
    for name, (_, rule, score, of_each) in SCORES.items():
        both = torch.stack([there[rule], back[rule]])  # (2, pairs, 4)
        if of_each:
            values = weights @ score(both).mean(0) / weights.sum(1)
        else:
            values = score((weights @ both.sum(0).double()).round().long())
        low, high = np.percentile(values[1:].numpy(), [2.5, 97.5])
        rows.append({"score": name, "value": values[0].item(), "low": low, "high": high})
    return pd.DataFrame(rows)


def main() -> None:
    """See the module docstring."""
    pairs = pd.read_csv(HERE / "pairs.csv")
    pairs = pairs[pairs["kind"].isin(["same", "mirrored"])]  # masks of crops do not align
    everything = joined(*packed_splits().values())
    row_of = {name: row for row, name in enumerate(everything.names)}
    first, second = (
        everything.masks[torch.tensor([row_of[name] for name in pairs[column]])]
        for column in ("first", "second")
    )
    turned = torch.tensor((pairs["kind"] == "mirrored").tolist())
    first = torch.where(turned[:, None, None], first.flip(-1), first)
    groups = photographs(list(zip(pairs["first"], pairs["second"], strict=True)))
    table = agreement(first, second, groups)
    table["pairs"], table["photographs"] = len(pairs), len(set(groups))
    table["equal_masks"] = int((first == second).flatten(1).all(1).sum())
    text = table.to_csv(index=False, lineterminator="\n", float_format="%.6f")
    write(HERE / "agreement.csv", text)


def photographs(pairs: list[tuple[str, str]]) -> list[int]:
    """A number for each pair; pairs that share an image have the same number."""
    groups: list[set[str]] = []
    for pair in pairs:
        touched = [group for group in groups if group & set(pair)]
        groups = [group for group in groups if group not in touched]
        groups.append(set(pair).union(*touched))
    return [next(i for i, group in enumerate(groups) if first in group) for first, _ in pairs]


if __name__ == "__main__":
    run_stage("agreement", main)
