"""What the experiments left behind, side by side: scores, curves, images worth a look."""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

SUMMARY_SCORES = ("accuracy", "iou", "dice", "precision", "recall", "boundary_iou")
CURVE_COLUMNS = ["epoch", "train_loss", "val_loss", "val_accuracy", "val_iou"]  # those drawn
EXAMPLE_QUANTILES = (0.02, 0.2, 0.4, 0.6, 0.8, 0.98)


@dataclass(frozen=True)
class Result:
    """An experiment's results.

    Attributes:
        scores: its flat metrics JSON.
        curve: a row an epoch.
        table: a row a test image, in the packed test split's order.
        masks: (N, S, S) bool, the test images' predictions.
        epochs: those after which ``progress`` was taken.
        watched: indices (K,) of the validation images in ``progress``.
        progress: (epochs, K, S, S) bool, their predictions.
    """

    scores: dict[str, float]
    curve: pd.DataFrame
    table: pd.DataFrame
    masks: np.ndarray
    epochs: list[int]
    watched: np.ndarray
    progress: np.ndarray


def load_result(
    root: Path, key: str, loss_name: str, *, names: Sequence[str], num_val: int
) -> Result:
    """Read what training and evaluation of ``key`` wrote below ``root``.

    Args:
        names: the test images'.
        num_val: how many validation images there are.

    Raises:
        ValueError: a file is missing, damaged, or not of this data.
    """
    try:
        scores = json.loads((root / f"metrics/{key}.json").read_text(encoding="utf-8"))
        curve = pd.read_csv(root / f"plots/curves/{key}.csv")
        table = pd.read_csv(root / f"predictions/{key}/images.csv")
        packed = np.load(root / f"predictions/{key}/masks.npy")
        with np.load(root / f"models/{key}.progress.npz") as progress:
            epochs, watched = progress["epochs"].tolist(), progress["indices"]
            probabilities = progress["probabilities"]
        size = packed.shape[1]
        _check(scores.keys() >= {"threshold", *SUMMARY_SCORES}, "its scores lack some")
        numbers = all(type(score) in (int, float) for score in scores.values())
        _check(numbers and _all_finite(pd.Series(scores)), "its scores are not all numbers")
        _check(_all_finite(curve[CURVE_COLUMNS]) and len(curve) > 0, "its curve is not of numbers")
        _check(table["name"].tolist() == list(names), "its table is of other images")
        _check(_all_finite(table[["tp", "fn", "iou"]]), "its table is not of numbers")
        _check(packed.shape == (len(names), size, -(-size // 8)), "its masks are of other images")
        _check(packed.dtype == probabilities.dtype == np.uint8, "its masks are no bytes")
        shape = (len(epochs), len(watched), size, size)
        _check(probabilities.shape == shape, "its progress is of another shape")
        _check(((watched >= 0) & (watched < num_val)).all(), "its progress is of other images")
        _check(watched.dtype.kind in "iu", "its progress is of no images")
        _check(all(type(epoch) is int for epoch in epochs), "its progress is of no epochs")
    except (
        OSError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError,
        RecursionError, BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        problem = " ".join(str(error).split())
        raise ValueError(f"results of {key} cannot be read ({problem}): run `dvc repro`") from None
    curve.attrs["loss_name"] = loss_name
    masks = np.unpackbits(packed, axis=-1, count=size).astype(bool)
    seen = probabilities > 255 * scores["threshold"]
    return Result(scores, curve, table, masks, epochs, watched, seen)


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _all_finite(numbers: pd.DataFrame | pd.Series) -> bool:
    return bool(np.isfinite(numbers.to_numpy(dtype=float)).all())


def nested_summary(results: Mapping[str, Result]) -> dict:
    """``{score: {experiment: value}}``: what ``dvc exp show`` prints in short columns."""
    return {
        name: {key: result.scores[name] for key, result in results.items()}
        for name in SUMMARY_SCORES
    }


def rows_at_quantiles(results: Mapping[str, Result], quantiles: Iterable[float]) -> list[int]:
    """Rows of the test images at these quantiles of the variants' mean IoU, hardest first.

    Images without a pet are left out: their IoU is 0 or 1.
    """
    tables = [result.table for result in results.values()]
    mean = sum(table["iou"] for table in tables) / len(tables)
    ordered = mean[_with_pet(tables[0])].sort_values(kind="stable").index
    return [int(ordered[round(q * (len(ordered) - 1))]) for q in quantiles]


def extreme_rows(table: pd.DataFrame) -> dict[str, int]:
    """Rows of the ``best``, ``median`` and ``worst`` test image with a pet, by IoU."""
    ordered = table.loc[_with_pet(table), "iou"].sort_values(kind="stable").index
    return {"best": ordered[-1], "median": ordered[len(ordered) // 2], "worst": ordered[0]}


def _with_pet(table: pd.DataFrame) -> pd.Series:
    return table["tp"] + table["fn"] > 0
