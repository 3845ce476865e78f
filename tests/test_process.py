"""A stage as a process: its errors in one line, no orphans."""

import errno
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from tests.repo import copy_repository, run
from unet.config import load_params
from unet.runtime.process import run_stage

PATIENCE = 20  # seconds; a loaded machine starts a process slowly

posix_only = pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL and runs sh")


@pytest.fixture(autouse=True)
def without_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)


def raising(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("train.epochs = 0: must be more"), "train: train.epochs = 0: must be more"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x.npy"), "No such file: 'x.npy'"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (RuntimeError("CUDA out of memory. Tried to allocate\n2 GiB"), "lower batch_size"),
        (torch.OutOfMemoryError("CUDA out of memory."), "lower batch_size"),
        (RuntimeError("MPS backend out of memory (9 GB)"), "lower batch_size"),
        (MemoryError(), "lower batch_size"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_a_user_can_mend_is_one_line(error: BaseException, line: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run_stage("train", raising(error))
    message = caught.value.code
    assert isinstance(message, str), "sys.exit prints a text to stderr and ends with status 1"
    assert message.startswith("train: ")
    assert line in message
    assert len(message.splitlines()) == 1


def test_ctrl_c_is_one_line_and_the_shell_s_status(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        run_stage("train", raising(KeyboardInterrupt()))
    assert (caught.value.code, capsys.readouterr().err) == (130, "train: stopped\n")


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.empty(1 << 55, dtype=torch.uint8),
        lambda: np.empty(1 << 55, dtype=np.uint8),
    ],
    ids=["torch", "numpy"],
)
def test_memory_that_the_cpu_does_not_have(allocate: Callable[[], None]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_stage("train", allocate)
    assert "train: out of memory: lower batch_size" in str(caught.value.code)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), TypeError("a bug"), AssertionError()]
)
def test_what_a_user_cannot_mend_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        run_stage("train", raising(error))
    assert caught.value is error


def test_a_stage_that_ends_well_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    run_stage("train", lambda: None)
    assert capfd.readouterr() == ("", "")


FAKE_DVC = """
import subprocess, sys
subprocess.run(["sh", "-c", f"{sys.executable} {sys.argv[1]}; true"])
"""

STAGE = """
import os, pathlib, time
from unet.runtime.process import stop_with_dvc
stop_with_dvc(0.1)
note = pathlib.Path(__file__).with_name("note")
note.write_text(str(os.getpid()))
note.rename(note.with_name("pid"))
time.sleep(120)
"""


def alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def ends_within(process: psutil.Process, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while alive(process) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(process)


@pytest.fixture
def start_dvc(
    tmp_path: Path, root: Path
) -> Iterator[Callable[[dict[str, str]], tuple[subprocess.Popen, psutil.Process]]]:
    """Start a parent named dvc, its shell and its stage; give the first and the last."""
    parents: list[subprocess.Popen] = []
    others: list[psutil.Process] = []

    def start(variables: dict[str, str]) -> tuple[subprocess.Popen, psutil.Process]:
        (tmp_path / "dvc").write_text(FAKE_DVC)
        (tmp_path / "stage.py").write_text(STAGE)
        with (tmp_path / "stderr").open("wb") as stderr:
            parent = subprocess.Popen(
                [sys.executable, str(tmp_path / "dvc"), str(tmp_path / "stage.py")],
                env=os.environ | {"PYTHONPATH": str(root)} | variables,
                stderr=stderr,
            )
        parents.append(parent)
        end = time.monotonic() + PATIENCE
        while not (tmp_path / "pid").exists():
            assert time.monotonic() < end, "the stage did not start"
            time.sleep(0.05)
        child = psutil.Process(int((tmp_path / "pid").read_text()))
        others.extend([child.parent(), child])
        return parent, child

    yield start
    for parent in parents:
        parent.kill()
        parent.wait(PATIENCE)
    for process in others:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@posix_only
@pytest.mark.parametrize("reaped", [True, False])
@pytest.mark.parametrize("sign", ["DVC_STAGE", "TORCHELASTIC_RUN_ID"])
def test_a_stage_ends_with_its_killed_dvc_and_a_rank_with_its_launcher(
    start_dvc: Callable[..., tuple[subprocess.Popen, psutil.Process]],
    tmp_path: Path,
    reaped: bool,
    sign: str,
) -> None:
    parent, child = start_dvc({sign: "train@mp_tr_bce"})
    assert not ends_within(child, 0.5), "it lives as long as its dvc does"
    # Between dvc and its stage is a shell; a rank is its launcher's own child.
    launcher = parent if sign == "DVC_STAGE" else child.parent()
    launcher.kill()
    if reaped:
        launcher.wait(PATIENCE)
    assert ends_within(child, PATIENCE)
    assert "what started this stage is gone" in (tmp_path / "stderr").read_text()
    parent.wait(PATIENCE)


@posix_only
def test_without_dvc_a_stage_lives_on(
    start_dvc: Callable[..., tuple[subprocess.Popen, psutil.Process]],
) -> None:
    parent, child = start_dvc({})
    parent.kill()
    parent.wait(PATIENCE)
    assert not ends_within(child, 1)


@pytest.fixture
def copy(tmp_path: Path, root: Path) -> Path:
    """The stages without data, to run in."""
    for name in ("unet", "stages"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(root / "params.yaml", tmp_path / "params.yaml")
    return tmp_path


def stage_error(copy: Path, *command: str) -> str:
    """The one line on stderr of a stage that a user's mistake ends."""
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=copy, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()
    return line


def test_an_unknown_experiment(copy: Path) -> None:
    line = stage_error(copy, "stages.train", "nonsense")
    assert line.startswith("train: nonsense: KEY must be one of the experiments in params.yaml: ")
    assert all(key in line for key in load_params(copy / "params.yaml").experiments)


def test_a_mistake_in_the_params(copy: Path) -> None:
    path = copy / "params.yaml"
    text = re.sub(r"(num_synthetic:) \d+", r"\1 4", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    line = stage_error(copy, "stages.download")
    assert line.startswith("download: params.yaml: data.num_synthetic = 4: ")
    assert "40" in line
    assert not (copy / "data").exists()


def test_preprocessing_before_the_download(copy: Path) -> None:
    line = stage_error(copy, "stages.preprocess")
    assert line.startswith("preprocess: data/raw/")
    assert "run `dvc repro download`" in line


def test_a_stage_refuses_code_that_the_stage_code_has_not_seen(tmp_path: Path) -> None:
    copy = copy_repository(tmp_path)
    module = copy / "unet/metrics.py"
    command = ("python", "-m", "stages.evaluate", "mp_tr_bce")
    run(copy, "python", "-m", "stages.code")
    seen = run(copy, *command, check=False, DVC_STAGE="evaluate")
    assert "the source changed" not in seen.stdout  # it fails later, for want of a model
    module.write_text(
        module.read_text().replace("dilation: float = 0.02", "dilation: float = 0.03")
    )
    refused = run(copy, *command, check=False, DVC_STAGE="evaluate")
    assert refused.returncode == 1
    assert refused.stdout.startswith("evaluate: the source changed since the stage `code` ran")
    assert "the source changed" not in run(copy, *command, check=False).stdout  # not under DVC
