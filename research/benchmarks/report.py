"""Write the tables in README.md here, from results/.

``python -m research.benchmarks.report``
"""

from pathlib import Path

import pandas as pd

from research.benchmarks.common import read_results, summary
from unet.report.tables import markdown, rewrite
from unet.runtime.process import run_stage

BARS = (0.91, 0.93)
SHOWN = ("peers", "levers", "quality", "few_photos")  # the page quotes the others
IMAGES = "images a second (least, most)"


def spread(figures: dict[str, float], *, digits: int) -> str:
    """Median, minimum and maximum, as text."""
    median, least, most = (f"{figures[key]:.{digits}f}" for key in ("median", "min", "max"))
    return f"{median} ({least}, {most})"


def speed(suite: str) -> str:
    """Images per second, FLOP and memory of a suite's cases; of peers, our loop against each, of
    others, the share of the peak."""
    cases = read_results(suite)["cases"]
    medians = {label: case["images_per_second"]["median"] for label, case in cases.items()}
    first = next(iter(medians.values()))
    precisions, peaks = {}, {}  # of each precision the best that any process measured
    for label, case in cases.items():
        trains = (case["case"]["loop"], case["case"]["work"]) == ("ours", "training")
        precisions[label] = key = case["case"]["amp"] if trains else "none"
        peaks[key] = max(peaks.get(key, 0.0), case["peak_gflops"]["max"])
    is_peers = suite == "peers"
    rows = []
    for label, case in cases.items():
        gflop = case["gflop_an_image"]["median"]
        row = {"loop" if is_peers else "case": label}
        row[IMAGES] = spread(case["images_per_second"], digits=1)
        if suite == "levers":
            row["ratio to the first"] = f"{medians[label] / first:.2f}"
        row["GFLOP an image"] = f"{gflop:.2f}"
        if is_peers:
            ours = medians[f"ours, {label.partition(', ')[2]}"]
            row["ours is faster by"] = f"{ours / medians[label]:.2f}"
        else:
            row["share of the peak"] = f"{medians[label] * gflop / peaks[precisions[label]]:.0%}"
        rows.append(row | {"process, MiB": f"{case['process_mib']['median']:.0f}"})
    return markdown(pd.DataFrame(rows))


def until_bars(epochs: pd.DataFrame) -> dict[str, str]:
    """The cost until validation accuracy first reached each bar.

    Args:
        epochs: one row per epoch: ``val_accuracy``, and its costs ``gflop`` and ``seconds``.
    """
    row = {}
    for bar in BARS:
        passed = epochs["val_accuracy"] >= bar
        number = int(passed.argmax()) + 1 if passed.any() else len(epochs)
        gflop, seconds = epochs[["gflop", "seconds"]][:number].sum()
        words = f"epoch {number}" if passed.any() else f"not in {number} epochs"
        row[f"to {bar:.0%}"] = f"{words}: {gflop / 1e3:,.0f} TFLOP, {seconds:,.0f} s"
    return row | {"best accuracy": f"{epochs['val_accuracy'].max():.2%}"}


def quality(name: str) -> str:
    """Epochs, FLOP and seconds of each run until it reached each bar.

    Each epoch counts with the time of the run's fastest epoch of the same image size, because other
    load on the machine is not a cost of the recipe.
    """
    rows = []
    for run in sorted(read_results(name), key=lambda r: (r["width"], r["recipe"], r["seed"])):
        epochs = pd.DataFrame(run["epochs"])
        epochs["seconds"] = epochs.groupby("size")["seconds"].transform("min")
        row = {key: str(run[key]) for key in ("recipe", "width", "seed")}
        row["epochs"] = str(len(epochs))
        rows.append(row | until_bars(epochs))
        if "val_accuracy_at_half" in epochs:
            epochs["val_accuracy"] = epochs["val_accuracy_at_half"]
            rows.append(row | {"recipe": f"{run['recipe']}, at 0.5"} | until_bars(epochs))
    return markdown(pd.DataFrame(rows))


def few_photos(name: str) -> str:
    """IoU of each way to train on few photographs, over the seeds."""
    runs = pd.DataFrame([run["iou"] for run in read_results(name)["runs"]])
    title = f"IoU, median of {len(runs)} (least, most)"
    rows = [{"model": way, title: spread(summary(ious), digits=3)} for way, ious in runs.items()]
    return markdown(pd.DataFrame(rows))


def blocks() -> dict[Path, dict[str, str]]:
    """Page -> marker -> table, for each name in SHOWN."""
    makers = {"quality": quality, "few_photos": few_photos}
    made = {name: makers.get(name, speed)(name) for name in SHOWN}
    return {Path("research/benchmarks/README.md"): made}


def main() -> None:
    """See the module docstring."""
    rewrite(blocks())


if __name__ == "__main__":
    run_stage("report", main)
