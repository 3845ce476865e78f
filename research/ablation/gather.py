"""Collect the runs of a design in one table.

``python -m research.ablation.gather DESIGN`` writes ``DESIGN.csv``.
"""

import sys

from research.ablation.design import DESIGNS, HERE, load_design, run_names
from research.ablation.record import gather
from unet.runtime.files import atomic_write
from unet.runtime.process import run_stage


def main() -> None:
    """See the module docstring."""
    name = " ".join(sys.argv[1:])
    design = load_design(name)
    frame = gather(HERE / "runs" / name, run_names(DESIGNS[name], design), design)
    with atomic_write(HERE / f"{name}.csv") as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


if __name__ == "__main__":
    run_stage("gather", main)
