"""The README's tables are made of the metrics and nothing else."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.repo import ROOT
from tools.table import fill, markdown, readme_blocks, scores


def test_fill_replaces_what_stands_between_the_markers() -> None:
    text = "before\n<!-- a -->\nold\n<!-- /a -->\nafter\n"
    assert fill(text, {"a": "new"}) == text.replace("old", "new")
    assert fill(fill(text, {"a": "x | y"}), {"a": "old"}) == text


@pytest.mark.parametrize("text", ["", "<!-- a -->\n\n<!-- /a -->\n" * 2, "<!-- a -->\n"])
def test_fill_wants_each_marker_once(text: str) -> None:
    with pytest.raises(ValueError, match="markers of a stand [02] times"):
        fill(text, {"a": "new"})


def test_markdown() -> None:
    table = pd.DataFrame({"key": ["x", "y"], "score": ["1", "2"]})
    assert markdown(table).splitlines() == [
        "| key | score |",
        "| --- | ---: |",
        "| x | 1 |",
        "| y | 2 |",
    ]


def test_the_caption_says_what_was_kept(tmp_path: Path) -> None:
    for name in ("metrics", "plots/timing"):
        shutil.copytree(ROOT / name, tmp_path / name)
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(params.replace("keep: last", "keep: best"), "utf-8")
    one = tmp_path / "metrics/mp_tr_dice.json"
    one.write_text(json.dumps(json.loads(one.read_text()) | {"epoch": 12}))
    assert "after epoch 15 or 12 (the best), one seed" in readme_blocks(tmp_path)["scores"]
    (tmp_path / "plots/timing/mp_tr_bce.csv").unlink()
    with pytest.raises(ValueError, match=r"mp_tr_bce\.csv.*run `dvc repro`"):
        readme_blocks(tmp_path)


def test_no_scores(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run `dvc repro`"):
        scores(tmp_path)
