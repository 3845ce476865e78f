"""The ablation's claims and tables in the README files: ``python -m research.ablation.report``."""

import sys
from itertools import combinations
from pathlib import Path

import pandas as pd

from research.ablation.design import (
    CELLS,
    DESIGNS,
    FACTORS,
    HERE,
    NAMED,
    Design,
    load_design,
    named_designs,
    run_names,
)
from research.ablation.figure import LEVELS, SCORES, contrast
from research.ablation.inference import contrasts, effects, pairs, verdict
from research.ablation.record import MACHINE, load_record, with_recorded_seeds
from unet.report.tables import markdown, rewrite

# Best validation accuracy over 15 epochs at width 64, as published (README.md has the table).
PUBLISHED = {
    "mp_tr_bce": 0.9345, "mp_tr_dice": 0.9332, "str_tr_bce": 0.9160, "str_ups_dice": 0.9042,
}  # fmt: skip
# The published conclusions: factor -> whether its first level is said to be better.
CLAIMS = {"loss": False, "downsample": True, "upsample": True}
CELL_SCORES = {score: SCORES[score] for score in ("iou", "accuracy", "boundary_iou", "iou_at_half")}
PAIR_SCORES = {score: SCORES[score] for score in ("accuracy", "iou")}
SPLITS = {"official": "Official split", "sorted": "Published split"}
ENOUGH_SEEDS = 5  # with fewer, the report warns that the seeds are few
IMAGE_SCORES = {score: SCORES[score] for score in ("accuracy", "iou", "iou_per_image")}
MAIN, INTERACTIONS = list(FACTORS), [":".join(pair) for pair in combinations(FACTORS, 2)]

# Name of a design -> the design and its record; the record is None if it has not been run.
Records = dict[str, tuple[Design, pd.DataFrame | None]]


def points(estimate: float, low: float, high: float) -> str:
    """A difference and its interval as text, in points (hundredths)."""
    return f"{100 * estimate:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def both_intervals(effect: pd.Series) -> str:
    """A row of :class:`research.ablation.inference.Effects` as text, in points."""
    pooled = points(*effect[["estimate", "low_pooled", "high_pooled"]])
    alone = points(*effect[["estimate", "low_alone", "high_alone"]]).partition(" ")[2]
    return f"{pooled}, alone {alone}"


def findings(record: pd.DataFrame) -> str:
    """Whether each published conclusion holds here, by each score."""
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
    """List the scores by which a claim holds (1), is reversed (-1), or is undecided (0)."""
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
    """The effects ``terms`` on each score, in points, each with both of its intervals."""
    rows = []
    for score, title in SCORES.items():
        found = effects(record, score)
        row = {"score": title}
        for term in terms:
            effect = found.table.loc[term]
            row[contrast(term).replace("\n", ", ")] = both_intervals(effect)
        if terms == MAIN:
            row["a seed"] = f"{100 * found.noise:.2f}"
        rows.append(row)
    return markdown(pd.DataFrame(rows))


def cells_table(record: pd.DataFrame) -> str:
    """Each variant's mean scores, their standard deviations over seeds, and its cost."""
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
    """Check that ``differences`` of :func:`research.ablation.inference.image_intervals` belong to
    the runs of ``record``, and return them.

    Raises:
        ValueError: a difference does not match the record's scores.
    """
    weights, scores = contrasts(list(record.index)), list(IMAGE_SCORES)
    differences = differences.loc[weights.index]
    same = (differences[scores] - weights @ record[scores]).abs() < 1e-9
    if other := same.index[~same.all(axis=1)].tolist():
        raise ValueError(f"{other[0]} is of other runs than the record")
    return differences


def images_table(differences: pd.DataFrame) -> str:
    """The comparisons, with their bootstrap intervals over the test images."""
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


def official_table(records: Records) -> str:
    """The named experiments on the official split, with the spread over their seeds."""
    rows = []
    for key, runs in _rows(records):
        dice = 2 * runs["iou"] / (1 + runs["iou"])
        rows.append(
            {
                "experiment": key,
                "width": f"{runs['width'].iloc[0]}",
                "accuracy": percent(runs["accuracy"]),
                "IoU": share(runs["iou"]),
                "Dice": share(dice),
                "IoU, mean over images": share(runs["iou_per_image"]),
                "boundary IoU": share(runs["boundary_iou"]),
                "parameters": f"{runs['parameters'].iloc[0] / 1e6:.2f} M",
                "GFLOP an image": f"{runs['gflops'].iloc[0]:.2f}",
            }
        )
    return f"{caption(records)}\n\n{markdown(pd.DataFrame(rows))}" if rows else caption(records)


def published_table(records: Records) -> str:
    """Our scores beside the published ones, on the published split."""
    rows = []
    for key, runs in _rows(records):
        rows.append(
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
        )
    if not rows:
        return caption(records)
    lines = "\n".join(_above(record) for _, record in records.values() if record is not None)
    return f"{caption(records)}\n\n{markdown(pd.DataFrame(rows))}\n\n{lines}"


def _above(record: pd.DataFrame) -> str:
    """How many rows and single runs are above the published ones, and how far rows are apart."""
    rows = {key: _of(record, key)["accuracy"] for key in NAMED}
    above = sum(rows[key].mean() > PUBLISHED[key] for key in rows)
    runs_above = sum(int((rows[key] > PUBLISHED[key]).sum()) for key in rows)
    means = [accuracy.mean() for accuracy in rows.values()]
    spans = [100 * (max(values) - min(values)) for values in (PUBLISHED.values(), means)]
    how_many = "all" if above == len(rows) else f"{above} of"
    by_run = f" ({runs_above} of {len(record)} runs)" if record["seed"].nunique() > 1 else ""
    return (
        f"Width {record['width'].iloc[0]}: {how_many} our {len(rows)} rows are above the published "
        f"ones{by_run}. From the best to the worst those are {spans[0]:.1f} points apart, ours "
        f"{spans[1]:.1f}."
    )


def _of(record: pd.DataFrame, key: str) -> pd.DataFrame:
    return record[record.index.str.rpartition("-").get_level_values(0) == NAMED[key]]


def _rows(records: Records) -> list[tuple[str, pd.DataFrame]]:
    """Each experiment and its runs, for each design that has been run."""
    found = [record for _, record in records.values() if record is not None]
    return [(key, _of(record, key)) for record in found for key in NAMED]


def percent(values: pd.Series) -> str:
    """The mean over the seeds, with their standard deviation where there are two or more."""
    return f"{100 * values.mean():.2f}{_spread(100 * values, '.2f')}%"


def share(values: pd.Series) -> str:
    """The same for a score in [0, 1]."""
    return f"{values.mean():.4f}{_spread(values, '.4f')}"


def _spread(values: pd.Series, form: str) -> str:
    return f" ± {values.std():{form}}" if len(values) > 1 else ""


def caption(records: Records) -> str:
    """A caption: seeds, epochs and machines of the rows, and which designs have not been run."""
    lines = []
    for name, (design, record) in records.items():
        if record is None:
            lines.append(f"The design `{name}` (width {design.width}) has not been run yet.")
            continue
        num_seeds, first = record["seed"].nunique(), record.iloc[0]
        how = "one seed" if num_seeds == 1 else f"mean ± standard deviation of {num_seeds} seeds"
        if num_seeds < len(design.seeds):
            how += f" of the {len(design.seeds)} that `params.yaml` names"
        lines.append(
            f"Width {first['width']}: {how}, after the last of {first['epochs']} epochs, "
            f"{machines(record)}."
        )
    return "\n".join(lines)


def machines(record: pd.DataFrame) -> str:
    """The models of CPU or GPU that a record's runs were trained on, with the runs on each."""
    kind, counts = record["device"].iloc[0], record[MACHINE].value_counts(sort=False)
    unit = "CPU" if kind == "cpu" else "GPU"
    unnamed = f"a {unit} whose name was not recorded"
    models = [name or unnamed for name in counts.index]
    if len(models) == 1:
        return f"trained on {models[0]}{f' ({kind})' * (models[0] != unnamed)}"
    each = [
        f"{number} run{'s' * (number != 1)} on {name}"
        for name, number in zip(models, counts, strict=True)
    ]
    return f"trained on {len(models)} kinds of {unit}: {_listed(each)}"


def machines_list(records: Records) -> str:
    """The same for each record, one line per design."""
    found = {name: record for name, (_, record) in records.items() if record is not None}
    return "\n".join(
        f"- `{name}`: {len(record)} runs, {machines(record)}" for name, record in found.items()
    )


def told_apart(records: Records) -> str:
    """Which pairs of the named experiments differ by more than the noise between seeds."""
    columns: dict[str, dict[str, str]] = {}  # title -> difference -> its table cell
    lines, seeds = [], []
    for design, record in records.values():
        if record is None:
            continue
        title = f"{SPLITS[design.split]}, width {design.width}"
        num_seeds = record["seed"].nunique()
        if num_seeds < 2:
            lines.append(f"{title}: one seed; of no two rows can it be said that they differ.")
            continue
        seeds.append(num_seeds)
        told = []
        for score in PAIR_SCORES:
            table = pairs(record, score).table[["estimate", "low", "high"]]
            differ = {names: verdict(*row) != 0 for names, *row in table.itertuples()}
            columns[f"{title}: {SCORES[score]}"] = {
                names.replace("-", "−"): f"**{points(*row)}**" if differ[names] else points(*row)
                for names, *row in table.itertuples()
            }
            told.append(f"{sum(differ.values())} of {len(differ)} by {SCORES[score]}")
        lines.append(f"{title}, {num_seeds} seeds: told apart {_listed(told)}.")
    if seeds and min(seeds) < ENOUGH_SEEDS:
        lines.append(
            f"{min(seeds)} seeds are few: the interval from the seeds alone has "
            f"{min(seeds) - 1} degree{'s' * (min(seeds) > 2)} of freedom, so that rows which "
            "cannot be told apart here may still differ."
        )
    if columns:
        table = pd.DataFrame(columns).rename_axis("difference").reset_index()
        lines.insert(0, f"{markdown(table)}\n")
    return "\n".join(lines) or "None of the four experiments has been run over seeds yet."


def pairs_table(records: Records) -> str:
    """The same differences by each of PAIR_SCORES, in points, with both of their intervals."""
    tables = []
    for design, record in records.values():
        if record is None or record["seed"].nunique() < 2:
            continue
        found = {title: pairs(record, score).table for score, title in PAIR_SCORES.items()}
        rows = []
        for names in next(iter(found.values())).index:
            row = {"difference": names.replace("-", "−")}
            for title, table in found.items():
                row[title] = both_intervals(table.loc[names])
            rows.append(row)
        title = f"{SPLITS[design.split]}, width {design.width}"
        num_seeds = record["seed"].nunique()
        tables.append(f"{title}, {num_seeds} seeds:\n\n{markdown(pd.DataFrame(rows))}")
    return "\n\n".join(tables) or "No design of the four has two seeds yet."


def blocks(root: Path = Path()) -> dict[Path, dict[str, str]]:
    """File -> marker -> the text that belongs between its two lines."""
    folder = root / HERE
    params = folder / "params.yaml"
    design = load_design("factorial", params)
    factorial = load_record(folder / "factorial.csv", run_names(CELLS, design), design)
    path = folder / "images.csv"
    try:
        differences = of_record(pd.read_csv(path, index_col="comparison"), factorial)
        images = images_table(differences)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: {error}: run `make study`") from None
    official, published = (load_named(folder, split) for split in ("official", "sorted"))
    return {
        root / "README.md": {"findings": findings(factorial)} | named_blocks(official, published),
        folder / "README.md": {
            "machines": machines_list({"factorial": (design, factorial)} | official | published),
            "effects": effects_table(factorial, MAIN),
            "interactions": effects_table(factorial, INTERACTIONS),
            "cells": cells_table(factorial),
            "images": images,
            "pairs": pairs_table(official | published),
        },
    }


def named_blocks(official: Records, published: Records) -> dict[str, str]:
    """Marker -> text on the four experiments, for the root's README."""
    return {
        "official": official_table(official),
        "published": published_table(published),
        "pairs": told_apart(official | published),
    }


def load_named(folder: Path, split: str) -> Records:
    """The records in ``folder`` of the four experiments on ``split``, with the seeds run so far.

    Raises:
        ValueError: as in :func:`research.ablation.record.load_record`.
    """
    records: Records = {}
    for name, design in named_designs(split, folder / "params.yaml").items():
        path = folder / f"{name}.csv"
        records[name] = (design, None)
        if path.exists():
            so_far = with_recorded_seeds(path, design)
            records[name] = (design, load_record(path, run_names(DESIGNS[name], so_far), so_far))
    return records


def main() -> None:
    """See the module docstring."""
    rewrite(blocks())


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"report: {error}")
