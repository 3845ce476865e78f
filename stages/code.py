"""Check all of ``params.yaml``, then write hashes of each stage's code.

``python -m stages.code`` writes ``code/STAGE.txt``, one line per module that the stage runs, and
``plots/dvc.yaml``, the list of the experiments' learning curves.
``python -m stages.code STAGE...``, of a pipeline in a subfolder, writes the hashes of these alone.
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
from unet.runtime.files import write
from unet.runtime.process import run_stage
from unet.runtime.source import hash_lines
from unet.training.start import SCRATCH

STAGES = ["download", "preprocess", "train", "evaluate", "plot"]


def main() -> None:
    params = load_params()
    scratch = f"for random weights it is {SCRATCH} (`git restore -SW released` brings that back)"
    check_is_here("train.start_from", params.train.start_from, scratch)
    if not sys.argv[1:]:
        check_leftovers(params.experiments)
        if not params.data.is_downloaded:
            check_is_here("data.path", params.data.path, "a relative path begins at the repository")
        elif params.data.source == "official":
            notice_another_mirror()
        write(Path("plots/dvc.yaml"), plots_definition(params.experiments))
    write_hashes("stages", Path("code"), sys.argv[1:] or STAGES)


def check_is_here(setting: str, value: str, advice: str) -> None:
    """Check that a file or folder exists; DVC would notice only after it has deleted outputs."""
    if not Path(value).exists():
        there = Path(os.environ.get("DVC_ROOT", "."), value).absolute()
        if there.exists():
            advice = (
                "--temp and --queue run in a copy of the repository, which holds only what Git "
                f"tracks: name it by its absolute path, {there}"
            )
        raise ValueError(f"{setting} = {value}: no such file or folder; {advice}")


def notice_another_mirror() -> None:
    """Say if the mirror has other archives: DVC does not track the environment variable."""
    with suppress(ValueError, OSError, KeyError):  # nothing packed, or the mirror is unreachable
        here = json.loads(Path("data/packed/dataset.json").read_text("utf-8"))["archives_md5"]
        if here and (offered := mirror_checksums()) and offered != here:
            print(
                f"{MIRROR_VARIABLE} offers other archives than those that were packed, which are "
                "kept: `dvc repro -f download` takes the new ones"
            )


def write_hashes(package: str, folder: Path, stages: list[str]) -> None:
    """Write ``folder/STAGE.txt`` for each of the ``stages`` of ``package``."""
    for stage in stages:
        write(folder / f"{stage}.txt", hash_lines(f"{package}.{stage}"))


if __name__ == "__main__":
    run_stage("code", main)
