"""Copies of this repository to run DVC in, with params small enough for tests."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tools.same import shrink
from unet.runtime.config import read_yaml
from unet.training.start import SCRATCH

ROOT = Path(__file__).resolve().parent.parent
RUNNING = re.compile(r"^Running stage '([^']+)'", re.MULTILINE)

for name in ("DVC_ROOT", "DVC_STAGE", "OXFORD_PETS_URL"):
    os.environ.pop(name, None)
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
}

# By the last part of a param's name. Trains in seconds.
TINY: dict[str, Any] = {
    "source": "synthetic", "num_synthetic": 48, "image_size": 32, "epochs": 2, "batch_size": 8,
    "threads": 1, "device": "auto", "width": 4, "depth": 2, "val_fraction": 0.1,
    "amp": "none",  # `auto` measures speed, so two runs of one tree could differ
}  # fmt: skip

KEYS = tuple(read_yaml(ROOT / "params.yaml")["experiments"])
# Two are enough to test several experiments under DVC; more would take longer.
FINISHED = tuple(dict.fromkeys((KEYS[0], KEYS[-1])))
README = (ROOT / "README.md").read_text(encoding="utf-8")
# From an experiment in the workspace to the committed results, as README says.
GO_BACK = re.search(r"^\$ (git restore .+) && make models", README, re.MULTILINE)[1].split()


def readme_block(language: str, having: str) -> str:
    """The one block of code of README or docs/ in ``language`` that has the text ``having``."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    (block,) = [block for block in blocks if having in block]
    return block


def run(
    folder: Path, *command: str, check: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in ``folder`` with ``variables`` added to its environment; ``stdout`` has
    both output streams."""
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT | variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stdout
    return done


def copy_repository(target: Path) -> Path:
    """Copy the files that are in Git, or new and not ignored, into a new repository at ``target``.

    The released models, and the files made from them, are left out: by default no stage reads them;
    they are most of the bytes.
    """
    listed = run(ROOT, "git", "ls-files", "-coz", "--exclude-standard").stdout.split("\0")
    for name in filter(None, listed):
        left_out = name.startswith(("released/", "exported/", "page/shell/")) and name != SCRATCH
        if (ROOT / name).is_file() and not left_out:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    run(target, "git", "init", "-q")
    commit_all(target)
    return target


def commit_all(folder: Path) -> None:
    """Commit everything in ``folder`` that is not ignored."""
    run(folder, "git", "add", "-A")
    run(folder, "git", "-c", "commit.gpgsign=false", "commit", "-qm", "state")


def make_tiny(folder: Path, *, keys: Iterable[str] | None = None) -> None:
    """Make the root's pipeline in ``folder`` train in seconds, on drawn data, with all experiments
    or ``keys``."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    shrink(params, TINY)
    if keys is not None:
        params["experiments"] = {key: params["experiments"][key] for key in keys}
    for file in (*folder.glob("metrics/**/*.json"), *folder.glob("plots/*/*.csv")):
        if file.stem not in params["experiments"]:  # the stage `code` refuses leftovers
            file.unlink()
    path.write_text(yaml.safe_dump(params, sort_keys=False))
