"""Score one experiment's model on the test split: ``python -m stages.evaluate KEY``."""

import io
import json
import sys
from pathlib import Path

import numpy as np

from unet.checkpoint import load_model
from unet.config import experiment_key, load_params
from unet.dataset import load_split
from unet.evaluation import cost, evaluate
from unet.hardware import keep_freed_memory, make_repeatable, resolve_device
from unet.process import run_stage, written_whole

DATA = Path("data/packed")


def main() -> None:
    params = load_params()
    key = experiment_key(params, sys.argv[1:])
    device = resolve_device(params.evaluate.device)
    make_repeatable(device)
    keep_freed_memory()
    model, info = load_model(f"models/{key}.safetensors", device)
    split = load_split(DATA / "test", device)
    result = evaluate(
        model,
        split,
        threshold=info["threshold"],
        batch_size=params.evaluate.batch_size,
        device=device,
        name=key,
    )
    scores = result.scores | cost(model, split.image_size)
    scores |= {"num_images": len(split), "threshold": info["threshold"], "epoch": info["epoch"]}

    with written_whole(Path(f"predictions/{key}/images.csv")) as temporary:
        result.table.to_csv(temporary, index=False, lineterminator="\n")
    buffer = io.BytesIO()  # numpy's error of a full disk is none of the system's
    np.save(buffer, np.packbits(result.masks, axis=-1))
    with written_whole(Path(f"predictions/{key}/masks.npy")) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    with written_whole(Path(f"metrics/{key}.json")) as temporary:
        temporary.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_stage("evaluate", main)
