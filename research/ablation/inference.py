"""The differences between the ablation's runs that its claims are about."""

from itertools import combinations

import numpy as np
import pandas as pd

from research.ablation.design import CELLS, FACTORS, NAMED
from unet.report.differences import over_seeds

MAIN, INTERACTIONS = list(FACTORS), [":".join(pair) for pair in combinations(FACTORS, 2)]
PAIRS = [f"{first} - {second}" for first, second in combinations(NAMED, 2)]


def contrasts() -> pd.DataFrame:
    """The weight of each cell's score in each difference, one column per cell.

    A main effect, named by its factor, is the mean at its first level minus that at its second. An
    interaction (``downsample:loss``) is the first factor's effect at the first level of the other
    minus its effect at the second. ``first - second`` is a pair of named experiments.
    """
    cells = np.array(CELLS)
    signs = {
        factor: np.array([1.0 if first in cell.split("-") else -1.0 for cell in CELLS])
        for factor, (first, _) in FACTORS.items()
    }
    rows = {factor: signs[factor] / 4 for factor in MAIN}
    rows |= {f"{a}:{b}": signs[a] * signs[b] / 2 for a, b in combinations(FACTORS, 2)}
    for a, b in combinations(NAMED, 2):
        rows[f"{a} - {b}"] = 1.0 * (cells == NAMED[a]) - (cells == NAMED[b])
    return pd.DataFrame.from_dict(rows, orient="index", columns=CELLS)


def by_seed(record: pd.DataFrame, score: str) -> pd.DataFrame:
    """A score of a record's runs: one row per seed, one column per cell."""
    cells = record[MAIN].agg("-".join, axis=1)
    return record.assign(cell=cells).pivot(index="seed", columns="cell", values=score)


def effects(record: pd.DataFrame, score: str, terms: list[str]) -> pd.DataFrame:
    """The differences ``terms`` of :func:`contrasts`, with the intervals of
    :func:`unet.report.differences.over_seeds`."""
    scores = by_seed(record, score)
    return over_seeds(scores, contrasts().loc[terms, scores.columns])
