"""The comparison of two revisions' outputs, and the lock entries that it rewrites."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.repo import ROOT, RUNNING, commit_all, copy_repository, run
from tools.contents import differences
from tools.copies import shrink
from tools.lock import Evidence, accept
from tools.pipeline import moved, moved_back, overlap, read_pipeline
from tools.same import Verdict, allow

STAGES = ("download", "preprocess", "train@mp_tr_dice")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    return tmp_path / "old", tmp_path / "new"


# Contents


def test_a_changed_tensor(pair: tuple[Path, Path]) -> None:
    old, new = (folder / "a.safetensors" for folder in pair)
    tensors = {name: torch.arange(4.0, dtype=torch.bfloat16) for name in "abc"}
    save_file(tensors, old, {"unet": json.dumps({"epoch": 1, "seconds": 3})})
    save_file(tensors, new, {"unet": json.dumps({"seconds": 4, "epoch": 1})})
    assert differences(old, new) == {}
    save_file(tensors | {"b": torch.zeros(4, dtype=torch.bfloat16)}, new, {"unet": "{}"})
    assert differences(old, new) == {"": "1 of 3 arrays differ and metadata"}
    save_file(tensors, new, {"unet": json.dumps({"epoch": 2})})
    assert differences(old, new) == {"": "metadata"}
    save_file({name: tensor.float() for name, tensor in tensors.items()}, new)
    assert differences(old, new) == {"": "3 of 3 arrays differ and metadata"}


def test_arrays_of_numpy(pair: tuple[Path, Path]) -> None:
    old, new = (folder / "a.npz" for folder in pair)
    array = np.array([1, np.nan])
    np.savez(old, a=array, b=array)
    np.savez_compressed(new, a=array, b=array)  # other bytes, the same arrays
    assert differences(old, new) == {}
    np.savez(new, a=array, b=array[:1])
    assert differences(old, new) == {"": "1 of 2 arrays differ"}
    new.write_bytes(b"no archive")
    assert differences(old, new) == {"": "other bytes"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epoch,val_iou,seconds\n1,0.50,7.5\n", None),  # another time, another spelling
        ("val_iou,epoch,code\n0.5,1,abc\n", None),
        ("epoch,val_iou,seconds\n1,0.51,3\n", "column val_iou"),
        ("epoch,val_iou,seconds\n1,0.5,3\n2,0.5,3\n", "1 rows, now 2"),
        ("epoch,seconds\n1,3\n", "column val_iou on one side only"),
        ("epoch,epoch\n1,3\n", "other bytes"),
    ],
)
def test_tables(pair: tuple[Path, Path], text: str, expected: str | None) -> None:
    old, new = (folder / "a.csv" for folder in pair)
    old.write_text("epoch,val_iou,seconds\n1,0.5,3\n")
    new.write_text(text)
    assert differences(old, new).get("") == expected


def test_json_without_times_and_hashes_of_the_code(pair: tuple[Path, Path]) -> None:
    old, new = (folder / "a.json" for folder in pair)
    old.write_text(json.dumps({"iou": 0.5, "cost": {"seconds": 1, "images": 2}, "code": "x"}))
    new.write_text(json.dumps({"code": "y", "cost": {"images": 2}, "iou": 0.5}, indent=2))
    assert differences(old, new) == {}
    new.write_text(json.dumps({"cost": {"images": 3}, "iou": 0.5, "dice": 0.6}))
    assert differences(old, new) == {"": "key cost.images, dice"}


def test_folders_file_by_file(pair: tuple[Path, Path]) -> None:
    for folder, seconds in zip(pair, ("1", "2"), strict=True):
        (folder / "timing").mkdir()
        (folder / "timing/a.csv").write_text(f"epoch,images_a_second\n1,{seconds}\n")
        (folder / "b.bin").write_bytes(b"1")
    assert differences(*pair) == {}
    (pair[0] / "b.bin").write_bytes(b"2")
    (pair[1] / "c.bin").touch()
    assert differences(*pair) == {"b.bin": "other bytes", "c.bin": "missing before"}


# What is meant to change


def test_a_named_output_needs_what_comes_of_it_to_be_the_same_or_named() -> None:
    stages = read_pipeline(ROOT)
    train, val = (Verdict("preprocess", f"data/packed/{name}", "different", {"names.json": "key"})
                  for name in ("train", "val"))  # fmt: skip
    model = Verdict("train@mp_tr_bce", "models/mp_tr_bce.safetensors", "same", {})
    named = ["data/packed/*/names.json"]
    assert [v.state for v in allow([train, val, model], named, stages)] == [
        "changed", "changed", "same",
    ]  # fmt: skip
    worse = Verdict(model.stage, model.path, "different", {"": "1 of 9 arrays differ"})
    states = [v.state for v in allow([train, val, worse], named, stages)]
    assert states == ["different"] * 3
    states = [v.state for v in allow([train, val, worse], ["data/*", "models/*"], stages)]
    assert states == ["changed"] * 3
    more = Verdict(train.stage, train.path, "different", {"names.json": "key", "a.npy": "bytes"})
    assert allow([more], named, stages)[0].state == "different"


def test_paths() -> None:
    moves = [("study/", "research/ablation/")]
    assert moved("study/data/factorial", moves) == "research/ablation/data/factorial"
    assert moved_back("research/ablation/a.csv", moves) == "study/a.csv"
    assert moved("data/study/a", moves) == "data/study/a"
    assert overlap("data/packed", "data/packed/train") and overlap("a/b", "a")
    assert not overlap("data/packed", "data/packed2")


def test_small_params_are_set_wherever_they_stand() -> None:
    params = {"a": {"width": 16, "b": {"seeds": [4, 5, 6]}}, "c": 1}
    assert shrink(params, {"width": 4, "depth": 2}) == {"width", "seeds"}
    assert params == {"a": {"width": 4, "b": {"seeds": [4, 5]}}, "c": 1}


# The tool


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy without the ablation's project, whose many stages would take most of the time."""
    (tmp_path / "repository").mkdir()
    copy = copy_repository(tmp_path / "repository")
    leave_out(copy, "research/ablation")
    commit_all(copy)
    return copy


def leave_out(repository: Path, *projects: str) -> None:
    for project in projects:
        for name in ("dvc.yaml", "dvc.lock"):
            (repository / project / name).unlink()
        shutil.rmtree(repository / project / ".dvc")


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def rename_a_variable(repository: Path) -> None:
    """A refactoring that changes no result."""
    module = repository / module_with("    overlap = (probabilities * targets)")
    replace(module, "overlap = (prob", "common = (prob")
    replace(module, "2 * overlap + self", "2 * common + self")


def lock(repository: Path) -> dict:
    return yaml.safe_load((repository / "dvc.lock").read_text())["stages"]


def same(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(repository, "python", "-m", "tools.same", *arguments, check=False)


def module_with(text: str) -> str:
    """The path of the one module of the project's own that holds ``text``."""
    found = [
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if path.relative_to(ROOT).parts[0] not in ("tests", ".venv", "tools")
        and text in path.read_text(encoding="utf-8")
    ]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.slow
def test_entries_without_a_run(repository: Path) -> None:
    """Which entries are written, given what the small runs have shown."""
    revision = repository.with_name("revision")
    leave_out(repository, "everyday", "research/labels")  # each takes DVC seconds more
    copy_repository(revision, repository)
    rename_a_variable(repository)
    replace(repository / "params.yaml", "rotate: 6", "rotate: 7")
    stages = [name for name, stage in read_pipeline(repository).items() if ":" not in name]
    fine = dict.fromkeys(stages, True) | {"evaluate@mp_tr_bce": False}
    changed = {"predictions/mp_tr_dice"}
    before = lock(repository)

    accepted, kept, old_form = accept(repository, revision, Evidence(stages, fine, changed, []), [])
    assert "rotate = 7, recorded with 6" in kept["train@mp_tr_bce"]
    assert kept["evaluate@mp_tr_bce"] == "its outputs differ"
    assert kept["evaluate@mp_tr_dice"] == "predictions/mp_tr_dice has not been made anew here"
    assert "preprocess" in accepted and "plot" in accepted
    assert old_form == ["predictions/mp_tr_dice"]
    assert {k: v for k, v in lock(repository).items() if k.startswith("train@")} == {
        k: v for k, v in before.items() if k.startswith("train@")
    }

    replace(repository / "params.yaml", "rotate: 7", "rotate: 6")
    accepted, kept, _ = accept(repository, revision, Evidence(stages, fine, changed, []), [])
    assert "train@mp_tr_bce" in accepted
    after = lock(repository)
    trains = {name for name in stages if name.startswith("train@")}
    changed_entries = {name for name in after if after[name] != before[name]} - {"code"}
    assert trains <= changed_entries <= trains | {"plot"}  # `plot` reads the losses' names
    dry = run(repository, "dvc", "repro", "--dry", "--allow-missing", *trains, "plot", check=False)
    assert not set(RUNNING.findall(dry.stdout)) & set(accepted), dry.stdout

    # A table in Git that the revision did not record is no output of its stage.
    replace(repository / "plots/curves/mp_tr_bce.csv", "epoch", "epochs")
    accepted, kept, _ = accept(repository, revision, Evidence(stages, fine, changed, []), [])
    assert "plots/curves/mp_tr_bce.csv is not the one of the revision" in kept["train@mp_tr_bce"]


@pytest.mark.slow
def test_another_comment_is_the_same_and_accepted(repository: Path) -> None:
    rename_a_variable(repository)
    before = lock(repository)
    done = same(repository, "HEAD", "--accept", "--only", STAGES[-1])
    assert done.returncode == 0, done.stdout
    assert f"accepted: 3 stages: {', '.join(STAGES)}" in done.stdout

    after = lock(repository)
    assert {name for name in after if after[name] != before[name]} == {"code", STAGES[-1]}
    assert after[STAGES[-1]]["outs"] == before[STAGES[-1]]["outs"]
    dry = run(repository, "dvc", "repro", "--dry", "--allow-missing", STAGES[-1])
    assert RUNNING.findall(dry.stdout) == ["code"]
    # Stages that did not run are as stale as before.
    other = run(
        repository, "dvc", "repro", "--dry", "--allow-missing", "train@str_ups_dice", check=False
    )
    assert other.returncode or "train@str_ups_dice" in RUNNING.findall(other.stdout)
    changed = [d["path"] for d in after[STAGES[-1]]["deps"] if d not in before[STAGES[-1]]["deps"]]
    assert changed == ["code/train.txt"]


@pytest.mark.slow
def test_another_constant_is_different_and_its_entry_stays(repository: Path) -> None:
    text = "photo.resize((size, size), Image.Resampling.BILINEAR)"
    replace(repository / module_with(text), text, text.replace("BILINEAR", "BICUBIC"))
    before = lock(repository)
    done = same(repository, "HEAD", "--accept", "--only", "preprocess")
    assert done.returncode == 1
    assert "different preprocess  data/packed/train  images.npy: " in done.stdout
    assert "accepted: 1 stages: download\n" in done.stdout
    after = lock(repository)
    assert {name for name in after if after[name] != before[name]} == {"code"}


def test_errors_are_one_line(repository: Path) -> None:
    unknown = same(repository, "no-such-commit")
    assert unknown.returncode == 1
    assert unknown.stdout == (
        "same: no-such-commit: no commit of this repository: git fetch, or git log for its name\n"
    )
    clone = repository.with_name("clone")
    (repository / "new.txt").touch()
    commit_all(repository)
    run(repository.parent, "git", "clone", "-q", "--depth=1", f"file://{repository}", str(clone))
    shallow = same(clone, "HEAD~1")
    assert shallow.returncode == 1
    assert "HEAD~1: no commit of this shallow clone: git fetch --unshallow" in shallow.stdout

    replace(repository / "stages/download.py", "def main() -> None:\n",
            "def main() -> None:\n    raise ValueError('no luck')\n")  # fmt: skip
    broken = same(repository, "HEAD", "--only", "no-such-stage")
    assert broken.returncode == 1 and "HEAD: its pipeline does not run" in broken.stdout
    assert "Traceback" not in broken.stdout and "--keep FOLDER" in broken.stdout
    commit_all(repository)
    broken = same(repository, "HEAD", "--no-research")
    assert broken.returncode == 1 and "HEAD: its pipeline does not run" in broken.stdout
    assert "no luck" in broken.stdout and "Traceback" not in broken.stdout
