"""Small runs of the stages do what they did when ``behaviour.json`` was recorded."""

import math
from pathlib import Path

import pytest

from tests.behaviour import RUNS, difference, differences, exact, load_record, summary


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("name", RUNS)
def test_as_recorded(name: str, root: Path) -> None:
    recorded = load_record()[name]
    found = summary(name, root)
    far = {k: v for k, v in differences(found, recorded).items() if not v <= 1}
    assert not far, f"{name}: differences from the record, in tolerances"


def test_a_resumed_training_ends_with_the_same_bits(root: Path) -> None:
    resumed, whole = exact("killed", root), exact("background", root)
    assert resumed == {file: whole[file] for file in resumed}


@pytest.mark.parametrize(
    ("key", "recorded", "found", "is_same"),
    [
        ("val_loss", [0.5, 0.25], [0.5, 0.2501], True),
        ("val_loss", [0.5, 0.25], [0.5, 0.26], False),
        ("val_loss", [0.5, 0.25], [0.5], False),
        ("val_loss", [0.5], [math.nan], False),
        ("val_loss", [0.5], None, False),
        ("iou", 0.0, 0.005, True),
        ("iou", 0.0, 0.02, False),
        ("epoch", 2, 3, False),
        ("array", "(2,) uint8 0a", "(2,) uint8 0b", False),
        ("left_out", [], ["a"], False),
    ],
)
def test_what_counts_as_the_same(key: str, recorded, found, is_same: bool) -> None:
    assert (difference(key, found, recorded) <= 1) == is_same
