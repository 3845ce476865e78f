"""Compare the named experiments' models on the test images: ``python -m study.pairs``."""

from pathlib import Path

import pandas as pd

from study.design import NAMED
from study.inference import pair_differences
from unet.process import run_stage, written_whole

COUNTS = ["tp", "fp", "fn", "tn"]


def main() -> None:
    """See the module's text."""
    tables = {}
    for key in NAMED:
        path = Path(f"predictions/{key}/images.csv")
        try:
            tables[key] = pd.read_csv(path, index_col="name")[COUNTS]
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{path} cannot be read ({error}): run `dvc repro`") from None
    first = next(iter(tables.values()))
    for key, table in tables.items():
        if not table.index.equals(first.index):
            raise ValueError(f"predictions/{key} is of other images: run `dvc repro`")
    with written_whole(Path("study/pairs.csv")) as temporary:
        pair_differences(tables).to_csv(temporary, index=False, lineterminator="\n")


if __name__ == "__main__":
    run_stage("pairs", main)
