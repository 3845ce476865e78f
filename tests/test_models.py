"""The released models and the locks that record them."""

from pathlib import Path

import pytest
import yaml

from tools.models import place, recorded_outputs, release
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


@pytest.mark.parametrize("there", [False, True])
def test_what_is_not_the_recorded_is_named_and_nothing_placed(folder: Path, there: bool) -> None:
    path = folder / "released/theirs.progress.npz"
    path.write_text("other") if there else path.unlink()
    with pytest.raises(
        ValueError, match=f"{path.name} is not .*-SW released.*-SW dvc.lock params.yaml"
    ):
        place(recorded_outputs())
    assert not (folder / "models").exists() and not (folder / "everyday/models").exists()


def test_one_name_in_two_pipelines_is_refused(folder: Path) -> None:
    write_lock(folder / "everyday", "mine", ["0" * 32] * 2)
    with pytest.raises(ValueError, match="mine is an experiment of the root and of everyday/"):
        recorded_outputs()


def test_a_release_is_what_is_recorded(folder: Path) -> None:
    (folder / "everyday/dvc.lock").write_text(yaml.safe_dump({"stages": {}}))
    (folder / "released/mine.safetensors").rename(folder / "mine")
    with pytest.raises(ValueError, match="models/mine.safetensors is not what dvc.lock records"):
        release(recorded_outputs())
    (folder / "models").mkdir()
    (folder / "mine").rename(folder / "models/mine.safetensors")
    release(recorded_outputs())
    names = {path.name for path in (folder / "released").iterdir()}
    assert names == {part.format("mine") for part in PARTS}
