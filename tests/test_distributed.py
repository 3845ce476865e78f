"""Several ranks on the CPU, started by torchrun as users start them."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from stages import train as stage
from tests.repo import ENVIRONMENT, ROOT, TINY, copy_repository, make_tiny, run
from tests.tiny import tiny_model
from unet.data.masks import NOT_COUNTED
from unet.inference.model_file import save_model
from unet.training import distributed

KEY = "mp_tr_bce"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
TRAIN = ("-m", "stages.train", KEY)


@given(num_items=st.integers(0, 100), num_ranks=st.integers(1, 17))
def test_the_shares_are_all_of_it(num_items: int, num_ranks: int) -> None:
    items, shares = range(num_items), []
    for rank in range(num_ranks):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distributed, "rank", lambda rank=rank: rank)
            patch.setattr(distributed, "num_ranks", lambda: num_ranks)
            shares.append(items[distributed.share_of(num_items)])
    assert [item for share in shares for item in share] == list(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_is_left_alone() -> None:
    device, model = torch.device("cpu"), nn.Conv2d(1, 1, 1)
    with distributed.joined(device) as joined:
        assert joined == device
    assert distributed.parallel(model, device) is model
    assert distributed.share_of(7) == slice(0, 7)
    assert distributed.from_first(b"state", device) == b"state"
    assert distributed.sum_over_ranks(torch.tensor(3.0)) == 3


def test_two_devices_start_no_second_rank(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many devices are visible, the stage trains in its own process, on the first."""
    began: list[torch.device] = []
    monkeypatch.chdir(repository)
    monkeypatch.setattr(sys, "argv", ["train", KEY])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(stage, "set_up", lambda name: torch.device("cuda"))
    monkeypatch.setattr(stage, "train_one", lambda *args, **_: began.append(args[3]))
    stage.main()
    assert began == [torch.device("cuda")] and distributed.num_ranks() == 1


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_more_ranks_than_devices(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("TORCHELASTIC_RUN_ID", "1"),
        ("LOCAL_RANK", "0"),
        ("LOCAL_WORLD_SIZE", "3"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(ValueError, match=f"--nproc-per-node 3, but {kind}"),
        distributed.joined(torch.device(kind)),
    ):
        pass


def check_layers() -> None:
    """Run on each rank: its part of a batch comes out as in the whole batch."""
    with distributed.joined(torch.device("cpu")) as device:
        for num_images in (5, 2, 1):  # of one image, a rank has none
            torch.manual_seed(num_images)
            whole, parts = nn.BatchNorm2d(4), distributed.SummedBatchNorm2d(4)
            for parameter in whole.parameters():
                nn.init.normal_(parameter)
            parts.load_state_dict(whole.state_dict())
            images = 3 * torch.randn(num_images, 4, 6, 6) + 100
            factors = torch.randn_like(images)
            mine = distributed.share_of(num_images)
            part = images[mine].requires_grad_()
            images.requires_grad_()
            expected, got = whole(images), parts(part)
            (expected * factors).sum().backward()
            (got * factors[mine]).sum().backward()
            close = {"rtol": 1e-3, "atol": 1e-4}
            torch.testing.assert_close(got, expected[mine], **close)
            torch.testing.assert_close(part.grad, images.grad[mine], **close)
            for name, parameter in parts.named_parameters():
                distributed.sum_over_ranks(parameter.grad)
                torch.testing.assert_close(
                    parameter.grad, whole.get_parameter(name).grad, rtol=1e-3, atol=1e-3
                )
            for name, buffer in parts.named_buffers():
                torch.testing.assert_close(buffer, whole.get_buffer(name), **close)
            parts.eval()
            whole.eval()
            torch.testing.assert_close(parts(images[mine]), whole(images[mine]), **close)
        content = b"from rank 0" * 1000 if distributed.rank() == 0 else None
        assert distributed.from_first(content, device) == b"from rank 0" * 1000
        assert distributed.from_first(None, device) is None
        # All ranks write to one pipe: a line in one piece.
        os.write(1, f"rank {distributed.rank()} of {distributed.num_ranks()} agrees\n".encode())


def test_batch_normalisation_sees_the_whole_batch() -> None:
    ranks = ("--standalone", "--nproc-per-node", "2")
    done = run(ROOT, *TORCHRUN, *ranks, "-m", "tests.test_distributed")
    assert "rank 0 of 2 agrees" in done.stdout and "rank 1 of 2 agrees" in done.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny study with its data, in float32 and with last batches that are smaller."""
    folder = copy_repository(tmp_path_factory.mktemp("ranks") / "repo")
    make_tiny(folder)
    params = (folder / "params.yaml").read_text()
    params = params.replace(f"amp: {TINY['amp']}\n", "amp: none\n")
    params = params.replace("batch_size: 8", "batch_size: 7")
    (folder / "params.yaml").write_text(params)
    for name in ("download", "preprocess"):
        run(folder, sys.executable, "-m", f"stages.{name}")
    return folder


def train(folder: Path, *, ranks: int) -> subprocess.CompletedProcess[str]:
    return finish(start(folder, ranks=ranks))


def start(folder: Path, *, ranks: int, host: int | None = None) -> subprocess.Popen[str]:
    """Train with so many ranks; ``host``: as the host of that number, of two."""
    command = [sys.executable, *TRAIN]
    if host is not None:
        hosts = ("--nnodes", "2", "--node-rank", str(host), "--master-port", "29417")
        command = [*TORCHRUN, *hosts, "--nproc-per-node", str(ranks), *TRAIN]
    elif ranks > 1:
        command = [*TORCHRUN, "--standalone", "--nproc-per-node", str(ranks), *TRAIN]
    return subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    output, _ = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def results(folder: Path) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """The learning curve and the weights."""
    with (folder / f"plots/curves/{KEY}.csv").open() as file:
        curve = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return curve, load_file(folder / f"models/{KEY}.safetensors")


def assert_alike(folder: Path, expected: tuple) -> None:
    """Within what another order of the same sums changes in twelve steps."""
    curve, weights = results(folder)
    assert [row.keys() for row in curve] == [row.keys() for row in expected[0]]
    for row, other in zip(curve, expected[0], strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-3)
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected[1][name], rtol=0.01, atol=1e-3)


@pytest.fixture(scope="module")
def alone(repository: Path) -> tuple:
    done = train(repository, ranks=1)
    assert done.returncode == 0, done.stdout
    return results(repository)


def test_three_ranks_change_rounding_only(repository: Path, alone: tuple) -> None:
    """Three: of the last batch, and of validation, one of them has no image."""
    done = train(repository, ranks=3)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("epoch 2/2") == 1  # rank 0 alone speaks
    assert done.stdout.count("starts at epoch 1") == 1
    assert_alike(repository, alone)
    assert not list((repository / ".checkpoints").glob("*/*/state.bin"))


def test_every_rank_starts_from_the_weights(repository: Path, alone: tuple, tmp_path: Path) -> None:
    model = tmp_path / "start.safetensors"
    info = {"downsample": "mp", "upsample": "tr", "width": 4, "depth": 2}
    state = tiny_model(seed=5, random_head=True).state_dict()
    save_model(model, state, info | {"threshold": 0.5, "epoch": 1})
    params = (repository / "params.yaml").read_text()
    (repository / "params.yaml").write_text(params.replace("released/scratch", str(model)))
    try:
        found = []
        for ranks in (1, 2):
            done = train(repository, ranks=ranks)
            assert done.returncode == 0, done.stdout
            assert f"starts at epoch 1 of 2 from {model}" in done.stdout
            found.append(results(repository))
        assert_alike(repository, found[0])
        assert found[0][0][0]["train_loss"] != pytest.approx(alone[0][0]["train_loss"], rel=0.01)
    finally:
        (repository / "params.yaml").write_text(params)


def test_two_hosts(repository: Path, alone: tuple, tmp_path: Path) -> None:
    other = copy_repository(tmp_path / "other")
    run(other, "cp", "-r", f"{repository}/data", f"{repository}/params.yaml", ".")
    for path in (repository / "models").iterdir():
        path.unlink()
    processes = [start(repository, ranks=1, host=0), start(other, ranks=1, host=1)]
    for process in processes:
        done = finish(process)
        assert done.returncode == 0, done.stdout
    assert_alike(repository, alone)
    assert not list(other.glob("models/*.safetensors"))  # the host of rank 0 alone writes


def test_a_lost_rank_ends_all_and_the_training_resumes(repository: Path) -> None:
    params = (repository / "params.yaml").read_text()
    (repository / "params.yaml").write_text(params.replace("epochs: 2", "epochs: 20"))
    try:
        done = train(repository, ranks=2)
        assert done.returncode == 0, done.stdout
        assert "Warning" not in done.stdout, done.stdout  # the ranks' stderr, too
        whole = results(repository)
        process = start(repository, ranks=2)
        deadline = time.monotonic() + 120
        while not list((repository / ".checkpoints").glob("*/*/state.bin")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        rank = psutil.Process(process.pid).children()[1]
        rank.send_signal(signal.SIGKILL)
        done = finish(process)
        assert done.returncode != 0
        done = train(repository, ranks=2)
        assert done.returncode == 0 and "resumes after epoch" in done.stdout, done.stdout
        curve, weights = results(repository)
        assert curve == whole[0]
        assert all(torch.equal(weights[name], whole[1][name]) for name in weights)
    finally:
        (repository / "params.yaml").write_text(params)


@pytest.mark.parametrize("what", ["train.boundary = ignore", "data.not_counted"])
def test_pixels_that_do_not_count_need_one_device(
    repository: Path, tmp_path: Path, what: str
) -> None:
    folder = Path(shutil.copytree(repository, tmp_path / "repo", symlinks=True))
    shutil.rmtree(folder / "models", ignore_errors=True)
    if what == "data.not_counted":
        file = folder / "data/packed/val/masks.npy"
        masks = np.load(file)
        masks[-1, 0, 0] = NOT_COUNTED
        np.save(file, masks)
    else:
        params = (folder / "params.yaml").read_text()
        (folder / "params.yaml").write_text(
            params.replace("boundary: background", "boundary: ignore")
        )
    done = train(folder, ranks=2)
    assert done.returncode != 0
    assert f"train: {what} with 2 ranks: " in done.stdout
    assert not (folder / "models").exists()
    assert not list(folder.glob(".checkpoints/*/*/state.bin"))
    done = train(folder, ranks=1)
    assert done.returncode == 0, done.stdout


if __name__ == "__main__":
    check_layers()
