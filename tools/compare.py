"""The experiments side by side: ``python -m tools.compare [--metric iou] [REV ...]``.

The rows are the workspace, HEAD (or each REV) and each of its experiments; the columns are the
params that differ between rows, and the variants. Rows that were scored on the same test images
make a table; what these were stands above it. After a run of part of the pipeline,
``dvc exp show`` shows scores of an earlier run. Here a score is shown only if the row's
``dvc.lock`` says that it was made with the row's own params, code and data.
"""

import argparse
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from tools.commands import dvc, git
from unet.runtime.config import read_yaml
from unet.runtime.process import run_stage
from unet.runtime.source import hash_lines

DASH = "-"
NOTE = f"{DASH}  not run with the params, code and data of its row"
EVALUATE = "evaluate@"
TEST = "data/packed/test"
GAP = "  "


class Tree:
    """The files of a commit, or the files of the workspace that Git does not ignore."""

    def __init__(self, rev: str | None = None) -> None:
        self.rev = None if rev == "workspace" else rev  # DVC's name for a run in the workspace

    @cached_property
    def files(self) -> frozenset[str]:
        """Their paths, relative to the current folder."""
        of_commit = ("ls-tree", "-r", "-z", "--name-only", self.rev or "")
        of_workspace = ("ls-files", "-c", "-o", "-z", "--exclude-standard")
        names = git(*(of_commit if self.rev else of_workspace))
        return frozenset(names.decode(errors="surrogateescape").split("\0"))

    def read(self, path: str) -> bytes | None:
        """The file's content; None if it is not in :attr:`files`."""
        if path not in self.files:
            return None
        if self.rev:
            return _blob(self.rev, path)
        return Path(path).read_bytes() if Path(path).is_file() else None

    def md5(self, path: str) -> str | None:
        """The file's MD5, as in ``dvc.lock``; None if there is no such file."""
        content = self.read(path)
        return None if content is None else hashlib.md5(content, usedforsecurity=False).hexdigest()

    def yaml(self, path: str) -> dict[str, Any]:
        """The content of a YAML file; empty if it is missing or broken."""
        return _parse_yaml(self.read(path) or b"")

    @cached_property
    def stages(self) -> dict[str, dict[str, Any]]:
        """Stage -> its entry in ``dvc.lock``."""
        return _mapping(self.yaml("dvc.lock").get("stages"))

    @cached_property
    def makers(self) -> dict[str, tuple[str, str | None]]:
        """Output -> the stage that made it, and its MD5."""
        return {
            out["path"]: (name, out.get("md5"))
            for name, stage in self.stages.items()
            for out in stage.get("outs", [])
        }

    @property
    def test_images(self) -> str | None:
        """The hash of the packed test images; None if they are not recorded for these params."""
        return (
            self.makers[TEST][1] if TEST in self.makers and self.up_to_date("preprocess") else None
        )

    @property
    def variants(self) -> list[str]:
        """The experiments in ``params.yaml``."""
        return list(_mapping(self.yaml("params.yaml").get("experiments")))

    def scores(self, variant: str) -> dict[str, float]:
        """All scores in a variant's files, up to date or not."""
        scores = _parse_json(self.read(f"metrics/scores/{variant}.json"))
        for metric, by_variant in _parse_json(self.read(f"metrics/{variant}.json")).items():
            scores.setdefault(metric, _mapping(by_variant).get(variant))
        return {name: value for name, value in scores.items() if type(value) in (int, float)}

    def up_to_date(self, stage: str) -> bool:
        """Whether nothing has changed since this stage and the stages before it ran."""
        if stage not in self.stages:
            return False
        lock = self.stages[stage]
        if self.rev is None and not self.code_is_seen(lock):
            return False
        for file, params in lock.get("params", {}).items():
            now = self.yaml(file)
            if any(_look_up(now, key.split(".")) != (True, params[key]) for key in params):
                return False
        for out in lock.get("outs", []):
            if self.md5(out["path"]) not in (None, out.get("md5")):  # None: not kept by Git
                return False
        for dep in lock.get("deps", []):
            maker, made = self.makers.get(dep["path"], (None, None))
            here = {made, self.md5(dep["path"])} - {None}
            # A user's own folder: no stage makes it and Git does not track it. For a commit, the
            # params and the lock file are all there is to compare; in the workspace, ask DVC.
            if not here and self.rev is None and _has_changed(stage, dep["path"]):
                return False
            if here and here != {dep.get("md5")}:
                return False
            if maker and not self.up_to_date(maker):
                return False
        return True

    def code_is_seen(self, lock: dict[str, Any]) -> bool:
        """Whether the workspace's source is the one that the stage ``code`` hashed last."""
        for path in (Path(dep["path"]) for dep in lock.get("deps", [])):
            if path.parent == Path("code") and path.suffix == ".txt":
                try:
                    if hash_lines(f"stages.{path.stem}", Path.cwd()) != path.read_text("utf-8"):
                        return False
                except (ValueError, OSError):
                    return False
        return True

    def score(self, variant: str, metric: str) -> str:
        """The score as text; a dash if it was not made with this tree's params, code and data."""
        stage = f"{EVALUATE}{variant}"
        value = self.scores(variant).get(metric)
        files = {f"metrics/scores/{variant}.json", f"metrics/{variant}.json"} & self.files
        recorded = all(self.makers.get(file, (None,))[0] == stage for file in files)
        if value is None or not recorded or not self.up_to_date(stage):
            return DASH
        return str(value) if isinstance(value, int) else f"{value:.4f}"


@cache
def _has_changed(stage: str, path: str) -> bool:
    """Whether DVC says that a dependency of a workspace stage differs from ``dvc.lock``, or cannot
    tell."""
    try:
        shown = dvc("status", "--json", stage)
        changes = json.loads(shown[shown.index("{") :]).get(stage, [])
    except ValueError:
        return True
    return any(
        path in change.get("changed deps", {}) for change in changes if isinstance(change, dict)
    )


def rows(revs: Iterable[str]) -> Iterator[tuple[str, Tree]]:
    """Name and tree of the workspace, of each revision and of each of its experiments."""
    options = [word for rev in revs for word in ("--rev", rev)]
    for baseline in json.loads(dvc("exp", "show", "--json", *options)):
        yield baseline["name"] or baseline["rev"][:9], Tree(baseline["rev"])
        for experiment in baseline.get("experiments") or []:
            state = (experiment.get("executor") or {}).get("state")  # queued, running, failed
            for run in experiment["revs"] or []:
                name = run["name"] or experiment["name"] or run["rev"][:9]
                yield f"  {name}{f' ({state})' if state else ''}", Tree(run["rev"])


def compare(trees: list[tuple[str, Tree]], metric: str, width: int) -> str:
    """The table as text.

    Raises:
        ValueError: there are no scores at all, or none named ``metric``.
    """
    # The workspace's variants come first; one that it no longer has is shown if it has a score.
    variants = list(dict.fromkeys(variant for _, tree in trees for variant in tree.variants))
    known = dict.fromkeys(name for _, tree in trees for v in variants for name in tree.scores(v))
    if not known:
        raise ValueError("no scores in metrics/, here or in the revisions: run `dvc repro`")
    if metric not in known:
        raise ValueError(f"metric {metric!r}: must be one of {', '.join(known)}")
    scores = {v: [tree.score(v, metric) for _, tree in trees] for v in variants}
    here = trees[0][1].variants
    scores = {v: cells for v, cells in scores.items() if v in here or set(cells) != {DASH}}
    columns = differing([tree.yaml("params.yaml") for _, tree in trees]) | scores
    groups: dict[str | None, list[int]] = {}
    for row, (_, tree) in enumerate(trees):
        groups.setdefault(tree.test_images, []).append(row)
    parts = []
    for test_images in sorted(groups, key=lambda found: found is None):  # those of no run last
        members = groups[test_images]
        names = [trees[row][0] for row in members]
        cells = {title: [column[row] for row in members] for title, column in columns.items()}
        counts = (trees[row][1].score(v, "num_images") for row in members for v in variants)
        where = scored_on(trees[members[0]][1], counts) if test_images else "unknown test images"
        parts += [f"{metric} on {where}:", layout(names, cells, width)]
    return "\n\n".join(parts + [NOTE] * any(DASH in cells for cells in scores.values()))


def scored_on(tree: Tree, counts: Iterable[str]) -> str:
    """What a row's test images are, in a few words; ``counts`` as scores are shown."""
    params = tree.yaml("params.yaml")
    path, source, split, size = (
        _look_up(params, name.split("."))[1]
        for name in ("data.path", "data.source", "preprocess.split", "preprocess.image_size")
    )
    count = next((f"{int(count):,} " for count in counts if count != DASH), "")
    what = "drawn" if source == "synthetic" else path
    return f"{count}test images ({what}, split {split}, {size} px)"


def differing(params: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Short name -> one text per row, for each param that is not the same in all rows.

    Rows that lack the param's whole section (of a variant that they do not have) are left out.
    """
    paths = list(dict.fromkeys(path for row in params for path in _leaves(row)))
    columns = {}
    for path in paths:
        found = [_look_up(row, path) for row in params]
        comparable = [
            f for f, row in zip(found, params, strict=True) if _look_up(row, path[:-1])[0]
        ]
        if any(value != comparable[0] for value in comparable):
            columns[_short(path, paths)] = [_text(value) if there else "" for there, value in found]
    return columns


def layout(names: list[str], columns: dict[str, list[str]], width: int) -> str:
    """The columns beside the rows' names, split into tables at most ``width`` characters wide."""
    head = ["experiment", *names]
    head = [name.ljust(max(map(len, head))) for name in head]
    tables: list[list[tuple[str, ...]]] = []
    for title, cells in columns.items():
        size = max(map(len, [title, *cells]))
        column = [f"{GAP}{cell:>{size}}" for cell in (title, *cells)]
        if not tables or sum(map(len, tables[-1][0])) + len(column[0]) > width:
            tables.append([(name,) for name in head])
        tables[-1] = [(*line, cell) for line, cell in zip(tables[-1], column, strict=True)]
    texts = []
    for table in tables:
        first, *lines = ["".join(line) for line in table]
        texts.append("\n".join([first, "-" * len(first), *lines]))
    return "\n\n".join(texts)


def _leaves(params: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not isinstance(params, dict):
        yield path
        return
    for key, value in params.items():
        yield from _leaves(value, (*path, str(key)))


def _look_up(params: Any, path: Iterable[str]) -> tuple[bool, Any]:
    """Whether there is such a param, and its value."""
    for key in path:
        if not isinstance(params, dict) or key not in params:
            return False, None
        params = params[key]
    return True, params


def _short(path: tuple[str, ...], paths: list[tuple[str, ...]]) -> str:
    """The shortest end of a param's path that no other path shares."""
    count = 1
    while sum(other[-count:] == path[-count:] for other in paths) > 1:
        count += 1
    return ".".join(path[-count:])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@cache
def _parse_yaml(content: bytes) -> dict[str, Any]:
    try:
        return _mapping(YAML(typ="safe", pure=True).load(content))  # YAML 1.2, as DVC reads it
    except (YAMLError, UnicodeDecodeError):
        return {}


def _parse_json(content: bytes | None) -> dict[str, Any]:
    try:
        return _mapping(json.loads(content or b"{}"))
    except ValueError:
        return {}


@cache
def _blob(rev: str, path: str) -> bytes:
    return git("cat-file", "blob", f"{rev}:./{path}")


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser("python -m tools.compare", description=__doc__.splitlines()[0])
    parser.add_argument("--metric", default="iou", help="the score to show (default: iou)")
    parser.add_argument("revs", metavar="REV", nargs="*", help="baselines (default: HEAD)")
    arguments = parser.parse_args()
    read_yaml("params.yaml")  # refuse a broken file: it would look like one without experiments
    width = shutil.get_terminal_size().columns
    print(compare(list(rows(arguments.revs)), arguments.metric, width))


if __name__ == "__main__":
    run_stage("compare", main)
