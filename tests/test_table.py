"""The README's tables are made of the metrics and nothing else."""

from pathlib import Path

import pandas as pd
import pytest

from tools.table import fill, markdown, scores


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


def test_no_scores(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run `dvc repro`"):
        scores(tmp_path)
