"""Check ``params.yaml`` as a whole, then write what the code of each stage means.

``python -m stages.code`` writes ``code/STAGE.txt``, a line for each module that the stage runs.
``python -m stages.code PACKAGE FOLDER STAGE...`` writes those of another package's stages.
"""

import sys
from pathlib import Path

from unet.config import load_params
from unet.report.results import check_leftovers
from unet.runtime.files import atomic_write
from unet.runtime.process import run_stage
from unet.runtime.source import source_hashes

STAGES = ("download", "preprocess", "train", "evaluate", "plot")


def main() -> None:
    params = load_params()
    if len(sys.argv) > 1:
        package, folder, *stages = sys.argv[1:]
        write_hashes(package, Path(folder), stages)
        return
    check_leftovers(Path(), params.experiments)
    write_hashes("stages", Path("code"), STAGES)


def write_hashes(package: str, folder: Path, stages: list[str] | tuple[str, ...]) -> None:
    for stage in stages:
        lines = (f"{sha}  {path}\n" for path, sha in source_hashes(f"{package}.{stage}").items())
        with atomic_write(folder / f"{stage}.txt") as temporary:
            temporary.write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    run_stage("code", main)
