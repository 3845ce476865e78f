"""The tables of this folder's README: ``python -m research.labels.report``."""

import json
import sys
from pathlib import Path

import pandas as pd

from research.labels.fold import HERE
from unet.report.tables import fill, markdown

TITLES = {
    "accuracy": "accuracy", "iou": "IoU", "dice": "Dice", "boundary_iou": "boundary IoU",
    "accuracy_per_image": "accuracy, mean over images", "iou_per_image": "IoU, mean over images",
    "dice_per_image": "Dice, mean over images",
    "boundary_iou_per_image": "boundary IoU, mean over images",
    "accuracy_boundary_object": "accuracy, boundary as object",
    "iou_boundary_object": "IoU, boundary as object",
    "accuracy_boundary_ignored": "accuracy, boundary ignored",
    "iou_boundary_ignored": "IoU, boundary ignored",
}  # fmt: skip


def copies(pairs: pd.DataFrame) -> str:
    """How many pairs of each kind, within and across trainval and test."""
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
    """What a mask scores against another of the same photograph, and what the models score."""
    first = table.iloc[0]
    rows = [
        {"score": TITLES[row["score"]]}
        | {"another mask": f"{row['value']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"}
        | {key: f"{scores[row['score']]:.4f}" for key, scores in models.items()}
        for _, row in table.iterrows()
    ]
    return (
        f"{first['pairs']} pairs of masks of {first['photographs']} photographs; "
        f"{first['equal_masks'] or 'none'} of the pairs are the same mask.\n\n"
        f"{markdown(pd.DataFrame(rows))}"
    )


def subset_scores(scores: pd.DataFrame) -> str:
    """The released models' scores with and without doubtful test images."""
    rows = [
        {
            "experiment": row["experiment"],
            "test images": f"{row['images']}: {row['num_images']:,}",
            "accuracy": f"{row['accuracy']:.2%}",
        }
        | {TITLES[name]: f"{row[name]:.4f}" for name in ("iou", "dice", "iou_per_image")}
        for _, row in scores.iterrows()
    ]
    return markdown(pd.DataFrame(rows))


def verdicts(table: pd.DataFrame, ranking: pd.DataFrame) -> str:
    """How many masks got each verdict, and which got the worst."""
    ranks = {name: rank for rank, name in enumerate(ranking["name"], start=1)}
    rows = [
        {
            "verdict": verdict,
            "images": str(len(group)),
            "which (place in the ranking)": ", ".join(
                f"{name} ({ranks[name]})" for name in sorted(group["name"], key=ranks.get)
            ),
        }
        for verdict, group in table.groupby("verdict", sort=False)
    ]
    return markdown(pd.DataFrame(rows))


def blocks(root: Path = Path()) -> dict[Path, dict[str, str]]:
    """File -> marker -> the text that belongs between its two lines."""
    folder = root / HERE
    tables = {
        name: pd.read_csv(folder / f"{name}.csv")
        for name in ("pairs", "ceiling", "scores", "verdicts", "test_suspects")
    }
    models = {
        key: json.loads((root / f"metrics/scores/{key}.json").read_text(encoding="utf-8"))
        for key in tables["scores"]["experiment"].unique()
    }
    return {
        folder / "README.md": {
            "copies": copies(tables["pairs"]),
            "ceiling": ceiling(tables["ceiling"], models),
            "subsets": subset_scores(tables["scores"]),
            "verdicts": verdicts(tables["verdicts"], tables["test_suspects"]),
        }
    }


def main() -> None:
    """See the module's text."""
    for path, texts in blocks().items():
        text = fill(path.read_text(encoding="utf-8"), texts)
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, KeyError) as error:
        sys.exit(f"report: {error}")
