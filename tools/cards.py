"""A card for each released model, ``released/KEY.md``: ``python -m tools.cards``.

What a model does badly is measured from ``predictions/``, which is not in Git. If the predictions
are missing or do not match ``metrics/scores/KEY.json``, that section of the existing card is kept,
provided that the hash in it matches the scores.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tools.models import RELEASED, check_recorded, homes_of, recorded_outputs
from unet.report.results import was_evaluated
from unet.config import load_params
from unet.data.masks import BOUNDARY_RULES
from unet.data.oxford_pets import breed
from unet.inference.evaluation import COUNTS, RULE_ENDINGS
from unet.inference.export import trained_on
from unet.inference.model_file import load_model
from unet.report.results import UNREADABLE, load_scores, read_table
from unet.report.tables import markdown
from unet.runtime.files import atomic_write
from unet.runtime.process import run_stage

MARKED = re.compile(r"<!-- predictions ([0-9a-f]{64}) -->\n(.*?)\n<!-- /predictions -->", re.DOTALL)
DOWNSAMPLE = {"mp": "max pooling", "str_conv": "strided convolution"}
UPSAMPLE = {"tr": "transposed convolution", "ups": "nearest-neighbour upsampling"}
LOSSES = {"bce": "weighted binary cross-entropy", "dice": "Dice"}
BOUNDARY_AS = {
    "background": "background",
    "object": "object",
    "middle": "divided in the middle",
    "ignore": "not counted",
}
SHARES = (0.1, 0.2, 0.4)  # of an image's pixels: the limits between small and large objects
OXFORD = ("official", "mirror")  # sources of the real dataset
WITH_BREEDS = (*OXFORD, "synthetic")  # sources whose file names tell breed and species
INVERTED = ("Maine_Coon_268", "Persian_268", "Persian_273")  # found by looking at the worst images


def main() -> None:
    """See the module docstring."""
    texts = cards(Path())
    for stale in sorted(set(RELEASED.glob("*.md")) - texts.keys()):
        stale.unlink()
    for path, text in texts.items():
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    print(f"{RELEASED}/: {', '.join(path.name for path in texts) or 'no models, no cards'}")


def cards(root: Path) -> dict[Path, str]:
    """Path relative to ``root`` -> text of the card, for each released model.

    Raises:
        ValueError: a released model is not the recorded one, its scores or times are missing, or
            neither its predictions nor a card made from them exists.
    """
    recorded, homes = recorded_outputs(root), homes_of(root)
    texts: dict[Path, str] = {}
    for path in sorted((root / RELEASED).glob("*.safetensors")):
        key = path.stem
        check_recorded(path, recorded)
        home = root / homes[path.name]
        try:
            scores = load_scores(home, key)
            times = pd.read_csv(home / f"plots/timing/{key}.csv")
            # Exact: the speed was computed as the training images over these seconds.
            num_train = round((times["seconds"] * times["images_per_second"]).iloc[0])
        except UNREADABLE as error:
            problem = " ".join(str(error).split())
            raise ValueError(
                f"scores or times of {key} cannot be read ({problem}): run `dvc repro`"
            ) from None
        texts[RELEASED / f"{key}.md"] = card(home, scores, num_train=num_train, path=path)
    return texts


def card(home: Path, scores: dict[str, Any], *, num_train: int, path: Path) -> str:
    """The card of the model at ``path``, as Markdown.

    Args:
        home: the folder of the pipeline that made it.
        scores: the content of its ``metrics/scores/KEY.json``.
        num_train: the number of training images.

    Raises:
        ValueError: as in :func:`cards`.
    """
    model, info = load_model(path)
    key, size, source, rule = path.stem, info["image_size"], info["source"], info["boundary"]
    params = load_params(home / "params.yaml")
    augment, own = params.train.augment, params.experiments[key].threshold
    threshold = info["threshold"]
    learnt = {
        **dict.fromkeys(OXFORD, "a cat or dog"),
        "synthetic": "an animal of those that the project draws",
    }.get(source, "an object like those of the owner's images")
    data = {
        "official": "the Oxford-IIIT Pet dataset",
        "mirror": "the Oxford-IIIT Pet dataset, from an edition with other bytes than the official "
        "archives ([which](../docs/numbers.md))",
        "synthetic": "images that the project drew itself",
    }.get(source, "a folder of the owner's images")
    threads = f", {info['threads']} thread{'s' * (info['threads'] != 1)}"
    window = " to ".join(f"{side:g}" for side in augment.scale)
    weighting = f"; threshold {threshold:g}, a setting of its own" if own != "auto" else (
        f", the object's pixels weighing {threshold / (1 - threshold):.2f}, which puts the "
        f"threshold at {threshold:.3f}" if info["loss"] == "bce" else ""
    )  # fmt: skip
    start = f", from the weights of {info['start_from']}" if "start_from" in info else ""
    precision, stored = info["amp"], "; the file holds float32"
    if precision == "none":
        precision, stored = "float32", ""
    if "store" in info:
        stored = f"; the file holds the kernels as {info['store']}, which is what was scored"
    facts = {
        "data": f"{data}; split `{info['split']}`: {num_train:,} images for training, "
        f"{scores['num_images']:,} for the scores below",
        "images": f"stretched to {size} x {size} pixels, RGB",
        "boundary": "the band between object and background "
        + {"ignore": "does not count", "middle": "is divided in the middle"}.get(
            rule, f"counts as {rule}"
        ),
        "loss": LOSSES.get(info["loss"], info["loss"]) + weighting,
        "schedule": f"{info['epochs']} epochs in batches of {params.train.batch_size}{start}; "
        f"the weights are those after epoch {info['epoch']} (the {params.train.keep}); "
        f"seed {info['seed']}",
        "precision": f"{precision} on {info['device']}{threads}{stored}",
        "augmentation": f"{'horizontal flip, ' * augment.flip}a window of {window} sides, shifted "
        f"by up to {augment.shift:g} sides, turned by up to {augment.rotate:g} degrees, brightness "
        f"±{augment.brightness:g}, colour ±{augment.color:g}"
        + "".join(
            f", {name} ±{value:g}"
            for name, value in {
                "contrast": augment.contrast,
                "saturation": augment.saturation,
            }.items()
            if value
        )  # fmt: skip
        + f", another's object pasted into {augment.paste:.0%} of the images" * bool(augment.paste)
        + ", soft edges of the targets" * augment.soft_edges,
    }
    boundary = (
        "The boundary is the band that the\nannotators left unclassified."
        if source != "folder" else "The masks have no\nboundary of their own."
    )  # fmt: skip
    passes = (
        "predicted with test-time\n"
        "augmentation (mirror images, three sizes), as `tools.predict` does"
        if params.evaluate.tta
        else "in one pass each\n"
        "(`tools.predict` adds test-time augmentation, unless told `--no-tta`)"
    )
    training = "\n".join(f"- **{name}**: {fact}." for name, fact in facts.items())
    resampling = f"{DOWNSAMPLE[info['downsample']]} and {UPSAMPLE[info['upsample']]}"
    return f"""\
# {key}

<!-- Made by `python -m tools.cards`: what is edited here is lost. -->

A U-Net with {resampling}, {info["width"]} channels on its first level and {info["depth"]} levels
below it. To each pixel of a photograph it gives the probability that it belongs to {learnt}.
{sum(p.numel() for p in model.parameters()):,} parameters, {path.stat().st_size / 1e6:.1f} MB, \
{scores["gflops"]:.2f} GFLOP for one pass over an image of {size} x {size} pixels.

## Use

```console
$ python -m tools.predict photo.jpg --model {key}   # a mask of the photograph
$ python -m tools.export {key}                      # as ONNX, for other languages
```

Meant for photographs like those that it was trained on, for teaching, and to compare with. Not
meant for exact outlines (it sees {size} x {size} pixels), for objects of other kinds, for
photographs without one, or where a wrong mask does harm.

## Training

{training}

## Scores

On the {scores["num_images"]:,} test images, over all pixels, {passes}. {boundary}

{score_table(scores, rule)}

{BOUNDARY_RULES[rule].capitalize()}, at the threshold: Dice {scores["dice"]:.4f}, precision \
{scores["precision"]:.4f}, recall {scores["recall"]:.4f},
IoU as the mean over images {scores["iou_per_image"]:.4f}, boundary IoU \
{scores["boundary_iou"]:.4f}. One seed. How the numbers were obtained:
[docs/numbers.md](../docs/numbers.md).

## What it is bad at

<!-- predictions {scores["predictions"]} -->
{measured(home, path, scores["predictions"], source=source, rule=rule)}
<!-- /predictions -->

## Licences

{licences(info)}
"""


def score_table(scores: dict[str, Any], rule: str) -> str:
    """Accuracy and IoU by each rule for the boundary; the model's own rule first, also at 0.5."""
    at = f"{scores['threshold']:.3f}"
    rows = [
        (f"{BOUNDARY_AS[rule]}, as in training", at, ""),
        (f"{BOUNDARY_AS[rule]}, as in training", "0.500", "_at_half"),
        *((BOUNDARY_AS[r], at, ending) for r, ending in RULE_ENDINGS.items() if r != rule),
    ]
    if scores["threshold"] == 0.5:
        del rows[1]
    return markdown(
        pd.DataFrame(
            {
                "boundary as": [name for name, _, _ in rows],
                "threshold": [threshold for _, threshold, _ in rows],
                "accuracy": [f"{scores[f'accuracy{end}']:.2%}" for *_, end in rows],
                "IoU": [f"{scores[f'iou{end}']:.4f}" for *_, end in rows],
            }
        )
    )


def measured(home: Path, path: Path, predictions: str, *, source: str, rule: str) -> str:
    """What the model at ``path`` is bad at: measured, or copied from its existing card.

    Args:
        home: the folder of the pipeline that made it.
        predictions: the hash of the scored predictions.

    Raises:
        ValueError: neither the predictions nor the card have that hash.
    """
    key = path.stem
    if was_evaluated(home, key, predictions):
        table = read_table(home / f"predictions/{key}/images.csv")
        return weaknesses(table, source=source, rule=rule)
    existing = path.with_suffix(".md")
    found = MARKED.search(existing.read_text(encoding="utf-8")) if existing.is_file() else None
    if found is None or found[1] != predictions:
        raise ValueError(
            f"{RELEASED / existing.name}: neither predictions/{key}/ nor the card that is there is "
            f"of the predictions that metrics/scores/{key}.json scores: run `dvc repro "
            f"evaluate@{key}`, and if that has nothing to do, `dvc repro -s -f evaluate@{key}`"
        )
    return found[2]


def weaknesses(table: pd.DataFrame, *, source: str, rule: str) -> str:
    """Markdown: the share of failures, the worst breeds, images and object sizes.

    Args:
        table: one row per image, as in :class:`unet.inference.evaluation.Evaluation`.
        source: where the data come from; it tells whether file names contain the breed.
        rule: the rule for the boundary by which the images were scored.
    """
    objects = table["tp"] + table["fn"]
    shown, shares = table[objects > 0], objects[objects > 0] / table[list(COUNTS)].sum(axis=1)
    parts = [
        f"From the test images one by one, at the threshold, {BOUNDARY_RULES[rule]}.\n\n"
        f"- {(table['iou'] < 0.5).mean():.1%} of them have an IoU below 0.5."
    ]
    if source in WITH_BREEDS:
        breeds = shown["name"].map(breed)
        cats = breeds.str[0].str.isupper()
        means = shown["iou"].groupby(breeds).agg(["mean", "size"]).sort_values("mean")
        worst = ", ".join(
            f"{name.replace('_', ' ')} ({row['mean']:.3f}, n = {row['size']:.0f})"
            for name, row in means.head(3).iterrows()
        )
        parts += [
            f"- Mean IoU: cats {shown['iou'][cats].mean():.3f}, dogs "
            f"{shown['iou'][~cats].mean():.3f}.",
            f"- The three breeds of least mean IoU: {worst}.",
        ]
    # If two images have the same IoU, the one with more wrong pixels is worse.
    wrong = shown["fp"] + shown["fn"]
    order = np.lexsort((shown["name"], -wrong, shown["iou"]))[:5]
    names = [f"{shown['name'].iloc[i]} ({shown['iou'].iloc[i]:.3f})" for i in order]
    parts.append(f"- The five worst images: {', '.join(names)}.")
    if source in OXFORD and (inverted := sorted({*INVERTED} & {*table["name"]})):
        parts.append(
            f"- Not its fault: the trimaps of {', '.join(inverted)} are inverted, object for "
            "background."
        )
    if without := len(table) - len(shown):
        parts.append(
            f"- Without an object in their trimap: {without}, where any pixel found makes an IoU "
            "of 0. They count in the first line alone."
        )
    parts.append(f"\nBy the object's share of the image's pixels:\n\n{size_table(shown, shares)}")
    return "\n".join(parts)


def size_table(table: pd.DataFrame, shares: pd.Series) -> str:
    """Markdown: IoU by the object's share of the image's pixels (``shares``, in (0, 1])."""
    edges = (0, *SHARES, 1)
    rows = []
    for low, high in zip(edges, edges[1:], strict=False):
        iou = table["iou"][(shares > low) & (shares <= high)]
        if len(iou):
            name = f"{low:.0%} to {high:.0%}" if low else f"up to {high:.0%}"
            rows.append((name, f"{len(iou):,}", f"{iou.mean():.3f}", f"{(iou < 0.5).mean():.1%}"))
    return markdown(
        pd.DataFrame(rows, columns=["object's share", "images", "mean IoU", "with IoU below 0.5"])
    )


def licences(info: dict[str, Any]) -> str:
    """The licences of data, weights and code, one line each."""
    data = (
        "O. M. Parkhi, A. Vedaldi, A. Zisserman, C. V. Jawahar, *Cats and Dogs*, CVPR 2012, under "
        "[CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/); the copyright of the "
        "photographs stays with their owners."
    )
    lines = [f"- The data: {data}"] if info["source"] in OXFORD else []
    lines += [f"- The weights: {trained_on(info)}.", "- The code: [MIT](../LICENSE)."]
    return "\n".join(lines)


if __name__ == "__main__":
    run_stage("cards", main)
