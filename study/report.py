"""The study's claims and tables in README.md and study/README.md: ``python -m study.report``."""

import sys
from pathlib import Path

import pandas as pd
from scipy.stats import t

from study.design import CELLS, FACTORS, NAMED, load_design, run_names
from study.figure import LEVELS, contrast
from study.inference import effects, verdict
from study.record import load_record
from tools.table import fill, markdown

# Best validation accuracy over 15 epochs at width 64, as published (README.md has the table).
PUBLISHED = {
    "mp_tr_bce": 0.9345, "mp_tr_dice": 0.9332, "str_tr_bce": 0.9160, "str_ups_dice": 0.9042,
}  # fmt: skip
# The published conclusions: the factor, and whether its first level is said to be the better one.
CLAIMS = {"loss": False, "downsample": True, "upsample": True}
SCORES = {
    "iou": "IoU",
    "accuracy": "accuracy",
    "boundary_iou": "boundary IoU",
    "iou_at_half": "IoU at threshold 0.5",
}


def points(estimate: float, low: float, high: float) -> str:
    """A difference with its interval, in points (hundredths)."""
    return f"{100 * estimate:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def findings(record: pd.DataFrame) -> str:
    """What becomes of each published conclusion, by accuracy and by IoU."""
    found = {score: effects(record, score) for score in SCORES}
    num_seeds, noise = found["iou"].num_seeds, found["iou"].noise
    words = {
        1: "holds here",
        -1: "here it is the other way round",
        0: f"not distinguishable at {num_seeds} seeds",
    }
    lines = []
    for factor, first_is_better in CLAIMS.items():
        sign = 1 if first_is_better else -1
        better, other = (LEVELS[level] for level in FACTORS[factor][::sign])
        said = {}
        for score in SCORES:
            row = sign * found[score].table.loc[factor]
            estimate, *interval = row[["estimate", "low", "high"]]
            said[score] = (estimate, *sorted(interval))
        outcomes = {SCORES[score]: words[verdict(*said[score])] for score in ("accuracy", "iou")}
        outcome = "; ".join(f"by {score}: {outcome}" for score, outcome in outcomes.items())
        if len(set(outcomes.values())) == 1:
            outcome = outcomes["IoU"]
        figures = "; ".join(
            f"{points(*said[score])} points of {SCORES[score]}"
            for score in ("accuracy", "iou", "iou_at_half")
        )
        lines.append(
            f"- *{better} beats {other}*: **{outcome}**. {better} against {other}: {figures} "
            f"({num_seeds} seeds, 95 % CI)."
        )
    first = record.iloc[0]
    apart = 2**0.5 * noise * t.ppf(0.975, len(record) - record.groupby(list(FACTORS)).ngroups)
    return (
        f"From {len(record)} runs, eight variants with {num_seeds} seeds each, at width "
        f"{first['width']}, {first['image_size']} x {first['image_size']} pixels and "
        f"{first['epochs']} epochs ({first['split']} test split, each loss at its own threshold):"
        "\n\n" + "\n".join(lines) + "\n\n"
        f"Another seed alone moves the IoU of such a run by {100 * noise:.2f} points (standard "
        f"deviation): two runs with different seeds can be {100 * apart:.1f} points apart by "
        "chance (95 %). The intervals are over seeds, on these test images, at this size; the "
        "published conclusions were drawn at width 64 and 128 x 128 pixels."
    )


def effects_table(record: pd.DataFrame) -> str:
    """Each effect on each score, in points."""
    tables = {title: effects(record, score) for score, title in SCORES.items()}
    rows = []
    for term in next(iter(tables.values())).table.index:
        row = {"effect": contrast(term).replace("\n", ", ")}
        for title, found in tables.items():
            row[title] = points(*found.table.loc[term, ["estimate", "low", "high"]])
        for title in ("IoU", "accuracy"):
            alone = tables[title].table.loc[term, ["estimate", "low_alone", "high_alone"]]
            row[f"{title}, interval of its own"] = points(*alone)
        rows.append(row)
    noise = {title: f"{100 * found.noise:.2f}" for title, found in tables.items()}
    rows.append({"effect": "standard deviation of a run, by its seed"} | noise)
    return markdown(pd.DataFrame(rows).fillna(""))


def cells_table(record: pd.DataFrame) -> str:
    """Each variant's mean scores, their spread over seeds, and what it costs."""
    rows = []
    for cell, runs in record.groupby(list(FACTORS), sort=False):
        rows.append(
            {"variant": ", ".join(LEVELS[level] for level in cell)}
            | {
                title: f"{100 * runs[score].mean():.2f} ± {100 * runs[score].std():.2f}"
                for score, title in SCORES.items()
            }
            | {
                "IoU with the mirror image": f"{100 * runs['iou_mirrored'].mean():.2f}",
                "parameters": f"{runs['parameters'].iloc[0] / 1e6:.3f} M",
                "MFLOP an image": f"{1000 * runs['gflops'].iloc[0]:.0f}",
                "seconds of training, median": f"{runs['seconds'].median():.0f}",
            }
        )
    return markdown(pd.DataFrame(rows))


def pairs_table(pairs: pd.DataFrame) -> str:
    """The named experiments against each other on the same test images."""
    rows = [
        {"experiments": f"{row['first']} − {row['second']}"}
        | {
            title: points(row[score], row[f"{score}_low"], row[f"{score}_high"])
            for score, title in (("iou", "IoU"), ("accuracy", "accuracy"))
        }
        for row in pairs.to_dict("records")
    ]
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
    return (
        f"{markdown(pd.DataFrame(rows))}\n\n"
        f"{above} of our {len(ours)} rows are above the published ones. From the best to the worst "
        f"those are {spans[0]:.1f} points apart, ours {spans[1]:.1f}."
    )


def blocks(root: Path = Path()) -> dict[Path, dict[str, str]]:
    """File -> marker -> the text that belongs between its two lines."""
    folder = root / "study"
    records = {}
    for name, cells in (("factorial", CELLS), ("published", list(NAMED.values()))):
        design = load_design(name, folder / "params.yaml")
        records[name] = load_record(folder / f"{name}.csv", run_names(cells, design), design)
    pairs = folder / "pairs.csv"
    try:
        differences = pairs_table(pd.read_csv(pairs))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{pairs} cannot be read ({error}): run `make study`") from None
    table = published_table(records["published"])
    return {
        root / "README.md": {"findings": findings(records["factorial"]), "published": table},
        folder / "README.md": {
            "effects": effects_table(records["factorial"]),
            "cells": cells_table(records["factorial"]),
            "pairs": differences,
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
