"""Whether a change of the code leaves every output of the pipelines as it was.

``python -m tools.same OLD`` checks out the commits OLD and HEAD in two temporary clones, runs all
stages of all DVC projects there, on drawn images and with small params, and compares their outputs.
``--accept`` then rewrites the entries in the lock files of those stages whose outputs are the same,
as if they had run again. It is evidence, not proof: see docs/maintaining.md.
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from dvc.repo import Repo
from dvc.stage.loader import StageLoader
from dvc.stage.utils import split_params_deps
from dvc.utils.flatten import flatten
from dvc.utils.serialize import dump_yaml, load_yaml

from tools import commands
from tools.fresh import stale_stages
from unet.runtime.process import run_stage
from unet.training.start import SCRATCH

# Keyed by the last part of a param's name, so that the layout of the files does not matter.
# Enough steps that every variant finds some pets; otherwise all masks would be empty and equal.
# `amp: auto` measures speed, and a GPU may round differently each time.
SMALL: dict[str, Any] = {
    "source": "synthetic", "num_synthetic": 96, "image_size": 32, "epochs": 6, "batch_size": 2,
    "max_lr": 0.02, "threads": 1, "device": "cpu", "amp": "none", "width": 4, "depth": 2,
    "val_fraction": 0.1,
}  # fmt: skip
LENGTHS = {"seeds": 2, "folds": 2}  # kept of these lists: a standard deviation needs two
TIMES = ["seconds", "images_per_second"]  # keys and columns that differ each time
BY_DVC = "make it with DVC, as docs/maintaining.md says"

Name = tuple[str, str]  # a project's folder in the repository, a stage's name
Entry = dict[str, Any]  # as in dvc.lock: cmd, deps, params, outs


@dataclass(frozen=True)
class Tree:
    """A clone of a commit as DVC reads it, without the stages that always run."""

    stages: dict[Name, Any]
    entries: dict[Name, Entry]
    made: dict[str, dict[str, Any]]  # recorded output, by its path in the repository
    stale: dict[Name, str]  # why an entry is out of date; data need not be here


def git(folder: Path, *arguments: str) -> list[str]:
    """The lines that a Git command prints; a ValueError with Git's message if it fails."""
    # No hooks: those of `dvc install` would look for data.
    output = commands.git("-c", "core.hooksPath=/dev/null", *arguments, folder=folder)
    return output.decode().splitlines()


def projects_of(folder: Path) -> list[str]:
    """The folders of a tree's DVC projects; the root's first, since the others read its data."""
    return sorted(str(Path(f).parents[1]) for f in git(folder, "ls-files", "*.dvc/config"))


def locks_of(folder: Path) -> dict[Name, Entry]:
    """The entries of all lock files in a tree."""
    locks = {project: folder / project / "dvc.lock" for project in projects_of(folder)}
    found = {p: load_yaml(str(lock))["stages"] for p, lock in locks.items() if lock.exists()}
    return {(p, stage): entry for p, entries in found.items() for stage, entry in entries.items()}


def place(name: Name, path: str) -> str:
    """Where in the repository the ``path`` of a stage is."""
    return os.path.normpath(Path(name[0], path))


def md5s(entry: Entry, *kinds: str) -> dict[str, str]:
    """Path -> hash of a lock entry's ``outs``, say."""
    return {item["path"]: item["md5"] for kind in kinds for item in entry.get(kind, [])}


def read_tree(folder: Path) -> Tree:
    """Read a clean clone; the hashes of the code in it are written anew."""
    stale: dict[Name, str] = {}
    found: dict[Name, Any] = {}
    for project in projects_of(folder):
        reasons = stale_stages(folder / project)
        stale |= {(project, stage): why[0] for stage, why in reasons.items()}
        found |= {(project, s.name): s for s in Repo(str(folder / project)).index.stages}
    stages = {name: stage for name, stage in found.items() if not stage.always_changed}
    entries = {name: entry for name, entry in locks_of(folder).items() if name in stages}
    made = {place(n, out["path"]): out for n in entries for out in entries[n].get("outs", [])}
    for name, entry in entries.items():
        # What DVC does not see without the data.
        items = md5s(entry, "deps", "outs")
        wrong = {p for p in items if made.get(place(name, p), {}).get("md5", items[p]) != items[p]}
        files = [*split_params_deps(stages[name])[1], *stages[name].outs]
        for path in sorted(wrong | items.keys() ^ {file.def_path for file in files}):
            stale.setdefault(name, f"{path} is not the one recorded")
    return Tree(stages, entries, made, stale)


def shrink(params: Any, values: Mapping[str, Any]) -> set[str]:
    """Set each param named in ``values``, at any depth, and shorten the lists in ``LENGTHS``; the
    names found, others are not added."""
    found: set[str] = set()
    for name, value in params.items() if isinstance(params, dict) else ():
        if name in values or name in LENGTHS:
            params[name] = values[name] if name in values else value[: LENGTHS[name]]
            found.add(name)
        else:
            found |= shrink(value, values)
    return found


def make_small(folder: Path, values: Mapping[str, Any] = SMALL) -> set[str]:
    """Shrink the params of all projects; the names found."""
    found: set[str] = set()
    for path in (folder / project / "params.yaml" for project in projects_of(folder)):
        params = load_yaml(str(path))
        found |= shrink(params, values)
        if "start_from" in params.get("train", {}):  # a model's file, of another width
            scratch = os.path.relpath(folder / SCRATCH, path.parent)
            params["train"]["start_from"] = scratch
        dump_yaml(str(path), params)
    return found


def run_small(folder: Path, commit: str) -> dict[Name, Entry]:
    """Run all pipelines of a tree with small params; the entries of its lock files afterwards."""
    for name, entry in locks_of(folder).items():  # what is recorded was made with other params
        for path in (folder / place(name, out["path"]) for out in entry.get("outs", [])):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if "source" not in make_small(folder):
        raise ValueError(f"{commit}: no param `source`, which selects drawn data")
    for project in projects_of(folder):
        (folder / project / "dvc.lock").unlink(missing_ok=True)
        print(f"{commit}: dvc repro in {project} …", file=sys.stderr, flush=True)
        try:
            commands.dvc("repro", "--no-run-cache", folder=folder / project)
        except ValueError as error:
            reason = "; ".join(str(error).split("; ")[-2:])  # the stage's own and DVC's
            raise ValueError(f"{commit}, in {project}: {reason}") from None
    return locks_of(folder)


def compare(name: Name, folders: list[Path], entries: list[Entry | None]) -> str:
    """``same``, or how the outputs of the two small runs of a stage differ."""
    old, new = (md5s(entry or {}, "outs") for entry in entries)
    if alone := sorted(old.keys() ^ new.keys()):
        return f"not comparable: {', '.join(alone)} on one side only: {BY_DVC}"
    wrong = [path for path in old if old[path] != new[path] and "timing" not in Path(path).parts]
    for path in [path for path in wrong if path.endswith((".json", ".csv"))]:
        before, now = (read_content(folder / place(name, path)) for folder in folders)
        if before == now:
            wrong.remove(path)
    return f"different: {', '.join(wrong)}" if wrong else "same"


def read_content(path: Path) -> Any:
    """What a JSON or CSV file says, without times."""
    if path.suffix == ".csv":
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return table.drop(columns=TIMES, errors="ignore").to_dict("list")

    def untimed(values: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if key not in TIMES}

    text = path.read_text(encoding="utf-8")
    return json.loads(text, object_hook=untimed, parse_constant=str)  # NaN equals NaN


def renew(name: Name, old: Tree, new: Tree, small: list[Entry]) -> None:
    """Give DVC's object of a stage of ``new`` the hashes and params of its new entry.

    ``small`` are the entries of the small runs that stand for it. Raises a ValueError if the
    recorded outputs may not be those of the code and params of ``new``.
    """
    if name not in old.entries:
        raise ValueError("it was not recorded at OLD")
    if name in old.stale:
        raise ValueError(f"it was out of date at OLD: {old.stale[name]}")
    stage, entry = new.stages[name], old.entries[name]
    if md5s(entry, "outs") != md5s(new.entries.get(name, entry), "outs"):
        raise ValueError("its outputs have been recorded anew since OLD")
    params, files = split_params_deps(stage)
    refuse_params({dep.def_path: dep.read_params() for dep in params}, entry, small)
    deps = {place(name, dep.def_path): dep for dep in files}
    known = new.made | {place(name, item["path"]): item for item in entry.get("deps", [])}
    filled = [known[path] | {"path": dep.def_path} for path, dep in deps.items() if path in known]
    StageLoader.fill_from_lock(stage, {"deps": filled, "outs": entry.get("outs", [])})
    for out in stage.outs:
        if out.exists and out.workspace_status():
            raise ValueError(f"{out.def_path} is not the one recorded")
    for path, dep in deps.items():
        is_other = dep.exists and dep.workspace_status()
        made = any(f"{o}/".startswith(f"{path}/") or path.startswith(f"{o}/") for o in new.made)
        if is_other and not made and not Path(path).is_absolute():
            dep.save()  # it is in Git, since the clone is clean
        elif path not in known:
            raise ValueError(f"{dep.def_path}, its input, is recorded nowhere: {BY_DVC}")
        elif is_other or known[path]["md5"] != new.made.get(path, known[path])["md5"]:
            raise ValueError(f"{dep.def_path}, its input, is not the one recorded")
    for dep in params:
        dep.save()


def refuse_params(now: dict[str, Any], recorded: Entry, small: list[Entry]) -> None:
    """Raise a ValueError unless each param has its recorded value or, if it is tracked on one side
    only, the small runs had its real value."""
    now, was, *tried = map(flatten, (now, *(e.get("params", {}) for e in (recorded, *small))))
    for key, value in (was | now).items():
        if key in now and value != was.get(key, value):
            raise ValueError(f"{key} = {value}, recorded with {was[key]}")
        if (key in now) != (key in was) and any(run.get(key, value) != value for run in tried):
            raise ValueError(f"{key} = {value}, tracked on one side only, was not tried")


def check(folders: list[Path], commits: list[str]) -> dict[Name, str]:
    """Run the pipelines in both clones, and rewrite the lock files in the second.

    Returns, for each stage, ``same``, perhaps with why its entry is kept, or how it differs.
    """
    old = read_tree(folders[0])
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(run_small, folders, commits))
    ran = {name: [run.get(name) for run in runs] for name in runs[0].keys() | runs[1].keys()}
    found = {name: compare(name, folders, entries) for name, entries in ran.items()}
    git(folders[1], "reset", "-q", "--hard")
    git(folders[1], "clean", "-fdxq")
    new = read_tree(folders[1])
    recorded = old.entries.keys() | new.entries.keys()
    verdicts: dict[Name, str] = {}
    renewed: dict[str, list[Any]] = {}
    for name, stage in new.stages.items():
        # A seed or fold that did not run, the number at the end, counts as those that did.
        group = re.compile(re.sub(r"\d+$", r"\\d+", re.escape(name[1])))
        names = {name} & ran.keys() or [n for n in ran if n[0] == name[0] and group.fullmatch(n[1])]
        # In the order of the alphabet: different, not comparable, same.
        verdicts[name] = min((found[n] for n in names), default="not comparable: it did not run")
        if verdicts[name] == "same" and name in new.stale and name in recorded:
            try:
                renew(name, old, new, [entry for n in names for entry in ran[n]])
                renewed.setdefault(name[0], []).append(stage)
            except ValueError as reason:
                verdicts[name] = f"same, but {reason}"
    for stages in renewed.values():  # all of a file at once: DVC reads and writes the whole file
        stages[0].dvcfile._lockfile.dump_stages(stages)
    return verdicts


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser("python -m tools.same", description=__doc__.split("\n\n")[0])
    parser.add_argument("old", metavar="OLD", help="a commit to compare HEAD with")
    parser.add_argument("--accept", action="store_true", help="rewrite the lock files")
    arguments = parser.parse_args()
    commits = [arguments.old, "HEAD"]
    if changes := git(Path(), "status", "--short", "--untracked-files=no"):
        raise ValueError(f"it compares commits: commit or stash first, {changes[0].strip()}")
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("DVC_ROOT", "DVC_STAGE", "OXFORD_PETS_URL"):
            os.environ.pop(name, None)
        os.environ |= {"OMP_NUM_THREADS": "1", "DVC_SITE_CACHE_DIR": temporary}
        folders = [Path(temporary).resolve() / side for side in ("old", "new")]
        for folder, commit in zip(folders, commits, strict=True):
            # No worktrees: Git would list them still if this process is killed.
            (sha,) = git(Path(), "rev-list", "-1", commit, "--")
            git(Path(), "clone", "-q", "--shared", "--no-checkout", ".", str(folder))
            git(folder, "checkout", "-q", "--detach", sha)
        verdicts = check(folders, commits)
        changed = git(folders[1], "ls-files", "-mo", "--exclude-standard")
        for file in changed if arguments.accept else []:
            shutil.copy2(folders[1] / file, file)
    for (project, stage), verdict in verdicts.items():
        print(stage if project == "." else f"{project}:{stage}", verdict, sep="  ")
    same = list(verdicts.values()).count("same")
    print(f"{same} of {len(verdicts)} stages are the same")
    if arguments.accept:
        print(f"rewritten: {', '.join(changed) or 'nothing'}")
    sys.exit(same < len(verdicts))


if __name__ == "__main__":
    run_stage("same", main)
