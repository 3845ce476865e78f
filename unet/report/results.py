"""Read the experiments' results (scores, curves, predictions) and pick images to show."""

import json
import shlex
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from unet.runtime.files import sha256

NEEDED_SCORES = {"threshold", "accuracy", "iou", "dice", "boundary_iou", "predictions"}
CURVE_COLUMNS = ["epoch", "train_loss", "val_loss", "val_accuracy", "val_iou"]  # those drawn
EXAMPLE_QUANTILES = (0.02, 0.2, 0.4, 0.6, 0.8, 0.98)
UNREADABLE = (  # what reading a damaged file can raise
    OSError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError,
    RecursionError, BadZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """An experiment's results.

    Attributes:
        scores: its ``metrics/scores/KEY.json``.
        curve: one row per epoch.
        table: one row per test image, in the packed test split's order.
        masks: (N, S, S) bool, the test images' predictions.
        epochs: the epochs after which ``progress`` was taken.
        watched: indices (K,) of the validation images in ``progress``.
        progress: (epochs, K, S, S) bool, their predictions.
    """

    scores: dict[str, float | str]
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
        names: of the test images.
        num_val: number of validation images.

    Raises:
        ValueError: a file is missing, damaged, or of other data or another run; names the stage to
            rerun (as a single item, or DVC would retrain the model that it evaluates).
    """
    try:
        scores, table, packed = _load_evaluation(root, key, names)
    except UNREADABLE as error:
        raise _unreadable(key, error, f"`dvc repro -s -f evaluate@{key}`") from None
    try:
        curve, epochs, watched, probabilities = _load_training(root, key, num_val)
        size = packed.shape[1]
        shape = (len(epochs), len(watched), size, size)
        _check(probabilities.shape == shape, "its progress is of another shape")
    except UNREADABLE as error:
        way_out = f"`dvc repro -s -f train@{key}`, then `dvc repro`"
        raise _unreadable(key, error, way_out) from None
    curve.attrs["loss_name"] = loss_name
    masks = np.unpackbits(packed, axis=-1, count=size).astype(bool)
    seen = probabilities > 255 * scores["threshold"]
    return Result(scores, curve, table, masks, epochs, watched, seen)


def _load_evaluation(
    root: Path, key: str, names: Sequence[str]
) -> tuple[dict[str, float | str], pd.DataFrame, np.ndarray]:
    """The scores, the table and the packed masks (N, S, S / 8) of ``key``; raises UNREADABLE."""
    scores = load_scores(root, key)
    # Not dependencies of `plot`: as folders, they would not survive a failed `dvc pull`.
    files = [root / f"predictions/{key}/{name}" for name in ("images.csv", "masks.npy")]
    table = read_table(files[0])
    packed = np.load(files[1])
    _check(scores["predictions"] == sha256(*files), "its predictions are of another run")
    _check(table["name"].tolist() == list(names), "its table is of other images")
    _check(_all_finite(table[["tp", "fn", "iou"]]), "its table is not of numbers")
    size = packed.shape[1]
    _check(packed.shape == (len(names), size, -(-size // 8)), "its masks are of other images")
    _check(packed.dtype == np.uint8, "its masks are no bytes")
    return scores, table, packed


def _load_training(
    root: Path, key: str, num_val: int
) -> tuple[pd.DataFrame, list[int], np.ndarray, np.ndarray]:
    """The curve of ``key``, and its progress: epochs, images (K,), probabilities (epochs, K, S, S)
    in bytes; raises UNREADABLE."""
    path = root / f"plots/curves/{key}.csv"
    curve = pd.read_csv(path)
    _check(_all_finite(curve[CURVE_COLUMNS]) and len(curve) > 0, "its curve is not of numbers")
    with np.load(root / f"models/{key}.progress.npz") as progress:
        _check(progress["curve"] == sha256(path), "its progress is of another training")
        epochs, watched = progress["epochs"].tolist(), progress["indices"]
        probabilities = progress["probabilities"]
    _check(probabilities.dtype == np.uint8, "its progress is no bytes")
    _check(((watched >= 0) & (watched < num_val)).all(), "its progress is of other images")
    _check(watched.dtype.kind in "iu", "its progress is of no images")
    _check(all(type(epoch) is int for epoch in epochs), "its progress is of no epochs")
    return curve, epochs, watched, probabilities


def _unreadable(key: str, error: Exception, way_out: str) -> ValueError:
    problem = " ".join(str(error).split())
    return ValueError(f"results of {key} cannot be read ({problem}): run {way_out}")


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _all_finite(numbers: pd.DataFrame | pd.Series) -> bool:
    return bool(np.isfinite(numbers.to_numpy(dtype=float)).all())


def read_table(path: Path) -> pd.DataFrame:
    """An evaluation's ``images.csv``: one row per image; its name is text, even if it is 0001."""
    table = pd.read_csv(path)
    names = pd.read_csv(path, usecols=["name"], dtype=str, keep_default_na=False)
    return table.assign(name=names["name"])


def load_scores(root: Path, key: str) -> dict[str, float | str]:
    """The scores of ``key`` that evaluation wrote below ``root``: name -> number or text.

    Raises:
        OSError: the file cannot be read.
        ValueError, RecursionError: it does not hold valid scores.
    """
    path = root / f"metrics/scores/{key}.json"
    scores = json.loads(path.read_text(encoding="utf-8"))
    _check(isinstance(scores, dict), f"{path} is no mapping")
    lacking = ", ".join(sorted(NEEDED_SCORES - scores.keys()))
    _check(not lacking, f"{path} lacks {lacking}")
    numbers = [value for name, value in scores.items() if name != "predictions"]
    _check(all(type(value) in (int, float) for value in numbers), f"{path} is not of numbers")
    _check(_all_finite(pd.Series(numbers)), f"{path} has a score that is not finite")
    return scores


def check_leftovers(root: Path, keys: Iterable[str]) -> None:
    """Refuse results of experiments that are no longer in ``params.yaml``.

    `plot` depends on the folders as a whole, so an extra file would make it stale.

    Raises:
        ValueError: names the files, with the command that removes them.
    """
    known = set(keys)
    found = [
        path
        for folder in ("metrics", "metrics/scores", "plots/curves", "plots/timing")
        for path in sorted((root / folder).glob("*.*"))
        if path.stem not in known and not path.name.startswith(".")
    ]
    if found:
        removed = ", ".join(dict.fromkeys(path.stem for path in found))
        files = shlex.join(path.relative_to(root).as_posix() for path in found)
        raise ValueError(f"{removed}: not in params.yaml, but has results here: rm {files}")


def rows_at_quantiles(results: Mapping[str, Result], quantiles: Iterable[float]) -> list[int]:
    """Rows of the test images at these quantiles of the variants' mean IoU, hardest first.

    Images without an object are left out: their IoU is 0 or 1.
    """
    tables = [result.table for result in results.values()]
    mean = sum(table["iou"] for table in tables) / len(tables)
    ordered = mean[_with_object(tables[0])].sort_values(kind="stable").index
    return [int(ordered[round(q * (len(ordered) - 1))]) for q in quantiles]


def extreme_rows(table: pd.DataFrame) -> dict[str, int]:
    """Rows of the ``best``, ``median`` and ``worst`` test image with an object, by IoU."""
    ordered = table.loc[_with_object(table), "iou"].sort_values(kind="stable").index
    return {"best": ordered[-1], "median": ordered[len(ordered) // 2], "worst": ordered[0]}


def _with_object(table: pd.DataFrame) -> pd.Series:
    return table["tp"] + table["fn"] > 0
