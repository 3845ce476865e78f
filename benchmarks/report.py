"""The tables of benchmarks/README.md, from results/: ``python -m benchmarks.report``."""

from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.common import RESULTS, read_results
from tools.table import fill, markdown

README = Path(__file__).parent / "README.md"
BARS = (0.91, 0.93)


def table(rows: list[dict[str, str]]) -> str:
    """A Markdown table."""
    return markdown(pd.DataFrame(rows).fillna(""))


def speed(suite: str) -> str:
    """Images a second of a suite's cases, and what goes with them."""
    cases = read_results(suite)["cases"]
    first = next(iter(cases.values()))["images_per_second"]["median"]
    rows = []
    for label, case in cases.items():
        figures = case["images_per_second"]
        row = {
            "case": label,
            "images a second (least, most)": f"{figures['median']:.1f} "
            f"({figures['min']:.1f}, {figures['max']:.1f})",
        }
        if suite.startswith(("levers", "mapped")):
            row["ratio to the first"] = f"{figures['median'] / first:.2f}"
        row |= {
            "GFLOP an image": f"{case['gflop_an_image']['median']:.2f}",
            "share of the peak": f"{case['share_of_peak']['median']:.0%}",
            "process, MiB": f"{case['process_mib']['median']:.0f}",
        }
        rows.append(row)
    return table(rows)


def peers(suite: str) -> str:
    """Ours against each peer, width by width."""
    cases = read_results(suite)["cases"]
    medians = {label: case["images_per_second"]["median"] for label, case in cases.items()}
    rows = []
    for label, case in cases.items():
        width = label.partition(", ")[2]
        rows.append(
            {
                "loop": label,
                "images a second": f"{medians[label]:.2f}",
                "GFLOP an image": f"{case['gflop_an_image']['median']:.2f}",
                "ours is faster by": f"{medians[f'ours, {width}'] / medians[label]:.2f}",
                "process, MiB": f"{case['process_mib']['median']:.0f}",
            }
        )
    return table(rows)


def passing(run: dict[str, Any], bar: float) -> int | None:
    """The epoch, from 1, that first passes ``bar``."""
    for number, epoch in enumerate(run["epochs"], 1):
        if epoch["val_accuracy"] >= bar:
            return number
    return None


def quality() -> str:
    """Epochs, FLOP and seconds of each run until it passed each bar.

    An epoch counts at the least time that one of its image size took in that run: what else the
    machine did meanwhile is no cost of the recipe.
    """
    rows = []
    for run in sorted(read_results("quality"), key=lambda r: (r["recipe"], r["seed"])):
        epochs = pd.DataFrame(run["epochs"])
        epochs["seconds"] = epochs.groupby("size")["seconds"].transform("min")
        row = {"recipe": run["recipe"], "seed": str(run["seed"])}
        for bar in BARS:
            number = passing(run, bar)
            until = epochs.iloc[:number]
            cost = f"{until['gflop'].sum() / 1e3:,.0f} TFLOP, {until['seconds'].sum():,.0f} s"
            row[f"to {bar:.0%}"] = (
                f"epoch {number}: {cost}" if number else f"not in {len(epochs)} epochs: {cost}"
            )
        row["best accuracy"] = f"{epochs['val_accuracy'].max():.2%}"
        rows.append(row)
    return table(rows)


def pipeline() -> str:
    """Seconds of each part, and preprocess as a multiple of mere decoding."""
    seconds = read_results("pipeline")["seconds"]
    rows = [
        {
            "what": name,
            "seconds (least, most)": f"{s['median']:.2f} ({s['min']:.2f}, {s['max']:.2f})",
        }
        for name, s in seconds.items()
    ]
    return table(rows)


def blocks() -> dict[str, str]:
    """Marker -> text, of all results there are; ``peers-xeon`` is ``peers`` on another machine."""
    makers = {"peers": peers, "quality": lambda _: quality(), "pipeline": lambda _: pipeline()}
    made = sorted(path.stem for path in RESULTS.glob("*.json"))
    return {name: makers.get(name.partition("-")[0], speed)(name) for name in made}


def main() -> None:
    """See the module's text."""
    text = fill(README.read_text(encoding="utf-8"), blocks())
    README.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
