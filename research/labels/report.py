"""Write the tables in this folder's README: ``python -m research.labels.report``.

The sentences here and in the root's README are written by hand;
``tests/test_figures_in_texts.py`` checks their figures.
"""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from research.labels.agreement import SCORES
from research.labels.fold import HERE
from unet import metrics
from unet.inference.evaluation import COUNTS
from unet.report.results import load_scores
from unet.report.tables import markdown, rewrite
from unet.runtime.process import run_stage

FINE = "fine"  # the verdict on a correct mask


def copies(pairs: pd.DataFrame) -> str:
    """Count the pairs of each kind, within and across trainval and test."""
    across = pairs["across"].map({False: "within trainval or test", True: "across"})
    table = pd.crosstab(pairs["kind"], across, margins=True, margins_name="all")
    table = table.sort_values("all", ascending=False)
    table = pd.concat([table[1:], table[:1]])[["within trainval or test", "across"]].astype(str)
    return markdown(table.rename_axis("the one is the other's").reset_index())


def agreement(table: pd.DataFrame, models: dict[str, dict[str, float]]) -> str:
    """The scores of a mask against another of the same photograph, beside the models' scores."""
    rows = [
        {"score": SCORES[score][0], "another mask": f"{value:.4f} [{low:.4f}, {high:.4f}]"}
        | {key: f"{of[score]:.4f}" if score in of else "" for key, of in models.items()}
        for score, value, low, high in table[["score", "value", "low", "high"]].values
    ]
    return markdown(pd.DataFrame(rows))


def subsets(names: pd.Series, pairs: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """One bool column per scored subset of the test images ``names``: ``all``, ``no copies`` (of
    trainval), ``no wrong masks``, ``neither``."""
    across = pairs[pairs["across"]]
    wrong = verdicts.loc[verdicts["verdict"] != FINE, "name"]
    frame = pd.DataFrame({"all": True}, index=list(names))
    frame["no copies"] = ~frame.index.isin([*across["first"], *across["second"]])
    frame["no wrong masks"] = ~frame.index.isin(wrong)
    frame["neither"] = frame["no copies"] & frame["no wrong masks"]
    return frame


def counts_of(counts: pd.DataFrame) -> dict[str, Tensor]:
    """Experiment -> its pixels on each test image, (N, 4) int64."""
    keys = [name.removesuffix("_tp") for name in counts if name.endswith("_tp")]
    return {k: torch.tensor(counts[[f"{k}_{kind}" for kind in COUNTS]].to_numpy()) for k in keys}


def subset_scores(counts: pd.DataFrame, chosen: pd.DataFrame) -> str:
    """The released models' scores with and without doubtful test images."""
    rows = []
    for key, of_key in counts_of(counts).items():
        for name, kept in chosen.items():
            found = of_key[torch.tensor(kept.to_numpy())]
            rows.append({
                "experiment": key,
                "test images": f"{name}: {len(found):,}",
                "accuracy": f"{metrics.accuracy(found.sum(0)):.2%}",
                "IoU": f"{metrics.iou(found.sum(0)):.4f}",
                "Dice": f"{metrics.dice(found.sum(0)):.4f}",
                "IoU, mean over images": f"{metrics.iou(found).mean():.4f}",
            })  # fmt: skip
    return markdown(pd.DataFrame(rows))


def verdicts(table: pd.DataFrame, ranking: pd.DataFrame) -> str:
    """How many masks got each verdict, and which ones."""
    ranking = ranking.assign(rank=range(1, len(ranking) + 1))
    rows = []
    for verdict, group in table.merge(ranking, "left", "name").groupby("verdict", sort=False):
        places = group.sort_values("rank")[["name", "rank"]].values
        rows.append({
            "verdict": verdict,
            "images": str(len(group)),
            "of test": str((group["split"] == "test").sum()),
            f"which (place of {len(ranking):,})": ", ".join(f"{n} ({r:,})" for n, r in places),
        })  # fmt: skip
    return markdown(pd.DataFrame(rows))


def tables() -> dict[str, pd.DataFrame]:
    """The recorded tables in this folder, by name."""
    names = ("pairs", "agreement", "test_counts", "verdicts", "suspects")
    return {name: pd.read_csv(HERE / f"{name}.csv") for name in names}


def blocks() -> dict[Path, dict[str, str]]:
    """File -> marker -> the table that belongs between its two lines."""
    found = tables()
    counts = found["test_counts"]
    models = {key: load_scores(Path(), key) for key in counts_of(counts)}
    chosen = subsets(counts["name"], found["pairs"], found["verdicts"])
    return {
        HERE / "README.md": {
            "copies": copies(found["pairs"]),
            "agreement": agreement(found["agreement"], models),
            "subsets": subset_scores(counts, chosen),
            "verdicts": verdicts(found["verdicts"], found["suspects"]),
        }
    }


def main() -> None:
    """See the module docstring."""
    rewrite(blocks())


if __name__ == "__main__":
    run_stage("report", main)
