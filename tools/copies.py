"""Copies of this repository to run DVC in, with params so small that everything runs in minutes."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from unet.training.steps import SCRATCH

ROOT = Path(__file__).resolve().parent.parent
RUNNING = re.compile(r"^Running stage '([^']+)'", re.MULTILINE)
MIRROR = "OXFORD_PETS_URL"

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
}
for name in ("DVC_ROOT", "DVC_STAGE", MIRROR):
    ENVIRONMENT.pop(name, None)

# Keyed by the last part of a param's name, so that the layout of the files does not matter.
TINY: dict[str, Any] = {
    "source": "synthetic", "num_synthetic": 48, "image_size": 32, "epochs": 2, "batch_size": 8,
    "threads": 1, "device": "auto", "width": 4, "depth": 2, "val_fraction": 0.1,
    "amp": "none",  # `auto` measures speed, so two runs of one tree could differ
}  # fmt: skip
# Enough steps that every variant finds some pets; otherwise all masks would be empty and equal.
SMALL = TINY | {
    "num_synthetic": 96, "epochs": 6, "batch_size": 2, "max_lr": 0.02, "amp": "none",
}  # fmt: skip
NUM_RUNS = 2  # kept of each list in RUNS: a standard deviation needs two
RUNS = ("seeds", "folds")


def run(
    folder: Path, *command: str, check: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in ``folder`` with ``variables`` added to its environment; ``stdout`` has
    both output streams.

    Raises:
        AssertionError: the command fails and ``check`` is true.
    """
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT | variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stdout
    return done


def files_of(folder: Path) -> list[str]:
    """The files in the Git working tree ``folder`` that are tracked, or new and not ignored."""
    listed = run(folder, "git", "ls-files", "-coz", "--exclude-standard").stdout.split("\0")
    return sorted({name for name in listed if name and (folder / name).is_file()})


def copy_repository(target: Path, source: Path = ROOT) -> Path:
    """Copy the working tree of ``source`` into a new repository at ``target``.

    The released models are left out: by default no stage reads them; they are most of the bytes.
    """
    kept = (n for n in files_of(source) if n == SCRATCH or not n.startswith("released/"))
    for name in kept:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)
    return new_repository(target)


def copy_revision(target: Path, revision: str, source: Path = ROOT) -> Path:
    """Copy the commit ``revision`` of ``source`` into a new repository at ``target``.

    Raises:
        ValueError: ``source`` has no such commit, or cannot read it.
    """
    named = run(source, "git", "rev-parse", "-q", "--verify", f"{revision}^{{commit}}", check=False)
    if named.returncode:
        shallow = run(source, "git", "rev-parse", "--is-shallow-repository").stdout.strip()
        way = "git fetch --unshallow" if shallow == "true" else "git fetch, or git log for its name"
        kind = "this shallow clone" if shallow == "true" else "this repository"
        raise ValueError(f"{revision}: no commit of {kind}: {way}")
    archive = target / "revision.tar"
    done = run(
        source, "git", "archive", "--format=tar", f"--output={archive}", named.stdout.strip(),
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise ValueError(f"{revision} cannot be read ({last_line(done.stdout)}): git fsck")
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    archive.unlink()
    return new_repository(target)


def new_repository(folder: Path) -> Path:
    """Turn ``folder`` into a Git repository with one commit."""
    run(folder, "git", "init", "-q")
    commit_all(folder)
    return folder


def commit_all(folder: Path) -> None:
    """Commit everything in ``folder`` that is not ignored."""
    run(folder, "git", "add", "-A")
    run(folder, "git", "-c", "commit.gpgsign=false", "commit", "-qm", "state")


def last_line(output: str) -> str:
    """The last line of a command's output that is not blank."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def projects_of(folder: Path) -> list[Path]:
    """The folders of the DVC projects in a repository, its root first."""
    configs = [name for name in files_of(folder) if name.endswith(".dvc/config")]
    return sorted((folder / name).parents[1] for name in configs)


def params_files(folder: Path) -> list[Path]:
    """Each ``params.yaml`` next to a ``dvc.yaml``, the root's first."""
    pipelines = [folder / name for name in files_of(folder) if Path(name).name == "dvc.yaml"]
    found = [path.with_name("params.yaml") for path in pipelines]
    return sorted((path for path in found if path.is_file()), key=lambda path: len(path.parts))


def make_small(folder: Path, **values: Any) -> set[str]:
    """Set the params of ``folder`` to the values in SMALL and ``values``, and shorten the RUNS.

    Returns:
        The names that were found and set; names that are not there are not added.
    """
    found: set[str] = set()
    for path in params_files(folder):
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        found |= shrink(params, SMALL | values)
        path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    return found


def shrink(params: Any, values: dict[str, Any]) -> set[str]:
    """Set each param named in ``values``, at any depth of ``params``, and shorten the lists RUNS.

    Returns:
        The names found.
    """
    found: set[str] = set()
    for name, value in params.items() if isinstance(params, dict) else ():
        if name in values:
            params[name] = values[name]
            found.add(name)
        elif name in RUNS and isinstance(value, list):
            params[name] = value[:NUM_RUNS]
            found.add(name)
        else:
            found |= shrink(value, values)
    return found


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


def make_study_tiny(folder: Path) -> None:
    """The same for the ablation, keeping its seeds; its recorded runs are removed, as they have
    other params."""
    shutil.rmtree(folder / "research/ablation/runs", ignore_errors=True)
    path = folder / "research/ablation/params.yaml"
    designs = yaml.safe_load(path.read_text())
    for design in designs.values():
        seeds = design["seeds"]
        shrink(design, TINY)
        design["seeds"] = seeds
    path.write_text(yaml.safe_dump(designs, sort_keys=False))
