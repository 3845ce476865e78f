from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from tests.tiny import CPU, tiny_model, tiny_split
from unet import metrics
from unet.data.masks import BACKGROUND, BOUNDARY, BOUNDARY_RULES, NOT_COUNTED, OBJECT
from unet.data.packed import Split
from unet.inference.evaluation import COUNTS, RULE_ENDINGS, Evaluation, cost, evaluate

SIZE = 20
# An object of 6 x 8 pixels within its boundary, one pixel wide, of 8 x 10.
OBJECT_AREA, RING_AREA, ALL = 48, 80 - 48, SIZE**2


class Painted(nn.Module):
    """A model whose probability is the image's red channel."""

    def predict(self, images: Tensor, **options: Any) -> Tensor:
        self.options = options
        return images[:, :1]


def ringed_split(num_images: int = 3) -> Split:
    mask = torch.full((SIZE, SIZE), BACKGROUND, dtype=torch.uint8)
    mask[4:12, 5:15] = BOUNDARY
    mask[5:11, 6:14] = OBJECT
    images = torch.zeros(num_images, SIZE, SIZE, 3, dtype=torch.uint8)
    names = tuple(f"cat_{i}" for i in range(num_images))
    return Split(images, mask.repeat(num_images, 1, 1), names)


def painted_split(probabilities: Tensor, split: Split) -> Split:
    """``split`` with images that :class:`Painted` reads these probabilities from."""
    images = (255 * probabilities).round().to(torch.uint8).unsqueeze(-1).expand(-1, -1, -1, 3)
    return Split(images, split.masks, split.names)


def run(
    model: nn.Module, split: Split, threshold: float = 0.5, batch_size: int = 2, **rule: Any
) -> Evaluation:
    return evaluate(model, split, threshold=threshold, batch_size=batch_size, device=CPU, **rule)


def test_scores_of_object_everywhere() -> None:
    result = run(tiny_model(prior=0.4), ringed_split(), threshold=0.3)
    share = OBJECT_AREA / ALL
    by_rule = {
        "": share, "_per_image": share, "_boundary_background": share,
        "_boundary_middle": share,  # the ring is one pixel wide: a tie, background
        "_boundary_object": (OBJECT_AREA + RING_AREA) / ALL,
        "_boundary_ignored": OBJECT_AREA / (ALL - RING_AREA),
    }  # fmt: skip
    expected = {f"{score}{rule}": v for rule, v in by_rule.items() for score in ("accuracy", "iou")}
    expected |= {"precision": share, "recall": 1.0}
    expected |= dict.fromkeys(("dice", "dice_per_image"), 2 * share / (1 + share))
    bands = ("", "_per_image", "_boundary_middle")
    expected |= {f"boundary_iou{rule}": 0.0 for rule in bands}
    # At one half the same model says object nowhere.
    expected |= {"accuracy_at_half": 1 - share, "iou_at_half": 0.0}
    assert result.scores == pytest.approx(expected)
    assert result.masks.all()


@pytest.mark.parametrize("rule", BOUNDARY_RULES)
def test_a_model_is_scored_by_the_rule_that_it_learnt(rule: str) -> None:
    split = ringed_split()
    without, whole = split.masks == OBJECT, split.masks != BACKGROUND
    for masks, rules in (
        (without, ("background", "middle", "ignore")), (whole, ("object", "ignore")),
    ):  # fmt: skip
        result = run(Painted(), painted_split(masks.float(), split), boundary=rule)
        right = rule in rules
        assert (result.table[["fp", "fn"]] == 0).all(axis=None) == right
        for score in ("accuracy", "iou", "dice", "iou_per_image", "iou_at_half"):
            assert (result.scores[score] == 1) == right, score
        # Its band is the rim of what is predicted, where that counts.
        assert rule == "ignore" or (result.scores["boundary_iou"] == 1) == right
        assert (result.table["iou"] == 1).all() == right
        assert result.scores["iou"] == result.scores[f"iou{RULE_ENDINGS[rule]}"]


def test_pooled_and_per_image_scores_differ() -> None:
    split = ringed_split(2)
    larger = split.masks.clone()
    larger[0] = OBJECT
    probabilities = (larger == OBJECT).float()
    probabilities[1, :, 10:] = 0  # half of the second object
    result = run(Painted(), painted_split(probabilities, Split(split.images, larger, split.names)))
    assert result.scores["iou"] == pytest.approx((ALL + 24) / (ALL + 48))
    assert result.scores["iou_per_image"] == pytest.approx(0.75)
    assert result.scores["dice_per_image"] == pytest.approx((1 + 2 / 3) / 2)
    assert result.table["iou"].tolist() == pytest.approx([1, 0.5])


def test_the_table_is_in_the_splits_order_and_sums_to_the_scores() -> None:
    split = tiny_split(11)
    model = tiny_model(random_head=True).train()  # whose statistics of the batch do not count
    result = run(model, split, batch_size=4)
    assert model.training
    table = result.table
    assert list(table) == ["name", *COUNTS, "accuracy", "iou", "dice", "boundary_iou"]
    assert table["name"].tolist() == list(split.names)
    found, targets = result.masks, (split.masks == OBJECT).numpy()
    pairs = (found & targets, found & ~targets, ~found & targets, ~found & ~targets)
    for name, pixels in zip(COUNTS, pairs, strict=True):
        assert (table[name] == pixels.sum((1, 2))).all()
    pooled = torch.tensor(table[list(COUNTS)].sum().to_numpy())
    for score in ("accuracy", "iou", "dice", "precision", "recall"):
        assert result.scores[score] == pytest.approx(getattr(metrics, score)(pooled).item())
    for score in ("accuracy", "iou", "dice", "boundary_iou"):
        assert result.scores[f"{score}_per_image"] == pytest.approx(table[score].mean())
    assert 0 < table["iou"].min() < table["iou"].max() < 1
    assert all(type(value) is float for value in result.scores.values())


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_no_batch_size_changes_a_score(batch_size: int) -> None:
    split = tiny_split(7)
    painted = painted_split(split.images[..., 0].float() / 255, split)
    one, other = (run(Painted(), painted, 0.4, size) for size in (batch_size, 7))
    assert one.scores == other.scores
    pd.testing.assert_frame_equal(one.table, other.table)
    assert np.array_equal(one.masks, other.masks)


def test_pixels_that_are_not_counted_change_no_score() -> None:
    split = ringed_split(2)
    masks = split.masks.clone()
    masks[:, :, 15:] = NOT_COUNTED  # to the right of the ring
    partly = Split(split.images, masks, split.names)
    right, wrong = (split.masks == OBJECT).float(), (split.masks == OBJECT).float()
    wrong[:, :, 15:] = 1
    one, other = (run(Painted(), painted_split(found, partly)) for found in (right, wrong))
    assert one.scores == other.scores
    assert one.scores["iou"] == one.scores["boundary_iou"] == one.scores["accuracy"] == 1
    assert one.scores["accuracy_boundary_object"] == pytest.approx(1 - RING_AREA / (ALL - 5 * SIZE))
    pd.testing.assert_frame_equal(one.table, other.table)
    assert (one.table[list(COUNTS)].sum(axis=1) == ALL - 5 * SIZE).all()
    assert other.masks[:, :, 15:].all(), "they are predicted all the same"


def test_cost_in_closed_form() -> None:
    # Two per multiplication and addition; convolutions at full size (3 to 2, 2 to 2, 4 to 2,
    # 2 to 2 channels, head) and at half (2 to 4, 4 to 4), one transposed (4 to 2).
    side, half = 8 * 8, 4 * 4
    full = 9 * (3 * 2 + 2 * 2 + 4 * 2 + 2 * 2) * side + 2 * side
    low = 9 * (2 * 4 + 4 * 4) * half
    transposed = 4 * 2 * side
    expected = 2 * (full + low + transposed) / 1e9
    assert cost(tiny_model(width=2, depth=1), 8)["gflops"] == pytest.approx(expected)
