"""The recorded study: dvc.lock, metrics and README belong to the pipeline as it stands."""

import json
from pathlib import Path

import pytest
import yaml

from tests.repo import ROOT, RUNNING, copy_repository, run
from tools.table import fill, readme_blocks, scores

LOCK = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]


def stale_reasons(repository: Path, file: str = "dvc.yaml") -> dict[str, list[str]]:
    """Stale stage of ``file`` -> what does not match the lock; missing data is no matter."""
    dry = run(repository, "dvc", "repro", "--dry", "--allow-missing", file, check=False)
    reasons: dict[str, list[str]] = {name: [] for name in RUNNING.findall(dry.stdout)}
    status = run(repository, "dvc", "status", "--json", file).stdout
    for name, changes in json.loads(status[status.index("{") :]).items():
        for change in changes:
            if isinstance(change, str):
                reasons.setdefault(name, []).append(change)
                continue
            for where, paths in change.items():
                for path, state in paths.items():
                    if state not in ("deleted", "not in cache"):
                        reasons.setdefault(name, []).append(f"{where}: {path}")
    # A stale stage whose data is missing ends the dry run with an error, not with its name.
    matches = dry.returncode == 0 and "up to date" in dry.stdout
    assert matches == (not reasons), f"{dry.stdout}\n{reasons}"
    return reasons


@pytest.mark.parametrize("file", ["dvc.yaml", "study/dvc.yaml"])
def test_lock_matches_the_pipeline(tmp_path: Path, file: str) -> None:
    reasons = stale_reasons(copy_repository(tmp_path), file)
    assert reasons == {}, "the lock is of another pipeline: run `dvc repro`"


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("params.yaml", "epochs: 15", "epochs: 16"),
        ("dvc.yaml", "python -m stages.train ${key}", "python -m stages.train  ${key}"),
        ("unet/losses.py", '"""Losses', '"""The losses'),
    ],
)
def test_a_change_makes_the_lock_stale(tmp_path: Path, path: str, old: str, new: str) -> None:
    repository = copy_repository(tmp_path)
    text = (repository / path).read_text()
    assert old in text
    (repository / path).write_text(text.replace(old, new))
    reasons = stale_reasons(repository)
    assert any(name.startswith("train@") and rs for name, rs in reasons.items()), reasons


def test_all_experiments_are_recorded() -> None:
    experiments = yaml.safe_load((ROOT / "params.yaml").read_text())["experiments"]
    assert {name for name in LOCK if name.startswith("train@")} == {
        f"train@{k}" for k in experiments
    }
    assert list(scores(ROOT).index) == list(experiments)


def test_summary_holds_the_flat_scores() -> None:
    summary = json.loads((ROOT / "metrics/summary.json").read_text())
    frame = scores(ROOT)
    assert summary == {name: frame[name].to_dict() for name in summary}


def test_readme_tables_are_those_of_the_metrics() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert fill(readme, readme_blocks(ROOT)) == readme, "run `make readme`"


def test_readme_comparison_shows_the_recorded_scores() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    row = next(line for line in readme.splitlines() if line.split()[:1] == ["main"])
    iou = json.loads((ROOT / "metrics/summary.json").read_text())["iou"]
    assert [float(word) for word in row.split()[1 : 1 + len(iou)]] == [
        round(value, 5) for value in iou.values()
    ]


def test_real_run_reaches_its_bar() -> None:
    assert (scores(ROOT)["accuracy"] >= 0.90).all()
    assert (scores(ROOT)["num_images"] == 3669).all()
