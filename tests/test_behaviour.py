"""Small runs of the stages do what they did when ``behaviour.json`` was recorded."""

from pathlib import Path

import pytest

from tests.behaviour import RUNS, differences, exact, load_record, summary


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
