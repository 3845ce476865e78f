"""Draw the figures that compare the experiments: ``python -m stages.plot``."""

import json
from pathlib import Path

import matplotlib as mpl
import torch

from unet.data.masks import BOUNDARY_RULES, foreground
from unet.data.packed import data_title, load_split
from unet.report import figures
from unet.report.outlines import save_figure
from unet.report.results import EXAMPLE_QUANTILES, extreme_rows, load_result, rows_at_quantiles
from unet.runtime.config import load_section
from unet.runtime.process import run_stage
from unet.training.config import TrainConfig, load_experiments

DATA, PLOTS = Path("data/packed"), Path("plots")
JPEG = {"pil_kwargs": {"quality": 85}}


@mpl.rc_context({"savefig.dpi": 120, "text.parse_math": False})  # "$" in names
def main() -> None:
    experiments = load_experiments()
    about = json.loads((DATA / "dataset.json").read_text(encoding="utf-8"))
    which, cpu = data_title(about), torch.device("cpu")
    rule = load_section("train", TrainConfig).boundary
    test, val = (load_split(DATA / name, cpu, boundary=rule) for name in ("test", "val"))
    results = {
        key: load_result(Path(), key, experiment.loss) for key, experiment in experiments.items()
    }
    curves = figures.learning_curves({key: result.curve for key, result in results.items()})
    save_figure(curves, PLOTS / "learning_curves.png")

    images = test.images.numpy()
    targets, counted = foreground(test.masks.numpy())
    rows = rows_at_quantiles(results, EXAMPLE_QUANTILES)
    places = zip(rows, EXAMPLE_QUANTILES, strict=True)
    grid = figures.comparison(
        images[rows],
        targets[rows],
        {key: (result.masks & counted)[rows] for key, result in results.items()},
        [f"{test.names[row]}\n{quantile:.0%} are harder" for row, quantile in places],
        {key: [f"IoU {iou:.3f}" for iou in r.table["iou"][rows]] for key, r in results.items()},
        title=f"Test images ({which}) at fixed quantiles of the variants' mean IoU",
    )
    save_figure(grid, PLOTS / "comparison.jpg", **JPEG)

    tiles = [
        (f"{key}\n{place}: IoU {result.table['iou'][row]:.3f}", images[row],
         result.masks[row] & counted[row], targets[row])
        for key, result in results.items()
        for place, row in extreme_rows(result.table).items()
    ]  # fmt: skip
    tables = {key: result.table for key, result in results.items()}
    boundary = "" if about["source"] == "folder" else f", {BOUNDARY_RULES[rule]}"
    title = f"IoU of the {len(test):,} test images ({which}{boundary})"
    save_figure(figures.iou_spread(tables, tiles, title=title), PLOTS / "iou_spread.jpg", **JPEG)

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
    save_figure(shown, PLOTS / "progress.jpg", **JPEG)


if __name__ == "__main__":
    run_stage("plot", main)
