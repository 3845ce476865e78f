"""Write the tables in README.md here and in docs/own-data.md, from results/.

``python -m research.benchmarks.report``
"""

import sys
from pathlib import Path

import pandas as pd

from research.benchmarks.common import RESULTS, read_results, summary
from unet.report.tables import markdown, rewrite

README = Path(__file__).parent / "README.md"
ROOT = README.parents[2]
OWN_DATA = ROOT / "docs/own-data.md"
BARS = (0.91, 0.93)


def table(rows: list[dict[str, str]]) -> str:
    """A Markdown table."""
    return markdown(pd.DataFrame(rows).fillna(""))


def spread(figures: dict[str, float], *, digits: int) -> str:
    """Median, minimum and maximum, as text."""
    median, least, most = (f"{figures[key]:.{digits}f}" for key in ("median", "min", "max"))
    return f"{median} ({least}, {most})"


def precision(case: dict) -> str:
    """The precision of a case: its ``amp`` if it trains in this project's loop, else none."""
    return case["amp"] if (case["loop"], case["work"]) == ("ours", "training") else "none"


def speed(suite: str) -> str:
    """Images per second, FLOP and memory of a suite's cases."""
    cases = read_results(suite)["cases"]
    first = next(iter(cases.values()))["images_per_second"]["median"]
    peaks: dict[str, float] = {}  # precision -> the best that any process measured
    for case in cases.values():
        key = precision(case["case"])
        peaks[key] = max(peaks.get(key, 0.0), case["peak_gflops"]["max"])
    rows = []
    for label, case in cases.items():
        figures = case["images_per_second"]
        row = {"case": label, "images a second (least, most)": spread(figures, digits=1)}
        if suite.startswith(("levers", "mapped")):
            row["ratio to the first"] = f"{figures['median'] / first:.2f}"
        gflop = case["gflop_an_image"]["median"]
        share = figures["median"] * gflop / peaks[precision(case["case"])]
        row |= {
            "GFLOP an image": f"{gflop:.2f}",
            "share of the peak": f"{share:.0%}",
            "process, MiB": f"{case['process_mib']['median']:.0f}",
        }
        rows.append(row)
    return table(rows)


def peers(suite: str) -> str:
    """Our loop against each peer, per width."""
    cases = read_results(suite)["cases"]
    medians = {label: case["images_per_second"]["median"] for label, case in cases.items()}
    rows = []
    for label, case in cases.items():
        width = label.partition(", ")[2]
        rows.append(
            {
                "loop": label,
                "images a second (least, most)": spread(case["images_per_second"], digits=1),
                "GFLOP an image": f"{case['gflop_an_image']['median']:.2f}",
                "ours is faster by": f"{medians[f'ours, {width}'] / medians[label]:.2f}",
                "process, MiB": f"{case['process_mib']['median']:.0f}",
            }
        )
    return table(rows)


def first_epoch(accuracy: pd.Series, bar: float) -> int | None:
    """The first epoch, counted from 1, whose ``accuracy`` reaches ``bar``; None if none does."""
    passed = accuracy >= bar
    return int(passed.argmax()) + 1 if passed.any() else None


def until_bars(epochs: pd.DataFrame) -> dict[str, str]:
    """The cost until validation accuracy first reached each bar.

    Args:
        epochs: one row per epoch: ``val_accuracy``, and its costs ``gflop`` and ``seconds``.
    """
    row = {}
    for bar in BARS:
        number = first_epoch(epochs["val_accuracy"], bar)
        gflop, seconds = epochs[["gflop", "seconds"]][:number].sum()
        words = f"epoch {number}" if number else f"not in {len(epochs)} epochs"
        row[f"to {bar:.0%}"] = f"{words}: {gflop / 1e3:,.0f} TFLOP, {seconds:,.0f} s"
    return row | {"best accuracy": f"{epochs['val_accuracy'].max():.2%}"}


def shortcuts(name: str) -> str:
    """Epochs and seconds of each way until the first bar, over its seeds, and final accuracy."""
    bar, rows = BARS[0], []
    for way, runs in pd.DataFrame(read_results(name)["runs"]).groupby("way", sort=False):
        curves = [pd.DataFrame(epochs) for epochs in runs["epochs"]]
        whole = summary([curve["seconds"].sum() for curve in curves])
        for suffix, column in (("", "val_accuracy"), (", averaged", "val_accuracy_averaged")):
            passed = [first_epoch(curve[column], bar) for curve in curves]
            seconds = [curve["seconds"][:n].sum() for curve, n in zip(curves, passed, strict=True)]
            last = [100 * curve[column].iloc[-1] for curve in curves]
            until = spread(summary(seconds), digits=0) if all(passed) else "-"
            epochs = ", ".join(str(n or "-") for n in passed)
            rows.append(
                {
                    "way": way + suffix,
                    f"epoch that passes {bar:.0%}, each seed": epochs,
                    "seconds until then": until,
                    "seconds, all epochs": spread(whole, digits=0),
                    "accuracy after the last": spread(summary(last), digits=2),
                }
            )
    return table(rows)


def quality(name: str) -> str:
    """Epochs, FLOP and seconds of each run until it reached each bar.

    Each epoch counts with the time of the run's fastest epoch of the same image size, because other
    load on the machine is not a cost of the recipe.
    """
    rows = []
    for run in sorted(read_results(name), key=lambda r: (r["width"], r["recipe"], r["seed"])):
        epochs = pd.DataFrame(run["epochs"])
        epochs["seconds"] = epochs.groupby("size")["seconds"].transform("min")
        row = {"recipe": run["recipe"], "width": str(run["width"]), "seed": str(run["seed"])}
        row["epochs"] = str(len(epochs))
        rows.append(row | until_bars(epochs))
        if "val_accuracy_at_half" in epochs:
            epochs["val_accuracy"] = epochs["val_accuracy_at_half"]
            rows.append(row | {"recipe": f"{run['recipe']}, at 0.5"} | until_bars(epochs))
    return table(rows)


def pipeline(name: str) -> str:
    """Seconds of each measured part of the pipeline."""
    seconds = read_results(name)["seconds"]
    return table(
        [
            {"what": name, "seconds (least, most)": spread(figures, digits=2)}
            for name, figures in seconds.items()
        ]
    )


def few_photos(name: str) -> str:
    """IoU of each way to train on few photographs, over the seeds."""
    runs = pd.DataFrame([run["iou"] for run in read_results(name)["runs"]])
    return table(
        [
            {
                "model": way,
                f"IoU, median of {len(runs)} (least, most)": spread(summary(ious), digits=3),
            }
            for way, ious in runs.items()
        ]
    )


def blocks() -> dict[str, str]:
    """Marker -> table, for all results; ``peers-xeon`` is from another machine."""
    makers = {
        "peers": peers, "quality": quality, "shortcuts": shortcuts, "pipeline": pipeline,
        "few_photos": few_photos,
    }  # fmt: skip
    made = sorted(path.stem for path in RESULTS.glob("*.json"))
    return {name: makers.get(name.partition("-")[0], speed)(name) for name in made}


def pages() -> dict[Path, dict[str, str]]:
    """Page -> its blocks."""
    made = blocks()
    return {README: made, OWN_DATA: {"few_photos": made["few_photos"]}}


def main() -> None:
    """See the module docstring."""
    rewrite(pages())


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"report: {error}")
