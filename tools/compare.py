"""The experiments side by side: ``python -m tools.compare [--metric M] [--over PARAM] [REV ...]``.

The default metric counts the trimaps' border as background in every row, whatever the models
learnt it as; plain names, ``iou`` for example, are by each model's own rule (``train.boundary``).

The rows are the workspace, HEAD (or each REV) and each of its experiments; the columns are the
params that differ between rows, and the variants. Rows that were scored on the same test images
make a table; what these were stands above it. After a run of part of the pipeline,
``dvc exp show`` shows scores of an earlier run. Here a score is shown only if the row's
``dvc.lock`` says that it was made with the row's own params, code and data.

``--over train.seed`` shows, instead of each run, the mean and standard deviation of runs that
differ in that param alone, and the paired differences between them.
"""

import argparse
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML, YAMLError

from tools.commands import dvc, git
from unet.report.differences import over_seeds
from unet.runtime.config import read_yaml
from unet.runtime.process import run_stage
from unet.runtime.source import hash_lines

DASH = "-"
NOT_RUN = "not run with the params, code and data of its row"
NOTE = f"{DASH}  {NOT_RUN}"
TEST, RULE = "data/packed/test", "train.boundary"


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
    def params(self) -> dict[str, str]:
        """``params.yaml``: dotted name -> value as text."""
        return dict(_leaves(self.yaml("params.yaml")))

    @cached_property
    def stages(self) -> dict[str, dict[str, Any]]:
        """Stage -> its entry in ``dvc.lock``."""
        return self.yaml("dvc.lock").get("stages") or {}

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
        known = TEST in self.makers and self.up_to_date("preprocess")
        return self.makers[TEST][1] if known else None

    @property
    def variants(self) -> list[str]:
        """The experiments in ``params.yaml``."""
        experiments = self.yaml("params.yaml").get("experiments")
        return list(experiments) if isinstance(experiments, dict) else []

    def scores(self, variant: str) -> dict[str, float]:
        """All scores in a variant's file, up to date or not."""
        scores = json.loads(self.read(f"metrics/scores/{variant}.json") or b"{}")
        # Once, models of that rule had the plain names alone.
        for name in (
            ("accuracy", "iou") if self.params.get(RULE, "background") == "background" else ()
        ):
            scores.setdefault(f"{name}_boundary_background", scores.get(name))
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
            if any(_look_up(now, key) != params[key] for key in params):
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
        hashed = [Path(dep["path"]) for dep in lock.get("deps", [])]
        return all(
            path.is_file() and hash_lines(f"stages.{path.stem}", Path.cwd()) == path.read_text()
            for path in hashed
            if path.parent == Path("code")
        )

    def score(self, variant: str, metric: str) -> float | None:
        """The score; None if it was not made with this tree's params, code and data."""
        stage, file = f"evaluate@{variant}", f"metrics/scores/{variant}.json"
        made = self.makers.get(file, ("",))[0] == stage and self.up_to_date(stage)
        return self.scores(variant).get(metric) if made else None


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
    """Name and tree of the workspace, of each revision and of each of its experiments, the oldest
    first: in a sweep, that of the first value."""
    options = [word for rev in revs for word in ("--rev", rev)]
    for baseline in json.loads(dvc("exp", "show", "--json", *options)):
        yield baseline["name"] or baseline["rev"][:9], Tree(baseline["rev"])
        for experiment in sorted(baseline.get("experiments") or [], key=_made):
            state = (experiment.get("executor") or {}).get("state")  # queued, running, failed
            for run in experiment["revs"] or []:
                name = run["name"] or experiment["name"] or run["rev"][:9]
                yield (
                    f"  {name}{f' ({state})' if state not in (None, 'success') else ''}",
                    Tree(run["rev"]),
                )


def _made(experiment: dict[str, Any]) -> str:
    revs = experiment["revs"] or [{}]
    return (revs[0].get("data") or {}).get("timestamp") or "none yet: it runs"


def compare(
    trees: list[tuple[str, Tree]], metric: str, width: int, *, over: str | None = None
) -> str:
    """The tables as text, at most ``width`` characters wide.

    Args:
        over: a param's dotted name: instead of rows, groups that differ in nothing else.

    Raises:
        ValueError: there are no scores at all, none named ``metric``, or no param named ``over``.
    """
    # The workspace's variants come first; one that it no longer has is shown if it has a score.
    variants = list(dict.fromkeys(variant for _, tree in trees for variant in tree.variants))
    known = dict.fromkeys(name for _, tree in trees for v in variants for name in tree.scores(v))
    if not known:
        raise ValueError("no scores in metrics/, here or in the revisions: run `dvc repro`")
    if metric not in known:
        raise ValueError(f"metric {metric!r}: must be one of {', '.join(known)}")
    if over and not any(over in tree.params for _, tree in trees):
        raise ValueError(f"--over {over}: no such param; train.seed, for example")
    scores = pd.DataFrame([[t.score(v, metric) for v in variants] for _, t in trees], dtype=float)
    scores.columns = variants
    gone = [v for v in variants if v not in trees[0][1].variants and scores[v].isna().all()]
    scores = scores.drop(columns=gone)
    params = differing([tree.params for _, tree in trees], keep=over)
    groups: dict[str | None, list[int]] = {}
    for row, (_, tree) in enumerate(trees):
        groups.setdefault(tree.test_images, []).append(row)
    parts = []
    for test_images in sorted(groups, key=lambda found: found is None):  # those of no run last
        chosen = groups[test_images]
        if over and scores.loc[chosen].isna().all(axis=None):
            continue
        some = trees[chosen[0]][1]
        counts = (tree.score(v, "num_images") for _, tree in trees for v in variants
                  if tree.test_images == test_images)  # fmt: skip
        parts.append(f"{metric} on {scored_on(some, counts) if test_images else 'unknown images'}:")
        if over:
            tables = grouped(params.loc[chosen], scores.loc[chosen], over)
            parts += [shortened(t, trees).to_string(index=False, line_width=width) for t in tables]
            continue
        here = shortened(params.loc[chosen], trees)
        table = here.join(scores.loc[chosen].map(_number))
        table.index = pd.Index([trees[row][0] for row in chosen])
        parts.append(table.rename_axis("experiment", axis=1).to_string(line_width=width))
    rules = {tree.params.get(RULE) for _, tree in trees}
    if len(rules) > 1 and "_boundary_" not in metric:
        parts.append(
            f"{metric} is by each row's own {RULE}: {metric}_boundary_background is by one"
        )
    missing = scores.isna().all(axis=1) if over else scores.isna().any(axis=1)
    if over and missing.any():
        names = ", ".join(trees[row][0].strip() for row in scores.index[missing])
        parts.append(f"left out, {NOT_RUN}: {names}")
    elif missing.any():
        parts.append(NOTE)
    return "\n\n".join(parts)


def grouped(params: pd.DataFrame, scores: pd.DataFrame, over: str) -> list[pd.DataFrame]:
    """A table of the groups of runs that differ in ``over`` alone; several, one per variant, where
    runs differ in more.

    A group's scores are compared with those of its table's first group at the same values of
    ``over``: the mean of the paired differences, and its 95 % interval.

    Args:
        params: a row per run, a column per param that varies, one of them ``over``.
        scores: a row per run, a column per variant; NaN if it was not run.
    """
    runs = []
    for variant in scores:
        others = [c for c in params if c.startswith("experiments.")
                  and not c.startswith(f"experiments.{variant}.")]  # fmt: skip
        own = params.assign(variant=variant, score=scores[variant], **dict.fromkeys(others, ""))
        runs.append(own.dropna(subset="score"))
    found = pd.concat(runs)
    names = ["variant", *(name for name in params if name != over)]
    # The workspace and HEAD, and runs that repeat others, count once.
    found = found.drop_duplicates([*names, over])
    alone = found[names].drop_duplicates()["variant"].is_unique
    tables = []
    for _, part in [("", found)] if alone else found.groupby("variant", sort=False):
        wide = part.set_index([*names, over])["score"].unstack(over)
        wide = wide.reindex(part.set_index(names).index.unique())
        table = wide.index.to_frame(index=False)
        table = table.drop(columns=[n for n in names[1:] if table[n].nunique() == 1])
        table["n"] = wide.count(axis=1).to_numpy()
        spread = zip(wide.mean(axis=1), wide.std(axis=1), strict=True)
        table["mean ± deviation"] = [
            f"{mean:.4f}" + (f" ± {std:.4f}" if std == std else "") for mean, std in spread
        ]
        differences = [_difference(wide.iloc[0], row) for _, row in wide.iterrows()]
        table["minus the first (95 %)"] = ["", *differences[1:]]
        tables.append(table)
    return tables


def _difference(first: pd.Series, other: pd.Series) -> str:
    """``other`` minus ``first`` where both have a value: the mean, and its 95 % interval."""
    both = pd.DataFrame({"first": first, "other": other}).dropna()
    if len(both) < 2:
        return f"{(both['other'] - both['first']).sum():+.4f}" if len(both) else "none in common"
    weights = pd.DataFrame([{"first": -1, "other": 1}])
    row = over_seeds(both, weights).iloc[0]
    return f"{row['estimate']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f}, n = {len(both)})"


def scored_on(tree: Tree, counts: Iterable[float | None]) -> str:
    """What a row's test images are, in a few words; ``counts``: their number, where known."""
    path, source, split, size = (
        tree.params.get(name)
        for name in ("data.path", "data.source", "preprocess.split", "preprocess.image_size")
    )
    count = next((f"{int(count):,} " for count in counts if count), "")
    what = "drawn" if source == "synthetic" else path
    return f"{count}test images ({what}, split {split}, {size} px)"


def differing(params: list[dict[str, str]], keep: str | None = None) -> pd.DataFrame:
    """A column for each param that is not the same in all rows, or is ``keep``.

    Rows that lack the param's whole section (of a variant that they do not have) are left out.
    """
    names = dict.fromkeys(name for row in params for name in row)
    columns = {}
    for name in names:
        section = name.rpartition(".")[0] + "."
        having = (row for row in params if any(other.startswith(section) for other in row))
        if name == keep or len({row.get(name) for row in having}) > 1:
            columns[name] = [row.get(name, "") for row in params]
    return pd.DataFrame(columns, index=range(len(params)))


def shortened(table: pd.DataFrame, trees: list[tuple[str, Tree]]) -> pd.DataFrame:
    """``table`` with the shortest ends of params' names that no other param shares."""
    names = {name for _, tree in trees for name in tree.params}

    def short(name: str) -> str:
        parts = name.split(".")
        ends = (".".join(parts[-count:]) for count in range(1, len(parts)))
        return next((e for e in ends if sum(f".{n}".endswith(f".{e}") for n in names) == 1), name)

    return table.rename(columns={name: short(name) for name in table if name in names})


def _leaves(params: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if not isinstance(params, dict):
        yield name, params if isinstance(params, str) else json.dumps(params, default=str)
        return
    for key, value in params.items():
        yield from _leaves(value, f"{name}.{key}" if name else str(key))


def _look_up(params: Any, name: str) -> Any:
    """The param of the dotted ``name``; an Ellipsis, equal to no value, if there is none."""
    for key in name.split("."):
        params = params.get(key, ...) if isinstance(params, dict) else ...
    return params


def _number(value: float) -> str:
    if pd.isna(value):
        return DASH
    return f"{value:.0f}" if value > 1 and value == round(value) else f"{value:.4f}"


@cache
def _parse_yaml(content: bytes) -> dict[str, Any]:
    try:
        parsed = YAML(typ="safe", pure=True).load(content)  # YAML 1.2, as DVC reads it
    except (YAMLError, UnicodeDecodeError):
        parsed = None
    return parsed if isinstance(parsed, dict) else {}


@cache
def _blob(rev: str, path: str) -> bytes:
    return git("cat-file", "blob", f"{rev}:./{path}")


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser("python -m tools.compare", description=__doc__.splitlines()[0])
    parser.add_argument("--metric", default="iou_boundary_background", help="the score to show")
    parser.add_argument("--over", metavar="PARAM", help="groups that differ in this param alone")
    parser.add_argument("revs", metavar="REV", nargs="*", help="baselines (default: HEAD)")
    arguments = parser.parse_args()
    read_yaml("params.yaml")  # refuse a broken file: it would look like one without experiments
    width = shutil.get_terminal_size().columns
    print(compare(list(rows(arguments.revs)), arguments.metric, width, over=arguments.over))


if __name__ == "__main__":
    run_stage("compare", main)
