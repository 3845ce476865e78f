"""The stages of all DVC projects in a repository, as DVC reads them, and how to match two trees."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from dvc.utils.serialize import load_yaml

from tools.copies import projects_of

Hash = dict[str, Any]  # in a lock entry: hash, md5, size, nfiles
Params = dict[tuple[str, str], Any]  # (file, dotted key) -> value that is not a dict
Moves = list[tuple[str, str]]  # old prefix of a path -> its new one


@dataclass(frozen=True)
class Record:
    """A stage's entry in dvc.lock. All paths are relative to the repository's root."""

    cmd: str
    deps: dict[str, Hash]
    outs: dict[str, Hash]
    params: Params


@dataclass(frozen=True)
class Stage:
    """A stage. All paths are relative to the repository's root.

    Attributes:
        pipeline: the path of its dvc.yaml.
        params: the params that it tracks, with their current values.
        record: its lock entry; None if it has none.
        dvc: DVC's own object.
    """

    pipeline: str
    name: str
    deps: dict[str, Any]
    outs: dict[str, Any]
    params: Params
    record: Record | None
    dvc: Any

    @property
    def address(self) -> str:
        """The stage's name for DVC commands in the root."""
        return address(self.pipeline, self.name)

    def reads(self, path: str) -> bool:
        """Whether the stage depends on ``path``, something in it or a folder around it."""
        return any(overlap(dep, path) for dep in self.deps)


def address(pipeline: str, name: str) -> str:
    """The name of the stage ``name`` of a dvc.yaml for DVC commands in the root."""
    return name if pipeline == "dvc.yaml" else f"{pipeline}:{name}"


def overlap(first: str, second: str) -> bool:
    """Whether two paths are equal or one is inside the other."""
    short, long = sorted((first.split("/"), second.split("/")), key=len)
    return long[: len(short)] == short


def read_pipeline(root: Path) -> dict[str, Stage]:
    """Address -> stage, in an order in which they can run.

    Raises:
        ValueError: ``root`` has no dvc.yaml.
        DvcException: DVC cannot read a pipeline.
    """
    root = root.resolve()
    found = [stage for project in projects_of(root) for stage in Repo(str(project)).index.stages]
    found = [stage for stage in found if getattr(stage, "name", None)]
    # Read each lock file once: one with many stages takes a second.
    paths = {stage.path: Path(stage.path).with_name("dvc.lock") for stage in found}
    locks = {
        path: load_yaml(str(lock)).get("stages", {}) if lock.is_file() else {}
        for path, lock in paths.items()
    }
    stages = [_read_stage(stage, root, locks[stage.path].get(stage.name)) for stage in found]
    if not stages:
        raise ValueError("it has no DVC pipeline: name a newer revision")
    return {stage.address: stage for stage in _in_order(stages)}


def _in_order(stages: list[Stage]) -> list[Stage]:
    done: dict[str, Stage] = {}

    def visit(stage: Stage, above: frozenset[str] = frozenset()) -> None:
        if stage.address in done or stage.address in above:
            return
        for other in stages:
            if any(stage.reads(out) for out in other.outs):
                visit(other, above | {stage.address})
        done[stage.address] = stage

    for stage in stages:
        visit(stage)
    return list(done.values())


def _read_stage(stage: Any, root: Path, entry: dict[str, Any] | None) -> Stage:
    def relative(path: str) -> str:
        return Path(os.path.relpath(path, root)).as_posix()

    def hashes(kind: str) -> dict[str, Hash]:
        return {
            relative(os.path.join(stage.wdir, item["path"])): {  # noqa: PTH118
                key: value for key, value in item.items() if key != "path"
            }
            for item in entry.get(kind, [])
        }

    record = entry and Record(
        entry.get("cmd", ""),
        hashes("deps"),
        hashes("outs"),
        {
            (relative(os.path.join(stage.wdir, file)), key): value  # noqa: PTH118
            for file, values in entry.get("params", {}).items()
            for key, value in leaves(values).items()
        },
    )
    params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
    return Stage(
        pipeline=relative(stage.path),
        name=stage.name,
        deps={relative(dep.fs_path): dep for dep in stage.deps if dep not in params},
        outs={relative(out.fs_path): out for out in stage.outs},
        params={
            (relative(dep.fs_path), key): value
            for dep in params
            for key, value in leaves(dep.read_params()).items()
        },
        record=record or None,
        dvc=stage,
    )


def leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested params as dotted key -> value that is not a dict."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= leaves(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def moved(path: str, moves: Iterable[tuple[str, str]]) -> str:
    """``path`` with its old prefix replaced by the new one; the first match in ``moves`` counts."""
    for old, new in moves:
        if path.startswith(old):
            return new + path[len(old) :]
    return path


def moved_back(path: str, moves: Moves) -> str:
    """The path that :func:`moved` turns into ``path``."""
    return moved(path, [(new, old) for old, new in moves])


def match(old: Mapping[str, Stage], new: Mapping[str, Stage], moves: Moves) -> dict[str, Stage]:
    """New address -> the old stage of the same name: from the dvc.yaml that moved there, else from
    any other if exactly one stage on each side has the name."""
    found: dict[str, Stage] = {}
    for stage in old.values():
        where = address(moved(stage.pipeline, moves), stage.name)
        if where in new:
            found[where] = stage
    taken = {stage.address for stage in found.values()}
    left = [stage for stage in old.values() if stage.address not in taken]
    free = [stage for stage in new.values() if stage.address not in found]
    for stage in left:
        fits = [other for other in free if other.name == stage.name]
        if len(fits) == 1 and sum(other.name == stage.name for other in left) == 1:
            found[fits[0].address] = stage
    return found


def stale(stage: Stage, stages: Iterable[Stage]) -> str | None:
    """Why the lock entry of ``stage`` is out of date in its tree; None if it is up to date.

    Missing data are not checked, but their recorded hashes must match the stages that make them.
    """
    if stage.record is None:
        return "no lock entry"
    if stage.dvc.cmd_changed:
        return "another command"
    made = {path: out for other in stages for path, out in other.outs.items()}
    for item in (*stage.dvc.deps, *(out for out in stage.dvc.outs if not out.use_cache)):
        if item.status() and "deleted" not in item.status().values():
            return f"{item} {', '.join(map(_words, item.status().values()))}"
    for path, dep in stage.deps.items():
        if path in made and dep.hash_info != made[path].hash_info:
            return f"{path} recorded anew since"
    wanted, recorded = set(stage.deps) | set(stage.outs), stage.record
    if strange := sorted(wanted ^ (recorded.deps.keys() | recorded.outs.keys())):
        return f"{strange[0]} on one side only"
    return None


def _words(status: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in status.items()) if isinstance(status, dict) else status
