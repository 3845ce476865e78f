"""Compare the named experiments on the same test images: ``python -m study.pairs``."""

from pathlib import Path

import pandas as pd

from study.design import NAMED, load_design, run_names
from study.inference import pair_differences
from unet.process import run_stage, written_whole

COUNTS = ["tp", "fp", "fn", "tn"]


def main() -> None:
    """See the module's text."""
    design = load_design("factorial")
    counts = sum_runs(
        {key: run_names([cell], design) for key, cell in NAMED.items()},
        Path("study/runs/factorial"),
    )
    with written_whole(Path("study/pairs.csv")) as temporary:
        pair_differences(counts).to_csv(temporary, index=False, lineterminator="\n")


def sum_runs(runs: dict[str, list[str]], folder: Path) -> dict[str, pd.DataFrame]:
    """Experiment -> a row a test image, its pixel counts summed over the experiment's ``runs``.

    Raises:
        ValueError: a run's table in ``folder`` is missing, is none, or is of other images.
    """
    images: pd.Index | None = None
    sums: dict[str, pd.DataFrame] = {}
    for experiment, names in runs.items():
        for name in names:
            path = folder / f"{name}.csv"
            try:
                table = pd.read_csv(path, index_col="name")[COUNTS].astype("int64")
            except (OSError, ValueError, KeyError) as error:
                raise ValueError(f"{path} cannot be read ({error}): run `make study`") from None
            images = table.index if images is None else images
            if not table.index.equals(images):
                raise ValueError(f"{path} is of other images than the first run: run `make study`")
            sums[experiment] = sums[experiment] + table if experiment in sums else table
    return sums


if __name__ == "__main__":
    run_stage("pairs", main)
