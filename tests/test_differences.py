"""Intervals of differences between variants: closed forms, planted effects, coverage."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_1samp

from unet.report.differences import noise, over_images, over_seeds, sign

WEIGHTS = pd.DataFrame(
    [[1, -1, 0, 0], [0.5, 0.5, -0.5, -0.5], [1, -1, -1, 1]],
    index=["a - b", "ab - cd", "a - b at c"], columns=list("abcd"),
)  # fmt: skip
MEANS = np.array([0.73, 0.70, 0.71, 0.70])
TRUTH = WEIGHTS @ MEANS


def made_up(num_seeds: int = 3, *, own: float = 0.003, shared: float = 0.02, seed: int = 0):
    """Scores of four variants: their means, what a seed does to all of them, and noise."""
    rng = np.random.default_rng(seed)
    blocks = rng.normal(scale=shared, size=(num_seeds, 1))
    values = MEANS + blocks + rng.normal(scale=own, size=(num_seeds, 4))
    return pd.DataFrame(values, columns=WEIGHTS.columns)


def test_planted_differences_are_found() -> None:
    found = over_seeds(made_up(own=1e-6), WEIGHTS)
    np.testing.assert_allclose(found["estimate"], TRUTH, atol=5e-6)
    turned = over_seeds(made_up(own=1e-6)[list("dcba")], WEIGHTS)  # columns go by their names
    pd.testing.assert_frame_equal(turned, found)


def test_intervals_are_those_of_least_squares_and_of_the_seeds_alone() -> None:
    scores = made_up(5)
    found = over_seeds(scores, WEIGHTS)
    # Dummies of the variants and of all seeds but the first.
    design = np.hstack([np.tile(np.eye(4), (5, 1)), np.repeat(np.eye(5), 4, axis=0)[:, 1:]])
    fitted, (rest,), *_ = np.linalg.lstsq(design, scores.to_numpy().ravel())
    covariance = rest / 12 * np.linalg.inv(design.T @ design)[:4, :4]
    for name, weights in WEIGHTS.iterrows():
        row, each = found.loc[name], scores @ weights
        assert row["estimate"] == pytest.approx(weights @ fitted[:4])
        half = t.ppf(0.975, 12) * (weights @ covariance @ weights) ** 0.5
        assert row["high_pooled"] - row["estimate"] == pytest.approx(half)
        alone = ttest_1samp(each, 0).confidence_interval(0.95)
        assert row[["low_alone", "high_alone"]].tolist() == pytest.approx(list(alone))


def test_the_interval_is_the_wider_of_both() -> None:
    for seed in range(5):
        table = over_seeds(made_up(seed=seed), WEIGHTS)
        for low, high in (("low_pooled", "high_pooled"), ("low_alone", "high_alone")):
            assert (table["low"] <= table[low]).all() and (table[high] <= table["high"]).all()
        wide = table[["high_pooled", "high_alone"]].max(axis=1) - table["estimate"]
        np.testing.assert_allclose(table["high"] - table["estimate"], wide)
        np.testing.assert_allclose(table["estimate"] - table["low"], wide)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    tables = [over_seeds(made_up(seed=seed), WEIGHTS) for seed in range(200)]
    for kind in ("_pooled", "_alone"):
        holds = [(x[f"low{kind}"] <= TRUTH) & (x[f"high{kind}"] >= TRUTH) for x in tables]
        assert 0.92 < np.mean(holds) < 0.98, kind


def test_the_noise_is_what_another_seed_does() -> None:
    variances_add_up = noise(made_up(100, own=0.003, shared=0.004))
    assert variances_add_up == pytest.approx(0.005, rel=0.2)
    unequal = pd.DataFrame({"a": [0.0, 2.0], "b": [0.0, 4.0]})  # variances of 2 and 8
    assert noise(unequal) == pytest.approx(5**0.5)


def test_the_sign_of_an_interval() -> None:
    assert [sign(0.1, 0.3), sign(-0.3, -0.1), sign(-0.1, 0.3), sign(0.0, 0.2)] == [1, -1, 0, 0]


# Over images


def counts(num_images: int, hit_rate: float, seed: int) -> np.ndarray:
    """Counts (I, 4) of a run without false alarms that finds so much of each pet."""
    rng = np.random.default_rng(seed)
    pets = rng.integers(50, 150, num_images)
    tp = rng.binomial(pets, hit_rate)
    return np.stack([tp, np.zeros_like(tp), pets - tp, 256 - pets], axis=1)


def difference(first: np.ndarray, second: np.ndarray) -> pd.Series:
    return over_images(np.stack([first, second]), pd.DataFrame([[1.0, -1.0]])).iloc[0]


def test_differences_are_of_pooled_scores_and_of_means() -> None:
    both = np.stack([counts(200, 0.9, 0), counts(200, 0.8, 0)])
    row = difference(*both)
    tp, _, fn, tn = both.sum(axis=1).T
    assert row["iou"] == pytest.approx(np.subtract(*(tp / (tp + fn))))
    assert row["accuracy"] == pytest.approx(np.subtract(*((tp + tn) / (200 * 256))))
    each = both[..., 0] / both[..., [0, 2]].sum(axis=-1)
    assert row["iou_per_image"] == pytest.approx(np.subtract(*each.mean(axis=1)))
    for score in ("iou", "accuracy", "iou_per_image"):
        assert 0 < row[f"{score}_low"] < row[score] < row[f"{score}_high"] < 0.2
    pd.testing.assert_series_equal(difference(*both), row)


def test_an_image_without_a_pet_counts_as_found() -> None:
    first, second = counts(20, 0.8, 0), counts(20, 0.8, 0)
    first[0], second[0] = (0, 0, 0, 256), (0, 6, 0, 250)
    assert difference(first, second)["iou_per_image"] == pytest.approx(1 / 20)


def test_images_are_resampled_in_pairs() -> None:
    """A model is no better than itself; one that is always a little better is seen to be."""
    base = counts(60, 0.7, 0)
    row = difference(base, base)
    assert row["iou_low"] == row["iou"] == row["iou_high"] == 0
    row = difference(base, base + [-1, 0, 1, 0])
    assert row["iou_low"] > 0.5 * row["iou"] > 0
