"""A stage as a process: its errors in one line, no orphans."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.repo import copy_repository, run
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
