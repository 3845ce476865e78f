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

Where a table is wider than the terminal, its params and its scores stand below each other.
"""

import argparse
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from dvc.utils.flatten import flatten
from ruamel.yaml import YAML, YAMLError

from tools.commands import dvc, dvc_status, git
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
        of_workspace = ("ls-files", "-coz", "--exclude-standard")
        of_commit = ("ls-tree", "-rz", "--name-only", str(self.rev))
        names = git(*(of_commit if self.rev else of_workspace))
        return frozenset(names.decode(errors="surrogateescape").split("\0"))

    def read(self, path: str) -> bytes | None:
        """The file's content; None if it is not in :attr:`files`."""
        if path not in self.files:
            return None
        if self.rev:
            return _blob(self.rev, path)
        return Path(path).read_bytes() if Path(path).is_file() else None

    def yaml(self, path: str) -> dict[str, Any]:
        """The content of a YAML file; empty if it is missing or broken."""
        return _parse_yaml(self.read(path) or b"")

    @cached_property
    def params(self) -> dict[str, str]:
        """``params.yaml``: dotted name -> value as text."""
        return {
            name: value if isinstance(value, str) else json.dumps(value, default=str)
            for name, value in flatten(self.yaml("params.yaml")).items()
        }

    @cached_property
    def stages(self) -> dict[str, dict[str, Any]]:
        """Stage -> its entry in ``dvc.lock``."""
        return self.yaml("dvc.lock").get("stages") or {}

    @cached_property
    def makers(self) -> dict[str, tuple[str, str]]:
        """Output -> the stage that made it, and its MD5."""
        return {
            out["path"]: (name, out["md5"])
            for name, stage in self.stages.items()
            for out in stage.get("outs", [])
        }

    @property
    def test_images(self) -> str | None:
        """The hash of the packed test images; None if they are not recorded for these params."""
        return self.makers.get(TEST, ("", None))[1] if self.up_to_date("preprocess") else None

    @property
    def variants(self) -> list[str]:
        """The experiments in ``params.yaml``."""
        return list(self.yaml("params.yaml").get("experiments") or {})

    def scores(self, variant: str) -> dict[str, float]:
        """All scores in a variant's file, up to date or not."""
        scores = json.loads(self.read(f"metrics/scores/{variant}.json") or b"{}")
        if self.params.get(RULE, "background") == "background":
            # Once, models of that rule had the plain names alone.
            for name in ("accuracy", "iou"):
                scores.setdefault(f"{name}_boundary_background", scores.get(name))
        return {name: value for name, value in scores.items() if type(value) in (int, float)}

    def score(self, variant: str, metric: str) -> float | None:
        """The score; None if it was not made with this tree's params, code and data."""
        made = self.up_to_date(f"evaluate@{variant}")
        return self.scores(variant).get(metric) if made else None

    def up_to_date(self, stage: str) -> bool:
        """Whether nothing has changed since this stage and the stages before it ran."""
        lock = self.stages.get(stage)
        if lock is None or (self.rev is None and not self.code_is_seen(lock)):
            return False
        for file, params in lock.get("params", {}).items():
            now = self.yaml(file)
            if any(_look_up(now, key) != value for key, value in params.items()):
                return False
        for out in lock.get("outs", []):
            if self.md5(out["path"]) not in (None, out["md5"]):  # None: not kept by Git
                return False
        return all(self.has_input(stage, dep["path"], dep["md5"]) for dep in lock.get("deps", []))

    def has_input(self, stage: str, path: str, md5: str) -> bool:
        """Whether the file or folder that a stage reads has the ``md5`` in its entry."""
        maker, made = self.makers.get(path, (None, None))
        here = {made, self.md5(path)} - {None}
        if here:
            return here == {md5} and (maker is None or self.up_to_date(maker))
        # A user's own folder: no stage makes it and Git does not track it. For a commit, the params
        # and the lock file are all there is to compare; in the workspace, ask DVC.
        return self.rev is not None or not _has_changed(stage, path)

    def md5(self, path: str) -> str | None:
        """The file's MD5, as in ``dvc.lock``; None if there is no such file."""
        content = self.read(path)
        return None if content is None else hashlib.md5(content, usedforsecurity=False).hexdigest()

    def code_is_seen(self, lock: dict[str, Any]) -> bool:
        """Whether the workspace's source is the one that the stage ``code`` hashed last."""
        paths = (dep["path"] for dep in lock.get("deps", []))
        return all(
            self.read(path) == hash_lines(f"stages.{Path(path).stem}", Path.cwd()).encode()
            for path in paths
            if path.startswith("code/")
        )


@cache
def _has_changed(stage: str, path: str) -> bool:
    """Whether DVC says that an input of a workspace stage differs from ``dvc.lock``, or cannot
    tell."""
    try:
        changes = dvc_status(stage).get(stage, [])
    except ValueError:
        return True
    return any(path in why["changed deps"] for why in changes if "changed deps" in why)


def rows(revs: Iterable[str]) -> Iterator[tuple[str, Tree]]:
    """Name and tree of the workspace, of each revision and of each of its experiments, the oldest
    first: in a sweep, that of the first value."""
    options = [word for rev in revs for word in ("--rev", rev)]
    for baseline in json.loads(dvc("exp", "show", "--json", *options)):
        yield baseline["name"] or baseline["rev"][:9], Tree(baseline["rev"])
        for experiment in sorted(baseline["experiments"] or [], key=_made):
            state = (experiment["executor"] or {}).get("state")  # queued, running, failed
            shown = "" if state in (None, "success") else f" ({state})"
            for run in experiment["revs"] or []:
                name = run["name"] or experiment["name"] or run["rev"][:9]
                yield f"  {name}{shown}", Tree(run["rev"])


def _made(experiment: dict[str, Any]) -> str:
    revs = experiment["revs"] or [{}]
    return (revs[0].get("data") or {}).get("timestamp") or "none yet: it runs"


def compare(
    trees: list[tuple[str, Tree]], metric: str, width: int, *, over: str | None = None
) -> str:
    """The tables as text, their params and scores below each other if wider than ``width``.

    Args:
        over: a param's dotted name: instead of rows, groups that differ in nothing else.

    Raises:
        ValueError: there are no scores at all, none named ``metric``, no param named ``over``, or
            no two runs that differ in nothing else.
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
    # Whole numbers above 1 are counts.
    texts = {"^nan$": DASH, r"^(?![01]\.)(.+)\.0000$": r"\1"}
    shown = scores.map("{:.4f}".format).replace(texts, regex=True)
    params = differing([tree.params for _, tree in trees], keep=over)
    ends = Counter(n.rpartition(".")[2] for n in {n for _, tree in trees for n in tree.params})
    short = {name: end for name in params if ends[end := name.rpartition(".")[2]] == 1}
    params.index = scores.index = shown.index = pd.Index([name for name, _ in trees])
    of_images: dict[str | None, list[int]] = {}
    for row, (_, tree) in enumerate(trees):
        of_images.setdefault(tree.test_images, []).append(row)
    parts = []
    for images, chosen in sorted(of_images.items(), key=lambda item: item[0] is None):
        if over and scores.iloc[chosen].isna().all(axis=None):
            continue
        tables = [(params.iloc[chosen], shown.iloc[chosen])]
        if over:
            tables = grouped(params.iloc[chosen], scores.iloc[chosen], over)
        if tables:
            which = scored_on([trees[row][1] for row in chosen]) if images else "unknown images"
            parts.append(f"{metric} on {which}:")
        for left, right in tables:
            corner = "group" if over else "experiment"
            parts.append(beside(left.rename(columns=short), right, corner, width))
    if not parts:
        raise ValueError(f"--over {over}: no two runs differ in it alone")
    rules = {tree.params.get(RULE) for _, tree in trees}
    if len(rules) > 1 and "_boundary_" not in metric:
        parts.append(
            f"{metric} is by each row's own {RULE}: {metric}_boundary_background is by one"
        )
    missing = scores.isna().all(axis=1) if over else scores.isna().any(axis=1)
    if over and missing.any():
        names = ", ".join(name.strip() for name in scores.index[missing])
        parts.append(f"left out, {NOT_RUN}: {names}")
    elif missing.any():
        parts.append(NOTE)
    return "\n\n".join(parts)


def beside(params: pd.DataFrame, scores: pd.DataFrame, corner: str, width: int) -> str:
    """A table as text; its two parts stand below each other where it is wider than ``width``."""
    parts = [part.rename_axis(corner, axis=1) for part in (params, scores) if len(part.columns)]
    whole = pd.concat(parts, axis=1).to_string()
    fits = len(whole.partition("\n")[0]) <= width
    return whole if fits else "\n\n".join(part.to_string() for part in parts)


def grouped(
    params: pd.DataFrame, scores: pd.DataFrame, over: str
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """A table of the groups of runs that differ in ``over`` alone, in two parts; several, one per
    variant, where runs differ in more.

    A group's scores are compared with those of its table's first group at the same values of
    ``over``: the mean of the paired differences, and its 95 % interval. A run alone, with a value
    of ``over`` that no other group has, is left out.

    Args:
        params: a row per run, a column per param that varies, one of them ``over``.
        scores: a row per run, a column per variant; NaN if it was not run.
    """
    names = ["variant", *(name for name in params if name != over)]
    runs = [
        params.assign(
            **dict.fromkeys(params.filter(regex=rf"^experiments\.(?!{variant}\.)"), ""),
            variant=variant,
            score=scores[variant],
        )
        for variant in scores
    ]
    # The workspace and HEAD, and runs that repeat others, count once.
    found = pd.concat(runs).dropna(subset="score").drop_duplicates([*names, over])
    alone = found[names].drop_duplicates()["variant"].is_unique
    tables = []
    for _, part in [("", found)] if alone else found.groupby("variant", sort=False):
        wide = part.pivot_table("score", names, over, sort=False)
        shared = wide.loc[:, wide.count() > 1].notna().any(axis=1)
        wide = wide[shared | (wide.count(axis=1) > 1)]
        if wide.empty:
            continue
        groups = wide.index.to_frame(index=False)
        groups = groups.drop(columns=[n for n in names[1:] if groups[n].nunique() == 1])
        deviations = wide.std(axis=1).map(" ± {:.4f}".format).replace(" ± nan", "")
        differences = [_difference(wide.iloc[0], row) for _, row in wide.iterrows()]
        results = pd.DataFrame({
            "n": wide.count(axis=1),
            "mean ± deviation": wide.mean(axis=1).map("{:.4f}".format) + deviations,
            "minus the first (95 %)": ["", *differences[1:]],
        })  # fmt: skip
        groups.index = results.index = range(1, len(results) + 1)
        tables.append((groups, results))
    return tables


def _difference(first: pd.Series, other: pd.Series) -> str:
    """``other`` minus ``first`` where both have a value: the mean, and its 95 % interval."""
    both = pd.DataFrame({"first": first, "other": other}).dropna()
    if len(both) < 2:
        return f"{(both['other'] - both['first']).sum():+.4f}" if len(both) else "none in common"
    row = over_seeds(both, pd.DataFrame({"first": [-1], "other": [1]})).iloc[0]
    return f"{row['estimate']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f}, n = {len(both)})"


def scored_on(trees: list[Tree]) -> str:
    """What the test images of these rows are, in a few words, with their number where known."""
    counts = (tree.score(variant, "num_images") for tree in trees for variant in tree.variants)
    count = next((f"{int(count):,} " for count in counts if count), "")
    get = trees[0].params.get
    what = "drawn" if get("data.source") == "synthetic" else get("data.path")
    how = f"split {get('preprocess.split')}, {get('preprocess.image_size')} px"
    return f"{count}test images ({what}, {how})"


def differing(params: list[dict[str, str]], keep: str | None = None) -> pd.DataFrame:
    """A column for each param that is not the same in all rows, or is ``keep``.

    Rows that lack the param's whole section (of a variant that they do not have) are left out.
    """
    columns = {}
    for name in dict.fromkeys(name for row in params for name in row):
        section = name.rpartition(".")[0] + "."
        having = (row for row in params if any(other.startswith(section) for other in row))
        if name == keep or len({row.get(name) for row in having}) > 1:
            columns[name] = [row.get(name, "") for row in params]
    return pd.DataFrame(columns, index=range(len(params)))


def _look_up(params: Any, name: str) -> Any:
    """The param of the dotted ``name``; an Ellipsis, equal to no value, if there is none."""
    for key in name.split("."):
        params = params.get(key, ...) if isinstance(params, dict) else ...
    return params


@cache
def _parse_yaml(content: bytes) -> dict[str, Any]:
    try:
        return YAML(typ="safe", pure=True).load(content) or {}  # YAML 1.2, as DVC reads it
    except YAMLError:  # a conflict in dvc.lock, for example
        return {}


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
    width = shutil.get_terminal_size((10_000, 0)).columns  # a pipe has no width
    print(compare(list(rows(arguments.revs)), arguments.metric, width, over=arguments.over))


if __name__ == "__main__":
    run_stage("compare", main)
