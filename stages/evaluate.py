"""Score one experiment's model on the test split: ``python -m stages.evaluate KEY``."""

import io
import json
import sys
from pathlib import Path

import numpy as np

from unet.data.packed import load_split
from unet.inference.config import EvaluateConfig
from unet.inference.evaluation import cost, evaluate
from unet.inference.model_file import load_model
from unet.model import TTA
from unet.runtime.config import load_section
from unet.runtime.device import set_up
from unet.runtime.files import atomic_write, sha256
from unet.runtime.process import run_stage


def main() -> None:
    config = load_section("evaluate", EvaluateConfig)
    key = " ".join(sys.argv[1:])
    device = set_up(config.device)
    model, info = load_model(f"models/{key}.safetensors", device)
    split = load_split(Path("data/packed/test"), device)
    result = evaluate(
        model, split, threshold=info["threshold"], batch_size=config.batch_size, device=device,
        boundary=info["boundary"], name=key, **(TTA if config.tta else {}),
    )  # fmt: skip

    folder = Path("predictions") / key
    with atomic_write(folder / "images.csv") as temporary:
        result.table.to_csv(temporary, index=False, lineterminator="\n")
    buffer = io.BytesIO()  # to memory first: numpy's error on a full disk has no errno
    np.save(buffer, np.packbits(result.masks, axis=-1))
    with atomic_write(folder / "masks.npy") as temporary:
        temporary.write_bytes(buffer.getbuffer())

    scores = result.scores | cost(model, split.image_size)
    scores |= {"num_images": len(split), "threshold": info["threshold"], "epoch": info["epoch"]}
    # With this hash, `plot` checks that it draws the predictions that were scored.
    scores["predictions"] = sha256(folder / "images.csv", folder / "masks.npy")
    write_json(Path(f"metrics/scores/{key}.json"), scores)
    # One number per file: more would make the table of `dvc exp show` too wide to read.
    write_json(Path(f"metrics/{key}.json"), {"iou": {key: scores["iou"]}})


def write_json(path: Path, content: dict) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    run_stage("evaluate", main)
