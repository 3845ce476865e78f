"""The ablation's tables in the README files: ``python -m research.ablation.report``.

The sentences between them are written by hand; ``tests/test_figures_in_texts.py`` checks their
figures.
"""

from pathlib import Path

import pandas as pd

from research.ablation.design import DESIGNS, FACTORS, HERE, NAMED, load_design
from research.ablation.figure import LEVELS, SCORES, contrast
from research.ablation.inference import INTERACTIONS, MAIN, PAIRS, by_seed, effects
from unet.report.differences import noise, sign
from unet.report.tables import markdown, rewrite
from unet.runtime.process import run_stage

# Best validation accuracy over 15 epochs at width 64, as published (README.md names the source).
PUBLISHED = {
    "mp_tr_bce": 0.9345, "mp_tr_dice": 0.9332, "str_tr_bce": 0.9160, "str_ups_dice": 0.9042,
}  # fmt: skip
# Columns of `named_runs` -> their titles: beside the published ones, and in the README.
BESIDE = {
    "experiment": "experiment", "published accuracy": "published accuracy, width 64",
    "width": "our width", "accuracy": "our accuracy", "above it, points": "above it, points",
    "at threshold 0.5": "at threshold 0.5", "with the mirror image": "with the mirror image",
    "IoU": "our IoU", "parameters": "our parameters",
}  # fmt: skip
RESULTS = {
    "experiment": "experiment", "published accuracy": "published accuracy",
    "accuracy": "ours, same split", "IoU": "IoU, official split", "millions": "parameters",
    "minutes on a CPU core": "minutes on a CPU core",
}  # fmt: skip
SPLITS = {"official": "Official split", "sorted": "Published split"}
CELL_SCORES = ("iou", "accuracy", "boundary_iou", "iou_at_half")
PAIR_SCORES = ("accuracy", "iou")
IMAGE_SCORES = ("accuracy", "iou", "iou_per_image")

Records = dict[str, pd.DataFrame]  # heading -> runs of the named experiments


def named_records(split: str) -> Records:
    """The records of the designs of the named experiments on ``split``."""
    names = [name for name, cells in DESIGNS.items() if cells == list(NAMED.values())]
    return {
        f"{SPLITS[split]}, width {design.width}": pd.read_csv(HERE / f"{name}.csv")
        for name in names
        if (design := load_design(name)).split == split
    }


def points(estimate: float, low: float, high: float) -> str:
    """A difference and its interval as text, in points (hundredths)."""
    return f"{100 * estimate:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def both_intervals(effect: pd.Series) -> str:
    """A row of :func:`unet.report.differences.over_seeds` as text, in points."""
    alone = points(*effect[["estimate", "low_alone", "high_alone"]]).partition(" ")[2]
    return f"{points(*effect[['estimate', 'low_pooled', 'high_pooled']])}, alone {alone}"


def spread(values: pd.Series, form: str = ".4f") -> str:
    """The mean over the seeds, with their standard deviation where there are two or more."""
    return f"{values.mean():{form}}" + (f" ± {values.std():{form}}" if len(values) > 1 else "")


def percent(values: pd.Series) -> str:
    """The same for a score in [0, 1], in per cent."""
    return f"{spread(100 * values, '.2f')}%"


def effects_table(record: pd.DataFrame, terms: list[str]) -> str:
    """The effects ``terms`` on each score, in points, each with both of its intervals."""
    rows = []
    for score, title in SCORES.items():
        found = effects(record, score, terms)
        row = {"score": title}
        row |= {contrast(t).replace("\n", ", "): both_intervals(found.loc[t]) for t in terms}
        if terms == MAIN:
            row["a seed"] = f"{100 * noise(by_seed(record, score)):.2f}"
        rows.append(row)
    return markdown(pd.DataFrame(rows))


def cells_table(record: pd.DataFrame) -> str:
    """Each variant's mean scores, their standard deviations over seeds, and its cost."""
    rows = []
    for cell, runs in record.groupby(MAIN, sort=False):
        row = {"variant": ", ".join(LEVELS[level] for level in cell)}
        row |= {SCORES[score]: spread(100 * runs[score], ".2f") for score in CELL_SCORES}
        row["IoU with the mirror image"] = f"{100 * runs['iou_mirrored'].mean():.2f}"
        row["parameters"] = f"{runs['parameters'].iloc[0] / 1e6:.3f} M"
        row["MFLOP an image"] = f"{1000 * runs['gflops'].iloc[0]:.0f}"
        row["seconds of training, median"] = f"{runs['seconds'].median():.0f}"
        rows.append(row)
    return markdown(pd.DataFrame(rows))


def images_table(differences: pd.DataFrame) -> str:
    """The comparisons, with their bootstrap intervals over the test images."""
    names = [contrast(n) if n in FACTORS else n.replace("-", "−") for n in differences.index]
    table = pd.DataFrame({"comparison": names})
    for score in IMAGE_SCORES:
        found = differences[[score, f"{score}_low", f"{score}_high"]].to_numpy()
        table[SCORES[score]] = [points(*row) for row in found]
    return markdown(table)


def named_runs(records: Records) -> pd.DataFrame:
    """A row of texts for each named experiment of each record, with the spread over its seeds."""
    rows = [
        {
            "experiment": key,
            "width": f"{runs['width'].iloc[0]}",
            "accuracy": percent(runs["accuracy"]),
            "IoU": spread(runs["iou"]),
            "Dice": spread(2 * runs["iou"] / (1 + runs["iou"])),
            "IoU, mean over images": spread(runs["iou_per_image"]),
            "boundary IoU": spread(runs["boundary_iou"]),
            "parameters": f"{runs['parameters'].iloc[0] / 1e6:.2f} M",
            "GFLOP an image": f"{runs['gflops'].iloc[0]:.2f}",
            "published accuracy": f"{PUBLISHED[key]:.2%}",
            "above it, points": f"{100 * (runs['accuracy'].mean() - PUBLISHED[key]):+.2f}",
            "at threshold 0.5": percent(runs["accuracy_at_half"]),
            "with the mirror image": percent(runs["accuracy_mirrored"]),
            "millions": f"{runs['parameters'].iloc[0] / 1e6:.1f} M",
            "minutes on a CPU core": f"{runs['seconds'].median() / 60:.0f}",
        }
        for record in records.values()
        for key, runs in by_key(record).items()
    ]
    return pd.DataFrame(rows)


def by_key(record: pd.DataFrame) -> Records:
    """Named experiment -> its runs."""
    cells = record[MAIN].agg("-".join, axis=1)
    return {key: record[cells == cell] for key, cell in NAMED.items()}


def told_apart(records: Records) -> str:
    """The differences of the named experiments two by two; bold where they are told apart."""
    columns = {}
    for heading, record in records.items():
        for score in PAIR_SCORES:
            found = effects(record, score, PAIRS)[["estimate", "low", "high"]]
            columns[f"{heading}: {SCORES[score]}"] = {
                name.replace("-", "−"): f"**{points(*row)}**" if sign(*row[1:]) else points(*row)
                for name, *row in found.itertuples()
            }
    return markdown(pd.DataFrame(columns).rename_axis("difference").reset_index())


def blocks() -> dict[Path, dict[str, str]]:
    """File -> marker -> the table that belongs between its two lines."""
    factorial = pd.read_csv(HERE / "factorial.csv")
    official, published = named_records("official"), named_records("sorted")
    ours, there = named_runs(official), named_runs(published)
    both = ours.assign(accuracy=there["accuracy"])
    return {
        Path("README.md"): {"results": markdown(both[[*RESULTS]].rename(columns=RESULTS))},
        Path("docs/results.md"): {
            "official": markdown(ours.loc[:, :"GFLOP an image"]),
            "published": markdown(there[[*BESIDE]].rename(columns=BESIDE)),
            "pairs": told_apart(official | published),
        },
        HERE / "README.md": {
            "effects": effects_table(factorial, MAIN),
            "interactions": effects_table(factorial, INTERACTIONS),
            "cells": cells_table(factorial),
            "images": images_table(pd.read_csv(HERE / "images.csv", index_col="comparison")),
        },
    }


def main() -> None:
    """See the module docstring."""
    rewrite(blocks())


if __name__ == "__main__":
    run_stage("report", main)
