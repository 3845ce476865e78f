"""Differences between trained variants, with 95 % intervals over seeds or over test images."""

import numpy as np
import pandas as pd
from scipy.stats import t


def over_seeds(scores: pd.DataFrame, weights: pd.DataFrame) -> pd.DataFrame:
    """Differences between variants that were trained with the same seeds, by least squares with a
    block for each seed: what a seed does to all variants alike is no noise.

    Args:
        scores: one row per seed, one column per variant.
        weights: one row per difference, one column per variant: its weight in the difference. The
            weights of a row add up to 0.

    Returns:
        One row per difference, in the scores' unit: ``estimate``; the 95 % confidence interval
        ``low_pooled`` to ``high_pooled``, which assumes the same noise for all variants, for n
        seeds and k variants with (n - 1)(k - 1) degrees of freedom; ``low_alone`` to
        ``high_alone``, which does not: it uses this difference's value for each seed (n - 1 degrees
        of freedom); and ``low`` to ``high``, the wider of the two.

    Raises:
        ValueError: there is only one seed.
    """
    num_seeds, num_variants = scores.shape
    if num_seeds < 2:
        raise ValueError("one seed tells nothing of chance: two at the least are needed")
    by_seed = scores @ weights[scores.columns].T
    estimate = by_seed.mean()
    residuals = scores.sub(scores.mean(axis=1), axis=0)
    residuals = residuals - residuals.mean()
    freedom = (num_seeds - 1) * (num_variants - 1)
    variance = (residuals**2).to_numpy().sum() / freedom * (weights**2).sum(axis=1) / num_seeds
    pooled = t.ppf(0.975, freedom) * variance**0.5
    alone = t.ppf(0.975, num_seeds - 1) * by_seed.std() / num_seeds**0.5
    table = pd.DataFrame({"estimate": estimate})
    for ending, half in (("_pooled", pooled), ("_alone", alone), ("", np.maximum(pooled, alone))):
        table[f"low{ending}"], table[f"high{ending}"] = estimate - half, estimate + half
    return table


def noise(scores: pd.DataFrame) -> float:
    """The standard deviation of a score between seeds of one variant, pooled over the variants.

    Args:
        scores: one row per seed, one column per variant.
    """
    return float(scores.var().mean() ** 0.5)


def sign(low: float, high: float) -> int:
    """1 if an interval is above 0, -1 if it is below, 0 if it contains 0."""
    return int(low > 0) - int(high < 0)


def over_images(
    counts: np.ndarray, weights: pd.DataFrame, *, num_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """How much each difference depends on the choice of test images.

    Args:
        counts: (R, I, 4): tp, fp, fn, tn of R runs on the same I images.
        weights: one row per difference, one column per run: its weight in the difference.

    Returns:
        One row per difference. For accuracy and iou, pooled over pixels, and for iou_per_image, the
        mean over images (1 if neither mask has a pet): the difference (``iou``) and the 95 %
        interval (``iou_low``, ``iou_high``) of a percentile bootstrap over the images. The interval
        does not cover the noise between seeds.
    """
    num_images = counts.shape[1]
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(num_images, [1 / num_images] * num_images, size=num_resamples)
    times = np.vstack([np.ones(num_images), draws])  # draws of each image; first row: one each
    tp, fp, fn, tn = np.moveaxis(counts.astype(float), 2, 0)
    union = tp + fp + fn
    iou_per_image = np.where(union > 0, tp / np.maximum(union, 1), 1.0)
    scores = {
        "accuracy": (times @ (tp + tn).T) / (times @ (union + tn).T),
        "iou": (times @ tp.T) / (times @ union.T),
        "iou_per_image": (times @ iou_per_image.T) / num_images,
    }
    table = pd.DataFrame(index=weights.index)
    for score, of_runs in scores.items():
        differences = of_runs @ weights.to_numpy().T
        table[score] = differences[0]
        low, high = np.quantile(differences[1:], (0.025, 0.975), axis=0)
        table[f"{score}_low"], table[f"{score}_high"] = low, high
    return table
