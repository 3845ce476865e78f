"""Draw the factorial: ``python -m research.ablation.figure`` makes ``factorial.png``."""

import io

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from research.ablation.design import FACTORS, HERE
from research.ablation.inference import MAIN, by_seed, effects
from unet.report.differences import noise, sign
from unet.runtime.files import write
from unet.runtime.process import run_stage

LEVELS = {
    "mp": "max pooling", "str_conv": "strided conv",
    "tr": "transposed conv", "ups": "nearest upsampling",
    "bce": "weighted BCE", "dice": "Dice",
}  # fmt: skip
SCORES = {
    "accuracy": "accuracy",
    "iou": "IoU",
    "accuracy_at_half": "accuracy at threshold 0.5",
    "iou_at_half": "IoU at threshold 0.5",
    "iou_per_image": "mean IoU of the images",
    "iou_boundary_ignored": "IoU without the boundary",
    "boundary_iou": "boundary IoU",
}
BETTER, WORSE, UNCLEAR = "#009E73", "#D55E00", "#777777"
MARKERS = {"mp": "o", "str_conv": "s"}
COLORS = {"tr": "#0072B2", "ups": "#E69F00"}


def contrast(term: str) -> str:
    """Describe what an effect of :func:`research.ablation.inference.contrasts` compares."""
    if ":" not in term:
        first, second = FACTORS[term]
        return f"{LEVELS[first]} − {LEVELS[second]}"
    one, other = term.split(":")
    first, second = FACTORS[other]
    return f"({contrast(one)})\nwith {LEVELS[first]} − with {LEVELS[second]}"


def draw(record: pd.DataFrame) -> Figure:
    """Plot the effect of each factor on each score, all runs, and quality against cost.

    Scores are in points (0.01).
    """
    found = {score: effects(record, score, MAIN) for score in SCORES}
    num_seeds = record["seed"].nunique()
    figure = Figure(figsize=(10, 8.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.4))
    panels = top.subplots(1, len(FACTORS), sharex=True, sharey=True)
    for ax, factor in zip(panels, FACTORS, strict=True):
        _draw_effect(ax, factor, found)
    top.supxlabel(
        f"difference in points; bars: 95 % intervals over {num_seeds} seeds; green: first better, "
        "red: second better, grey: cannot be told",
        fontsize=9,
    )
    runs, costs = bottom.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_runs(runs, record)
    _draw_costs(costs, record)
    first = record.iloc[0]
    figure.suptitle(
        f"Eight U-Nets, {num_seeds} seeds each: width {first['width']}, "
        f"{first['image_size']} × {first['image_size']} pixels, {first['epochs']} epochs, "
        f"{first['split']} test split",
        fontsize=13,
    )
    return figure


def _mark(cell: tuple[str, ...]) -> dict[str, str | None]:
    fill = "none" if cell[2] == "dice" else None
    return {"marker": MARKERS[cell[0]], "color": COLORS[cell[1]], "facecolor": fill}


def _draw_runs(ax: Axes, record: pd.DataFrame) -> None:
    groups = dict(list(record.groupby(list(FACTORS))["iou"]))
    ordered = sorted(groups, key=lambda cell: groups[cell].mean())
    for row, cell in enumerate(ordered):
        points = 100 * groups[cell]
        ax.scatter(points, [row] * len(points), **_mark(cell), zorder=3)
        ax.plot([points.mean()] * 2, [row - 0.3, row + 0.3], color="black", lw=2, zorder=2)
    ax.set_yticks(range(len(ordered)), [", ".join(LEVELS[level] for level in c) for c in ordered])
    ax.set_title(
        "Every run: a mark a seed, a bar their mean\n"
        f"(standard deviation by the seed alone: {100 * noise(by_seed(record, 'iou')):.2f})",
        fontsize=10,
    )
    ax.set_xlabel("IoU on the test images [points]")
    ax.grid(axis="x", alpha=0.3)


def _draw_effect(ax: Axes, factor: str, found: dict[str, pd.DataFrame]) -> None:
    for row, table in enumerate(found.values()):
        estimate, low, high = 100 * table.loc[factor, ["estimate", "low", "high"]]
        color = {1: BETTER, -1: WORSE, 0: UNCLEAR}[sign(low, high)]
        ax.plot([low, high], [row, row], color=color, lw=2.5)
        ax.plot(estimate, row, "o", color=color)
    ax.axvline(0, color="black", lw=1)
    ax.set_yticks(range(len(found)), [SCORES[score] for score in found])
    ax.set_ylim(len(found) - 0.5, -0.5)
    ax.set_title(contrast(factor).replace(" − ", "\n− "), fontsize=10)
    ax.grid(axis="x", alpha=0.3)


def _draw_costs(ax: Axes, record: pd.DataFrame) -> None:
    means = record.groupby(list(FACTORS))[["iou", "gflops", "parameters"]].mean()
    for cell, row in means.iterrows():
        place = (1000 * row["gflops"], 100 * row["iou"])
        ax.scatter(*place, s=row["parameters"] / 5000, **_mark(cell))
    for level, marker in MARKERS.items():
        ax.scatter([], [], marker=marker, color="black", label=LEVELS[level])
    for level, color in COLORS.items():
        ax.scatter([], [], marker="o", color=color, label=LEVELS[level])
    ax.scatter([], [], marker="o", color="black", label="filled: weighted BCE")
    ax.scatter([], [], marker="o", color="black", facecolor="none", label="hollow: Dice")
    ax.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, -0.14), ncols=2)
    ax.set_title("Quality against cost\n(seeds' mean; area: parameters)", fontsize=10)
    ax.set(xlabel="MFLOP an image, forward", ylabel="IoU [points]")
    ax.grid(alpha=0.3)


def main() -> None:
    """See the module docstring."""
    buffer = io.BytesIO()
    with mpl.rc_context({"savefig.dpi": 120}):
        draw(pd.read_csv(HERE / "factorial.csv")).savefig(buffer, format="png")
    write(HERE / "factorial.png", buffer.getbuffer())


if __name__ == "__main__":
    run_stage("figure", main)
