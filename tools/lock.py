"""Rewrite the dvc.lock entries of stages whose outputs did not change although their code did.

An entry gets the current command, dependencies and params, and keeps the recorded output hashes.
"""

import fnmatch
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.stage.loader import StageLoader
from dvc.utils.serialize import load_yaml, modify_yaml

from tools.contents import differences
from tools.copies import SMALL, files_of, run
from tools.pipeline import (
    Hash,
    Moves,
    Stage,
    leaves,
    match,
    moved,
    moved_back,
    overlap,
    read_pipeline,
    stale,
)


class RefusalError(Exception):
    """Why a stage's entry cannot be rewritten."""


@dataclass(frozen=True)
class Evidence:
    """What the small runs have shown. Addresses and paths are those of the new tree.

    Attributes:
        known: the stages of the small pipeline, whether they ran or not.
        verdicts: stage that ran on both sides -> whether each of its outputs is the same or differs
            as intended.
        changed: the outputs that differ as intended.
        globs: the globs that named these outputs.
        kept: globs of outputs that have a new form now but whose recorded form stays valid.
    """

    known: Collection[str]
    verdicts: Mapping[str, bool]
    changed: Collection[str]
    globs: Collection[str]
    kept: Collection[str] = ()

    def stages_for(self, address: str) -> list[str]:
        """The stages that ran in place of ``address``: itself, or, if the small pipeline has no
        such stage (another seed), those of its group with the same name up to the last dash, or the
        whole group."""
        if address in self.known or "@" not in address:
            return [address]
        for prefix in (address.rpartition("-")[0] + "-", address.partition("@")[0] + "@"):
            if found := [other for other in self.known if other.startswith(prefix)]:
                return found
        return [address]

    def refuse(self, address: str) -> None:
        """Raise a RefusalError unless all stages that ran in place of ``address`` were the same."""
        for other in self.stages_for(address):
            if other not in self.verdicts:
                raise RefusalError("not run, or on one side only")
            if not self.verdicts[other]:
                raise RefusalError("its outputs differ" if other == address else f"{other} differs")

    def changes(self, stage: Stage, path: str) -> bool:
        """Whether the output ``path`` of ``stage`` is meant to differ and must be made anew."""
        if any(fnmatch.fnmatch(path, glob) for glob in self.kept):
            return False
        if path in self.changed or stage.address in self.known:
            return path in self.changed
        named = any(fnmatch.fnmatch(path, glob) for glob in self.globs)
        return named and bool(self.changed)


@dataclass
class Locks:
    """The lock files of the repository ``root`` while they are rewritten.

    Attributes:
        before: address -> the same stage at the revision, whose tree is ``before_root``.
        outs: output -> its hash in the rewritten lock files.
        old_form: outputs that are meant to differ but whose recorded hashes are still those of the
            revision.
    """

    root: Path
    before_root: Path
    evidence: Evidence
    moves: Moves
    stages: dict[str, Stage] = field(init=False)
    before: dict[str, Stage] = field(init=False)
    outs: dict[str, Hash] = field(init=False)
    old_form: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.stages = read_pipeline(self.root)
        everything = read_pipeline(self.before_root)
        self.before = match(everything, self.stages, self.moves)
        self.stale = {a: stale(stage, everything.values()) for a, stage in self.before.items()}
        records = [stage.record for stage in everything.values() if stage.record]
        self.recorded: dict[str, Hash] = {}  # at the revision; an output's hash wins
        for paths in (*(r.deps for r in records), *(r.outs for r in records)):
            self.recorded |= {moved(path, self.moves): entry for path, entry in paths.items()}
        self.outs = {
            path: entry
            for stage in self.stages.values()
            for path, entry in (stage.record.outs if stage.record else {}).items()
        }
        self.tracked = set(files_of(self.root))
        self.makers = {path: stage for stage in self.stages.values() for path in stage.outs}

    def in_git(self, path: str) -> bool:
        """Whether ``path`` exists and Git tracks all its files, or would (new, not ignored)."""
        full = self.root / path
        files = [full] if full.is_file() else [p for p in full.rglob("*") if p.is_file()]
        return bool(files) and all(
            file.relative_to(self.root).as_posix() in self.tracked for file in files
        )

    def changed(self, path: str) -> list[str]:
        """The outputs at, inside or around ``path`` that are meant to differ."""
        return [
            out
            for out, maker in self.makers.items()
            if overlap(out, path) and self.evidence.changes(maker, out)
        ]

    def rebuild(self, stage: Stage) -> None:
        """Give DVC's objects of ``stage`` the hashes and params of its new entry.

        Raises:
            RefusalError: the entry cannot be rewritten.
        """
        self.evidence.refuse(stage.address)
        before = self.before.get(stage.address)
        if before is None:
            raise RefusalError("new")
        if reason := self.stale[stage.address]:
            raise RefusalError(f"out of date at the revision: {reason}")
        refuse_params(before, stage, self.before_root, self.moves)
        deps = {path: self.dependency(before, path) for path in stage.deps}
        outs = {path: self.output(stage, path) for path in stage.outs}

        # None means that the file exists and its current hash is recorded.
        entry = {
            kind: [
                {"path": items[path].def_path} | value
                for path, value in hashes.items()
                if value is not None
            ]
            for kind, hashes, items in (("deps", deps, stage.deps), ("outs", outs, stage.outs))
        }
        StageLoader.fill_from_lock(stage.dvc, entry)
        present = [stage.deps[path] for path, value in deps.items() if value is None]
        present += [stage.outs[path] for path, value in outs.items() if value is None]
        present += [dep for dep in stage.dvc.deps if isinstance(dep, ParamsDependency)]
        for item in present:
            item.save()
        self.outs |= {path: hash_of(out) for path, out in stage.outs.items()}

    def dependency(self, before: Stage, path: str) -> Hash | None:
        """The hash to record for a dependency; None: its current one.

        Raises:
            RefusalError: it is not the one of the revision, or its hash is not known.
        """
        made = [maker for out, maker in self.makers.items() if overlap(out, path)]
        made = [maker for maker in made if not maker.dvc.always_changed]
        if self.in_git(path):
            if made:
                self.refuse_other_content(path)
            return None
        recorded = before.record.deps.get(moved_back(path, self.moves)) or self.recorded.get(path)
        here = self.outs.get(path)
        if changed := self.changed(path):
            if here and recorded and here["md5"] != recorded["md5"]:
                return here
            self.old_form |= set(changed)
        elif here and recorded and here["md5"] != recorded["md5"]:
            raise RefusalError(f"its input {path} is not the one of the revision")
        if recorded is None:
            raise RefusalError(f"no hash of its input {path} is known")
        return recorded

    def output(self, stage: Stage, path: str) -> Hash | None:
        """The hash to record for an output; None: its current one.

        Raises:
            RefusalError: it has to be made anew first, or its hash is not known.
        """
        recorded = self.recorded.get(path)
        if self.evidence.changes(stage, path):
            item = stage.outs[path]
            if not (self.root / path).exists() or recorded == hash_of(item, present=True):
                self.old_form.add(path)
                raise RefusalError(f"{path} has not been made anew here")
            return None
        if self.in_git(path):
            self.refuse_other_content(path)
            return None
        if recorded is None:
            raise RefusalError(f"the revision has no hash of {path}")
        return recorded

    def refuse_other_content(self, path: str) -> None:
        """Raise a RefusalError unless an output in Git is the same as at the revision."""
        found = differences(self.before_root / moved_back(path, self.moves), self.root / path)
        named = self.changed(path)
        wrong = [name for name in found if not any(overlap(f"{path}/{name}".rstrip("/"), out)
                                                   for out in named)]  # fmt: skip
        if wrong:
            name = f"{path}/{wrong[0]}".rstrip("/")
            raise RefusalError(f"{name} is not the one of the revision ({found[wrong[0]]})")

    def keep_old_form(self, stage: Stage) -> None:
        """Add moved outputs of a refused stage to its entry, with the hashes that later stages
        record. Its dependencies stay as they are, so the stage stays out of date."""
        missing = {
            path: self.recorded[path]
            for path in stage.outs
            if path in self.recorded and path not in self.outs
        }
        if not missing or not stage.deps or not self.old_form & set(stage.outs):
            return
        with modify_yaml(str((self.root / stage.pipeline).with_name("dvc.lock"))) as data:
            data.setdefault("schema", "2.0")
            entry = data.setdefault("stages", {}).setdefault(stage.name, {"cmd": stage.dvc.cmd})
            present = {item["path"]: item for item in entry.get("outs", [])}
            present |= {
                stage.outs[path].def_path: {"path": stage.outs[path].def_path} | value
                for path, value in missing.items()
            }
            entry["outs"] = [present[path] for path in sorted(present)]
        self.outs |= missing


def refuse_params(before: Stage, stage: Stage, before_root: Path, moves: Moves) -> None:
    """Raise a RefusalError if a tracked param differs from its recorded value.

    A param that only one side tracks is accepted if the small runs used its real value. If they
    used a small one, the revision must have the value.
    """
    old = {(moved(file, moves), key): v for (file, key), v in before.record.params.items()}
    for (file, key), value in stage.params.items():
        name = key.rpartition(".")[2]
        if (file, key) in old:
            known = [old[file, key]]
        elif name in {*SMALL, "seeds"}:
            known = [v for (_, other), v in old.items() if other.rpartition(".")[2] == name]
            path = before_root / moved_back(file, moves)
            if path.is_file():
                known += [v for k, v in leaves(load_yaml(str(path))).items() if k == key]
        else:
            continue
        if value not in known:
            raise RefusalError(f"{key} = {value}, recorded with {', '.join(map(str, known))}")


def hash_of(item: Any, *, present: bool = False) -> Hash:
    """The lock entry of a dependency or output without its path; ``present``: of the file here."""
    if present:
        recorded = (item.meta, item.hash_info)
        item.save()
    meta = item.meta.to_dict()
    meta.pop("isdir", None)
    entry = {"hash": item.hash_name, "md5": item.hash_info.value} | meta
    if present:
        item.meta, item.hash_info = recorded
    return entry


def accept(
    root: Path, before_root: Path, evidence: Evidence, moves: Moves
) -> tuple[list[str], dict[str, str], list[str]]:
    """Rewrite the lock files of ``root``.

    Args:
        before_root: the unchanged tree of the revision, with its lock files.

    Returns:
        The stages whose entries were rewritten; other stage -> why not; the outputs that are meant
        to differ but still have the hashes of the revision.

    Raises:
        ValueError: a stage that always runs fails here.
    """
    for stage in read_pipeline(root).values():
        if stage.dvc.always_changed:  # it writes the hashes of the code that others depend on
            folder = (root / stage.pipeline).parent
            done = run(folder, "dvc", "repro", "-s", stage.name, check=False)
            if done.returncode:
                raise ValueError(f"{stage.address} fails here: run `dvc repro -s {stage.address}`")
    locks = Locks(root.resolve(), before_root.resolve(), evidence, moves)
    accepted, kept = [], {}
    for name, stage in locks.stages.items():
        if stage.dvc.always_changed:
            continue
        try:
            locks.rebuild(stage)
        except RefusalError as reason:
            kept[name] = str(reason)
        else:
            accepted.append(name)
    for name in kept:
        locks.keep_old_form(locks.stages[name])
    # All entries of a file at once: DVC reads and writes the whole file each time.
    for pipeline in {locks.stages[name].pipeline for name in accepted}:
        stages = [locks.stages[name] for name in accepted]
        written = [stage.dvc for stage in stages if stage.pipeline == pipeline]
        written[0].dvcfile._lockfile.dump_stages(written)
    return accepted, kept, sorted(locks.old_form)
