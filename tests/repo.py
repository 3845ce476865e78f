"""Copies of this repository to run DVC in, with params small enough for tests."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
RUNNING = re.compile(r"^Running stage '([^']+)'", re.MULTILINE)

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
}
for name in ("DVC_ROOT", "DVC_STAGE", "OXFORD_PETS_URL"):
    ENVIRONMENT.pop(name, None)


def run(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in ``folder``; both output streams together are in ``stdout``."""
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stdout
    return done


def copy_repository(target: Path) -> Path:
    """The tracked files as they are in the working tree, as a new repository."""
    for name in run(ROOT, "git", "ls-files", "-co", "--exclude-standard").stdout.splitlines():
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    run(target, "git", "init", "-q")
    commit_all(target)
    return target


def start_queue(folder: Path) -> None:
    """Start a worker of DVC's queue, which lives on."""
    # No pipe: the worker would hold it open for as long as it lives.
    subprocess.run(
        ["dvc", "queue", "start", "-j", "1"], cwd=folder, env=ENVIRONMENT, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def commit_all(folder: Path) -> None:
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "state")


def make_tiny(folder: Path, *, keys: Iterable[str] | None = None) -> None:
    """Params over drawn data, of all experiments or ``keys``, that train in seconds."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["data"] |= {"source": "synthetic", "num_synthetic": 48}
    params["preprocess"] |= {"image_size": 32}
    params["train"] |= {"epochs": 2, "batch_size": 8, "threads": 1}
    if keys is not None:
        params["experiments"] = {key: params["experiments"][key] for key in keys}
    for file in (*folder.glob("metrics/**/*.json"), *folder.glob("plots/*/*.csv")):
        if file.stem not in params["experiments"]:  # the stage `code` refuses such leftovers
            file.unlink()
    for experiment in params["experiments"].values():
        experiment |= {"width": 4, "depth": 2}
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def make_study_tiny(folder: Path) -> None:
    """The same of the ablation's own params; the recorded runs are of another design."""
    shutil.rmtree(folder / "research/ablation/runs", ignore_errors=True)
    path = folder / "research/ablation/params.yaml"
    designs = yaml.safe_load(path.read_text())
    for design in designs.values():
        design |= {"image_size": 32, "width": 4, "depth": 2, "amp": "none", "threads": 1}
    path.write_text(yaml.safe_dump(designs, sort_keys=False))
