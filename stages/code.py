"""Check ``params.yaml`` as a whole, then write what the code of each stage means.

``python -m stages.code`` writes ``code/STAGE.txt``, a line for each module that the stage runs, and
``plots/dvc.yaml``, the list of the experiments' learning curves.
``python -m stages.code PACKAGE FOLDER STAGE...`` writes those of another package's stages.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from unet.config import load_params
from unet.data.download import MIRROR_VARIABLE, mirror_checksums
from unet.report.curves import plots_definition
from unet.report.results import check_leftovers
from unet.runtime.config import read_yaml
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
    check_start(params.train.start_from)
    if params.data.source == "official":
        notice_another_mirror()
    write_text(Path("plots/dvc.yaml"), plots_definition(params.experiments))
    write_hashes("stages", Path("code"), STAGES)


def check_start(start_from: str) -> None:
    """See that the weights to start from are here, before a training loses its outputs.

    Raises:
        ValueError: they are not.
    """
    path = Path(start_from)
    if path.exists():
        return
    there = Path(os.environ.get("DVC_ROOT", "."), path).absolute()
    if there.exists():  # `dvc exp run --temp` and `--queue` run in a copy
        raise ValueError(
            f"train.start_from = {start_from}: not in this copy of the repository, which holds "
            f"what Git tracks: commit it, or name it by its absolute path, {there}"
        )
    raise ValueError(
        f"train.start_from = {start_from}: no such file or folder; for random weights it is "
        f"{SCRATCH} (`git checkout released` brings that back)"
    )


def notice_another_mirror() -> None:
    """DVC sees no change of an environment variable: the old archives would be kept in silence."""
    stages = read_yaml("dvc.lock").get("stages", {}) if Path("dvc.lock").exists() else {}
    outs = stages.get("download", {}).get("outs", [])
    here = {Path(out["path"]).name: out["md5"] for out in outs if Path(out["path"]).exists()}
    with suppress(ValueError):  # a mirror out of reach is the matter of the stage that needs it
        if here and (offered := mirror_checksums(backoff=0)) and offered != here:
            print(
                f"{MIRROR_VARIABLE} offers other archives than data/raw holds, which are kept: "
                "`dvc repro -f download` takes the new ones"
            )


def write_hashes(package: str, folder: Path, stages: list[str] | tuple[str, ...]) -> None:
    for stage in stages:
        write_text(folder / f"{stage}.txt", hash_lines(f"{package}.{stage}"))


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    run_stage("code", main)
