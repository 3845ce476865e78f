"""Checkpoints: written atomically, read back bit for bit, one for each training."""

from pathlib import Path

import pytest
import torch

from tests.tiny import same_weights, tiny_model
from unet.training.checkpoint import STATE, load_state, save_state, unfinished


def test_a_state_comes_back(tmp_path: Path) -> None:
    last = {"memory_format": torch.channels_last}
    state = {
        "model": tiny_model(random_head=True).state_dict(),
        "weight": torch.randn(4, 3, 2, 2).to(**last),
        "training": {"amp": "bf16", "curve": [{"epoch": 1, "loss": 0.1 + 0.2, "device": "a CPU"}]},
    }
    folder = tmp_path / "new" / "folder"
    assert load_state(folder) is None
    save_state(folder, {"model": {}})
    save_state(folder, state)
    loaded = load_state(folder)
    assert same_weights(loaded["model"], state["model"])
    assert loaded["training"] == state["training"]
    assert torch.equal(loaded["weight"], state["weight"])
    assert loaded["weight"].is_contiguous(**last)
    assert [path.name for path in folder.iterdir()] == [STATE]


def test_the_data_make_another_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))

    def folder_of(*files: Path) -> Path:
        with unfinished("bce", "stages.train", 0, files=files) as folder:
            return folder

    paths = [tmp_path / "images.npy", tmp_path / "names.txt"]
    for path in paths:
        path.write_text("as it was")
    before = folder_of(*paths)
    assert folder_of(*reversed(paths)) == before != folder_of()
    paths[1].write_text("changed")
    assert folder_of(*paths) != before
    paths[0].write_text("as it waschang")
    paths[1].write_text("ed")
    assert folder_of(*paths) != before


def test_one_process_at_a_time_has_a_trainings_state_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))  # the repository that a copy was made of
    (tmp_path / "images.npy").touch()
    files = [tmp_path / "images.npy"]
    with (
        pytest.raises(KeyboardInterrupt),
        unfinished("bce", "stages.train", 0, files=files) as mine,
    ):
        assert mine.parent == tmp_path / ".checkpoints/bce"
        with (
            pytest.raises(ValueError, match="another run of bce is at work here"),
            unfinished("bce", "stages.train", 0, files=files),
        ):
            raise AssertionError("two at once")
        with unfinished("bce", "stages.train", 1, files=files) as other:
            save_state(other, {"epoch": 1})
        assert not other.exists() and other != mine
        save_state(mine, {"epoch": 1})
        raise KeyboardInterrupt
    assert load_state(mine) == {"epoch": 1}
    with unfinished("bce", "stages.train", 0, files=files) as again:
        assert again == mine
    assert not mine.exists()
