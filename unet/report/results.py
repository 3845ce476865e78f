"""Read the experiments' results (scores, curves, predictions) and pick images to show."""

import json
import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from unet.runtime.files import sha256

EXAMPLE_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Result:
    """An experiment's results."""

    scores: dict[str, float | str]  # its metrics/scores/KEY.json
    curve: pd.DataFrame  # one row per epoch
    table: pd.DataFrame  # one row per test image, in the packed test split's order
    masks: np.ndarray  # (N, S, S) bool, the test images' predictions
    epochs: list[int]  # after which `progress` was taken
    watched: np.ndarray  # (K,) indices of the validation images in `progress`
    progress: np.ndarray  # (epochs, K, S, S) bool, their predictions


def load_result(root: Path, key: str, loss_name: str) -> Result:
    """Read what training and evaluation of ``key`` wrote below ``root``.

    The predictions and the progress are no dependencies of the stage `plot` (as folders, they would
    not survive a failed ``dvc pull``), so here they are compared with what is.

    Raises:
        ValueError: a file is missing or of another run; names the stage to rerun (as a single item,
            or DVC would retrain the model that it evaluates).
    """
    again = f"`dvc repro -s -f evaluate@{key}`"
    try:
        scores = load_scores(root, key)
        table = read_table(root / f"predictions/{key}/images.csv")
        packed = np.load(root / f"predictions/{key}/masks.npy")
        if not was_evaluated(root, key, scores["predictions"]):
            raise ValueError("its predictions are of another run")
        again = f"`dvc repro -s -f train@{key}`, then `dvc repro`"
        path = root / f"plots/curves/{key}.csv"
        curve = pd.read_csv(path)
        with np.load(root / f"models/{key}.progress.npz") as archive:
            progress = dict(archive)
        if progress["curve"] != sha256(path):
            raise ValueError("its progress is of another training")
    except (OSError, ValueError) as error:
        raise ValueError(f"results of {key} cannot be read ({error}): run {again}") from None
    curve.attrs["loss_name"] = loss_name
    return Result(
        scores=scores,
        curve=curve,
        table=table,
        masks=np.unpackbits(packed, axis=-1, count=packed.shape[1]).astype(bool),
        epochs=progress["epochs"].tolist(),
        watched=progress["indices"],
        progress=progress["probabilities"] > 255 * scores["threshold"],
    )


def load_scores(root: Path, key: str) -> dict[str, float | str]:
    """The scores of ``key`` that evaluation wrote below ``root``: name -> number or text."""
    return json.loads((root / f"metrics/scores/{key}.json").read_text(encoding="utf-8"))


def was_evaluated(root: Path, key: str, predictions: str) -> bool:
    """Whether the predictions here have the hash ``predictions``; a clone has the scores only."""
    files = [root / f"predictions/{key}/{name}" for name in ("images.csv", "masks.npy")]
    return all(file.is_file() for file in files) and sha256(*files) == predictions


def read_table(path: Path) -> pd.DataFrame:
    """An evaluation's ``images.csv``: one row per image; its name is text, even if it is 0001."""
    return pd.read_csv(path, dtype={"name": str}, keep_default_na=False)


def check_leftovers(keys: Collection[str]) -> None:
    """Refuse results of experiments that are no longer in ``params.yaml``.

    `plot` depends on the folders as a whole, so an extra file would make it stale.
    """
    found = [
        path
        for folder in ("metrics", "metrics/scores", "plots/curves", "plots/timing")
        for path in sorted(Path(folder).glob("*.*"))
        if path.stem not in keys and not path.name.startswith(".")
    ]
    if found:
        removed = ", ".join(dict.fromkeys(path.stem for path in found))
        files = shlex.join(path.as_posix() for path in found)
        raise ValueError(f"{removed}: not in params.yaml, but has results here: rm {files}")


def rows_at_quantiles(results: Mapping[str, Result], quantiles: Iterable[float]) -> list[int]:
    """Rows of the test images at these quantiles of the variants' mean IoU, hardest first.

    Images without an object are left out: their IoU is 0 or 1.
    """
    ordered = _ordered([result.table for result in results.values()])
    return [int(ordered[round(q * (len(ordered) - 1))]) for q in quantiles]


def extreme_rows(table: pd.DataFrame) -> dict[str, int]:
    """Rows of the ``best``, ``median`` and ``worst`` test image with an object, by IoU."""
    ordered = _ordered([table])
    return {"best": ordered[-1], "median": ordered[len(ordered) // 2], "worst": ordered[0]}


def _ordered(tables: list[pd.DataFrame]) -> pd.Index:
    """The rows of the images with an object by the mean IoU of the tables, hardest first."""
    mean = sum(table["iou"] for table in tables) / len(tables)
    return mean[tables[0]["tp"] + tables[0]["fn"] > 0].sort_values(kind="stable").index
