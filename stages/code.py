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
from unet.data.download import MIRROR_VARIABLE, mirror_checksums
from unet.report.curves import plots_definition
from unet.report.results import check_leftovers
from unet.runtime.files import atomic_write
from unet.runtime.process import run_stage
from unet.runtime.source import hash_lines
from unet.training.steps import SCRATCH

STAGES = ("download", "preprocess", "train", "evaluate", "plot")


def main() -> None:
    params = load_params()
    if len(sys.argv) > 1:
        package, folder, *stages = sys.argv[1:]
        write_hashes(package, Path(folder), stages)
        return
    check_leftovers(Path(), params.experiments)
    if not params.data.is_downloaded:
        check_is_here("data.path", params.data.path, "a relative path begins at the repository")
    scratch = f"for random weights it is {SCRATCH} (`git checkout released` brings that back)"
    check_is_here("train.start_from", params.train.start_from, scratch)
    if params.data.source == "official" and params.data.is_downloaded:
        notice_another_mirror()
    write_text(Path("plots/dvc.yaml"), plots_definition(params.experiments))
    write_hashes("stages", Path("code"), STAGES)


def check_is_here(setting: str, value: str, advice: str) -> None:
    """See that a file or folder is here before DVC misses it, when outputs are already deleted.

    Raises:
        ValueError: it is not.
    """
    if Path(value).exists():
        return
    there = Path(os.environ.get("DVC_ROOT", "."), value).absolute()
    if there.exists():
        raise ValueError(
            f"{setting} = {value}: --temp and --queue run in a copy of the repository, which holds "
            f"only what Git tracks: name it by its absolute path, {there}"
        )
    raise ValueError(f"{setting} = {value}: no such file or folder; {advice}")


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
