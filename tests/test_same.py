"""The comparison of two commits' outputs, and the lock entries that it rewrites."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.repo import ROOT, commit_all, run
from tools.fresh import stale_stages
from tools.same import compare
from tools.verify import TOLERANCE, differs
from unet.runtime.config import read_yaml

# Comparing


def outcome(tmp_path: Path, path: str, old: str, new: str) -> str:
    """What ``compare`` says of one output that both sides have, with these texts."""
    folders = [tmp_path / side for side in ("old", "new")]
    for folder, text in zip(folders, (old, new), strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    entries = [{"outs": [{"path": path, "md5": text}]} for text in (old, new)]
    return compare((".", "stage"), folders, entries)


@pytest.mark.parametrize(
    ("path", "old", "new", "same"),
    [
        ("a.bin", "1", "1", True),
        ("a.bin", "1", "2", False),
        ("plots/timing/a.csv", "1", "2", True),
        ("a.csv", "epoch,seconds,iou\n1,3,0.5\n", "epoch,seconds,iou\n1,4,0.5\n", True),
        ("a.csv", "epoch,seconds,iou\n1,3,0.5\n", "epoch,seconds,iou\n1,3,0.6\n", False),
        ("a.csv", "epoch\n1\n", "epoch\n1\n2\n", False),
        ("a.csv", "epoch\n1\n", "epoch,iou\n1,0.5\n", False),
        ("a.json", '{"a": {"seconds": 1, "b": NaN}}', '{"a": {"b": NaN, "seconds": 2}}', True),
        ("a.json", '{"a": 1}', '{"a": 1, "b": 2}', False),
        ("a.json", '{"a": NaN}', '{"a": 1}', False),
    ],
)
def test_outputs_are_compared_without_times(
    tmp_path: Path, path: str, old: str, new: str, same: bool
) -> None:
    assert outcome(tmp_path, path, old, new) == ("same" if same else f"different: {path}")


# The tool

PIPELINE = """
stages:
  code:
    cmd: for name in train score seed late; do md5sum < $name.py > code/$name.txt; done
    always_changed: true
    outs:
      - code/train.txt: {cache: false, persist: true}
      - code/score.txt: {cache: false, persist: true}
      - code/seed.txt: {cache: false, persist: true}
      - code/late.txt: {cache: false, persist: true}
  train:
    cmd: python train.py
    params: [data.source, train.epochs]
    deps: [code/train.txt]
    outs: [model.txt]
  score:
    cmd: python score.py
    deps: [code/score.txt, model.txt]
    metrics: [score.json: {cache: false}]
  late:
    cmd: python late.py
    deps: [code/late.txt, model.txt]
    outs: [late.txt]
  seed:
    matrix: {seed: "${seeds}"}
    cmd: python seed.py ${item.seed}
    params: [data.source]
    deps: [code/seed.txt]
    outs:
      - runs/${item.seed}.json: {cache: false}
"""
FILES = {
    "dvc.yaml": PIPELINE,
    "params.yaml": "data: {source: official}\ntrain: {epochs: 15}\nseeds: [6, 7, 8]\n",
    "train.py": "x = 1\nopen('model.txt', 'w').write(str(x))\n",
    "score.py": "y = 1\nopen('score.json', 'w').write(f'[{y}]')\n",
    "late.py": "open('late.txt', 'w').write('late')\n",
    "seed.py": "import json, sys, time\n"
    "run = {'seed': sys.argv[1], 'seconds': time.time()}\n"
    "json.dump(run, open(f'runs/{sys.argv[1]}.json', 'w'))\n",
    "code/.keep": "",
    "runs/.keep": "",
    ".dvc/config": "[core]\n    analytics = false\n",
    ".dvc/.gitignore": "/tmp\n/cache\n/config.local\n",
}


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def same(repository: Path, *arguments: str) -> tuple[int, str]:
    command = ("python", "-m", "tools.same", *arguments)
    done = run(repository, *command, check=False, PYTHONPATH=str(ROOT))
    return done.returncode, done.stdout


def test_entries_follow_what_the_small_runs_show(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    run(tmp_path, "git", "init", "-q")
    commit_all(tmp_path)
    run(tmp_path, "dvc", "repro", "-q")
    commit_all(tmp_path)
    edit(tmp_path / "late.py", "", "z = 1\n")  # out of date at OLD
    commit_all(tmp_path)

    for name in ("train.py", "seed.py", "score.py", "late.py"):
        edit(tmp_path / name, "", "w = 2\n")
    edit(tmp_path / "score.py", "y = 1", "y = 2")
    edit(tmp_path / "dvc.yaml", "train.epochs]", "train]")
    edit(tmp_path / "params.yaml", "epochs: 15", "epochs: 15, more: 1")
    status, text = same(tmp_path, "HEAD", "--accept")
    assert status == 1 and "commit" in text and "dvc.yaml" in text
    commit_all(tmp_path)
    status, text = same(tmp_path, "no-such-commit")
    assert status == 1 and "no-such-commit" in text and "Traceback" not in text
    before = read_yaml(tmp_path / "dvc.lock")["stages"]

    status, text = same(tmp_path, "HEAD~1", "--accept")
    assert status == 1, text
    lines = dict(line.split("  ", 1) for line in text.splitlines() if "  " in line)
    assert lines.pop("late").startswith("same, but")
    assert lines == {"train": "same", "score": "different: score.json"} | dict.fromkeys(
        ("seed@6", "seed@7", "seed@8"), "same"
    )
    assert stale_stages(tmp_path).keys() == {"score", "late"}
    after = read_yaml(tmp_path / "dvc.lock")["stages"]
    assert {name for name in after if after[name] == before[name]} == {"score", "late"}
    assert after["train"]["params"]["params.yaml"]["train"] == {"epochs": 15, "more": 1}
    assert all(after[name].get("outs") == before[name]["outs"] for name in after.keys() - {"code"})
    assert "seconds" in json.loads((tmp_path / "runs/8.json").read_text(encoding="utf-8"))
    assert len(run(tmp_path, "git", "worktree", "list").stdout.splitlines()) == 1


# Comparing new scores with the recorded ones

RECORDED = {"iou": 0.8, "accuracy": 0.9, "predictions": "a"}


@pytest.mark.parametrize(
    ("changes", "allowed", "problem"),
    [
        ({}, 0.0, None),
        ({"iou": 0.80002, "accuracy": 0.89995, "predictions": "b"}, TOLERANCE, None),
        ({"accuracy": 0.8995, "predictions": "b"}, TOLERANCE, "differs by 0.0005"),
        ({"iou": 0.8000001}, 0.0, "differs by 1e-07"),
        ({"predictions": "b"}, 0.0, "other predictions"),
        ({"dice": 0.9}, TOLERANCE, "differs by nan"),
    ],
)
def test_what_differs_is_said(changes: dict[str, Any], allowed: float, problem: str | None) -> None:
    found = differs(RECORDED, RECORDED | changes, allowed)
    assert (found or "") == "" if problem is None else problem.replace("\\", "") in found
