"""Checkpoints: written atomically, read back bit for bit, removed in time."""

import os
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tiny import same_weights, tiny_config, tiny_experiment, tiny_model
from unet.training.checkpoint import (
    KEPT_FOR,
    STATE,
    checkpoint_folder,
    fingerprint,
    load_state,
    other_states,
    read_state,
    remove_checkpoint,
    save_state,
)


def test_a_state_comes_back(tmp_path: Path) -> None:
    state = {
        "model": tiny_model(random_head=True).state_dict(),
        "training": {
            "amp": "bf16",
            "curve": [{"epoch": 1, "loss": 0.1 + 0.2, "device": "a CPU"}],
            "snapshots": {1: torch.ones(2, 2, dtype=torch.uint8)},
        },
    }
    folder = tmp_path / "new" / "folder"
    assert read_state(folder) is None
    save_state(folder, {"model": {}})
    save_state(folder, state)
    loaded = load_state(read_state(folder))
    assert same_weights(loaded["model"], state["model"])
    assert loaded["training"]["amp"] == "bf16"
    assert loaded["training"]["curve"] == state["training"]["curve"]
    assert torch.equal(loaded["training"]["snapshots"][1], state["training"]["snapshots"][1])
    assert loaded["training"]["snapshots"][1].dtype == torch.uint8
    assert [path.name for path in folder.iterdir()] == [STATE]


def test_a_state_keeps_how_tensors_lie_in_memory(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    save_state(tmp_path, {"weight": weight, "view": torch.randn(6, 4)[:, ::2]})
    loaded = load_state(read_state(tmp_path))
    assert loaded["weight"].stride() == weight.stride()
    assert torch.equal(loaded["weight"], weight)
    assert loaded["view"].shape == (6, 2)


def flip_a_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage", [flip_a_bit, lambda content: content[:-1], lambda content: b""],
    ids=["a bit", "cut short", "empty"],
)  # fmt: skip
def test_a_damaged_state_is_none(
    tmp_path: Path, damage: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / STATE
    save_state(tmp_path, {"epoch": 1, "weight": torch.ones(100)})
    path.write_bytes(damage(path.read_bytes()))
    assert read_state(tmp_path) is None
    assert capsys.readouterr().err == f"{path} is damaged: the training starts anew\n"
    save_state(tmp_path, {"epoch": 2})
    assert load_state(read_state(tmp_path)) == {"epoch": 2}


def test_a_state_cannot_run_code(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple:
            return (print, ("run",))

    save_state(tmp_path, {"epoch": Runs()})
    with pytest.raises(pickle.UnpicklingError):
        load_state(read_state(tmp_path))


def test_a_state_that_cannot_be_written_leaves_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path, {"epoch": 1})
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_state(tmp_path, {"epoch": lambda: 2})

    def half_written(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError("No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(Path, "write_bytes", half_written)
        save_state(tmp_path, {"epoch": 2})
    assert load_state(read_state(tmp_path)) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == [STATE]


def test_fingerprint_tells_settings_apart() -> None:
    experiment, config, hashes = tiny_experiment(), tiny_config(), {"unet/model.py": "5a"}
    names = [
        fingerprint(experiment, config, "cpu", hashes),
        fingerprint(replace(experiment, width=5), config, "cpu", hashes),
        fingerprint(experiment, tiny_config(seed=1), "cpu", hashes),
        fingerprint(experiment, config, "cuda", hashes),
        fingerprint(experiment, config, "cpu", {"unet/model.py": "5b"}),
    ]
    assert len(set(names)) == 5
    assert fingerprint(tiny_experiment(), tiny_config(), "cpu", dict(hashes)) == names[0]
    assert all(name.isalnum() and len(name) == 16 for name in names)


def test_fingerprint_tells_files_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "images.npy", tmp_path / "names.txt"]
    for path in paths:
        path.write_text("as it was")
    before = fingerprint("settings", files=paths)
    assert fingerprint("settings", files=reversed(paths)) == before
    assert fingerprint("settings") != before
    paths[1].write_text("changed")
    assert fingerprint("settings", files=paths) != before
    paths[0].write_text("as it waschang")
    paths[1].write_text("ed")
    assert fingerprint("settings", files=paths) != before


def test_states_lie_in_the_repository_that_a_copy_was_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert checkpoint_folder("mp_tr_bce", "name") == Path(".checkpoints/mp_tr_bce/name")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    folder = tmp_path / ".checkpoints" / "mp_tr_bce" / "name"
    assert checkpoint_folder("mp_tr_bce", "name") == folder


def make_state(folder: Path, *, age: float = 0.0) -> Path:
    """A state that was written ``age`` seconds ago, with the lock that a training leaves."""
    save_state(folder, {"epoch": 1})
    (folder / "lock").touch()
    written = time.time() - age
    os.utime(folder / STATE, (written, written))
    return folder


def test_other_unfinished_trainings_are_those_of_the_experiment(tmp_path: Path) -> None:
    mine = make_state(tmp_path / "mp_tr_bce" / "mine")
    others = [make_state(tmp_path / "mp_tr_bce" / name) for name in ("a", "b")]
    make_state(tmp_path / "mp_tr_dice" / "c")
    (tmp_path / "mp_tr_bce" / "without").mkdir()
    assert other_states(mine) == others
    assert other_states(tmp_path / "mp_tr_bce" / "new") == [*others, mine]
    assert other_states(tmp_path / "str_tr_bce" / "new") == []


def test_abandoned_trainings_are_removed_after_a_week(tmp_path: Path) -> None:
    assert KEPT_FOR == 7 * 24 * 60 * 60
    mine = make_state(tmp_path / "mp_tr_bce" / "mine")
    fresh = make_state(tmp_path / "mp_tr_bce" / "fresh", age=KEPT_FOR - 3600)
    stale = make_state(tmp_path / "mp_tr_bce" / "stale", age=KEPT_FOR + 1)
    elsewhere = make_state(tmp_path / "mp_tr_dice" / "stale", age=10 * KEPT_FOR)
    remove_checkpoint(mine)
    assert not mine.exists() and not stale.exists()
    assert (fresh / STATE).exists() and (elsewhere / STATE).exists()
