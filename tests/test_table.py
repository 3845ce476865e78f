"""The README's tables are made from the metrics and nothing else."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.repo import ROOT
from tools.table import readme_blocks, scores
from unet.config import load_params
from unet.data.masks import BOUNDARY_RULES
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


SCORES = {
    **dict.fromkeys(
        f"{score}{rule}"
        for score in ("accuracy", "iou")
        for rule in ("", "_at_half", "_boundary_object", "_boundary_middle", "_boundary_ignored")
    ),
    "dice": None, "iou_per_image": None, "boundary_iou": None,
}  # fmt: skip
KEYS = list(load_params(ROOT / "params.yaml").experiments)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A repository's params, scores and times; each score of each experiment is a number apart."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for folder in ("metrics/scores", "plots/timing"):
        (tmp_path / folder).mkdir(parents=True)
    for i, key in enumerate(KEYS):
        scores = {name: 0.5 + 0.1 * i + 0.001 * j for j, name in enumerate(SCORES)}
        scores |= {"parameters": 1_940_000, "gflops": 1.5, "num_images": 3669, "threshold": 0.7}
        scores |= {"epoch": 15, "predictions": "0" * 64}
        (tmp_path / f"metrics/scores/{key}.json").write_text(json.dumps(scores))
        times = pd.DataFrame({"seconds": [60.0, 120.0], "images_per_second": [100.0, 50.0 + 2 * i]})
        times.to_csv(tmp_path / f"plots/timing/{key}.csv", index=False)
    return tmp_path


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_experiment_without_scores_is_named(record: Path) -> None:
    (record / f"metrics/scores/{KEYS[1]}.json").unlink()
    for command in (scores, readme_blocks):
        with pytest.raises(ValueError, match=f"^{KEYS[1]} has no scores .*run `dvc repro`$"):
            command(record)


def test_the_tables_hold_the_scores(record: Path) -> None:
    edit(
        record / f"metrics/scores/{KEYS[0]}.json",
        accuracy=0.91234, iou=0.81234, accuracy_boundary_object=0.85, iou_boundary_object=0.65,
        accuracy_boundary_middle=0.90, iou_boundary_middle=0.75, accuracy_boundary_ignored=0.95,
        iou_boundary_ignored=0.87, accuracy_at_half=0.93, iou_at_half=0.83, dice=0.89,
        iou_per_image=0.79, boundary_iou=0.45,
    )  # fmt: skip
    blocks = readme_blocks(record)
    rows = {name: [line for line in block.splitlines() if line.startswith(f"| {KEYS[0]} |")]
            for name, block in blocks.items()}  # fmt: skip
    assert rows == {
        "scores": [f"| {KEYS[0]} | 91.23% | 0.8123 | 0.8900 | 0.7900 | 0.4500 | 1.94 M | 1.50 |"],
        "treatments": [
            f"| {KEYS[0]} | 0.700 | 91.23%, 0.8123 | 93.00%, 0.8300 | 85.00%, 0.6500 "
            "| 90.00%, 0.7500 | 95.00%, 0.8700 |"
        ],
        "times": [f"| {KEYS[0]} | 3.0 min | 75 |"],
    }


def test_caption_and_columns_follow_the_params(record: Path) -> None:
    params = yaml.safe_load((record / "params.yaml").read_text(encoding="utf-8"))
    params["train"] |= {"keep": "best", "boundary": "object"}
    params["evaluate"]["tta"] = True
    (record / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), "utf-8")
    for i, key in enumerate(KEYS):
        path = record / f"metrics/scores/{key}.json"
        edit(path, accuracy_boundary_background=0.5 + i / 10, iou_boundary_background=0.4)
    edit(record / f"metrics/scores/{KEYS[1]}.json", epoch=12)
    blocks = readme_blocks(record)
    assert blocks["scores"].splitlines()[0] == (
        "Official test split, 3,669 images, boundary as object, weights after epoch 15 or 12 (the "
        "best), predicted with test-time augmentation (six passes, the GFLOP shown are of one), "
        "one seed."
    )
    header, _, first, *_ = blocks["treatments"].splitlines()
    others = [words for rule, words in BOUNDARY_RULES.items() if rule != "object"]
    assert header.endswith(f"at 0.5 | {' | '.join(others)} |")
    assert "| 50.00%, 0.4000 |" in first
