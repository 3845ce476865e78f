"""The page of `tools.page`: what it holds, how it looks in a browser, what it refuses."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

import research.page
from tests.browser import look, needs_browser
from tests.repo import KEYS, ROOT, commit_all, run
from tools import page
from unet.report.page import Json, as_table, fill_page
from unet.runtime.process import run_stage

SCORES, CURVE = f"metrics/scores/{KEYS[0]}.json", f"plots/curves/{KEYS[0]}.csv"
TIMING = f"plots/timing/{KEYS[0]}.csv"
HOSTILE = """<img src=x onerror="window.harmed = 1"></script><script>window.harmed = 1</script>"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files of the root's record alone, in a repository."""
    for name in (".dvc/config", "params.yaml", "dvc.lock", "dvc.yaml", "metrics", "plots"):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    return tmp_path


def written(folder: Path, record: Json) -> Path:
    out = folder / "report.html"
    out.write_text(fill_page("A title", {"models": []} | record, {}), encoding="utf-8")
    return out


@needs_browser
def test_the_page_of_the_record_in_a_browser(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    record = page.record_of(Path())
    shown = {"table", "curves", "pictures", "seeds", "costs", "effects", "suspects"}
    assert shown <= record.keys()
    record["notes"].append(HOSTILE)
    record["suspects"]["rows"][0][1] = HOSTILE
    look("page.mjs", written(tmp_path, record))


@needs_browser
def test_two_revisions_in_a_browser(copy: Path, monkeypatch) -> None:
    run(copy, "git", "init", "-q")
    commit_all(copy)
    params = (copy / "params.yaml").read_text()
    (copy / "params.yaml").write_text(params.replace("  seed: 0", "  seed: 7", 1))
    scores = json.loads((copy / SCORES).read_text())
    (copy / SCORES).write_text(json.dumps(scores | {"iou": 0.5}))
    (copy / f"metrics/scores/{KEYS[-1]}.json").unlink()
    monkeypatch.chdir(copy)
    record = page.side_by_side(["HEAD", "workspace"])
    assert record["params"]["rows"] == [["train.seed", "0", "7"]]
    rows = {key: dict(zip(record["table"]["columns"], [key, *row], strict=True))
            for key, *row in record["table"]["rows"]}  # fmt: skip
    assert rows[KEYS[0]]["IoU"] == f"−{scores['iou'] - 0.5:.4f}\n{scores['iou']:.4f} → 0.5000"
    assert rows[KEYS[-1]]["IoU"].endswith("→ –")
    assert record["notes"] == []
    look("page.mjs", written(copy, record))


def test_other_test_images_or_another_rule_are_not_compared_without_a_word(
    copy: Path, monkeypatch
) -> None:
    run(copy, "git", "init", "-q")
    commit_all(copy)
    retest(copy, KEYS[0])
    params = (copy / "params.yaml").read_text()
    (copy / "params.yaml").write_text(params.replace("boundary: background", "boundary: object"))
    monkeypatch.chdir(copy)
    rule, images = page.side_by_side(["HEAD", "workspace"])["notes"]
    assert "train.boundary" in rule
    assert KEYS[0] in images


def retest(folder: Path, key: str) -> None:
    """Make the lock say that ``key`` was scored on other test images."""
    lock = (folder / "dvc.lock").read_text()
    before, stage, after = lock.partition(f"  evaluate@{key}:\n")
    deps, test, rest = after.partition("path: data/packed/test\n      hash: md5\n      md5: ")
    assert test
    (folder / "dvc.lock").write_text(before + stage + deps + test + "0" * 8 + rest[8:])


def test_only_experiments_of_the_packed_images_are_shown(copy: Path) -> None:
    retest(copy, KEYS[0])
    record = page.record_of(copy)
    assert [row[0] for row in record["table"]["rows"]] == list(KEYS[1:])
    assert [curve["key"] for curve in record["curves"]] == list(KEYS[1:])
    assert any(KEYS[0] in note for note in record["notes"])


def test_the_research_is_shown_beside_its_own_data_alone(copy: Path) -> None:
    params = (copy / "params.yaml").read_text()
    (copy / "params.yaml").write_text(params.replace("source: official", "source: synthetic"))
    lock = (copy / "dvc.lock").read_text()
    (test_images,) = {dep["md5"] for dep in deps_on_test(copy)}
    (copy / "dvc.lock").write_text(lock.replace(test_images, "0" * 32))
    record = page.record_of(copy)
    assert not {"seeds", "effects", "suspects"} & record.keys()
    assert [chart["title"] for chart in record["costs"]] == ["the experiments here"]
    assert record["about"].startswith("drawn images")


def deps_on_test(folder: Path) -> list[Json]:
    stages = page.read_yaml(folder / "dvc.lock")["stages"]
    deps = [dep for key in KEYS for dep in stages[f"evaluate@{key}"]["deps"]]
    return [dep for dep in deps if dep["path"] == page.TEST]


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        (SCORES, '"boundary_iou":', '"other":', f"{SCORES}: boundary_iou"),
        (SCORES, "{", "", KEYS[0]),
        (CURVE, "val_iou", "other", CURVE),
        (CURVE, "\n1,", "\none,", CURVE),
        (CURVE, "\n1,", "\n,", CURVE),
        (TIMING, None, None, TIMING),
        ("plots/progress.jpg", None, None, "progress.jpg"),
    ],
)
def test_a_damaged_record_is_named_in_one_line(
    copy: Path, file: str, old: str | None, new: str | None, named: str
) -> None:
    path = copy / file
    if old is None:
        path.unlink()
    else:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
    with pytest.raises((ValueError, OSError), match=re.escape(named)) as caught:
        page.record_of(copy)
    assert "\n" not in str(caught.value)


def test_a_damaged_table_of_the_ablation_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "factorial.csv").write_text("downsample,upsample\nmp,tr\n")
    monkeypatch.setattr(research.page, "HERE", tmp_path)
    with pytest.raises(ValueError, match=r"research/ablation .*git restore"):
        page.record_of(Path())


@pytest.mark.parametrize(
    ("given", "named"), [("HEAD none-such", "none-such"), ("", "boundary_iou")]
)
def test_the_command_refuses_what_is_not_there_and_writes_nothing(
    copy: Path, monkeypatch, given: str, named: str
) -> None:
    (copy / SCORES).write_text((copy / SCORES).read_text().replace("boundary_iou", "other"))
    out = copy / "out.html"
    arguments = [*given.split(), "--root", str(copy), "--out", str(out)]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["page", *arguments])
    with pytest.raises(SystemExit, match=f"^page: [^\n]*{named}[^\n]*$"):
        run_stage("page", page.main)
    assert not out.exists()


def test_text_from_files_cannot_end_an_element() -> None:
    record = {"about": HOSTILE, "table": as_table(pd.DataFrame({HOSTILE: [HOSTILE]}))}
    html = fill_page(HOSTILE, record, {HOSTILE: b"content"})
    harmless = fill_page("", record | {"about": "", "table": as_table(pd.DataFrame())}, {"": b""})
    assert html.count("<img") == harmless.count("<img")
    assert html.count("<script") == harmless.count("<script")
