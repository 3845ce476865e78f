"""The whole pipeline under DVC, on drawn data, in a copy of the repository."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import time
from itertools import accumulate
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from PIL import Image

from tests.repo import (
    ENVIRONMENT,
    FINISHED,
    GO_BACK,
    ROOT,
    RUNNING,
    commit_all,
    readme_block,
    run,
)
from tools.compare import DASH
from tools.fresh import stale_stages
from unet.inference.model_file import load_model
from unet.report.results import load_scores

FIRST, LAST = FINISHED[0], FINISHED[-1]


def ran(output: str) -> set[str]:
    return set(RUNNING.findall(output))


def model_md5(repository: Path, key: str) -> str:
    lock = yaml.safe_load((repository / "dvc.lock").read_text())
    outs = lock["stages"][f"train@{key}"]["outs"]
    return next(out["md5"] for out in outs if out["path"] == f"models/{key}.safetensors")


def test_outputs(finished: Path) -> None:
    for key in FINISHED:
        with (finished / f"plots/curves/{key}.csv").open(newline="") as file:
            assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
        scores = load_scores(finished, key)
        shown = json.loads((finished / f"metrics/{key}.json").read_text())
        assert shown == {"iou": {key: scores["iou_boundary_background"]}}
        model, info = load_model(finished / f"models/{key}.safetensors")
        assert info["experiment"] == key and sum(p.numel() for p in model.parameters()) > 0
    for picture in ("learning_curves.png", "comparison.jpg", "iou_spread.jpg", "progress.jpg"):
        with Image.open(finished / "plots" / picture) as image:
            assert min(image.size) > 400 and np.asarray(image).std() > 10


def test_only_what_is_new_runs_and_going_back_trains_nothing(repository: Path) -> None:
    assert ran(run(repository, "dvc", "repro").stdout) == {"code"}
    assert run(repository, "git", "status", "--short").stdout == ""
    dry = run(repository, "dvc", "repro", "--dry", "--allow-missing").stdout
    assert ran(dry) == {"code"}
    assert stale_stages(repository) == {}

    width = f"+experiments.{LAST}.width=6"  # another than the section model says
    output = run(repository, "dvc", "exp", "run", "-S", width).stdout
    assert ran(output) == {"code", f"train@{LAST}", f"evaluate@{LAST}", "plot"}
    run(repository, "git", "restore", "params.yaml")
    output = run(repository, "dvc", "repro").stdout
    assert not {name for name in ran(output) if name.startswith("train")}
    assert "is cached" in output
    assert run(repository, "git", "status", "--short").stdout == ""


def test_a_training_from_weights_follows_their_file(repository: Path) -> None:
    folder = repository / "start"
    folder.mkdir()
    for name, key in (("a", FIRST), ("b", LAST)):
        shutil.copy2(repository / f"models/{key}.safetensors", folder / f"{name}.safetensors")
    shutil.copy2(folder / "a.safetensors", folder / "used.safetensors")
    setting = ("-S", "train.start_from=start/used.safetensors")
    train = ("dvc", "exp", "run", *setting, f"train@{FIRST}")
    from_scratch = model_md5(repository, FIRST)
    output = run(repository, *train).stdout
    assert f"{FIRST}: starts at epoch 1 of 2 from start/used.safetensors" in output
    assert model_md5(repository, FIRST) != from_scratch
    assert f"train@{FIRST}" not in ran(run(repository, *train).stdout)

    # Another content, under the same name: here one that the experiment cannot take.
    shutil.copy2(folder / "b.safetensors", folder / "used.safetensors")
    refused = run(repository, *train, check=False)
    assert refused.returncode != 0 and "Traceback" not in refused.stdout
    assert "train.start_from: start/used.safetensors has downsample" in refused.stdout

    # A copy holds what Git tracks.
    run(repository, *GO_BACK)
    refused = run(repository, *train, "--temp", check=False)
    assert refused.returncode != 0 and "run in a copy of the repository" in refused.stdout
    assert "absolute path" in refused.stdout and "Traceback" not in refused.stdout


def test_a_queued_sweep_gives_an_experiment_a_value_and_runs_in_copies(repository: Path) -> None:
    module = repository / "unet/inference/evaluation.py"
    module.write_text(module.read_text() + '\nprint("evaluation of", __file__)\n')
    commit_all(repository)
    width = f"experiments.{LAST}.width"
    run(repository, "dvc", "exp", "run", "--queue", "-S", f"+{width}=6,8", f"evaluate@{LAST}")
    # No pipe: the worker lives on, and would hold it open.
    subprocess.run(
        ["dvc", "queue", "start", "-j", "1"], cwd=repository, env=ENVIRONMENT, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    # Git is asked first, since DVC takes seconds to answer.
    deadline = time.monotonic() + 900
    refs = ("git", "for-each-ref", "refs/exps", "--format=%(refname)")
    experiment = re.compile(r"^refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/", re.MULTILINE)
    while len(experiment.findall(run(repository, *refs).stdout)) < 2:
        if time.monotonic() > deadline:
            pytest.fail(run(repository, "dvc", "queue", "status").stdout)
        time.sleep(0.5)
    while (status := run(repository, "dvc", "queue", "status").stdout).count("Success") < 2:
        assert "Failed" not in status and time.monotonic() < deadline, status
    rows = csv.DictReader(run(repository, "dvc", "exp", "show", "--csv").stdout.splitlines())
    assert {row[width] for row in rows if row[f"iou.{LAST}"]} == {"", "6", "8"}
    assert run(repository, "git", "status", "--short").stdout == ""
    task = run(repository, "dvc", "queue", "status").stdout.splitlines()[1].split()[0]
    log = run(repository, "dvc", "queue", "logs", task).stdout
    assert re.search(rf"^evaluation of .*\.dvc{os.sep}tmp{os.sep}exps", log, re.MULTILINE)


TVERSKY = """
class TverskyLoss(Loss):
    threshold = 0.5

    def __init__(self, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = alpha

    def prior(self, share: float) -> float:
        return share

    def forward(self, logits, targets, counted=None):
        p, t = logits.float().sigmoid().flatten(1), targets.float().flatten(1)
        if counted is not None:
            p, t = p * counted.flatten(1), t * counted.flatten(1)
        tp, fn, fp = (p * t).sum(1), ((1 - p) * t).sum(1), (p * (1 - t)).sum(1)
        return (1 - (tp + 1e-3) / (tp + self.alpha * fn + (1 - self.alpha) * fp + 1e-3)).mean()


"""


@pytest.mark.slow
def test_a_loss_of_ones_own_as_the_docs_say(repository: Path) -> None:
    losses, params = repository / "unet/losses.py", repository / "params.yaml"
    before, line, after = losses.read_text().partition("LOSSES: dict[str, type[Loss]] = {")
    losses.write_text(f'{before}{TVERSKY}{line}"tversky": TverskyLoss, {after}')
    experiment = readme_block("yaml", "loss: tversky")
    params.write_text(f"{params.read_text().rstrip()}\n{experiment}")
    key, settings = yaml.safe_load(experiment).popitem()

    output = run(repository, "dvc", "repro", f"evaluate@{key}").stdout
    assert ran(output) == {"code", f"train@{key}", f"evaluate@{key}"}
    _, info = load_model(repository / f"models/{key}.safetensors")
    assert (info["loss"], info["loss_options"]) == ("tversky", settings["loss_options"])
    # The others' trainings are stale, their results stay as they are.
    assert {f"train@{key}" for key in FINISHED} < set(stale_stages(repository))
    changed = run(repository, "git", "status", "--short", "metrics", "plots/curves").stdout
    assert changed and all(Path(line).stem == key for line in changed.splitlines())
    table = run(repository, "env", "COLUMNS=200", "python", "-m", "tools.compare").stdout
    (workspace,) = (x.split() for x in table.splitlines() if x.startswith("workspace"))
    assert workspace.count(DASH) == len(FINISHED) and workspace[-1] != DASH

    setting = f"experiments.{key}.loss_options.alpha=0.3"
    output = run(repository, "dvc", "exp", "run", "-S", setting, f"train@{key}").stdout
    assert ran(output) == {"code", f"train@{key}"}
    # The tests of losses have taken it in.
    run(repository, "python", "-m", "pytest", "-q", "-n", "0", "-k", key, "tests/test_losses.py")


def test_a_killed_experiment_ends_resumes_and_is_gone_by_the_readme_s_command(
    repository: Path,
) -> None:
    """Meanwhile a row of `make compare` shows the run."""
    module = repository / "unet/metrics.py"
    module.write_text(f"{module.read_text()}\n# not committed\n")
    before = (repository / "params.yaml").read_bytes()
    command = ("dvc", "exp", "run", "-n", "broken", "-S", "train.epochs=20", f"train@{FIRST}")
    dvc = subprocess.Popen(
        command, cwd=repository, env=ENVIRONMENT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not list(repository.glob(".checkpoints/*/*/state.bin")):
        assert dvc.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    below = psutil.Process(dvc.pid).children(recursive=True)
    (stage,) = [process for process in below if "stages.train" in process.cmdline()]
    stage.suspend()  # however fast this machine is, the training is not over before it sees
    table = run(repository, "python", "-m", "tools.compare").stdout
    (row,) = (line for line in table.splitlines() if "broken (running)" in line)
    assert "20" in row and DASH in row
    dvc.send_signal(signal.SIGKILL)
    dvc.wait()
    time.sleep(1.5)  # it looks once a second
    stage.resume()
    stage.wait(60)
    assert "M  params.yaml" in run(repository, "git", "status", "--short").stdout  # staged

    train = ("dvc", "repro", "-s", f"train@{FIRST}")
    assert f"{FIRST}: resumes after epoch" in run(repository, *train).stdout
    resumed = model_md5(repository, FIRST)
    assert not list(repository.glob(".checkpoints/*/*/state.bin"))
    run(repository, *train, "-f")
    assert model_md5(repository, FIRST) == resumed

    run(repository, *GO_BACK)
    status = run(repository, "git", "status", "--short").stdout
    assert status.split() == ["M", "unet/metrics.py"] and "# not committed" in module.read_text()
    assert (repository / "params.yaml").read_bytes() == before
    run(repository, "dvc", "exp", "run", f"train@{FIRST}")
    assert (repository / f"plots/curves/{FIRST}.csv").read_text().count("\n") == 1 + 2


def test_all_variants_two_at_a_time(repository: Path, finished: Path) -> None:
    lock = yaml.safe_load((repository / "dvc.lock").read_text())
    for key in FINISHED:
        del lock["stages"][f"train@{key}"]
    (repository / "dvc.lock").write_text(yaml.safe_dump(lock))
    shutil.rmtree(repository / "models")
    shutil.rmtree(repository / ".dvc/cache/runs")
    output = run(repository, "tools/parallel.sh", "2").stdout
    assert output.count("Running stage 'train@") == len(FINISHED)
    assert {model_md5(repository, key) for key in FINISHED} == {
        model_md5(finished, k) for k in FINISHED
    }
    assert stale_stages(repository) == {}


TRAININGS = ("train@a", "train@b", "train@c")


def parallel(
    folder: Path, *arguments: str, cores: int, at_once: int = 1, **variables: str
) -> tuple[int, list[str], list[str]]:
    """Run tools/parallel.sh over TRAININGS, the first of which fails, on so many cores without a
    GPU, with a ``dvc`` that writes down its calls. A training waits until ``at_once`` have begun.

    Returns the exit status; the calls in their order; each training's start and end, with its
    number of threads.
    """
    (folder / "tools").mkdir()
    (folder / "bin").mkdir()
    shutil.copy2(ROOT / "tools/parallel.sh", folder / "tools")
    listed = "\\n".join((*TRAININGS, "plot"))
    commands = {
        "python": f"echo {cores}",
        "dvc": 'echo "$@" >> calls\n'
        f"case \"$*\" in\n*list*) printf '{listed}\\n' ;;\n"
        "*--single-item*) echo start ${OMP_NUM_THREADS:-any} >> times\n"
        f"  for i in $(seq 100); do [ $(grep -c start times) -ge {at_once} ] && break; sleep 0.1\n"
        "  done; sleep 0.2  # enough for one too many to begin\n"
        "  echo end ${OMP_NUM_THREADS:-any} >> times ;;\nesac\n"
        'case "$*" in *train@a) exit 255 ;; esac',
    }
    for name, text in commands.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    settings = {"PATH": path, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": ""} | variables
    done = run(folder, "tools/parallel.sh", *arguments, check=False, **settings)
    calls = (folder / "calls").read_text().splitlines()
    return done.returncode, calls, (folder / "times").read_text().splitlines()


@pytest.mark.parametrize(
    ("arguments", "variables", "cores", "at_once", "threads"),
    [
        ((), {}, 1, 1, "1"),
        ((), {}, 8, 3, "2"),  # no more than there are trainings, which share the cores
        (("1",), {}, 8, 1, "8"),
        (("3",), {"OMP_NUM_THREADS": "5"}, 2, 3, "5"),
        ((), {"CUDA_VISIBLE_DEVICES": "0"}, 8, 1, "any"),  # one at a time on a GPU
    ],
)
def test_trainings_share_the_cores_and_a_failed_one_stops_no_other(
    tmp_path: Path, arguments: tuple[str, ...], variables: dict[str, str], cores: int,
    at_once: int, threads: str,
) -> None:  # fmt: skip
    status, calls, times = parallel(tmp_path, *arguments, cores=cores, at_once=at_once, **variables)
    trained = [call.split()[-1] for call in calls if "--single-item" in call]
    assert sorted(trained) == list(TRAININGS)
    assert status != 0 and calls[-1].split()[-1] in TRAININGS  # what needs all of them waits
    changes = [1 if time.startswith("start") else -1 for time in times]
    assert max(accumulate(changes)) == at_once
    assert {time.split()[1] for time in times} == {threads}
