"""Estimate what other test images would change: ``python -m research.ablation.images``."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from research.ablation.design import CELLS, HERE, load_design, run_names
from research.ablation.inference import contrasts, image_intervals
from unet.runtime.files import atomic_write
from unet.runtime.process import run_stage

COUNTS = ["tp", "fp", "fn", "tn"]


def main() -> None:
    """See the module docstring."""
    names = run_names(CELLS, load_design("factorial"))
    counts = load_counts(HERE / "runs/factorial", names)
    table = image_intervals(counts, contrasts(names))
    with atomic_write(HERE / "images.csv") as temporary:
        # Only digits that are equal on every CPU: the last ones depend on the summation order.
        table.to_csv(temporary, index_label="comparison", lineterminator="\n", float_format="%.12g")


def load_counts(folder: Path, names: Iterable[str]) -> np.ndarray:
    """Pixel counts (R, I, 4), int64, of the R runs ``names`` on the same I test images.

    Raises:
        ValueError: a run's table in ``folder`` is missing, is invalid, or has other images.
    """
    tables: list[pd.DataFrame] = []
    for name in names:
        path = folder / f"{name}.csv"
        try:
            table = pd.read_csv(path, index_col="name")[COUNTS].astype("int64")
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{path} cannot be read ({error}): run `make study`") from None
        tables.append(table)
        if not table.index.equals(tables[0].index):
            raise ValueError(f"{path} is of other images than the first run: run `make study`")
    return np.stack([table.to_numpy() for table in tables])


if __name__ == "__main__":
    run_stage("images", main)
