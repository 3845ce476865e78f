"""A stage as a process: its errors in one line, no orphans."""

import errno
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
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
        (RuntimeError("MPS backend out of memory (9 GB)"), "out of memory: lower batch_size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried\n2 GiB"), "lower batch_size"),
        (MemoryError(), "lower batch_size"),
        (lambda: torch.empty(1 << 55, dtype=torch.uint8), "out of memory: lower batch_size"),
        (lambda: np.empty(1 << 55, dtype=np.uint8), "out of memory: lower batch_size"),
    ],
    ids=["value", "file", "disk", "mps", "cuda", "memory", "torch", "numpy"],
)
def test_what_a_user_can_mend_is_one_line(error: Exception | Callable[[], None], line: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run_stage("train", raising(error) if isinstance(error, Exception) else error)
    message = caught.value.code
    assert isinstance(message, str), "sys.exit prints a text to stderr and ends with status 1"
    assert message.startswith("train: ") and line in message
    assert len(message.splitlines()) == 1


def test_ctrl_c_is_one_line_and_the_shell_s_status(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        run_stage("train", raising(KeyboardInterrupt()))
    assert (caught.value.code, capsys.readouterr().err) == (130, "train: stopped\n")


def test_what_a_user_cannot_mend_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"):
        run_stage("train", raising(RuntimeError("shapes differ")))


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


def ends_within(process: psutil.Process, seconds: float) -> bool:
    end = time.monotonic() + seconds
    with suppress(psutil.NoSuchProcess):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
    return True


@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL and runs sh")
@pytest.mark.parametrize("is_stage", [True, False])
@pytest.mark.parametrize("reaped", [True, False])
def test_a_stage_ends_with_its_killed_dvc(
    tmp_path: Path, root: Path, is_stage: bool, reaped: bool
) -> None:
    """Between them is a shell. Any other process lives on."""
    (tmp_path / "dvc").write_text(FAKE_DVC)
    (tmp_path / "stage.py").write_text(STAGE)
    variables = {"PYTHONPATH": str(root)} | ({"DVC_STAGE": "train@mp_tr_bce"} if is_stage else {})
    command = [sys.executable, str(tmp_path / "dvc"), str(tmp_path / "stage.py")]
    with (
        (tmp_path / "stderr").open("wb") as stderr,
        subprocess.Popen(command, env=os.environ | variables, stderr=stderr) as dvc,
    ):
        end = time.monotonic() + PATIENCE
        while not (tmp_path / "pid").exists():
            assert time.monotonic() < end, "the stage did not start"
            time.sleep(0.05)
        stage = psutil.Process(int((tmp_path / "pid").read_text()))
        assert not ends_within(stage, 0.5), "it lives as long as its dvc does"
        dvc.kill()
        if reaped:
            dvc.wait(PATIENCE)
        if is_stage:
            assert ends_within(stage, PATIENCE)
            assert "the dvc that started this stage is gone" in (tmp_path / "stderr").read_text()
        else:
            assert not ends_within(stage, 1)
            stage.kill()


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


def test_a_users_mistakes(copy: Path) -> None:
    line = stage_error(copy, "stages.train", "nonsense")
    assert line.startswith("train: nonsense: KEY must be one of the experiments in params.yaml: ")
    assert all(key in line for key in load_params(copy / "params.yaml").experiments)
    line = stage_error(copy, "stages.preprocess")
    assert (
        line.startswith("preprocess: data.path = data/raw: no")
        and "run `dvc repro download`" in line
    )
    path = copy / "params.yaml"
    text = re.sub(r"(num_synthetic:) \d+", r"\1 4", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    line = stage_error(copy, "stages.download")
    assert line.startswith("download: params.yaml: data.num_synthetic = 4: ") and "40" in line
    assert not (copy / "data/raw").exists()


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
