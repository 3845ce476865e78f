"""Score one experiment's model on the test split: ``python -m stages.evaluate KEY``."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from unet.data.masks import BOUNDARY_RULES, foreground
from unet.data.packed import Split, load_split
from unet.inference.config import EvaluateConfig
from unet.inference.evaluation import Evaluation, cost, evaluate
from unet.inference.model_file import TrainedModel, load_model
from unet.model import TTA
from unet.report.outlines import save_outlines
from unet.runtime.config import load_section, read_yaml
from unet.runtime.device import set_up
from unet.runtime.files import file_sha256, sha256, write
from unet.runtime.process import run_stage
from unet.training.start import start_file

NUM_SHOWN = 24  # test images in worst.jpg


def main() -> None:
    config = load_section("evaluate", EvaluateConfig)
    key = " ".join(sys.argv[1:])
    device = set_up(config.device)
    trained = model, info = load_model(f"models/{key}.safetensors", device)
    split = load_split(Path("data/packed/test"), device)

    def score(some: TrainedModel, name: str) -> Evaluation:
        return evaluate(
            some.model, split, threshold=some.info["threshold"], batch_size=config.batch_size,
            device=device, boundary=info["boundary"], name=name, **(TTA if config.tta else {}),
        )  # fmt: skip

    result = score(trained, key)

    folder = Path("predictions") / key
    write(folder / "images.csv", result.table.to_csv(index=False, lineterminator="\n"))
    np.save(buffer := io.BytesIO(), np.packbits(result.masks, axis=-1))
    write(folder / "masks.npy", buffer.getbuffer())
    is_folder = info["source"] == "folder"
    if is_folder:
        draw_worst(folder / "worst.jpg", split, result, key)

    scores = result.scores | cost(model, split.image_size)
    scores |= {"num_images": len(split), "threshold": info["threshold"], "epoch": info["epoch"]}
    # With this hash, `plot` checks that it draws the predictions that were scored.
    scores["predictions"] = sha256(folder / "images.csv", folder / "masks.npy")
    # The second for `dvc exp show`, where more numbers would be too wide to read; by one rule.
    shown = {"iou": {key: scores["iou_boundary_background"]}}
    for file, content in ((f"metrics/scores/{key}.json", scores), (f"metrics/{key}.json", shown)):
        write(Path(file), json.dumps(content, indent=2) + "\n")

    rows = {key: scores}
    # Of the dataset's thousands of test images a second evaluation would take too long.
    if is_folder and "start_from" in info:
        name, _, content = info["start_from"].rpartition(", SHA-256 ")
        # Its folder is only in params.yaml; no output depends on this param.
        start = start_file(read_yaml("params.yaml")["train"]["start_from"], key)
        if start and start.is_file() and file_sha256(start) == content:
            rows[f"{start}, from which it started"] = score(
                load_model(start, device), "start"
            ).scores
        else:
            print(
                f"{key}: the model that it started from is not scored: {name} has changed since, "
                "or train.start_from names another file now"
            )
    truth = "" if is_folder else f"{BOUNDARY_RULES[info['boundary']]}, "
    passes = "with test-time augmentation" if config.tta else "one pass each"
    table = pd.DataFrame.from_dict(rows, orient="index")[["iou", "boundary_iou"]]
    table.columns = ["IoU", "boundary IoU (2 %)"]
    table = table.to_string(float_format="{:.4f}".format)
    print(f"\n{len(split):,} test images, {truth}{passes}:\n\n{table}\n")


def draw_worst(path: Path, split: Split, result: Evaluation, key: str) -> None:
    """Draw the outlines of mask and prediction on the test images with the lowest IoU."""
    worst = result.table["iou"].sort_values(kind="stable").head(NUM_SHOWN)
    tiles = []
    for row, iou in worst.items():
        labelled, counted = (mask.cpu() for mask in foreground(split.masks[row]))
        predicted = torch.from_numpy(result.masks[row]) & counted
        caption = f"{split.names[row]}\nIoU {iou:.3f}"
        tiles.append((caption, split.images[row].cpu(), labelled, predicted))
    which = f"{key}, {len(tiles)} of {len(split)} test images, worst first"
    save_outlines(path, tiles, title=which)


if __name__ == "__main__":
    run_stage("evaluate", main)
