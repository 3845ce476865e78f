"""Score models on photographs and masks, without training.

``python -m tools.score FOLDER``, where FOLDER has the layout described for ``data.path``. It scores
the test images that the pipeline would choose, so that an existing model can be compared with one
trained on the other images; ``--all`` scores every image. It changes no files here.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch

from tools.table import score_table
from unet.data.config import DataConfig, PreprocessConfig
from unet.data.packed import Split, load_split
from unet.data.packing import pack, told
from unet.inference.command import DEFAULT, find_model, trained_on
from unet.inference.evaluation import cost, evaluate
from unet.inference.model_file import load_model
from unet.model import TTA
from unet.runtime.config import load_section
from unet.runtime.device import resolve_device
from unet.runtime.process import run_stage

BATCH_SIZE = 16
SPLITS = ("train", "val", "test")


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser("python -m tools.score", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="photographs in images/, masks in masks/")
    add(
        "--model", action="append", metavar="KEY-or-FILE",
        help=f"default: {DEFAULT}; may be given several times, for a row each",
    )  # fmt: skip
    add("--all", action="store_true", help="all images, not the test images alone")
    add("--no-tta", action="store_true", help="without test-time augmentation: one pass per image")
    add("--device", default="cpu", help="cpu (default), cuda, mps or auto")
    arguments = parser.parse_args()

    device = resolve_device(arguments.device)
    models = {name: load_model(find_model(name), device) for name in arguments.model or [DEFAULT]}
    data = replace(load_section("data", DataConfig), path=arguments.folder, source="official")
    config = load_section("preprocess", PreprocessConfig)
    rows = {}
    with TemporaryDirectory() as folder:
        splits: dict[int, Split] = {}
        for name, (model, info) in models.items():
            size = info["image_size"]
            if size not in splits:
                packed = Path(folder, str(size))
                summary = pack(Path(data.path), packed, data, replace(config, image_size=size))
                if not splits:
                    print("\n".join(told(summary)))
                splits[size] = _load(packed, every=arguments.all, device=device)
            result = evaluate(
                model, splits[size], threshold=info["threshold"], batch_size=BATCH_SIZE,
                device=device, boundary=info.get("boundary", "background"), name=name,
                **({} if arguments.no_tta else TTA),
            )  # fmt: skip
            rows[name] = result.scores | cost(model, size) | {"num_images": len(result.table)}
            print(f"{name}: trained on {trained_on(info)}; scored at {size} x {size} pixels")
    count = next(iter(rows.values()))["num_images"]
    which = f"All {count} images" if arguments.all else f"The {count} test images"
    passes = "one pass each" if arguments.no_tta else "with test-time augmentation"
    print(f"\n{which} of {arguments.folder}, {passes}:\n")
    table = score_table(pd.DataFrame.from_dict(rows, orient="index"))
    print(table.rename(columns={"experiment": "model"}).to_string(index=False))


def _load(packed: Path, *, every: bool, device: torch.device) -> Split:
    if not every:
        return load_split(packed / "test", device)
    parts = [load_split(packed / name, device) for name in SPLITS]
    return Split(
        torch.cat([part.images for part in parts]),
        torch.cat([part.masks for part in parts]),
        tuple(name for part in parts for name in part.names),
    )


if __name__ == "__main__":
    run_stage("score", main)
