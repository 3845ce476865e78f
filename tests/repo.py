"""Copies of this repository to run DVC in, with params small enough for tests."""

import re
import subprocess
from pathlib import Path

from tools.copies import (
    ENVIRONMENT,
    ROOT,
    RUNNING,
    commit_all,
    copy_repository,
    make_study_tiny,
    make_tiny,
    run,
)
from unet.runtime.config import read_yaml

__all__ = [
    "ENVIRONMENT", "FINISHED", "GO_BACK", "ROOT", "RUNNING", "commit_all", "copy_repository",
    "make_study_tiny", "make_tiny", "run", "start_queue",
]  # fmt: skip

KEYS = tuple(read_yaml(ROOT / "params.yaml")["experiments"])
# Two are enough to test several experiments under DVC; more would take longer.
FINISHED = tuple(dict.fromkeys((KEYS[0], KEYS[-1])))
README = (ROOT / "README.md").read_text(encoding="utf-8")
# From an experiment in the workspace to the committed results, as README says.
GO_BACK = re.search(r"^\$ (git restore .+) && make models", README, re.MULTILINE)[1].split()


def start_queue(folder: Path) -> None:
    """Start a worker of DVC's queue, which lives on."""
    # No pipe: the worker would hold it open for as long as it lives.
    subprocess.run(
        ["dvc", "queue", "start", "-j", "1"], cwd=folder, env=ENVIRONMENT, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
