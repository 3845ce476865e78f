"""Stages and tools as processes: their errors in one line."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.repo import ROOT, copy_repository, run
from unet.runtime.process import run_stage


def raising(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("train.epochs = 0: must be more"), "train: train.epochs = 0: must be more"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x.npy"), "No such file: 'x.npy'"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried\n2 GiB"), "lower batch_size"),
        (lambda: torch.empty(1 << 55, dtype=torch.uint8), "out of memory: lower batch_size"),
    ],
    ids=["value", "file", "cuda", "torch"],
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


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = copy_repository(tmp_path_factory.mktemp("copy") / "repo")
    for part in ("safetensors", "progress.npz"):
        (copy / f"released/pets.{part}").write_bytes((ROOT / f"released/pets.{part}").read_bytes())
    return copy


# As in a container whose user is not in /etc/passwd.
NO_NAME = "import getpass\ngetpass.getuser = lambda: {}['uid not found: 54321']\n"


@pytest.mark.parametrize(("tool", "trouble"), [("compare", "no Git"), ("models", "no name")])
def test_what_git_and_dvc_say_is_one_line(
    copy: Path, tmp_path: Path, tool: str, trouble: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NAME)
    variables, reason = {
        "no Git": ({"PATH": str(Path(sys.executable).parent)}, "'git'"),
        "no name": ({"PYTHONPATH": str(tmp_path)}, "uid not found: 54321"),
    }[trouble]
    done = run(copy, sys.executable, "-m", f"tools.{tool}", check=False, **variables)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{tool}: ") and reason in done.stdout
    assert done.stdout.count("\n") == 1, done.stdout


def test_a_stage_refuses_code_that_the_stage_code_has_not_seen(copy: Path) -> None:
    module = copy / "unet/metrics.py"
    command = ("python", "-m", "stages.evaluate", "mp_tr_bce")
    run(copy, "python", "-m", "stages.code")
    seen = run(copy, *command, check=False, DVC_STAGE="evaluate")
    assert "the source changed" not in seen.stdout  # it fails later, for want of a model
    module.write_text(module.read_text().replace("dilation: float = 0.02", "dilation: float = 1"))
    refused = run(copy, *command, check=False, DVC_STAGE="evaluate")
    assert refused.returncode == 1
    assert refused.stdout.startswith("evaluate: the source changed since the stage `code` ran")
