"""Bad input, generated: ``python -m research.robustness.bad_input [--cases 1000] [--seed 0]``.

Each case damages one thing in a small finished pipeline and runs the stage that reads it, in this
process. The stage must fail with one clear line that names the culprit, and must leave existing
files unchanged and nothing half-written. If the damage cannot be detected (a pixel of another
colour), the stage must succeed. ``--dvc N`` runs N cases with ``dvc repro`` in a repository, and
then restores everything with ``git checkout`` and ``dvc checkout``.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from research.robustness.damages import DAMAGES, KEY, Damage
from tests.repo import copy_repository, make_tiny, run
from unet.runtime.process import run_stage
from unet.training.steps import SCRATCH

RESULTS = Path(__file__).parent / "results/bad_input.json"
PATIENCE = 60  # seconds that a case may take
MEMORY = 2 << 30  # bytes by which memory may grow over all cases


@dataclass(frozen=True)
class Outcome:
    """What a stage did with a damaged pipeline.

    Attributes:
        verdict: refused | no harm, or what the stage did wrong.
        line: the stage's message.
    """

    damage: str
    what: str
    verdict: str
    line: str
    seconds: float


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Change to ``folder`` within the block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        message: the message that it failed with; None if it succeeded.
        out: the lines on stdout, from Python or from C libraries.
        err: the same for stderr.
    """

    message: str | None
    out: list[str]
    err: list[str]


def run_main(name: str, main: Callable[[], None], *arguments: str) -> Ended:
    """Run a command in this process and folder."""
    argv, sys.argv = sys.argv, [name, *arguments]
    threads = torch.get_num_threads()
    message = None
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        kept = [os.dup(number) for number in (1, 2)]
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            with (
                open(1, "w", encoding="utf-8", closefd=False) as to_out,
                open(2, "w", encoding="utf-8", closefd=False) as to_err,
                contextlib.redirect_stdout(to_out),
                contextlib.redirect_stderr(to_err),
            ):
                main()
        except SystemExit as end:
            message = None if end.code in (0, None) else str(end.code)
        finally:
            for number, old in zip((1, 2), kept, strict=True):
                os.dup2(old, number)
                os.close(old)
            sys.argv = argv
            torch.set_num_threads(threads)
        written = []
        for file in (out, err):
            file.seek(0)
            written.append(file.read().decode("utf-8", "replace").splitlines())
    return Ended(message, *written)


def run_here(stage: str, *arguments: str) -> str | None:
    """Run a stage in this process and folder: the message it fails with, None if it succeeds."""
    module = importlib.import_module(f"stages.{stage}")
    return run_main(stage, lambda: run_stage(stage, module.main), *arguments).message


def small_pipeline(folder: Path) -> Path:
    """A finished pipeline of one variant: params, archives, arrays, model, scores, pictures."""
    root = Path(__file__).resolve().parents[2]
    (folder / SCRATCH).parent.mkdir()
    for name in ("params.yaml", SCRATCH):
        shutil.copy(root / name, folder / name)
    make_tiny(folder, keys=[KEY])
    with inside(folder):
        for stage in ("code", "download", "preprocess", "train", "evaluate", "plot"):
            arguments = [KEY] if stage in ("train", "evaluate") else []
            message = run_here(stage, *arguments)
            assert message is None, message
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Path -> content of every file below ``folder``, except lock files."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.name != "lock"
    }


def try_damage(whole: Path, folder: Path, damage: Damage, rng: random.Random) -> Outcome:
    """Damage a copy of ``whole`` in ``folder`` and run the stage that reads it."""
    shutil.copytree(whole, folder, copy_function=os.link)
    what = damage.apply(folder, rng)
    before = contents(folder)
    arguments = [KEY] if damage.stage in ("train", "evaluate") else []
    started = time.perf_counter()
    with inside(folder):
        try:
            line = run_here(damage.stage, *arguments)
        except Exception as error:
            line, verdict = repr(error), "traceback"
        else:
            verdict = judge(damage, line, before, contents(folder))
    seconds = time.perf_counter() - started
    if seconds > PATIENCE:
        verdict = "too slow"
    shutil.rmtree(folder)
    return Outcome(damage.name, what, verdict, line or "", round(seconds, 2))


def judge(
    damage: Damage, line: str | None, before: dict[str, bytes], after: dict[str, bytes]
) -> str:
    """``refused`` or ``no harm``, or what the stage did wrong."""
    if line is None:
        return "no harm" if damage.may_pass else "accepted"
    if len(line.splitlines()) > damage.num_lines or "Traceback" in line:
        return "more than a line"
    if not any(culprit in line for culprit in damage.culprits):
        return "culprit not named"
    if before != after:
        changed = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
        return f"left behind: {', '.join(changed)}"
    return "refused"


def run_cases(num_cases: int, seed: int, report: Callable[[Outcome], None]) -> list[Outcome]:
    """Run ``num_cases`` cases; the kinds of damage take turns."""
    outcomes = []
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary) / "whole"
        whole.mkdir()
        small_pipeline(whole)
        for number in range(num_cases):
            damage = DAMAGES[number % len(DAMAGES)]
            rng = random.Random(f"{seed} {number}")
            outcome = try_damage(whole, Path(temporary) / "case", damage, rng)
            outcomes.append(outcome)
            report(outcome)
    return outcomes


def run_by_dvc(num_cases: int, seed: int, report: Callable[[Outcome], None]) -> list[Outcome]:
    """The same with ``dvc repro``; ``git checkout`` and ``dvc checkout`` must restore the files."""
    outcomes = []
    with tempfile.TemporaryDirectory() as temporary:
        repository = copy_repository(Path(temporary) / "repo")
        make_tiny(repository)
        run(repository, "dvc", "repro", "-q")
        run(repository, "git", "add", "-A")
        run(repository, "git", "commit", "-qm", "finished")
        run(repository, "dvc", "config", "cache.type", "copy")
        good = kept_contents(repository)
        for number in range(num_cases):
            damage = DAMAGES[number * 7 % len(DAMAGES)]
            what = damage.apply(repository, random.Random(f"{seed} {number}"))
            target = damage.stage + (f"@{KEY}" if damage.stage in ("train", "evaluate") else "")
            started = time.perf_counter()
            done = run(repository, "dvc", "repro", "-s", "-f", target, check=False)
            seconds = time.perf_counter() - started
            lines = [x for x in done.stdout.splitlines() if x.startswith(f"{damage.stage}: ")]
            if "Traceback" in done.stdout:
                verdict = "traceback"
            elif done.returncode == 0:
                verdict = "no harm" if damage.may_pass else "accepted"
            else:
                # DVC itself refuses params that are not YAML, before the stage starts.
                said = lines or [x for x in done.stdout.splitlines() if x.startswith("ERROR")]
                named = any(culprit in line for line in said for culprit in damage.culprits)
                verdict = "refused" if said and named else "culprit not named"
            run(repository, "git", "checkout", "-q", ".")
            run(repository, "dvc", "checkout", "-q", "-f")
            if kept_contents(repository) != good:
                verdict = f"{verdict}, but not brought back"
            outcome = Outcome(damage.name, what, verdict, " ".join(lines), round(seconds, 2))
            outcomes.append(outcome)
            report(outcome)
    return outcomes


def kept_contents(repository: Path) -> dict[str, bytes]:
    """The files of a pipeline that Git or DVC tracks."""
    folders = ("code", "data", "models", "predictions", "metrics", "plots")
    files = {f"{f}/{name}": b for f in folders for name, b in contents(repository / f).items()}
    return files | {"params.yaml": (repository / "params.yaml").read_bytes()}


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--dvc", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()

    def report(outcome: Outcome) -> None:
        if outcome.verdict not in ("refused", "no harm"):
            print(outcome, file=sys.stderr, flush=True)

    # Limit memory, so that a case that needs too much fails and is not killed by the system.
    resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, resource.RLIM_INFINITY))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    runs = {"in process": run_cases(arguments.cases, arguments.seed, report)}
    if arguments.dvc:
        runs["by dvc repro"] = run_by_dvc(arguments.dvc, arguments.seed, report)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024
    results = {"seed": arguments.seed, "memory_mib": grown >> 20, "runs": {}}
    for name, outcomes in runs.items():
        counts: dict[str, dict[str, int]] = {}
        for outcome in outcomes:
            row = counts.setdefault(outcome.damage, {})
            row[outcome.verdict] = row.get(outcome.verdict, 0) + 1
        slowest = max(outcome.seconds for outcome in outcomes)
        results["runs"][name] = {"damages": counts, "slowest_seconds": slowest}
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    wrong = [o for o in sum(runs.values(), []) if o.verdict not in ("refused", "no harm")]
    print(f"{sum(map(len, runs.values()))} cases, {len(wrong)} wrong; {grown >> 20} MiB on top")
    sys.exit(bool(wrong) or grown > MEMORY)


if __name__ == "__main__":
    main()
