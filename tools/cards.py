"""A card for each released model, ``released/KEY.md``, from ``tools/card.md`` and
``tools/weaknesses.md``: ``python -m tools.cards``.

What a model does badly is measured from ``predictions/``, which is not in Git. If the predictions
are missing or do not match ``metrics/scores/KEY.json``, that section of the existing card is kept,
provided that the hash in it matches the scores.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from tools.models import RELEASED, check_recorded, recorded_outputs
from unet.config import load_params
from unet.data.augment import AugmentConfig
from unet.data.masks import BOUNDARY_RULES
from unet.data.oxford_pets import breed
from unet.inference.evaluation import COUNTS, RULE_ENDINGS
from unet.inference.export import trained_on
from unet.inference.model_file import load_model
from unet.report.results import load_scores, read_table, was_evaluated
from unet.report.tables import markdown
from unet.runtime.files import write
from unet.runtime.process import run_stage

TEMPLATE, WEAKNESSES = (Path(__file__).with_name(f"{name}.md") for name in ("card", "weaknesses"))
DOWNSAMPLE = {"mp": "max pooling", "str_conv": "strided convolution"}
UPSAMPLE = {"tr": "transposed convolution", "ups": "nearest-neighbour upsampling"}
PETS = "the Oxford-IIIT Pet dataset"
DATA = {  # source -> how the card names it
    "official": PETS,
    "mirror": f"{PETS}, from an edition with other bytes than the official archives "
    "([which](../docs/numbers.md))",
    "synthetic": "images that the project drew itself",
    "folder": "a folder of the owner's images",
}
BAND = {  # boundary rule -> what the band is, and does
    "background": ("background", "counts as background"),
    "object": ("object", "counts as object"),
    "middle": ("divided in the middle", "is divided in the middle"),
    "ignore": ("not counted", "does not count"),
}
SHARES = (0, 0.1, 0.2, 0.4, 1)  # of an image's pixels: the limits between small and large objects
INVERTED = ("Maine_Coon_268", "Persian_268", "Persian_273")  # found by looking at the worst images
ONE_PASS = "in one pass each\n(`tools.predict` adds test-time augmentation, unless told `--no-tta`)"
TTA = "predicted with test-time\naugmentation (mirror images, three sizes), as `tools.predict` does"


def main() -> None:
    """See the module docstring."""
    texts = cards(Path())
    for stale in {*RELEASED.glob("*.md")} - texts.keys():
        stale.unlink()
    for path, text in texts.items():
        write(path, text)
    print(f"{RELEASED}/: {', '.join(path.name for path in texts)}")


def cards(root: Path) -> dict[Path, str]:
    """Path relative to ``root`` -> text of the card, for each released model.

    Raises:
        ValueError: a released model is not the recorded one, or neither its predictions nor a card
            made from them exists.
    """
    recorded, texts = recorded_outputs(root), {}
    for path in sorted((root / RELEASED).glob("*.safetensors")):
        check_recorded(path, recorded)
        texts[RELEASED / f"{path.stem}.md"] = card(root / recorded[path.name][0], path)
    return texts


def card(home: Path, path: Path) -> str:
    """The card of the model at ``path``, made by the pipeline in the folder ``home``."""
    key, info = path.stem, load_model(path).info
    params, scores = load_params(home / "params.yaml"), load_scores(home, key)
    times = pd.read_csv(home / f"plots/timing/{key}.csv")
    source, rule, threshold = info["source"], info["boundary"], info["threshold"]
    loss = info["loss"].capitalize()
    if info["loss"] == "bce":
        loss = (
            "weighted binary cross-entropy, the object's pixels weighing "
            f"{threshold / (1 - threshold):.2f}, which puts the threshold at {threshold:.3f}"
        )
    precision = "float32" if info["amp"] == "none" else info["amp"]
    precision += f" on {info['device']}, {info['threads']} thread{'s' * (info['threads'] != 1)}"
    stored = "the kernels as float16, which is what was scored" if "store" in info else "float32"
    return TEMPLATE.read_text(encoding="utf-8").format(
        key=key, info=info, scores=scores, train=params.train, loss=loss, data=DATA[source],
        precision=f"{precision}; the file holds {stored}",
        downsample=DOWNSAMPLE[info["downsample"]],
        upsample=UPSAMPLE[info["upsample"]],
        band=BAND[rule][1],
        rule=BOUNDARY_RULES[rule].capitalize(),
        megabytes=path.stat().st_size / 1e6,
        # Exact: the speed was computed as the training images over these seconds.
        num_train=round((times["seconds"] * times["images_per_second"]).iloc[0]),
        start=f", from the weights of {info['start_from']}" if "start_from" in info else "",
        augmentation=augmented(params.train.augment),
        passes=TTA if params.evaluate.tta else ONE_PASS,
        score_table=score_table(scores, rule),
        measured=measured(home, path, scores["predictions"], rule=rule),
        trained_on=trained_on(info),
    )  # fmt: skip


def augmented(augment: AugmentConfig) -> str:
    """The settings of an augmentation, those that do something."""
    window = " to ".join(f"{side:g}" for side in augment.scale)
    parts = {
        "horizontal flip": augment.flip,
        f"a window of {window} sides": True,
        f"shifted by up to {augment.shift:g} sides": True,
        f"turned by up to {augment.rotate:g} degrees": True,
        f"brightness ±{augment.brightness:g}": True,
        f"colour ±{augment.color:g}": True,
        f"contrast ±{augment.contrast:g}": augment.contrast,
        f"saturation ±{augment.saturation:g}": augment.saturation,
        f"another's object pasted into {augment.paste:.0%} of the images": augment.paste,
        "soft edges of the targets": augment.soft_edges,
    }
    return ", ".join(part for part, holds in parts.items() if holds)


def score_table(scores: dict[str, Any], rule: str) -> str:
    """Accuracy and IoU by each rule for the boundary; the model's own rule first, also at 0.5."""
    own, at = f"{BAND[rule][0]}, as in training", f"{scores['threshold']:.3f}"
    rows = [(own, at, ""), (own, "0.500", "_at_half")][: 1 if scores["threshold"] == 0.5 else 2]
    rows += [(BAND[r][0], at, ending) for r, ending in RULE_ENDINGS.items() if r != rule]
    columns = ["boundary as", "threshold", "accuracy", "IoU"]
    cells = [
        (name, threshold, f"{scores[f'accuracy{end}']:.2%}", f"{scores[f'iou{end}']:.4f}")
        for name, threshold, end in rows
    ]
    return markdown(pd.DataFrame(cells, columns=columns))


def measured(home: Path, path: Path, predictions: str, *, rule: str) -> str:
    """What the model at ``path`` is bad at: measured, or copied from its existing card.

    Args:
        home: the folder of the pipeline that made it.
        predictions: the hash of the scored predictions.

    Raises:
        ValueError: neither the predictions nor the card have that hash.
    """
    key, existing = path.stem, path.with_suffix(".md")
    if was_evaluated(home, key, predictions):
        return weaknesses(read_table(home / f"predictions/{key}/images.csv"), rule)
    text = existing.read_text(encoding="utf-8") if existing.exists() else ""
    _, _, after = text.partition(f"<!-- predictions {predictions} -->\n")
    found, is_there, _ = after.partition("\n<!-- /predictions -->")
    if not is_there:
        raise ValueError(
            f"{RELEASED / existing.name}: neither predictions/{key}/ nor the card that is there is "
            f"of the predictions that metrics/scores/{key}.json scores: run "
            f"`dvc repro -s -f evaluate@{key}`"
        )
    return found


def weaknesses(table: pd.DataFrame, rule: str) -> str:
    """Markdown: the share of failures, the worst breeds, images and object sizes.

    Args:
        table: one row per image, as in :class:`unet.inference.evaluation.Evaluation`.
        rule: the rule for the boundary by which the images were scored.
    """
    shown = table.assign(
        share=(table["tp"] + table["fn"]) / table[list(COUNTS)].sum(axis=1),
        wrong=table["fp"] + table["fn"],
        breed=table["name"].map(breed),
    )[table["tp"] + table["fn"] > 0]
    cats = shown["breed"].str[0].str.isupper()
    breeds = shown.groupby("breed")["iou"].agg(["mean", "size"]).sort_values("mean").head(3)
    # If two images have the same IoU, the one with more wrong pixels is worse.
    worst = shown.sort_values(["iou", "wrong", "name"], ascending=[True, False, True]).head(5)
    notes = ""
    if inverted := sorted({*INVERTED} & {*table["name"]}):
        names = ", ".join(inverted)
        notes = f"- Not its fault: the trimaps of {names} are inverted, object for background.\n"
    if without := len(table) - len(shown):
        notes += (
            f"- Without an object in their trimap: {without}, where any pixel found makes an IoU "
            "of 0. They count in the first line alone.\n"
        )
    rows = []
    for size, iou in shown.groupby(pd.cut(shown["share"], SHARES), observed=True)["iou"]:
        name = f"{size.left:.0%} to {size.right:.0%}" if size.left else f"up to {size.right:.0%}"
        rows.append((name, f"{len(iou):,}", f"{iou.mean():.3f}", f"{(iou < 0.5).mean():.1%}"))
    columns = ["object's share", "images", "mean IoU", "with IoU below 0.5"]
    return (
        WEAKNESSES.read_text(encoding="utf-8")
        .rstrip()
        .format(
            rule=BOUNDARY_RULES[rule],
            failed=(table["iou"] < 0.5).mean(),
            cats=shown["iou"][cats].mean(),
            dogs=shown["iou"][~cats].mean(),
            breeds=", ".join(
                f"{name.replace('_', ' ')} ({mean:.3f}, n = {size})"
                for name, mean, size in breeds.itertuples()
            ),
            worst=", ".join(f"{name} ({iou:.3f})" for name, iou in worst[["name", "iou"]].values),
            notes=notes,
            sizes=markdown(pd.DataFrame(rows, columns=columns)),
        )
    )


if __name__ == "__main__":
    run_stage("cards", main)
