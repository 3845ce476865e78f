"""Estimate what other test images would change: ``python -m research.ablation.images``."""

import numpy as np
import pandas as pd

from research.ablation.design import CELLS, HERE, load_design
from research.ablation.inference import MAIN, PAIRS, contrasts
from unet.report.differences import over_images
from unet.runtime.files import write
from unet.runtime.process import run_stage

COUNTS = ["tp", "fp", "fn", "tn"]


def main() -> None:
    """See the module docstring."""
    design = load_design("factorial")
    names = design.run_names(CELLS)
    runs = [pd.read_csv(HERE / f"runs/factorial/{name}.csv")[COUNTS] for name in names]
    cells = [name.rpartition("-")[0] for name in names]
    weights = contrasts().loc[[*MAIN, *PAIRS], cells] / len(design.seeds)
    table = over_images(np.stack(runs), weights)
    # Only digits that are equal on every CPU: the last ones depend on the summation order.
    text = table.to_csv(index_label="comparison", lineterminator="\n", float_format="%.12g")
    write(HERE / "images.csv", text)


if __name__ == "__main__":
    run_stage("images", main)
