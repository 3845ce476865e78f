import math
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

    def predict(self, images: Tensor, *, flip: bool = False, scales: tuple = (1.0,)) -> Tensor:
        self.scales = scales
        return (images + images.flip(-1))[:, :1] / 2 if flip else images[:, :1]


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


def test_flipped_the_mean_of_both_answers_is_scored() -> None:
    split = ringed_split(1)
    left = torch.zeros(1, SIZE, SIZE)
    left[:, :, : SIZE // 2] = 0.8
    painted = painted_split(left, split)
    assert run(Painted(), painted).masks[0].tolist() == (left[0] > 0.5).tolist()
    assert not run(Painted(), painted, flip=True).masks.any()  # 0.4 everywhere
    assert run(Painted(), painted, threshold=0.3, flip=True).masks.all()


def test_the_scales_are_the_model_s() -> None:
    model = Painted()
    for scales in ({"scales": (0.5, 1.0)}, {}):
        run(model, ringed_split(), **scales)
        assert model.scales == scales.get("scales", (1.0,))


def test_scores_of_object_everywhere() -> None:
    result = run(tiny_model(prior=0.9), ringed_split(), threshold=0.8)
    share = OBJECT_AREA / ALL
    band = ALL - (SIZE - 2) ** 2
    rim = OBJECT_AREA - 4 * 6  # inner band of the object, one pixel wide
    expected = {
        "accuracy": share,
        "iou": share,
        "dice": 2 * share / (1 + share),
        "precision": share,
        "recall": 1.0,
        "boundary_iou": 0.0,
        "accuracy_per_image": share,
        "iou_per_image": share,
        "dice_per_image": 2 * share / (1 + share),
        "boundary_iou_per_image": 0.0,
        "accuracy_boundary_object": (OBJECT_AREA + RING_AREA) / ALL,
        "iou_boundary_object": (OBJECT_AREA + RING_AREA) / ALL,
        "accuracy_boundary_ignored": OBJECT_AREA / (ALL - RING_AREA),
        "iou_boundary_ignored": OBJECT_AREA / (ALL - RING_AREA),
        "accuracy_boundary_middle": share,  # the ring is one pixel wide: a tie, background
        "iou_boundary_middle": share,
        "boundary_iou_boundary_middle": 0.0,
        "accuracy_at_half": share,
        "iou_at_half": share,
    }
    assert band > rim > 0
    assert result.scores == pytest.approx(expected)
    assert result.masks.all()


def test_scores_of_object_nowhere() -> None:
    result = run(tiny_model(prior=0.9), ringed_split(), threshold=0.95)
    scores = result.scores
    assert scores["accuracy"] == pytest.approx(1 - OBJECT_AREA / ALL)
    assert scores["iou"] == scores["dice"] == scores["recall"] == scores["boundary_iou"] == 0
    assert scores["precision"] == 1
    # At one half the same model says object everywhere.
    assert scores["accuracy_at_half"] == pytest.approx(OBJECT_AREA / ALL)
    assert scores["iou_at_half"] == pytest.approx(OBJECT_AREA / ALL)
    assert not result.masks.any()


def test_scores_of_the_truth() -> None:
    split = ringed_split()
    result = run(Painted(), painted_split((split.masks == OBJECT).float(), split))
    rules = {
        "accuracy_boundary_object": 1 - RING_AREA / ALL,
        "iou_boundary_object": OBJECT_AREA / (OBJECT_AREA + RING_AREA),
    }
    assert result.scores == pytest.approx(dict.fromkeys(result.scores, 1.0) | rules)
    assert (result.masks == (split.masks == OBJECT).numpy()).all()


def test_the_boundary_counts_by_rule() -> None:
    split = ringed_split()
    result = run(Painted(), painted_split((split.masks != BACKGROUND).float(), split))
    assert result.scores["iou"] == pytest.approx(OBJECT_AREA / (OBJECT_AREA + RING_AREA))
    assert result.scores["iou_boundary_object"] == 1
    assert result.scores["iou_boundary_ignored"] == 1
    # The predicted rim lies on the ring, outside of the object.
    assert result.scores["boundary_iou"] == 0


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


def test_the_middle_of_the_boundary_is_scored_whatever_was_learnt() -> None:
    """A thick boundary, one half of it found: wrong as background and as object, right by this."""
    mask = torch.full((1, 20, 40), BACKGROUND, dtype=torch.uint8)
    mask[:, :, :10], mask[:, :, 10:20] = OBJECT, BOUNDARY
    split = Split(torch.zeros(1, 20, 40, 3, dtype=torch.uint8), mask, ("cat_1",))
    found = torch.zeros(1, 20, 40)
    found[:, :, :15] = 1
    results = {
        rule: run(Painted(), painted_split(found, split), boundary=rule).scores
        for rule in BOUNDARY_RULES
    }
    for scores in results.values():
        named = {f"{s}_boundary_middle" for s in ("accuracy", "iou", "boundary_iou")}
        assert all(scores[name] == 1 for name in named)
    for score in ("accuracy", "iou"):
        right = {rule for rule, scores in results.items() if scores[score] == 1}
        assert right == {"middle", "ignore"}
    assert results["background"]["boundary_iou"] < results["middle"]["boundary_iou"] == 1


def test_every_rule_has_a_name_whatever_the_models_own() -> None:
    split = ringed_split()
    painted = painted_split((split.masks != BACKGROUND).float(), split)
    results = {rule: run(Painted(), painted, boundary=rule).scores for rule in BOUNDARY_RULES}
    for score in ("accuracy", "iou"):
        by_rule = {rule: scores[score] for rule, scores in results.items()}
        assert by_rule["background"] < by_rule["object"]
        for own, scores in results.items():
            named = {r: scores.get(f"{score}{end}") for r, end in RULE_ENDINGS.items()}
            # The recorded scores have no other name for background's than the plain one.
            assert named == by_rule | ({"background": None} if own == "background" else {})


def test_pooled_and_per_image_scores_differ() -> None:
    split = ringed_split(2)
    probabilities = (split.masks == OBJECT).float()
    probabilities[1] = 0
    probabilities[1, 5:11, 6:10] = 1
    result = run(Painted(), painted_split(probabilities, split))
    assert result.scores["iou"] == pytest.approx(72 / 96)
    assert result.scores["iou_per_image"] == pytest.approx((1 + 1 / 2) / 2)
    assert result.scores["dice_per_image"] == pytest.approx((1 + 2 / 3) / 2)
    assert result.table["iou"].tolist() == pytest.approx([1, 0.5])

    larger = split.masks.clone()
    larger[0] = OBJECT
    unequal = Split(split.images, larger, split.names)
    probabilities[0] = 1
    result = run(Painted(), painted_split(probabilities, unequal))
    assert result.scores["iou"] == pytest.approx((ALL + 24) / (ALL + 48))
    assert result.scores["iou_per_image"] == pytest.approx(0.75)


def test_a_pixel_at_the_threshold_is_background() -> None:
    split = ringed_split(1)
    half = torch.full((1, SIZE, SIZE), 0.5)
    level = round(0.5 * 255) / 255
    assert not run(Painted(), painted_split(half, split), threshold=level + 1e-6).masks.any()
    assert run(Painted(), painted_split(half, split), threshold=level - 1e-6).masks.all()


def test_the_table_is_in_the_splits_order_and_sums_to_the_scores() -> None:
    split = tiny_split(11)
    model = tiny_model(random_head=True)
    result = run(model, split, batch_size=4)
    table = result.table
    assert list(table) == ["name", *COUNTS, "accuracy", "iou", "dice", "boundary_iou"]
    assert table["name"].tolist() == list(split.names)
    assert (table[list(COUNTS)].sum(axis=1) == 16 * 16).all()
    targets = (split.masks == OBJECT).numpy()
    assert (table["tp"] == (result.masks & targets).sum((1, 2))).all()
    assert (table["fp"] == (result.masks & ~targets).sum((1, 2))).all()
    assert (table["fn"] == (~result.masks & targets).sum((1, 2))).all()
    pooled = torch.tensor(table[list(COUNTS)].sum().to_numpy())
    for score in ("accuracy", "iou", "dice", "precision", "recall"):
        assert result.scores[score] == pytest.approx(getattr(metrics, score)(pooled).item())
    for score in ("accuracy", "iou", "dice", "boundary_iou"):
        assert result.scores[f"{score}_per_image"] == pytest.approx(table[score].mean())
    assert 0 < table["iou"].min() < table["iou"].max() < 1


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_no_batch_size_changes_a_score(batch_size: int) -> None:
    split = tiny_split(7)
    probabilities = split.images[..., 0].float() / 255
    painted = painted_split(probabilities, split)
    one, other = (run(Painted(), painted, 0.4, size) for size in (batch_size, 7))
    assert one.scores == other.scores
    pd.testing.assert_frame_equal(one.table, other.table)
    assert np.array_equal(one.masks, other.masks)


def test_images_without_an_object_score_1_where_nothing_is_claimed() -> None:
    split = ringed_split(2)
    empty = Split(split.images, torch.full_like(split.masks, BACKGROUND), split.names)
    nowhere, everywhere = (
        run(tiny_model(prior=0.5), empty, threshold).table for threshold in (0.6, 0.4)
    )
    assert nowhere["iou"].tolist() == nowhere["boundary_iou"].tolist() == [1, 1]
    assert everywhere["iou"].tolist() == everywhere["boundary_iou"].tolist() == [0, 0]


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


def test_scores_are_plain_finite_numbers() -> None:
    result = run(tiny_model(random_head=True), tiny_split(5))
    assert all(type(value) is float and 0 <= value <= 1 for value in result.scores.values())


@pytest.mark.parametrize("kinds", [("mp", "tr"), ("str_conv", "ups")])
def test_cost_quadruples_with_the_side(kinds: tuple[str, str]) -> None:
    model = tiny_model(downsample=kinds[0], upsample=kinds[1])
    small, large = cost(model, 16), cost(model, 32)
    assert small["parameters"] == large["parameters"]
    assert small["parameters"] == sum(p.numel() for p in model.parameters())
    assert small["gflops"] > 0
    assert large["gflops"] == pytest.approx(4 * small["gflops"])


def test_cost_in_closed_form() -> None:
    # Two per multiplication and addition; convolutions at full size (3 to 2, 2 to 2, 4 to 2,
    # 2 to 2 channels, head) and at half (2 to 4, 4 to 4), one transposed (4 to 2).
    side, half = 8 * 8, 4 * 4
    full = 9 * (3 * 2 + 2 * 2 + 4 * 2 + 2 * 2) * side + 2 * side
    low = 9 * (2 * 4 + 4 * 4) * half
    transposed = 4 * 2 * side
    expected = 2 * (full + low + transposed) / 1e9
    assert cost(tiny_model(width=2, depth=1), 8)["gflops"] == pytest.approx(expected)


def test_cost_leaves_the_model_alone() -> None:
    model = tiny_model(random_head=True).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    cost(model, 16)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_evaluation_uses_no_statistics_of_the_batch() -> None:
    split = tiny_split(6)
    model = tiny_model(random_head=True)
    expected = run(model, split)
    trained = run(model.train(), split)
    assert trained.scores == expected.scores
    assert math.isfinite(trained.scores["iou"])
