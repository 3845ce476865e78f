"""Write the tables in the READMEs here and in the root: ``python -m research.labels.report``."""

import json
import sys
from pathlib import Path

import pandas as pd
import torch

from research.labels.fold import HERE
from unet import metrics
from unet.inference.evaluation import COUNTS
from unet.report.tables import markdown, rewrite

FINE = "fine"  # the verdict on a correct mask
TITLES = {
    "accuracy": "accuracy", "iou": "IoU", "dice": "Dice", "boundary_iou": "boundary IoU",
    "accuracy_per_image": "accuracy, mean over images", "iou_per_image": "IoU, mean over images",
    "dice_per_image": "Dice, mean over images",
    "boundary_iou_per_image": "boundary IoU, mean over images",
    "accuracy_boundary_object": "accuracy, boundary as object",
    "iou_boundary_object": "IoU, boundary as object",
    "accuracy_boundary_ignored": "accuracy, boundary ignored",
    "iou_boundary_ignored": "IoU, boundary ignored",
    "accuracy_outlined": "accuracy, boundary as object in both masks",
    "iou_outlined": "IoU, boundary as object in both masks",
}  # fmt: skip


def copies(pairs: pd.DataFrame) -> str:
    """Count the pairs of each kind, within and across trainval and test."""
    table = pd.crosstab(pairs["kind"], pairs["across"]).reindex(columns=[False, True], fill_value=0)
    table = table.loc[table.sum(axis=1).sort_values(ascending=False).index]
    rows = [(kind, str(inside), str(across)) for kind, inside, across in table.itertuples()]
    rows.append(("all", *(str(number) for number in table.sum())))
    columns = ["the one is the other's", "within trainval or test", "across"]
    across = pairs[pairs["across"]]
    images = pd.concat([across["first"], across["second"]])
    of_test = pd.concat([across["first_split"], across["second_split"]]) == "test"
    return (
        f"{markdown(pd.DataFrame(rows, columns=columns))}\n\n"
        f"{images[of_test].nunique()} test images have a copy in trainval."
    )


def ceiling(table: pd.DataFrame, models: dict[str, dict[str, float]]) -> str:
    """The scores of a mask against another of the same photograph, beside the models' scores."""
    first = table.iloc[0]
    rows = [
        {"score": TITLES[row["score"]]}
        | {"another mask": f"{row['value']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"}
        | {
            key: f"{scores[row['score']]:.4f}" if row["score"] in scores else ""
            for key, scores in models.items()
        }
        for _, row in table.iterrows()
    ]
    return (
        f"{first['pairs']} pairs of masks of {first['photographs']} photographs; "
        f"{first['equal_masks'] or 'none'} of the pairs are the same mask.\n\n"
        f"{markdown(pd.DataFrame(rows))}"
    )


def subsets(names: pd.Series, pairs: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """One bool column per scored subset of the test images ``names``: ``all``, ``no copies`` (of
    trainval), ``no wrong masks``, ``neither``."""
    across = pairs[pairs["across"]]
    copies = set(across["first"]) | set(across["second"])
    wrong = set(verdicts.loc[verdicts["verdict"] != FINE, "name"])
    frame = pd.DataFrame({"all": True}, index=list(names))
    frame["no copies"] = ~frame.index.isin(copies)
    frame["no wrong masks"] = ~frame.index.isin(wrong)
    frame["neither"] = frame["no copies"] & frame["no wrong masks"]
    return frame


def subset_scores(counts: pd.DataFrame, chosen: pd.DataFrame) -> str:
    """The released models' scores with and without doubtful test images."""
    rows = []
    for key in keys_of(counts):
        of_key = torch.from_numpy(counts[[f"{key}_{kind}" for kind in COUNTS]].to_numpy())
        for name, kept in chosen.items():
            found = of_key[torch.tensor(kept.tolist())]
            rows.append(
                {
                    "experiment": key,
                    "test images": f"{name}: {len(found):,}",
                    "accuracy": f"{metrics.accuracy(found.sum(0)):.2%}",
                    "IoU": f"{metrics.iou(found.sum(0)):.4f}",
                    "Dice": f"{metrics.dice(found.sum(0)):.4f}",
                    "IoU, mean over images": f"{metrics.iou(found).mean():.4f}",
                }
            )
    return markdown(pd.DataFrame(rows))


def keys_of(counts: pd.DataFrame) -> list[str]:
    """The experiments in a table of counts."""
    return [name.removesuffix("_tp") for name in counts if name.endswith("_tp")]


def verdicts(table: pd.DataFrame, ranking: pd.DataFrame) -> str:
    """How many masks got each verdict, and which ones."""
    ranks = {name: rank for rank, name in enumerate(ranking["name"], start=1)}
    of_test = set(ranking.loc[ranking["split"] == "test", "name"])
    rows = [
        {
            "verdict": verdict,
            "images": str(len(group)),
            "of test": str(group["name"].isin(of_test).sum()),
            f"which (place of {len(ranking):,})": ", ".join(
                f"{name} ({ranks[name]:,})" for name in sorted(group["name"], key=ranks.get)
            ),
        }
        for verdict, group in table.groupby("verdict", sort=False)
    ]
    return markdown(pd.DataFrame(rows))


def summary(tables: dict[str, pd.DataFrame], chosen: pd.DataFrame) -> str:
    """The findings in a few sentences, for the root's README."""
    across = tables["pairs"][tables["pairs"]["across"]]
    of_test = chosen.index.isin([*across["first"], *across["second"]]).sum()
    ceiling = tables["ceiling"].set_index("score")

    def agree(score: str) -> str:
        value, low, high = ceiling.loc[score, ["value", "low", "high"]]
        return f"{value:.3f} [{low:.3f}, {high:.3f}]"

    looked_at = tables["verdicts"]
    faults = looked_at[looked_at["verdict"] != FINE]
    kinds = faults["verdict"].value_counts(sort=False)
    counts, key = tables["test_counts"], keys_of(tables["test_counts"])[0]
    of_key = torch.from_numpy(counts[[f"{key}_{kind}" for kind in COUNTS]].to_numpy())
    all_of, rest = (
        f"{metrics.iou(of_key[torch.tensor(chosen[name].tolist())].sum(0)):.4f}"
        for name in ("all", "neither")
    )
    return "\n".join(
        [
            f"- At least {of_test} of the {len(chosen):,} test images have a copy in trainval.",
            f"- Two masks of one photograph ({ceiling['pairs'].iloc[0]} pairs) agree at accuracy "
            f"{agree('accuracy')} and IoU {agree('iou')}; with the boundary as object in both at "
            f"IoU {agree('iou_outlined')}. In brackets 95 % intervals over the photographs.",
            f"- Of {len(looked_at)} masks that were looked at, mostly those that models which had "
            f"not seen them contradict most, {len(faults)} are wrong "
            f"({', '.join(f'{number} {verdict}' for verdict, number in kinds.items())}), "
            f"{faults['name'].isin(chosen.index).sum()} of them test masks.",
            f"- Without those and the copies `{key}` has IoU {rest} on the test images instead of "
            f"{all_of}.",
        ]
    )


def blocks(root: Path = Path()) -> dict[Path, dict[str, str]]:
    """File -> marker -> the text that belongs between its two lines."""
    folder = root / HERE
    tables = {
        name: pd.read_csv(folder / f"{name}.csv")
        for name in ("pairs", "ceiling", "test_counts", "verdicts", "suspects")
    }
    models = {
        key: json.loads((root / f"metrics/scores/{key}.json").read_text(encoding="utf-8"))
        for key in keys_of(tables["test_counts"])
    }
    counts = tables["test_counts"]
    chosen = subsets(counts["name"], tables["pairs"], tables["verdicts"])
    return {
        root / "README.md": {"data": summary(tables, chosen)},
        folder / "README.md": {
            "copies": copies(tables["pairs"]),
            "ceiling": ceiling(tables["ceiling"], models),
            "subsets": subset_scores(tables["test_counts"], chosen),
            "verdicts": verdicts(tables["verdicts"], tables["suspects"]),
        },
    }


def main() -> None:
    """See the module docstring."""
    rewrite(blocks())


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, KeyError) as error:
        sys.exit(f"report: {error}")
