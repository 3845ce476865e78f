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
SPLITS = {"official": "Official split", "sorted": "Published split"}
CELL_SCORES = ("iou", "accuracy", "boundary_iou", "iou_at_half")
PAIR_SCORES = ("accuracy", "iou")
IMAGE_SCORES = ("accuracy", "iou", "iou_per_image")

Records = dict[str, pd.DataFrame]  # heading -> runs of the named experiments


def named_records(split: str) -> Records:
    """The records of the designs of the named experiments on ``split``."""
    names = [name for name, cells in DESIGNS.items() if cells == list(NAMED.values())]
    designs = {name: load_design(name) for name in names}
    return {
        f"{SPLITS[split]}, width {design.width}": pd.read_csv(HERE / f"{name}.csv")
        for name, design in designs.items()
        if design.split == split
    }


def points(estimate: float, low: float, high: float) -> str:
    """A difference and its interval as text, in points (hundredths)."""
    return f"{100 * estimate:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def both_intervals(effect: pd.Series) -> str:
    """A row of :func:`unet.report.differences.over_seeds` as text, in points."""
    alone = points(*effect[["estimate", "low_alone", "high_alone"]]).partition(" ")[2]
    return f"{points(*effect[['estimate', 'low_pooled', 'high_pooled']])}, alone {alone}"


def percent(values: pd.Series) -> str:
    """The mean over the seeds, with their standard deviation where there are two or more."""
    return f"{100 * values.mean():.2f}{_spread(100 * values, '.2f')}%"


def share(values: pd.Series) -> str:
    """The same for a score in [0, 1]."""
    return f"{values.mean():.4f}{_spread(values, '.4f')}"


def _spread(values: pd.Series, form: str) -> str:
    return f" ± {values.std():{form}}" if len(values) > 1 else ""


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
        row |= {SCORES[score]: percent(runs[score]).rstrip("%") for score in CELL_SCORES}
        row["IoU with the mirror image"] = f"{100 * runs['iou_mirrored'].mean():.2f}"
        row["parameters"] = f"{runs['parameters'].iloc[0] / 1e6:.3f} M"
        row["MFLOP an image"] = f"{1000 * runs['gflops'].iloc[0]:.0f}"
        row["seconds of training, median"] = f"{runs['seconds'].median():.0f}"
        rows.append(row)
    return markdown(pd.DataFrame(rows))


def images_table(differences: pd.DataFrame) -> str:
    """The comparisons, with their bootstrap intervals over the test images."""
    rows = []
    for name, row in differences.iterrows():
        texts = {"comparison": contrast(name) if name in FACTORS else name.replace("-", "−")}
        for score in IMAGE_SCORES:
            texts[SCORES[score]] = points(*row[[score, f"{score}_low", f"{score}_high"]])
        rows.append(texts)
    return markdown(pd.DataFrame(rows))


def official_table(records: Records) -> str:
    """The named experiments on the official split, with the spread over their seeds."""
    rows = [
        {
            "experiment": key,
            "width": f"{runs['width'].iloc[0]}",
            "accuracy": percent(runs["accuracy"]),
            "IoU": share(runs["iou"]),
            "Dice": share(2 * runs["iou"] / (1 + runs["iou"])),
            "IoU, mean over images": share(runs["iou_per_image"]),
            "boundary IoU": share(runs["boundary_iou"]),
            "parameters": f"{runs['parameters'].iloc[0] / 1e6:.2f} M",
            "GFLOP an image": f"{runs['gflops'].iloc[0]:.2f}",
        }
        for record in records.values()
        for key, runs in by_key(record).items()
    ]
    return markdown(pd.DataFrame(rows))


def published_table(records: Records) -> str:
    """Our scores beside the published ones, on the published split."""
    rows = [
        {
            "experiment": key,
            "published accuracy, width 64": f"{PUBLISHED[key]:.2%}",
            "our width": f"{runs['width'].iloc[0]}",
            "our accuracy": percent(runs["accuracy"]),
            "above it, points": f"{100 * (runs['accuracy'].mean() - PUBLISHED[key]):+.2f}",
            "at threshold 0.5": percent(runs["accuracy_at_half"]),
            "with the mirror image": percent(runs["accuracy_mirrored"]),
            "our IoU": share(runs["iou"]),
            "our parameters": f"{runs['parameters'].iloc[0] / 1e6:.2f} M",
        }
        for record in records.values()
        for key, runs in by_key(record).items()
    ]
    return markdown(pd.DataFrame(rows))


def results_table(official: Records, published: Records) -> str:
    """The README's table: the published accuracy, ours on the same split, official IoU, cost."""
    rows = []
    for (_, here), (_, there) in zip(official.items(), published.items(), strict=True):
        for key, runs in by_key(here).items():
            rows.append({
                "experiment": key,
                "published accuracy": f"{PUBLISHED[key]:.2%}",
                "ours, same split": percent(by_key(there)[key]["accuracy"]),
                "IoU, official split": share(runs["iou"]),
                "parameters": f"{runs['parameters'].iloc[0] / 1e6:.1f} M",
                "minutes on a CPU core": f"{runs['seconds'].median() / 60:.0f}",
            })  # fmt: skip
    return markdown(pd.DataFrame(rows))


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
    return {
        Path("README.md"): {"results": results_table(official, published)},
        Path("docs/results.md"): {
            "official": official_table(official),
            "published": published_table(published),
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
