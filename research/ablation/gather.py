"""Put the runs of a design into one table: ``python -m research.ablation.gather factorial | published``."""

import sys
from pathlib import Path

from research.ablation.design import CELLS, NAMED, load_design, run_names
from research.ablation.record import gather
from unet.runtime.files import atomic_write
from unet.runtime.process import run_stage


def main() -> None:
    """See the module's text."""
    name = " ".join(sys.argv[1:])
    design = load_design(name)
    cells = CELLS if name == "factorial" else list(NAMED.values())
    frame = gather(Path("study/runs") / name, run_names(cells, design), design)
    with atomic_write(Path(f"study/{name}.csv")) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


if __name__ == "__main__":
    run_stage("gather", main)
