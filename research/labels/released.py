"""Score the released models on test with and without doubtful images, and rank test by them.

``python -m research.labels.released`` writes ``scores.csv`` (of every model on all test images, on
those without a copy in trainval, and on those whose mask is not known to be wrong) and, from the
mean of the models' predictions, ``test_suspects.csv`` and ``test_suspects.jpg``.
"""

from pathlib import Path

import pandas as pd
import torch

from research.labels.fold import DATA, HERE, predict_split
from research.labels.rank import even, write_ranking
from unet import metrics
from unet.data.masks import foreground
from unet.data.packed import load_split
from unet.inference.model_file import load_model
from unet.runtime.files import atomic_write
from unet.runtime.process import run_stage

FINE = "fine"  # among the verdicts
SCORES = {
    "accuracy": lambda counts: metrics.accuracy(counts.sum(0)),
    "iou": lambda counts: metrics.iou(counts.sum(0)),
    "dice": lambda counts: metrics.dice(counts.sum(0)),
    "iou_per_image": lambda counts: metrics.iou(counts).mean(),
}


def subsets(names: tuple[str, ...], pairs: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """A bool column for each set of test images that is scored, by name: ``all``, ``no copies``
    (of trainval), ``no wrong masks``, ``neither``."""
    across = pairs[pairs["across"]]
    copies = set(across["first"]) | set(across["second"])
    wrong = set(verdicts.loc[verdicts["verdict"] != FINE, "name"])
    frame = pd.DataFrame(index=list(names))
    frame["all"] = True
    frame["no copies"] = ~frame.index.isin(copies)
    frame["no wrong masks"] = ~frame.index.isin(wrong)
    frame["neither"] = frame["no copies"] & frame["no wrong masks"]
    return frame


def main() -> None:
    """See the module's text."""
    device = torch.device("cpu")
    split = load_split(DATA / "test", device)
    chosen = subsets(
        split.names, pd.read_csv(HERE / "pairs.csv"), pd.read_csv(HERE / "verdicts.csv")
    )
    files = sorted(Path("released").glob("*.safetensors"))
    if not files:
        raise ValueError("released/ holds no model: git checkout released")
    is_object, counted = foreground(split.masks)
    mean, rows = torch.zeros(split.masks.shape), []
    for path in files:
        model, info = load_model(path, device)
        probabilities = predict_split(model, split, 32, device)
        counts = metrics.pixel_counts(probabilities > info["threshold"], is_object, counted)
        mean += even(probabilities, info["threshold"]) / len(files)
        for subset in chosen:
            kept = counts[torch.tensor(chosen[subset].tolist())]
            row = {"experiment": path.stem, "images": subset, "num_images": len(kept)}
            rows.append(row | {name: score(kept).item() for name, score in SCORES.items()})
    with atomic_write(HERE / "scores.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, lineterminator="\n", float_format="%.6f")
    write_ranking(
        {"test": split}, {"test": mean}, HERE / "test_suspects.csv", HERE / "test_suspects.jpg"
    )


if __name__ == "__main__":
    run_stage("released", main)
