"""Whether a change of the code leaves every output of the pipelines as it was.

``python -m tools.same REV`` runs all stages of the commit REV and of the working tree in two
temporary copies, with small params and drawn data, and compares their outputs. ``--accept`` then
updates the lock files here as if the stages with equal outputs had run again.
If OXFORD_PETS_URL is set, the root's pipeline also runs on a few images of the archives there.
"""

import argparse
import fnmatch
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from dvc.exceptions import DvcException

from tools.contents import differences
from tools.copies import (
    MIRROR,
    ROOT,
    copy_repository,
    copy_revision,
    make_small,
    projects_of,
    run,
)
from tools.lock import Evidence, accept
from tools.pipeline import Moves, Stage, match, moved, read_pipeline

OFFICIAL = {"source": "official", "limit": 16}  # images per split


@dataclass(frozen=True)
class Verdict:
    """What became of one output.

    Attributes:
        stage: the stage's address in the new tree; in the old one if the stage is gone.
        path: the output's path in the new tree.
        state: same, different, new, gone, or changed (different, new or gone, as intended).
        files: file that differs, relative to ``path`` -> why.
    """

    stage: str
    path: str
    state: str
    files: dict[str, str]

    def __str__(self) -> str:
        reasons = [f"{name}: {why}" if name else why for name, why in self.files.items()]
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        return f"{self.state:<10}{self.stage}  {self.path}  {''.join(reasons[:1])}{more}".rstrip()


def run_small(
    folder: Path, which: str, *, only: Collection[str] = (), research: bool = True, data: str = ""
) -> None:
    """Run the pipelines of the copy ``folder`` from the beginning, with small params.

    Args:
        which: the name of the copy in messages.
        only: stages of the root's dvc.yaml; only they and the stages they need are run.
        research: whether dvc.yaml files other than the root's are run.
        data: where the archives are that the root's pipeline uses. Empty: it uses drawn data.

    Raises:
        ValueError: the params cannot select such data, or a stage fails.
    """
    for stage in read_pipeline(folder).values():
        (folder / stage.pipeline).with_name("dvc.lock").unlink(missing_ok=True)
        for path in stage.outs:  # recorded outputs were made with other params
            whole = folder / path
            shutil.rmtree(whole) if whole.is_dir() else whole.unlink(missing_ok=True)
    wanted = OFFICIAL if data else {}
    if missing := ({"source"} | wanted.keys()) - make_small(folder, **wanted):
        raise ValueError(
            f"{which}: params.yaml has no {', '.join(sorted(missing))}: say in tools/copies.py how "
            "its data is chosen"
        )
    everywhere = research and not only and not data
    commands = [(project, ["-P"]) for project in projects_of(folder)]
    for project, targets in commands if everywhere else [(folder, list(only) or ["dvc.yaml"])]:
        place = "" if project == folder else f" in {project.relative_to(folder)}"
        print(f"{which}: dvc repro {' '.join(targets)}{place} …", file=sys.stderr, flush=True)
        mirror = {MIRROR: data} if data else {}
        done = run(project, "dvc", "repro", *targets, check=False, **mirror)
        if done.returncode:
            raise ValueError(f"{which}: its pipeline does not run{place}: {reason(done.stdout)}")


def reason(output: str) -> str:
    """The last two lines of a failed ``dvc repro``: the stage's own and DVC's."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return "; ".join(lines[-2:]) + ": mend it, or look at the copies that --keep FOLDER leaves"


def compare(old_root: Path, new_root: Path, moves: Moves) -> list[Verdict]:
    """Compare the outputs of all stages that have run in either tree.

    Stages that always run are left out: their outputs are hashes of the code.
    """
    sides = [
        {
            name: stage
            for name, stage in read_pipeline(root).items()
            if stage.record and not stage.dvc.always_changed
        }
        for root in (old_root, new_root)
    ]
    old, new = sides
    pairs = match(old, new, moves)
    verdicts = []
    for name, stage in new.items():
        before = {moved(path, moves): path for path in pairs[name].outs} if name in pairs else {}
        for path in stage.outs:
            if path not in before:
                verdicts.append(Verdict(name, path, "new", {}))
                continue
            found = differences(old_root / before[path], new_root / path)
            verdicts.append(Verdict(name, path, "different" if found else "same", found))
        verdicts += [Verdict(name, path, "gone", {}) for path in before if path not in stage.outs]
    matched = {stage.address for stage in pairs.values()}
    verdicts += [
        Verdict(name, moved(path, moves), "gone", {})
        for name, stage in old.items()
        if name not in matched
        for path in stage.outs
    ]
    return verdicts


def allow(
    verdicts: list[Verdict], globs: Collection[str], stages: dict[str, Stage]
) -> list[Verdict]:
    """``verdicts`` with the state ``changed`` for each output whose differences are all named by
    globs, if every output downstream of it in the graph ``stages`` is the same or named too."""
    wrong = [verdict for verdict in verdicts if verdict.state != "same"]
    named = {verdict.path for verdict in wrong if is_named(verdict, globs)}
    blocking = {verdict.path for verdict in wrong} - named
    return [
        replace(verdict, state="changed")
        if verdict.path in named and not blocking & downstream(verdict.path, stages)
        else verdict
        for verdict in verdicts
    ]


def is_named(verdict: Verdict, globs: Collection[str]) -> bool:
    """Whether globs match the output, or each file in it that differs."""

    def fits(path: str) -> bool:
        return any(fnmatch.fnmatch(path, glob) for glob in globs)

    files = [f"{verdict.path}/{name}" for name in verdict.files if name]
    return fits(verdict.path) or (bool(files) and all(map(fits, files)))


def downstream(path: str, stages: dict[str, Stage]) -> set[str]:
    """The outputs of all stages that depend on ``path``, directly or not."""
    found: set[str] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        new = {p for stage in stages.values() if stage.reads(current) for p in stage.outs} - found
        found |= new
        waiting += new
    return found


def check(arguments: argparse.Namespace, folder: Path) -> bool:
    """Run and compare, and rewrite the lock files if asked to; True if all differences are named.

    Args:
        folder: an empty folder for the copies.

    Raises:
        ValueError: as in :func:`run_small` and :func:`tools.copies.copy_revision`.
    """
    moves: Moves = [tuple(pair.split("=", 1)) for pair in arguments.moved]
    folders = {name: folder / name for name in ("recorded", "old", "new")}
    for path in folders.values():
        path.mkdir()
    recorded, old, new = folders.values()
    copy_revision(recorded, arguments.revision)
    copy_revision(old, arguments.revision)
    copy_repository(new)

    verdicts: list[Verdict] = []
    known: dict[str, Stage] = {}
    mirror = os.environ.get(MIRROR, "").strip()
    if mirror and not re.match(r"https?://", mirror):
        mirror = str((ROOT / Path(mirror).expanduser()).resolve())
    for data in ["", mirror] if mirror else [""]:
        for copy, which in ((old, arguments.revision), (new, "the working tree")):
            run_small(copy, which, only=arguments.only, research=arguments.research, data=data)
        named = [*arguments.changed, *arguments.kept]
        found = allow(compare(old, new, moves), named, read_pipeline(new))
        known = known or read_pipeline(new)
        print(f"On {f'a few images of {mirror}' if data else 'drawn data'}:")
        print("\n".join(map(str, found)))
        verdicts += found
    counts = Counter(verdict.state for verdict in verdicts)
    print(", ".join(f"{number} {state}" for state, number in counts.items()) or "nothing ran")
    if arguments.accept:
        evidence = evidence_of(verdicts, known, arguments.changed)
        report(*accept(ROOT, recorded, replace(evidence, kept=arguments.kept), moves))
    return bool(verdicts) and not {"different", "new", "gone"} & counts.keys()


def evidence_of(
    verdicts: list[Verdict], known: dict[str, Stage], globs: Collection[str]
) -> Evidence:
    """The results of the comparison that :func:`tools.lock.accept` needs."""
    fine: dict[str, bool] = {}
    for verdict in verdicts:
        good = verdict.state in ("same", "changed")
        fine[verdict.stage] = fine.get(verdict.stage, True) and good
    changed = {verdict.path for verdict in verdicts if verdict.state == "changed"}
    return Evidence(list(known), fine, changed, globs)


def report(accepted: list[str], kept: dict[str, str], old_form: list[str]) -> None:
    """Print which lock entries were rewritten, and why others were not."""
    reasons: dict[str, list[str]] = {}
    for name, why in kept.items():
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        print(f"not accepted, {why}: {', '.join(names)}")
    print(f"accepted: {len(accepted)} stages: {', '.join(accepted)}" if accepted else "accepted: 0")
    if old_form:
        print(
            f"the recorded hashes of {', '.join(old_form)} are those of the old form: rerun the "
            "stages that make them where their data are, with `dvc repro`"
        )


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser("python -m tools.same", description=__doc__.split("\n\n")[0])
    parser.add_argument("revision", metavar="REV", help="a commit to compare the files here with")
    parser.add_argument(
        "--accept", action="store_true", help="write dvc.lock anew for stages that are the same"
    )
    parser.add_argument(
        "--changed", metavar="GLOB", action="append", default=[],
        help="outputs that are meant to differ, by their path here or a file's in them; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--kept", metavar="GLOB", action="append", default=[],
        help="as --changed, but what is recorded stays: the stages downstream read both forms",
    )  # fmt: skip
    parser.add_argument(
        "--moved", metavar="OLD=NEW", action="append", default=[],
        help="how paths of REV begin here: study/=research/ablation/; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--only", metavar="STAGE", nargs="+", default=[],
        help="run only these stages of the root's dvc.yaml, and what they need",
    )  # fmt: skip
    parser.add_argument(
        "--no-research", dest="research", action="store_false", help="run the root's dvc.yaml only"
    )
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="a new folder for the copies")
    arguments = parser.parse_args()
    if wrong := [pair for pair in arguments.moved if not re.fullmatch("[^=]+=[^=]+", pair)]:
        parser.error(f"--moved {wrong[0]}: must be OLD=NEW")
    return arguments


def main() -> None:
    """See the module docstring."""
    arguments = parse()
    if arguments.keep:
        arguments.keep.mkdir(parents=True)
    place = nullcontext(arguments.keep) if arguments.keep else tempfile.TemporaryDirectory()
    with place as folder:
        if not check(arguments, Path(folder).resolve()):
            sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("same: stopped")
    except (ValueError, OSError, AssertionError, DvcException) as error:
        sys.exit(f"same: {' '.join(str(error).split())}")
