"""Two ranks on the CPU, started by torchrun as users start them."""

import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.repo import ROOT, make_tiny, run
from tests.tiny import CPU, pack_drawn, run_training, same_weights, tiny_split
from unet.data.masks import NOT_COUNTED
from unet.data.packed import Split
from unet.inference.model_file import load_model
from unet.training import checkpoint, distributed

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def torchrun(folder: Path, *command: str) -> str:
    return run(folder, sys.executable, *TORCHRUN, "-m", *command, PYTHONPATH=str(ROOT)).stdout


@given(num_images=st.integers(1, 40), num_ranks=st.integers(1, 9))
def test_each_rank_gets_as_many_images_and_all_are_seen(num_images: int, num_ranks: int) -> None:
    parts = []
    for rank in range(num_ranks):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distributed, "rank", lambda rank=rank: rank)
            patch.setattr(distributed, "num_ranks", lambda: num_ranks)
            parts.append(distributed.part_of(num_images).tolist())
    assert len({len(part) for part in parts}) == 1
    assert {position for part in parts for position in part} == set(range(num_images))
    assert num_ranks > 1 or parts == [list(range(num_images))]


def test_without_torchrun_there_is_one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many devices are visible."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with distributed.joined(torch.device("cuda")) as device:
        assert device == torch.device("cuda") and distributed.num_ranks() == 1


def train_on_a_rank(folder: Path) -> None:
    """What each rank of the next test runs; writes the results that it has."""
    with distributed.joined(CPU), pytest.MonkeyPatch.context() as patch:
        torch.set_num_threads(1)
        # Of 25 images in batches of 8 the last batch is a single one.
        settings = {"train_split": tiny_split(25), "epochs": 4, "amp": "none"}
        whole = run_training(folder / "whole", **settings)

        def save_two_epochs(path: Path, state: dict[str, Any]) -> None:
            if len(state["training"]["curve"]) <= 2:
                checkpoint.save_state(path, state)

        patch.setattr("unet.training.loop.save_state", save_two_epochs)
        run_training(folder / "broken", **settings)
        resumed = run_training(folder / "broken", **settings)
        found = {"whole": vars(whole), "resumed": vars(resumed)}
        torch.save(found, folder / f"{distributed.rank()}.pt")

        split = tiny_split()
        masks = torch.where(split.masks == 0, NOT_COUNTED, split.masks)
        with pytest.raises(ValueError, match="data.not_counted need one device"):
            run_training(folder, val_split=Split(split.images, masks, split.names))


def test_two_ranks_train_one_model_and_resume(tmp_path: Path) -> None:
    said = torchrun(ROOT, "tests.test_distributed", str(tmp_path))
    assert "Warning" not in said and said.count("epoch 4/4") == 3  # one rank alone speaks
    assert "resumes after epoch 2 of 4" in said
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, training in first.items():
        weights = training["weights"]
        assert same_weights(weights, second[name]["weights"])
        assert all(tensor.isfinite().all() for tensor in weights.values())
        assert same_weights(weights, first["whole"]["weights"])
        assert training["curve"] == second[name]["curve"] == first["whole"]["curve"]
    # Batch normalisation sees half the batch, so it is not the training of one process, but close.
    alone = run_training(tmp_path / "alone", train_split=tiny_split(25), epochs=4, amp="none")
    for row, other in zip(first["whole"]["curve"], alone.curve, strict=True):
        assert math.isclose(row["val_accuracy"], other["val_accuracy"], abs_tol=0.1)


def test_the_stage_trains_with_two_ranks(tmp_path: Path, raw: Path) -> None:
    pack_drawn(tmp_path / "data/packed", raw, image_size=16)
    shutil.copy2(ROOT / "params.yaml", tmp_path)
    make_tiny(tmp_path)
    torchrun(tmp_path, "stages.train", "mp_tr_bce")
    _, info = load_model(tmp_path / "models/mp_tr_bce.safetensors")
    assert info["ranks"] == 2
    assert not list(tmp_path.glob(".checkpoints/*/*/state.bin"))


if __name__ == "__main__":
    train_on_a_rank(Path(sys.argv[1]))
