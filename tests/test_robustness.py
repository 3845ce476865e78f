"""A sample of the robustness experiments; and their page shows their results."""

import json
import os
import sys
from pathlib import Path

import pytest

from research.robustness import report
from research.robustness.damages import DAMAGES
from tests.repo import ROOT, run
from unet.report.tables import fill


def test_the_page_shows_the_results() -> None:
    text = report.README.read_text(encoding="utf-8")
    blocks = report.blocks()
    assert set(blocks) == {"bad_input", "photographs", "killed_runs"}
    assert fill(text, blocks) == text


def test_bad_input(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    cases = str(3 * len(DAMAGES))
    module = (sys.executable, "-m", "research.robustness.bad_input")
    run(ROOT, *module, "--cases", cases, "--seed", "101", "--out", str(out))
    damages = json.loads(out.read_text())["runs"]["in process"]["damages"]
    assert set(damages) == {damage.name for damage in DAMAGES}
    assert all(sum(counts.values()) == 3 for counts in damages.values())
    assert {verdict for counts in damages.values() for verdict in counts} <= {"refused", "no harm"}
    assert sum(counts.get("refused", 0) for counts in damages.values()) > 2 * len(DAMAGES)


def test_photographs(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    module = (sys.executable, "-m", "research.robustness.photographs")
    run(ROOT, *module, "--cases", "44", "--seed", "101", "--out", str(out))
    kinds = json.loads(out.read_text())["kinds"]
    assert len(kinds) == 22 and all(sum(counts.values()) == 2 for counts in kinds.values())
    ends = {verdict for counts in kinds.values() for verdict in counts}
    assert ends == {"used", "refused", "some refused"}


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
def test_killed_runs(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    module = (sys.executable, "-m", "research.robustness.killed_runs")
    options = ("--no-operations", "--stages", "train", "--points", "6", "--seed", "101")
    run(ROOT, *module, *options, "--out", str(out))
    assert json.loads(out.read_text()) == {"train": {"at random moments": {"same bytes": 6}}}
