"""The recorded study: dvc.lock, metrics and README belong to the pipeline as it stands."""

import hashlib
import json
import re
import warnings
from pathlib import Path

import pytest
import yaml

from study.design import NAMED
from tests.repo import ROOT, RUNNING, copy_repository, make_study_tiny, make_tiny, run
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


KEYS = ("mp_tr_bce", "str_ups_dice")  # between them every downsampling, upsampling and loss
RUNS = tuple(f"{NAMED[key]}-0" for key in KEYS)
# Pipeline -> commands that run a little of it, and the results to compare.
SMALL_RUNS = {
    "dvc.yaml": (
        "stages.download",
        "stages.preprocess",
        *(f"stages.{stage} {key}" for key in KEYS for stage in ("train", "evaluate")),
    ),
    "study/dvc.yaml": (
        "stages.download",
        "study.pack factorial",
        *(f"study.train factorial {name}" for name in RUNS),
    ),
}
RESULTS = {
    "dvc.yaml": [
        name
        for key in KEYS
        for name in (f"models/{key}.safetensors", f"plots/curves/{key}.csv", f"metrics/{key}.json")
    ],
    "study/dvc.yaml": [
        f"study/runs/factorial/{n}.{kind}" for n in RUNS for kind in ("csv", "json")
    ],
}


def trained_bits(repository: Path, file: str) -> dict[str, str]:
    """What a small fixed-seed training leaves: the checksum of each file."""
    make_tiny(repository)
    make_study_tiny(repository)
    for command in SMALL_RUNS[file]:
        run(repository, "python", "-m", *command.split())
    checksums = {}
    for name in RESULTS[file]:
        content = (repository / name).read_text("latin-1")
        if name.startswith("study/runs"):  # less the clock, and the code that is to be compared
            content = re.sub(r'"(seconds|code)": .*', "", content)
        checksums[name] = hashlib.md5(content.encode()).hexdigest()
    return checksums


@pytest.mark.parametrize("file", ["dvc.yaml", "study/dvc.yaml"])
def test_lock_matches_the_pipeline(tmp_path: Path, file: str) -> None:
    reasons = stale_reasons(copy_repository(tmp_path / "now"), file)
    code, other = set(), {}
    for name, of_stage in reasons.items():
        # A change of code is well where the results stay the same; the figure is redrawn at once.
        known = {r for r in of_stage if r.endswith(".py") and not name.endswith(":figure")}
        code |= known
        other[name] = [reason for reason in of_stage if reason not in known]
    assert not any(other.values()), f"the lock is of another pipeline: {other}; run `dvc repro`"
    if code:
        warnings.warn(f"code changed since the record: {sorted(code)}", stacklevel=1)
        lock = file.replace(".yaml", ".lock")
        recorded = run(ROOT, "git", "log", "-1", "--format=%H", "--", lock).stdout.strip()
        before = trained_bits(copy_repository(tmp_path / "recorded", commit=recorded), file)
        assert trained_bits(tmp_path / "now", file) == before, "results changed: run `dvc repro`"


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
