"""Comparing new scores with the recorded ones."""

from typing import Any

import pytest

from tools.verify import TOLERANCE, differs

RECORDED = {"iou": 0.8, "accuracy": 0.9, "predictions": "a"}


@pytest.mark.parametrize(
    ("changes", "allowed", "problem"),
    [
        ({}, 0.0, None),
        ({"iou": 0.80002, "accuracy": 0.89995, "predictions": "b"}, TOLERANCE, None),
        ({"accuracy": 0.8995, "predictions": "b"}, TOLERANCE, "differs by 0.0005"),
        ({"iou": 0.8000001}, 0.0, "differs by 1e-07"),
        ({"predictions": "b"}, 0.0, "other predictions"),
        ({"dice": 0.9}, TOLERANCE, "differs by nan"),
    ],
)
def test_what_differs_is_said(changes: dict[str, Any], allowed: float, problem: str | None) -> None:
    found = differs(RECORDED, RECORDED | changes, allowed)
    assert (found or "") == "" if problem is None else problem.replace("\\", "") in found
