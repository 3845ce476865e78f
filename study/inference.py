"""From scores to claims: effects with their uncertainty, the noise of a seed, pairs."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy.stats import bootstrap, ttest_1samp

from study.design import FACTORS


@dataclass(frozen=True)
class Effects:
    """What a score owes to the factors.

    Attributes:
        table: a row an effect, named by its factors: ``estimate``, ``low`` and ``high`` of its 95 %
            confidence interval, and ``low_alone`` and ``high_alone`` of the interval from this
            effect's value with each seed alone (n - 1 degrees of freedom), which does not take
            chance to be alike for all effects; in the score's unit.
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
    num_seeds = record["seed"].nunique()
    if num_seeds < 2:
        raise ValueError(f"{num_seeds} seed tells nothing of chance: two at the least are needed")
    coded = {
        factor: record[factor].map({first: 0.5, second: -0.5})
        for factor, (first, second) in FACTORS.items()
    }
    frame = pd.DataFrame(coded | {"seed": record["seed"], "score": record[score]})
    if frame["score"].nunique() == 1:
        raise ValueError(f"{score} is the same in all runs")
    fit = smf.ols(f"score ~ C(seed) + {' * '.join(FACTORS)}", frame).fit()
    interval = fit.conf_int(alpha=0.05)
    terms = [*FACTORS, *(":".join(pair) for pair in combinations(FACTORS, 2))]
    table = pd.DataFrame(
        {
            "estimate": fit.params[terms],
            "low": interval.loc[terms, 0],
            "high": interval.loc[terms, 1],
        }
    )
    alone = [_interval_of_seeds(frame, term) for term in terms]
    table[["low_alone", "high_alone"]] = np.array(alone)
    noise = record.groupby(list(FACTORS))[score].var().mean() ** 0.5
    return Effects(table, float(noise), num_seeds)


def _interval_of_seeds(frame: pd.DataFrame, term: str) -> tuple[float, float]:
    """The t interval of the effect ``term`` as it is with each seed alone."""
    contrast = frame[term.split(":")].prod(axis=1)
    # The codes are orthogonal within a seed: a coefficient needs no other.
    sums = pd.DataFrame({"xy": contrast * frame["score"], "xx": contrast**2})
    sums = sums.groupby(frame["seed"]).sum()
    low, high = ttest_1samp(sums["xy"] / sums["xx"], 0).confidence_interval(0.95)
    return low, high


def verdict(estimate: float, low: float, high: float) -> int:
    """1 or -1 where the interval is on that side of 0, else 0."""
    assert low <= estimate <= high
    return int(low > 0) - int(high < 0)


def pair_differences(
    counts: dict[str, pd.DataFrame], *, num_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """How much better one experiment is than another on the same test images.

    Args:
        counts: experiment -> a row an image, columns tp, fp, fn, tn, the images in the same order;
            of one model, or summed over those of several seeds.

    Returns:
        A row a pair of experiments: ``first``, ``second``, and for iou and accuracy, pooled over
        pixels, the difference with the 95 % interval of a percentile bootstrap over the images. How
        another training would turn out is not in it.
    """
    rows = []
    for first, second in combinations(counts, 2):
        row: dict[str, object] = {"first": first, "second": second}
        for score, hits, pixels in (
            ("iou", ["tp"], ["tp", "fp", "fn"]),
            ("accuracy", ["tp", "tn"], ["tp", "fp", "fn", "tn"]),
        ):
            sums = [
                counts[experiment][columns].sum(axis=1).to_numpy(dtype=float)
                for experiment in (first, second)
                for columns in (hits, pixels)
            ]

            def difference(h1, p1, h2, p2, axis=-1):  # noqa: ANN001, ANN202
                return h1.sum(axis) / p1.sum(axis) - h2.sum(axis) / p2.sum(axis)

            interval = bootstrap(
                sums, difference, paired=True, vectorized=True, n_resamples=num_resamples,
                batch=100, method="percentile", rng=np.random.default_rng(seed),
            ).confidence_interval  # fmt: skip
            row |= {score: difference(*sums), f"{score}_low": interval.low}
            row[f"{score}_high"] = interval.high
        rows.append(row)
    return pd.DataFrame(rows)
