"""Kills: ``python -m research.robustness.killed_runs [--points 50] [--seed 0]``.

A stage is killed at random moments (SIGKILL, SIGTERM, SIGINT in turn; sometimes again while it
resumes), and before and within each of its file operations. Then it runs to its end. The files that
it leaves must be byte for byte those of an undisturbed run, and no others.

Each run is a fork of this process, because torch is already loaded here.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from research.robustness.bad_input import inside, run_here
from research.robustness.damages import KEY
from tests.repo import make_tiny
from unet.data.oxford_pets import md5
from unet.runtime.process import run_stage

OTHER_KEY = "str_ups_dice"
RESULTS = Path(__file__).parent / "results/killed_runs.json"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Name -> commands that run at the same time: a stage and its arguments.
STAGES = {
    "download": [["download"]],
    "preprocess": [["preprocess"]],
    "train": [["train", KEY]],
    "two trainings": [["train", KEY], ["train", OTHER_KEY]],
}
# Not compared: times differ between runs.
IGNORED = ("plots/timing/",)


def start(command: list[str], before: Callable[[], None] = lambda: None) -> int:
    """Fork; run ``before`` and the stage ``command`` in the child; return its process ID."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        before()
        sys.argv = command
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            run_stage(command[0], importlib.import_module(f"stages.{command[0]}").main)
        status = 0
    except SystemExit as end:
        print(end.code, file=sys.stderr)
    finally:
        os._exit(status)


def ended(children: list[int]) -> bool:
    """Wait for processes; return whether all succeeded."""
    statuses = [os.waitpid(child, 0)[1] for child in children]
    return not any(statuses)


def left(folder: Path) -> dict[str, bytes]:
    """Path -> content of every file that a run left in ``folder``, except IGNORED and locks."""
    names = {
        str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    return {
        name: path.read_bytes()
        for name, path in names.items()
        if not name.startswith(IGNORED) and not name.endswith(".lock")
    }


def kill_at_operation(number: int, moment: str) -> Callable[[], None]:
    """A function that makes the process kill itself at file operation ``number``, counted from 0.

    Args:
        moment: before | within (``write_bytes`` writes half of the bytes; after any other operation
            the process is killed).
    """
    count = iter(range(10**9))

    def wrap(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def operation(*args, **options):  # noqa: ANN002, ANN003, ANN202
            here = next(count) == number
            if here and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if here and moment == "within" and name == "write_bytes":
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args, **options)
            if here:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, operation)

    def prepare() -> None:
        for name in ("replace", "rename", "unlink", "write_bytes", "write_text", "mkdir"):
            wrap(Path, name)
        wrap(shutil, "rmtree")
        wrap(shutil, "copyfile")

    return prepare


class Trial:
    """Stages to kill, in copies of a folder in which they have not run yet."""

    def __init__(self, commands: list[list[str]], folder: Path, work: Path) -> None:
        self.commands, self.folder, self.work = commands, folder, work
        self.fresh()
        started = time.perf_counter()
        with inside(self.work):
            assert ended([start(command) for command in commands])
        self.seconds = time.perf_counter() - started
        self.expected = left(self.work)

    def fresh(self) -> None:
        """Restore the working folder to its state before the stages ran."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.folder, self.work)

    def verdict(self) -> str:
        """Run the stages to their end and compare the files."""
        with inside(self.work):
            if not ended([start(command) for command in self.commands]):
                return "does not go on"
        found = left(self.work)
        wrong = {n for n in found.keys() | self.expected if found.get(n) != self.expected.get(n)}
        return f"other bytes: {', '.join(sorted(wrong))}" if wrong else "same bytes"

    def at_random(self, rng: random.Random, which: int) -> str:
        """Kill the stages at a random moment, one time in three twice; return the verdict."""
        self.fresh()
        with inside(self.work):
            for _ in range(rng.choice([1, 1, 2])):
                children = [start(command) for command in self.commands]
                time.sleep(rng.uniform(0, 1.05 * self.seconds))
                for child in children:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, SIGNALS[which % len(SIGNALS)])
                ended(children)
        return self.verdict()

    def at_operations(self) -> list[str]:
        """Kill the stage at each of its file operations; return the verdicts."""
        verdicts = []
        for moment in ("before", "within"):
            for number in range(10**9):
                self.fresh()
                with inside(self.work):
                    killed = kill_at_operation(number, moment)
                    whole = ended([start(command, killed) for command in self.commands])
                if whole:
                    break  # the stage has fewer operations
                verdicts.append(self.verdict())
        return verdicts


def prepare(root: Path) -> dict[str, Path]:
    """Stage -> a folder in which it has not run yet; drawn archives in a folder are the mirror."""
    repository = Path(__file__).resolve().parents[2]
    (root / "mirror").mkdir()
    base = root / "base"
    base.mkdir()
    shutil.copy(repository / "params.yaml", base)
    make_tiny(base, keys=[KEY, OTHER_KEY])
    params = yaml.safe_load((base / "params.yaml").read_text())
    params["train"]["epochs"] = 4
    (base / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    with inside(base):
        run_here("download")
    sums = []
    for path in sorted((base / "data/raw").iterdir()):
        shutil.copy(path, root / "mirror")
        sums.append(f"{md5(path)}  {path.name}\n")
    (root / "mirror/MD5SUMS").write_text("".join(sums))
    params["data"]["source"] = "official"
    os.environ["OXFORD_PETS_URL"] = str(root / "mirror")
    folders = {}
    for stages, done in {
        ("download",): [],
        ("preprocess",): ["download"],
        ("train", "two trainings"): ["download", "preprocess"],
    }.items():
        folder = root / f"before-{stages[0]}"
        folders |= dict.fromkeys(stages, folder)
        folder.mkdir()
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        with inside(folder):
            for former in done:
                assert run_here(former) is None
    return folders


def run_all(points: int, seed: int, *, stages: list[str], operations: bool) -> dict:
    """Stage -> counts of its verdicts, at ``points`` random moments and at file operations."""
    torch.set_num_threads(1)
    results: dict[str, dict[str, dict[str, int]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folders = prepare(Path(temporary))
        for stage in stages:
            trial = Trial(STAGES[stage], folders[stage], Path(temporary) / "work")
            rng = random.Random(f"{seed} {stage}")
            random_points = [trial.at_random(rng, which) for which in range(points)]
            verdicts = {"at random moments": random_points}
            if operations and len(STAGES[stage]) == 1:
                verdicts["at each file operation"] = trial.at_operations()
            for kind, values in verdicts.items():
                counts = {value: values.count(value) for value in sorted(set(values))}
                results.setdefault(stage, {})[kind] = counts
                print(stage, kind, counts, file=sys.stderr, flush=True)
    return results


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--no-operations", dest="operations", action="store_false")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    results = run_all(
        arguments.points, arguments.seed, stages=arguments.stages, operations=arguments.operations
    )
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    kinds = [counts for stage in results.values() for counts in stage.values()]
    sys.exit(any(set(counts) != {"same bytes"} for counts in kinds))


if __name__ == "__main__":
    main()
