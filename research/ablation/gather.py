"""Collect the runs of a design in one table.

``python -m research.ablation.gather DESIGN`` writes ``DESIGN.csv``.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from research.ablation.design import DESIGNS, FACTORS, HERE, NUMBERS, Design, load_design
from unet.runtime.files import write
from unet.runtime.process import run_stage

# Columns that must be equal in all runs of a design, beside its settings; dvc.lock ensures that the
# code, data and recipe are.
SAME = ("epochs", "torch", "device")


def gather(folder: Path, cells: list[str], design: Design) -> pd.DataFrame:
    """One row per run of ``design``, from the files ``CELL-SEED.json`` in ``folder``.

    Raises:
        ValueError: the runs have not all the settings of ``design``, or differ in torch, say.
    """
    own = design.settings
    files = [folder / f"{name}.json" for name in design.run_names(cells)]
    rows = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    # Old runs did not record the name of the CPU or GPU.
    columns = [*FACTORS, "seed", *own, *SAME, "device_name", *NUMBERS]
    frame = pd.DataFrame(rows).reindex(columns=columns)
    for column in (*own, *SAME):
        found = frame[column].unique().tolist()
        if found != [own.get(column, found[0])]:
            raise ValueError(
                f"{folder} holds runs with {column} = {', '.join(map(str, found))}: train those "
                f"that differ anew, `dvc --cd {HERE} repro -f -s` with their stages"
            )
    return frame


def main() -> None:
    """See the module docstring."""
    name = " ".join(sys.argv[1:])
    design = load_design(name)
    frame = gather(HERE / "runs" / name, DESIGNS[name], design)
    write(HERE / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    run_stage("gather", main)
