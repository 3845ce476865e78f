"""Copies of this repository to run DVC in, with params small enough for tests."""

import subprocess
from pathlib import Path

from tools.copies import (
    ENVIRONMENT,
    ROOT,
    RUNNING,
    TINY,
    commit_all,
    copy_repository,
    make_study_tiny,
    make_tiny,
    run,
)
from unet.runtime.config import read_yaml

__all__ = [
    "ENVIRONMENT", "FINISHED", "ROOT", "RUNNING", "TINY", "commit_all", "copy_repository",
    "make_study_tiny", "make_tiny", "run", "start_queue",
]  # fmt: skip

KEYS = tuple(read_yaml(ROOT / "params.yaml")["experiments"])
# Two are enough to test several experiments under DVC; more would take longer.
FINISHED = tuple(dict.fromkeys((KEYS[0], KEYS[-1])))


def start_queue(folder: Path) -> None:
    """Start a worker of DVC's queue, which lives on."""
    # No pipe: the worker would hold it open for as long as it lives.
    subprocess.run(
        ["dvc", "queue", "start", "-j", "1"], cwd=folder, env=ENVIRONMENT, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
