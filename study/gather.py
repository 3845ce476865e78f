"""Put the runs of a design into one table: ``python -m study.gather factorial | published``."""

import sys
from pathlib import Path

from study.design import CELLS, NAMED, load_design, run_names
from study.record import gather
from unet.process import run_stage, written_whole


def main() -> None:
    """See the module's text."""
    name = " ".join(sys.argv[1:])
    design = load_design(name)
    cells = CELLS if name == "factorial" else list(NAMED.values())
    frame = gather(Path("study/runs") / name, run_names(cells, design), design)
    with written_whole(Path(f"study/{name}.csv")) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


if __name__ == "__main__":
    run_stage("gather", main)
