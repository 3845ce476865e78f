"""Check ``params.yaml`` as a whole, then write what the code of each stage means.

``python -m stages.code`` writes ``code/STAGE.txt``, a line for each module that the stage runs, and
``plots/dvc.yaml``, the list of the experiments' learning curves.
``python -m stages.code PACKAGE FOLDER STAGE...`` writes those of another package's stages.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from unet.config import load_params
from unet.data.config import DataConfig
from unet.data.download import MIRROR_VARIABLE, mirror_checksums
from unet.report.curves import plots_definition
from unet.report.results import check_leftovers
from unet.runtime.files import atomic_write
from unet.runtime.process import run_stage
from unet.runtime.source import hash_lines

STAGES = ("download", "preprocess", "train", "evaluate", "plot")


def main() -> None:
    params = load_params()
    if len(sys.argv) > 1:
        package, folder, *stages = sys.argv[1:]
        write_hashes(package, Path(folder), stages)
        return
    check_leftovers(Path(), params.experiments)
    check_path(params.data)
    if params.data.source == "official" and params.data.is_downloaded:
        notice_another_mirror()
    write_text(Path("plots/dvc.yaml"), plots_definition(params.experiments))
    write_hashes("stages", Path("code"), STAGES)


def check_path(data: DataConfig) -> None:
    """Say before DVC does, and more clearly, that the data set is not here.

    Raises:
        ValueError: the folder ``data.path`` is missing.
    """
    if data.is_downloaded or Path(data.path).is_dir():
        return
    if (Path(os.environ.get("DVC_ROOT", ".")) / data.path).is_dir():
        raise ValueError(
            f"data.path = {data.path}: --temp and --queue run in a copy of the repository, which "
            f"does not hold it: name it absolutely, {Path(os.environ['DVC_ROOT']) / data.path}"
        )
    raise ValueError(
        f"data.path = {data.path}: no such folder (a relative path begins at the repository's root)"
    )


def notice_another_mirror() -> None:
    """DVC sees no change of an environment variable: the old archives would be kept in silence."""
    with suppress(ValueError, OSError, KeyError):  # nothing packed, or a mirror out of reach
        here = json.loads(Path("data/packed/dataset.json").read_text("utf-8"))["archives_md5"]
        if here and (offered := mirror_checksums(backoff=0)) and offered != here:
            print(
                f"{MIRROR_VARIABLE} offers other archives than those that were packed, which are "
                "kept: `dvc repro -f download` takes the new ones"
            )


def write_hashes(package: str, folder: Path, stages: list[str] | tuple[str, ...]) -> None:
    for stage in stages:
        write_text(folder / f"{stage}.txt", hash_lines(f"{package}.{stage}"))


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    run_stage("code", main)
