"""What the experiments left behind, side by side: scores, curves, images worth a look."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

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


def load_result(root: Path, key: str, loss_name: str) -> Result:
    """Read what training and evaluation of ``key`` wrote below ``root``.

    Raises:
        ValueError: a file is missing or damaged.
    """
    try:
        scores = json.loads((root / f"metrics/{key}.json").read_text(encoding="utf-8"))
        curve = pd.read_csv(root / f"plots/curves/{key}.csv")
        table = pd.read_csv(root / f"predictions/{key}/images.csv")
        packed = np.load(root / f"predictions/{key}/masks.npy")
        with np.load(root / f"models/{key}.progress.npz") as progress:
            epochs, watched = progress["epochs"].tolist(), progress["indices"]
            probabilities = progress["probabilities"]
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise ValueError(f"results of {key} cannot be read ({error}): run `dvc repro`") from None
    curve.attrs["loss_name"] = loss_name
    size = packed.shape[1]
    masks = np.unpackbits(packed, axis=-1, count=size).astype(bool)
    seen = probabilities > 255 * scores["threshold"]
    return Result(scores, curve, table, masks, epochs, watched, seen)


def nested_summary(results: Mapping[str, Result], names: Iterable[str]) -> dict:
    """``{score: {experiment: value}}``: what ``dvc exp show`` prints in short columns."""
    return {name: {key: result.scores[name] for key, result in results.items()} for name in names}


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
