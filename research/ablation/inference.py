"""From scores to claims: effects with their uncertainty, the noise of a seed, the images."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy.stats import ttest_1samp

from research.ablation.design import CELLS, FACTORS, NAMED


@dataclass(frozen=True)
class Effects:
    """What a score owes to the factors.

    Attributes:
        table: a row an effect, named by its factors, in the score's unit: ``estimate``; a 95 %
            confidence interval ``low_pooled`` to ``high_pooled``, which takes chance to be alike
            for all effects; another, ``low_alone`` to ``high_alone``, from this effect's value with
            each seed alone (n - 1 degrees of freedom), which does not; and ``low`` to ``high``, the
            wider of the two on either side.
        noise: standard deviation of a run's score when another seed trains the same variant,
            pooled over the variants.
        num_seeds: runs of each cell.
    """

    table: pd.DataFrame
    noise: float
    num_seeds: int


def effects(record: pd.DataFrame, score: str) -> Effects:
    """Main effects and two-way interactions, by least squares with a block for each seed.

    A main effect is the mean score at a factor's first level minus that at its second; an
    interaction is how much larger the one factor's effect is at the other's first level than at its
    second. The three-way interaction is in the model, so that the residual is the chance of
    training alone, without what a seed does to all variants alike: 7 (n - 1) degrees of freedom
    with n seeds.

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
    """The difference of each two of the named experiments, called ``first - second``, by least
    squares with a block for each seed: 3 (n - 1) degrees of freedom with n seeds.

    Raises:
        ValueError: as :func:`effects`.
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
    """The effects of ``table``, with the t intervals of their values with each seed alone."""
    intervals = [ttest_1samp(values, 0).confidence_interval(0.95) for values in alone]
    table[["low_alone", "high_alone"]] = np.array(intervals)
    table["low"] = table[["low_pooled", "low_alone"]].min(axis=1)
    table["high"] = table[["high_pooled", "high_alone"]].max(axis=1)
    noise = record.groupby(list(FACTORS))[score].var().mean() ** 0.5
    return Effects(table, float(noise), record["seed"].nunique())


def _by_seed(frame: pd.DataFrame, term: str) -> pd.Series:
    """The effect ``term`` as it is with each seed alone."""
    contrast = frame[term.split(":")].prod(axis=1)
    # The codes are orthogonal within a seed: a coefficient needs no other.
    sums = pd.DataFrame({"xy": contrast * frame["score"], "xx": contrast**2})
    sums = sums.groupby(frame["seed"]).sum()
    return sums["xy"] / sums["xx"]


def verdict(estimate: float, low: float, high: float) -> int:
    """1 or -1 where the interval is on that side of 0, else 0."""
    assert low <= estimate <= high
    return int(low > 0) - int(high < 0)


def contrasts(names: list[str]) -> pd.DataFrame:
    """What the runs ``names`` of a factorial are compared for: weights, a column a run.

    A row for each main effect, named by its factor, and for each two of the named experiments,
    called ``first - second``: the mean over the one side's runs minus that over the other's.
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
    """How much a difference owes to the test images that were drawn.

    Args:
        counts: (R, I, 4): tp, fp, fn, tn of R runs on the same I images.
        contrasts: a row a comparison, a column a run: its weight in the difference.

    Returns:
        A row a comparison; for accuracy and iou, pooled over pixels, and iou_per_image, the mean
        over images (1 where neither has a pet), the difference (``iou``) with the 95 % interval
        (``iou_low``, ``iou_high``) of a percentile bootstrap over the images. How other seeds would
        turn out is not in it.
    """
    num_images = counts.shape[1]
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(num_images, [1 / num_images] * num_images, size=num_resamples)
    times = np.vstack([np.ones(num_images), draws])  # how often each image; first: as they are
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
