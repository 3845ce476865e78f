"""Draw the factorial: ``python -m study.figure`` makes ``study/factorial.png``."""

import io
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.design import CELLS, FACTORS, load_design, run_names
from study.inference import Effects, effects, verdict
from study.record import load_record
from unet.process import run_stage, written_whole

LEVELS = {
    "mp": "max pooling", "str_conv": "strided conv",
    "tr": "transposed conv", "ups": "nearest upsampling",
    "bce": "weighted BCE", "dice": "Dice",
}  # fmt: skip
BETTER, WORSE, UNCLEAR = "#009E73", "#D55E00", "#777777"
MARKERS = {"mp": "o", "str_conv": "s"}
COLORS = {"tr": "#0072B2", "ups": "#E69F00"}


def contrast(term: str) -> str:
    """What an effect of :func:`study.inference.effects` compares, in words."""
    if ":" not in term:
        first, second = FACTORS[term]
        return f"{LEVELS[first]} − {LEVELS[second]}"
    one, other = term.split(":")
    first, second = FACTORS[other]
    return f"({contrast(one)})\nwith {LEVELS[first]} − with {LEVELS[second]}"


def draw(record: pd.DataFrame) -> Figure:
    """Each run; the effects with their intervals; quality against cost. IoU in points (0.01)."""
    found = effects(record, "iou")
    figure = Figure(figsize=(10, 8.5), layout="constrained")
    axes = figure.subplot_mosaic(
        [["runs", "runs"], ["effects", "costs"]], height_ratios=[1, 1.15], width_ratios=[1.35, 1]
    )
    _draw_runs(axes["runs"], record, found)
    _draw_effects(axes["effects"], found)
    _draw_costs(axes["costs"], record)
    first = record.iloc[0]
    figure.suptitle(
        f"Eight U-Nets, {found.num_seeds} seeds each: width {first['width']}, "
        f"{first['image_size']} × {first['image_size']} pixels, {first['epochs']} epochs, "
        f"{first['split']} test split",
        fontsize=13,
    )
    return figure


def _draw_runs(ax: Axes, record: pd.DataFrame, found: Effects) -> None:
    groups = dict(list(record.groupby(list(FACTORS))["iou"]))
    ordered = sorted(groups, key=lambda cell: groups[cell].mean())
    for row, cell in enumerate(ordered):
        points = 100 * groups[cell]
        ax.scatter(
            points, [row] * len(points), marker=MARKERS[cell[0]], color=COLORS[cell[1]],
            facecolor="none" if cell[2] == "dice" else None, zorder=3,
        )  # fmt: skip
        ax.plot([points.mean()] * 2, [row - 0.3, row + 0.3], color="black", lw=2, zorder=2)
    ax.set_yticks(range(len(ordered)), [", ".join(LEVELS[level] for level in c) for c in ordered])
    ax.set_title(
        "Every run: a mark a seed, a bar their mean.\n"
        f"Another seed alone moves a run by ± {100 * found.noise:.2f} points (standard deviation).",
        fontsize=10,
    )
    ax.set_xlabel("IoU on the test images [points]")
    ax.grid(axis="x", alpha=0.3)


def _draw_effects(ax: Axes, found: Effects) -> None:
    table = 100 * found.table[["estimate", "low", "high"]].iloc[::-1]
    for row, (estimate, low, high) in enumerate(table.to_numpy()):
        color = {1: BETTER, -1: WORSE, 0: UNCLEAR}[verdict(estimate, low, high)]
        ax.plot([low, high], [row, row], color=color, lw=2.5)
        ax.plot(estimate, row, "o", color=color)
    ax.axvline(0, color="black", lw=1)
    ax.set_yticks(range(len(table)), [contrast(term) for term in table.index], fontsize=8)
    ax.set_title(
        "What a choice changes, 95 % interval\n(green: first better; red: second; grey: unclear)",
        fontsize=10,
    )
    ax.set_xlabel("difference of IoU [points]")
    ax.grid(axis="x", alpha=0.3)


def _draw_costs(ax: Axes, record: pd.DataFrame) -> None:
    means = record.groupby(list(FACTORS))[["iou", "gflops", "parameters"]].mean()
    for cell, row in means.iterrows():
        ax.scatter(
            1000 * row["gflops"], 100 * row["iou"], s=row["parameters"] / 5000,
            marker=MARKERS[cell[0]], color=COLORS[cell[1]],
            facecolor="none" if cell[2] == "dice" else None,
        )  # fmt: skip
    for level, marker in MARKERS.items():
        ax.scatter([], [], marker=marker, color="black", label=LEVELS[level])
    for level, color in COLORS.items():
        ax.scatter([], [], marker="o", color=color, label=LEVELS[level])
    ax.scatter([], [], marker="o", color="black", label="filled: weighted BCE")
    ax.scatter([], [], marker="o", color="black", facecolor="none", label="hollow: Dice")
    ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.3, -0.16), ncols=2)
    ax.set_title("Quality against cost\n(seeds' mean; area: parameters)", fontsize=10)
    ax.set(xlabel="MFLOP an image, forward", ylabel="IoU [points]")
    ax.grid(alpha=0.3)


def main() -> None:
    """See the module's text."""
    design = load_design("factorial")
    record = load_record(Path("study/factorial.csv"), run_names(CELLS, design), design)
    buffer = io.BytesIO()
    with mpl.rc_context({"savefig.dpi": 120}):
        draw(record).savefig(buffer, format="png")
    with written_whole(Path("study/factorial.png")) as temporary:
        temporary.write_bytes(buffer.getbuffer())


if __name__ == "__main__":
    run_stage("figure", main)
