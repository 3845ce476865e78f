"""Count the released models' pixels per test image, and rank the test images by predictions.

``python -m research.labels.released`` writes ``test_counts.csv`` (TP, FP, FN, TN per model and
image, boundary as background) and, from the mean of the models' predictions,
``test_suspects.csv`` and ``test_suspects.jpg``.
"""

from pathlib import Path

import pandas as pd
import torch

from research.labels.fold import CPU, DATA, HERE, predict_split
from research.labels.rank import even, write_ranking
from unet import metrics
from unet.config import load_params
from unet.data.masks import foreground
from unet.data.packed import load_split
from unet.inference.evaluation import COUNTS
from unet.inference.model_file import load_model
from unet.runtime.files import write
from unet.runtime.process import run_stage


def main() -> None:
    """See the module docstring."""
    split = load_split(DATA / "test", CPU)
    # Only the compared models: others may use another image size or rule for the boundary.
    files = [Path(f"released/{key}.safetensors") for key in load_params().experiments]
    is_object, counted = foreground(split.masks)
    mean = torch.zeros(split.masks.shape)
    table = pd.DataFrame({"name": split.names})
    for path in files:
        model, info = load_model(path, CPU)
        probabilities = predict_split(model, split, 32, CPU)
        counts = metrics.pixel_counts(probabilities > info["threshold"], is_object, counted)
        mean += even(probabilities, info["threshold"]) / len(files)
        table[[f"{path.stem}_{kind}" for kind in COUNTS]] = counts.numpy()
    write(HERE / "test_counts.csv", table.to_csv(index=False, lineterminator="\n"))
    write_ranking(
        {"test": split}, {"test": mean}, HERE / "test_suspects.csv", HERE / "test_suspects.jpg"
    )


if __name__ == "__main__":
    run_stage("released", main)
