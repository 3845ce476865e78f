"""Statistics of the scores: effects and their intervals, noise between seeds, image bootstrap."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy.stats import ttest_1samp

from research.ablation.design import CELLS, FACTORS, NAMED


@dataclass(frozen=True)
class Effects:
    """The effects of the factors on a score.

    Attributes:
        table: one row per effect, named by its factors, in the score's unit: ``estimate``; the 95 %
            confidence interval ``low_pooled`` to ``high_pooled``, which assumes the same noise for
            all effects; ``low_alone`` to ``high_alone``, which does not: it uses this effect's
            value for each seed (n - 1 degrees of freedom); and ``low`` to ``high``, the wider of
            the two at each end.
        noise: standard deviation of a score between seeds of one variant, pooled over variants.
        num_seeds: runs per cell.
    """

    table: pd.DataFrame
    noise: float
    num_seeds: int


def effects(record: pd.DataFrame, score: str) -> Effects:
    """Main effects and two-way interactions, by least squares with a block for each seed.

    A main effect is the mean score at a factor's first level minus that at its second. An
    interaction is a factor's effect at the first level of another factor minus its effect at the
    second. The model has the three-way interaction and the seeds, so the residual is the noise of
    training, without what a seed does to all variants alike. It has 7 (n - 1) degrees of freedom
    for n seeds.

    Raises:
        ValueError: fewer than two seeds, or a score without any variation.
    """
    _check_seeds(record, score)
    coded = {
        factor: record[factor].map({first: 0.5, second: -0.5})
        for factor, (first, second) in FACTORS.items()
    }
    frame = pd.DataFrame(coded | {"seed": record["seed"], "score": record[score]})
    fit = smf.ols(f"score ~ C(seed) + {' * '.join(FACTORS)}", frame).fit()
    interval = fit.conf_int(alpha=0.05)
    terms = [*FACTORS, *(":".join(pair) for pair in combinations(FACTORS, 2))]
    table = pd.DataFrame(
        {
            "estimate": fit.params[terms],
            "low_pooled": interval.loc[terms, 0],
            "high_pooled": interval.loc[terms, 1],
        }
    )
    return _with_seeds_alone(table, [_by_seed(frame, term) for term in terms], record, score)


def pairs(record: pd.DataFrame, score: str) -> Effects:
    """The difference ``first - second`` for each pair of named experiments, by least squares with
    a block for each seed: 3 (n - 1) degrees of freedom for n seeds.

    Raises:
        ValueError: as in :func:`effects`.
    """
    _check_seeds(record, score)
    cells = record.index.str.rpartition("-").get_level_values(0)
    frame = pd.DataFrame({"cell": cells, "seed": record["seed"], "score": record[score]})
    fit = smf.ols("score ~ 0 + C(cell) + C(seed)", frame).fit()
    rows, alone = {}, []
    for a, b in combinations(NAMED, 2):
        test = fit.t_test(f"C(cell)[{NAMED[a]}] - C(cell)[{NAMED[b]}] = 0")
        low, high = test.conf_int(alpha=0.05)[0]
        rows[f"{a} - {b}"] = {"estimate": test.effect[0], "low_pooled": low, "high_pooled": high}
        first, second = (frame[cells == NAMED[key]].set_index("seed")["score"] for key in (a, b))
        alone.append(first - second)
    return _with_seeds_alone(pd.DataFrame.from_dict(rows, orient="index"), alone, record, score)


def _check_seeds(record: pd.DataFrame, score: str) -> None:
    num_seeds = record["seed"].nunique()
    if num_seeds < 2:
        raise ValueError(f"{num_seeds} seed tells nothing of chance: two at the least are needed")
    if record[score].nunique() == 1:
        raise ValueError(f"{score} is the same in all runs")


def _with_seeds_alone(
    table: pd.DataFrame, alone: list[pd.Series], record: pd.DataFrame, score: str
) -> Effects:
    """The effects of ``table``, with t intervals from their values per seed, ``alone``."""
    intervals = [ttest_1samp(values, 0).confidence_interval(0.95) for values in alone]
    table[["low_alone", "high_alone"]] = np.array(intervals)
    table["low"] = table[["low_pooled", "low_alone"]].min(axis=1)
    table["high"] = table[["high_pooled", "high_alone"]].max(axis=1)
    noise = record.groupby(list(FACTORS))[score].var().mean() ** 0.5
    return Effects(table, float(noise), record["seed"].nunique())


def _by_seed(frame: pd.DataFrame, term: str) -> pd.Series:
    """The effect ``term``, estimated for each seed separately."""
    contrast = frame[term.split(":")].prod(axis=1)
    # The codes are orthogonal within a seed, so each coefficient is independent of the others.
    sums = pd.DataFrame({"xy": contrast * frame["score"], "xx": contrast**2})
    sums = sums.groupby(frame["seed"]).sum()
    return sums["xy"] / sums["xx"]


def verdict(estimate: float, low: float, high: float) -> int:
    """1 if the interval is above 0, -1 if it is below, 0 if it contains 0."""
    assert low <= estimate <= high
    return int(low > 0) - int(high < 0)


def contrasts(names: list[str]) -> pd.DataFrame:
    """The comparisons between the runs ``names`` of a factorial, as weights, one column per run.

    There is one row per main effect, named by its factor, and per pair of named experiments, called
    ``first - second``: the mean over the runs of one side minus that over the other side.
    """
    cells = [name.rpartition("-")[0] for name in names]
    sides = {
        factor: [[cell for cell in CELLS if level in cell.split("-")] for level in levels]
        for factor, levels in FACTORS.items()
    }
    sides |= {f"{a} - {b}": [[NAMED[a]], [NAMED[b]]] for a, b in combinations(NAMED, 2)}
    members = {name: [np.isin(cells, side) for side in both] for name, both in sides.items()}
    rows = [first / first.sum() - second / second.sum() for first, second in members.values()]
    return pd.DataFrame(rows, index=list(sides), columns=names)


def image_intervals(
    counts: np.ndarray, contrasts: pd.DataFrame, *, num_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """How much each difference depends on the choice of test images.

    Args:
        counts: (R, I, 4): tp, fp, fn, tn of R runs on the same I images.
        contrasts: one row per comparison, one column per run: its weight in the difference.

    Returns:
        One row per comparison. For accuracy and iou, pooled over pixels, and for iou_per_image, the
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
    table = pd.DataFrame(index=contrasts.index)
    for score, of_runs in scores.items():
        differences = of_runs @ contrasts.to_numpy().T
        table[score] = differences[0]
        low, high = np.quantile(differences[1:], (0.025, 0.975), axis=0)
        table[f"{score}_low"], table[f"{score}_high"] = low, high
    return table
