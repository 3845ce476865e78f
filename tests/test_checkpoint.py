import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import same_weights, tiny_config, tiny_experiment, tiny_model
from unet.model import UNet
from unet.training.checkpoint import (
    STATES,
    checkpoint_folder,
    fingerprint,
    load_state,
    read_state,
    save_state,
)


def saved_model(seed: int = 0) -> UNet:
    return tiny_model(seed, random_head=True, downsample="str_conv", upsample="ups")


def test_a_state_comes_back(tmp_path: Path) -> None:
    state = {
        "model": saved_model().state_dict(),
        "training": {"curve": [{"epoch": 1, "loss": 0.5}], "snapshots": {1: torch.ones(2, 2)}},
    }
    folder = tmp_path / "new" / "folder"
    assert read_state(folder) is None
    save_state(folder, {"model": {}})
    save_state(folder, state)
    loaded = load_state(read_state(folder))
    assert loaded is not None
    assert same_weights(loaded["model"], state["model"])
    assert loaded["training"]["curve"] == [{"epoch": 1, "loss": 0.5}]
    assert torch.equal(loaded["training"]["snapshots"][1], torch.ones(2, 2))
    assert sorted(path.name for path in folder.iterdir()) == sorted(STATES)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
shapes = st.lists(st.integers(0, 4), max_size=4)
dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.uint8])
tensors = st.builds(lambda shape, dtype: torch.randn(shape).to(dtype), shapes, dtypes)
trees = st.recursive(
    scalars | tensors,
    lambda node: st.lists(node, max_size=3) | st.dictionaries(st.text() | st.integers(), node),
    max_leaves=12,
)


@settings(deadline=None, max_examples=60)
@given(tree=st.dictionaries(st.text(), trees))
def test_any_tree_of_tensors_comes_back(
    tmp_path_factory: pytest.TempPathFactory, tree: dict
) -> None:
    folder = tmp_path_factory.mktemp("state")
    save_state(folder, tree)
    loaded = load_state(read_state(folder))

    def same(one: Any, other: Any) -> bool:
        if isinstance(one, torch.Tensor):
            return one.dtype == other.dtype and torch.equal(one, other)
        if isinstance(one, dict):
            return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
        if isinstance(one, list):
            return len(one) == len(other) and all(map(same, one, other))
        return type(one) is type(other) and one == other

    assert same(tree, loaded)


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
def test_of_a_damaged_state_the_one_before_is_used(
    tmp_path: Path, damage: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    for epoch in (1, 2, 3):
        save_state(tmp_path, {"epoch": epoch, "weight": torch.ones(100)})
    for name, expected in zip(STATES, (2, None), strict=True):
        (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
        content = read_state(tmp_path)
        assert (load_state(content)["epoch"] if content else None) == expected
        assert f"{tmp_path / name} is damaged: not used" in capsys.readouterr().err


def test_a_state_between_its_two_renamings(tmp_path: Path) -> None:
    for epoch in (1, 2):
        save_state(tmp_path, {"epoch": epoch})
    (tmp_path / STATES[0]).unlink()
    assert load_state(read_state(tmp_path)) == {"epoch": 1}


def test_a_state_that_cannot_be_written_leaves_the_last(tmp_path: Path) -> None:
    save_state(tmp_path, {"epoch": 1})
    with pytest.raises(Exception, match="not JSON serializable"):
        save_state(tmp_path, {"epoch": lambda: 2})
    assert load_state(read_state(tmp_path)) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == [STATES[0]]


def test_fingerprint_tells_settings_apart() -> None:
    names = [
        fingerprint(tiny_experiment(), tiny_config(), "cpu"),
        fingerprint(tiny_experiment(width=5), tiny_config(), "cpu"),
        fingerprint(tiny_experiment(), tiny_config(seed=1), "cpu"),
        fingerprint(tiny_experiment(), tiny_config(), "cuda"),
    ]
    assert len(set(names)) == 4
    assert fingerprint(tiny_experiment(), tiny_config(), "cpu") == names[0]
    assert all(name.isalnum() for name in names)


def test_fingerprint_tells_files_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "images.npy", tmp_path / "names.txt"]
    for path in paths:
        path.write_text("as it was")
    before = fingerprint("settings", files=paths)
    assert fingerprint("settings", files=reversed(paths)) == before
    assert fingerprint("settings") != before
    paths[1].write_text("changed")
    assert fingerprint("settings", files=paths) != before


def test_fingerprint_tells_sources_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "painted_pets"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("WIDTH = 1\n")
    importlib.import_module("painted_pets.part")
    try:
        before = fingerprint("settings", modules=["painted_pets"])
        elsewhere = fingerprint("settings", modules=["unet"])
        (package / "part.py").write_text("WIDTH = 2\n")
        assert fingerprint("settings", modules=["painted_pets"]) != before
        assert fingerprint("settings", modules=["unet"]) == elsewhere
    finally:
        for name in ("painted_pets.part", "painted_pets"):
            del sys.modules[name]


def test_states_lie_in_the_repository_that_a_copy_was_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert checkpoint_folder("name") == Path(".checkpoints/name")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert checkpoint_folder("name") == tmp_path / ".checkpoints" / "name"
