"""Draw the figures that compare the experiments: ``python -m stages.plot``."""

import io
import json
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure

from unet.data.masks import BOUNDARY_RULES, foreground
from unet.data.packed import data_title, load_split
from unet.report import figures
from unet.report.results import (
    EXAMPLE_QUANTILES,
    check_leftovers,
    extreme_rows,
    load_result,
    rows_at_quantiles,
)
from unet.runtime.config import load_section
from unet.runtime.files import atomic_write
from unet.runtime.process import run_stage
from unet.training.config import Experiments, TrainConfig

DATA, PLOTS = Path("data/packed"), Path("plots")


def main() -> None:
    experiments = load_section("experiments", Experiments)
    check_leftovers(Path(), experiments)
    about = json.loads((DATA / "dataset.json").read_text(encoding="utf-8"))
    which = data_title(about)
    rule = load_section("train", TrainConfig).boundary
    test, val = (
        load_split(DATA / name, torch.device("cpu"), boundary=rule) for name in ("test", "val")
    )
    results = {
        key: load_result(Path(), key, experiment.loss, names=test.names, num_val=len(val))
        for key, experiment in experiments.items()
    }
    save(figures.learning_curves({k: r.curve for k, r in results.items()}), "learning_curves.png")
    images = test.images.numpy()
    targets, counted = foreground(test.masks.numpy())

    rows = rows_at_quantiles(results, EXAMPLE_QUANTILES)
    grid = figures.comparison(
        images[rows],
        targets[rows],
        {key: (result.masks & counted)[rows] for key, result in results.items()},
        [
            f"{test.names[row]}\n{q:.0%} are harder"
            for row, q in zip(rows, EXAMPLE_QUANTILES, strict=True)
        ],
        {key: [f"IoU {iou:.3f}" for iou in r.table["iou"][rows]] for key, r in results.items()},
        title=f"Test images ({which}) at fixed quantiles of the variants' mean IoU",
    )
    save(grid, "comparison.jpg")

    tiles = [
        (f"{key}\n{which_one}: IoU {result.table['iou'][row]:.3f}", images[row],
         result.masks[row] & counted[row], targets[row])
        for key, result in results.items()
        for which_one, row in extreme_rows(result.table).items()
    ]  # fmt: skip
    tables = {key: result.table for key, result in results.items()}
    boundary = "" if about["source"] == "folder" else f", {BOUNDARY_RULES[rule]}"
    title = f"IoU of the {len(test):,} test images ({which}{boundary})"
    save(figures.iou_spread(tables, tiles, title=title), "iou_spread.jpg")

    first = next(iter(results.values()))
    chosen = slice(0, None, 2)  # every other watched image: three in a row stay legible
    watched = first.watched[chosen]
    targets, counted = foreground(val.masks.numpy()[watched])
    shown = figures.progress(
        val.images.numpy()[watched],
        targets,
        {key: result.progress[:, chosen] & counted for key, result in results.items()},
        first.epochs,
        title=f"Validation images ({which}), evenly spaced, predicted as training went on",
    )
    save(shown, "progress.jpg")


def save(figure: Figure, name: str) -> None:
    kind = name.rpartition(".")[2]
    options = {"pil_kwargs": {"quality": 85}} if kind == "jpg" else {}
    buffer = io.BytesIO()  # to memory first: on a full disk Pillow silently truncates a JPEG
    with mpl.rc_context({"savefig.dpi": 120, "text.parse_math": False}):  # "$" in names
        figure.savefig(buffer, format=kind, **options)
    with atomic_write(PLOTS / name) as temporary:
        temporary.write_bytes(buffer.getbuffer())


if __name__ == "__main__":
    run_stage("plot", main)
