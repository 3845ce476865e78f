"""The README's tables are made from the metrics and nothing else."""

import shutil
from pathlib import Path

import pytest

from tests.repo import ROOT
from tools.table import scores
from unet.config import load_params
from unet.report.tables import fill, rewrite


def test_pages_are_filled_between_their_markers_all_or_none(tmp_path: Path) -> None:
    first, second = tmp_path / "a.md", tmp_path / "b.md"
    text = "before\n<!-- x -->\nold\n<!-- /x -->\nafter\n"
    for wrong in ("no marker\n", "<!-- x -->\n", text + text):
        first.write_text(text)
        second.write_text(wrong)
        with pytest.raises(ValueError, match="markers of x stand [02] times"):
            rewrite({first: {"x": "new"}, second: {"x": "new"}})
        assert first.read_text() == text
    rewrite({first: {"x": "new | \\1"}})
    assert first.read_text() == text.replace("old", "new | \\1")
    assert fill(first.read_text(), {"x": "old"}) == text


def test_an_experiment_without_scores_is_named(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    key = next(iter(load_params(ROOT / "params.yaml").experiments))
    with pytest.raises(ValueError, match=f"^{key} has no scores .*run `dvc repro`$"):
        scores(tmp_path)
