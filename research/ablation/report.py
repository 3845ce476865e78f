"""The ablation's claims and tables in the README files: ``python -m research.ablation.report``."""

import sys
from itertools import combinations
from pathlib import Path

import pandas as pd

from research.ablation.design import DESIGNS, FACTORS, HERE, NAMED, load_design, run_names
from research.ablation.figure import LEVELS, SCORES, contrast
from research.ablation.inference import contrasts, effects, verdict
from research.ablation.record import load_record
from unet.report.tables import fill, markdown

# Best validation accuracy over 15 epochs at width 64, as published (README.md has the table).
PUBLISHED = {
    "mp_tr_bce": 0.9345, "mp_tr_dice": 0.9332, "str_tr_bce": 0.9160, "str_ups_dice": 0.9042,
}  # fmt: skip
# The published conclusions: the factor, and whether its first level is said to be the better one.
CLAIMS = {"loss": False, "downsample": True, "upsample": True}
CELL_SCORES = {score: SCORES[score] for score in ("iou", "accuracy", "boundary_iou", "iou_at_half")}
IMAGE_SCORES = {score: SCORES[score] for score in ("accuracy", "iou", "iou_per_image")}
MAIN, INTERACTIONS = list(FACTORS), [":".join(pair) for pair in combinations(FACTORS, 2)]


def points(estimate: float, low: float, high: float) -> str:
    """A difference with its interval, in points (hundredths)."""
    return f"{100 * estimate:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def findings(record: pd.DataFrame) -> str:
    """What becomes of each published conclusion, by each score."""
    found = {title: effects(record, score) for score, title in SCORES.items()}
    num_seeds, noise = found["IoU"].num_seeds, found["IoU"].noise
    lines = []
    for factor, first_is_better in CLAIMS.items():
        sign = 1 if first_is_better else -1
        better, other = (LEVELS[level] for level in FACTORS[factor][::sign])
        outcomes: dict[int, list[str]] = {1: [], -1: [], 0: []}
        for title, of_score in found.items():
            row = of_score.table.loc[factor, ["estimate", "low", "high"]]
            outcomes[sign * verdict(*row)].append(title)
        estimate, *interval = sign * found["IoU"].table.loc[factor, ["estimate", "low", "high"]]
        by_iou = points(estimate, *sorted(interval))
        lines.append(f"- *{better} beats {other}*: {_outcome(outcomes, num_seeds)}. IoU: {by_iou}.")
    first = record.iloc[0]
    rates = record.groupby("loss")[["precision", "recall"]].mean()
    leans = ", ".join(
        f"with {LEVELS[loss]} {precision:.3f} and {recall:.3f}"
        for loss, precision, recall in rates.loc[list(FACTORS["loss"])].itertuples()
    )
    return (
        f"From {len(record)} runs, eight variants with {num_seeds} seeds each, at width "
        f"{first['width']}, {first['image_size']} x {first['image_size']} pixels and "
        f"{first['epochs']} epochs, on the {first['split']} test split; IoU in points "
        "(hundredths), with a 95 % interval:"
        "\n\n" + "\n".join(lines) + "\n\n"
        f"Mean precision and recall: {leans}. Another seed alone moves the IoU of such a "
        f"run by {100 * noise:.2f} points (standard deviation): two runs of one variant differ by "
        f"{100 * 2**0.5 * noise:.1f} points (root mean square) by chance alone."
    )


def _outcome(outcomes: dict[int, list[str]], num_seeds: int) -> str:
    """In words, the scores by which a claim holds (1), is turned round (-1), or is open (0)."""
    words = {
        1: "holds here",
        -1: "the other way round here",
        0: f"not distinguishable at {num_seeds} seeds",
    }
    said = {sign: scores for sign, scores in outcomes.items() if scores}
    if len(said) == 1:
        return f"**{words[next(iter(said))]}**, by all {len(SCORES)} scores"
    parts = "; ".join(f"{words[sign]} by {_listed(scores)}" for sign, scores in said.items())
    return f"**it depends on the score**: {parts}" if {1, -1} <= said.keys() else parts


def _listed(titles: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(titles[:-1]), titles[-1]]))


def effects_table(record: pd.DataFrame, terms: list[str]) -> str:
    """The effects ``terms`` on each score, in points, each with both its intervals."""
    rows = []
    for score, title in SCORES.items():
        found = effects(record, score)
        row = {"score": title}
        for term in terms:
            effect = found.table.loc[term]
            pooled = points(*effect[["estimate", "low_pooled", "high_pooled"]])
            alone = points(*effect[["estimate", "low_alone", "high_alone"]]).partition(" ")[2]
            row[contrast(term).replace("\n", ", ")] = f"{pooled}, alone {alone}"
        if terms == MAIN:
            row["a seed"] = f"{100 * found.noise:.2f}"
        rows.append(row)
    return markdown(pd.DataFrame(rows))


def cells_table(record: pd.DataFrame) -> str:
    """Each variant's mean scores, their spread over seeds, and what it costs."""
    rows = []
    for cell, runs in record.groupby(list(FACTORS), sort=False):
        rows.append(
            {"variant": ", ".join(LEVELS[level] for level in cell)}
            | {
                title: f"{100 * runs[score].mean():.2f} ± {100 * runs[score].std():.2f}"
                for score, title in CELL_SCORES.items()
            }
            | {
                "IoU with the mirror image": f"{100 * runs['iou_mirrored'].mean():.2f}",
                "parameters": f"{runs['parameters'].iloc[0] / 1e6:.3f} M",
                "MFLOP an image": f"{1000 * runs['gflops'].iloc[0]:.0f}",
                "seconds of training, median": f"{runs['seconds'].median():.0f}",
            }
        )
    return markdown(pd.DataFrame(rows))


def of_record(differences: pd.DataFrame, record: pd.DataFrame) -> pd.DataFrame:
    """``differences``, made by :func:`research.ablation.inference.image_intervals`, if they are of
    ``record``'s runs.

    Raises:
        ValueError: they are not: a difference is not that of the record's scores.
    """
    weights, scores = contrasts(list(record.index)), list(IMAGE_SCORES)
    differences = differences.loc[weights.index]
    same = (differences[scores] - weights @ record[scores]).abs() < 1e-9
    if other := same.index[~same.all(axis=1)].tolist():
        raise ValueError(f"{other[0]} is of other runs than the record")
    return differences


def images_table(differences: pd.DataFrame) -> str:
    """The comparisons on the same test images, with what other images could have shown."""
    rows = []
    for comparison, row in differences.iterrows():
        words = contrast(comparison) if comparison in FACTORS else comparison.replace("-", "−")
        rows.append(
            {"comparison": words}
            | {
                title: points(*row[[score, f"{score}_low", f"{score}_high"]])
                for score, title in IMAGE_SCORES.items()
            }
        )
    return markdown(pd.DataFrame(rows))


def published_table(record: pd.DataFrame) -> str:
    """Ours beside the published figures, on the published split."""
    rows, ours = [], []
    for key, cell in NAMED.items():
        runs = record[record.index.str.rpartition("-").get_level_values(0) == cell]
        accuracy = runs["accuracy"].mean()
        ours.append(accuracy)
        rows.append(
            {
                "experiment": key,
                "published accuracy, width 64": f"{PUBLISHED[key]:.2%}",
                f"our accuracy, width {runs['width'].iloc[0]}": f"{accuracy:.2%}",
                "difference, points": f"{100 * (accuracy - PUBLISHED[key]):+.2f}",
                "at threshold 0.5": f"{runs['accuracy_at_half'].mean():.2%}",
                "with the mirror image": f"{runs['accuracy_mirrored'].mean():.2%}",
                "our IoU": f"{runs['iou'].mean():.4f}",
                "our parameters": f"{runs['parameters'].iloc[0] / 1e6:.2f} M",
            }
        )
    above = sum(mine > theirs for mine, theirs in zip(ours, PUBLISHED.values(), strict=True))
    spans = [100 * (max(values) - min(values)) for values in (PUBLISHED.values(), ours)]
    how_many = "All" if above == len(ours) else f"{above} of"
    return (
        f"{markdown(pd.DataFrame(rows))}\n\n"
        f"{how_many} our {len(ours)} rows are above the published ones. From the best to the worst "
        f"those are {spans[0]:.1f} points apart, ours {spans[1]:.1f}."
    )


def blocks(root: Path = Path()) -> dict[Path, dict[str, str]]:
    """File -> marker -> the text that belongs between its two lines."""
    folder = root / HERE
    records = {}
    for name, cells in DESIGNS.items():
        design = load_design(name, folder / "params.yaml")
        records[name] = load_record(folder / f"{name}.csv", run_names(cells, design), design)
    path = folder / "images.csv"
    try:
        differences = of_record(pd.read_csv(path, index_col="comparison"), records["factorial"])
        images = images_table(differences)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: {error}: run `make study`") from None
    table = published_table(records["published"])
    return {
        root / "README.md": {"findings": findings(records["factorial"]), "published": table},
        folder / "README.md": {
            "effects": effects_table(records["factorial"], MAIN),
            "interactions": effects_table(records["factorial"], INTERACTIONS),
            "cells": cells_table(records["factorial"]),
            "images": images,
        },
    }


def main() -> None:
    """See the module's text."""
    for path, texts in blocks().items():
        text = fill(path.read_text(encoding="utf-8"), texts)
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"report: {error}")
