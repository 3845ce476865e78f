"""The released models and the locks that record them."""

import sys
from pathlib import Path

import pytest
import yaml

from tools.models import main, place, recorded_outputs, release
from unet.data.oxford_pets import md5

PARTS = ("{}.safetensors", "{}.progress.npz")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose pipelines made `mine` and, in everyday/, `theirs`, both released."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "released").mkdir()
    for project, key in (("", "mine"), ("everyday", "theirs")):
        names = [part.format(key) for part in PARTS]
        for name in names:
            (tmp_path / "released" / name).write_text(name)
        write_lock(tmp_path / project, key, [md5(tmp_path / "released" / name) for name in names])
    return tmp_path


def write_lock(project: Path, key: str, digests: list[str]) -> None:
    project.mkdir(exist_ok=True)
    outs = [
        {"path": f"models/{part.format(key)}", "md5": digest}
        for part, digest in zip(PARTS, digests, strict=True)
    ]
    lock = {"schema": "2.0", "stages": {f"train@{key}": {"cmd": "true", "outs": outs}}}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "released").iterdir()}


def test_a_missing_part_is_named_and_nothing_placed(folder: Path) -> None:
    (folder / "released/theirs.progress.npz").unlink()
    with pytest.raises(
        ValueError, match=r"theirs.progress.npz is missing: `git restore -SW released"
    ):
        place(recorded_outputs())
    assert not (folder / "models").exists() and not (folder / "everyday/models").exists()


def test_one_name_in_two_pipelines_is_refused(folder: Path) -> None:
    write_lock(folder / "everyday", "mine", ["0" * 32] * 2)
    with pytest.raises(ValueError, match="mine is an experiment of the root and of everyday/"):
        recorded_outputs()


def test_without_a_lock_no_released_model_is_removed(folder: Path) -> None:
    before = names(folder)
    (folder / "everyday/dvc.lock").unlink()
    with pytest.raises(
        ValueError, match=r"theirs.safetensors is in no lock, and everyday/dvc.lock"
    ):
        release(recorded_outputs())
    assert names(folder) == before


def test_what_is_no_longer_recorded_is_removed(folder: Path) -> None:
    (folder / "everyday/dvc.lock").write_text(yaml.safe_dump({"stages": {}}))
    release(recorded_outputs())
    assert names(folder) == {part.format("mine") for part in PARTS}


def test_an_option_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["models", "--relase"])
    with pytest.raises(SystemExit, match="2"):
        main()
