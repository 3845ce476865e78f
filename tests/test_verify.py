"""Comparing new scores with the recorded ones."""

from pathlib import Path

import pytest

from tools.verify import largest_difference, was_evaluated
from unet.runtime.files import sha256

RECORDED = {"iou": 0.8, "accuracy": 0.9, "predictions": "a"}


def test_the_largest_difference_counts() -> None:
    found = {"iou": 0.80002, "accuracy": 0.89995, "predictions": "b"}
    assert largest_difference(RECORDED, found, exact=False) == pytest.approx(5e-5)
    assert largest_difference(RECORDED, dict(RECORDED), exact=True) == 0


def test_other_predictions_or_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="other predictions"):
        largest_difference(RECORDED, RECORDED | {"predictions": "b"}, exact=True)
    with pytest.raises(ValueError, match=r"other scores than recorded: \['dice'\]"):
        largest_difference(RECORDED, RECORDED | {"dice": 0.9}, exact=False)


def test_recorded_scores_are_no_evaluation(tmp_path: Path) -> None:
    assert not was_evaluated(tmp_path, "a", "b")
    files = [tmp_path / f"predictions/a/{name}" for name in ("images.csv", "masks.npy")]
    files[0].parent.mkdir(parents=True)
    for file in files:
        file.write_text(file.name)
    assert not was_evaluated(tmp_path, "a", "b")
    assert was_evaluated(tmp_path, "a", sha256(*files))
