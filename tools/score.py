"""Score models on photographs and masks, without training.

``python -m tools.score FOLDER``, where FOLDER has the layout described for ``data.path``. It scores
the test images that the pipeline would choose, so that an existing model can be compared with one
trained on the other images; ``--all`` scores every image once, whatever ``params.yaml`` and the
folder's lists say of splits. All models of a table are scored against the same boundary rule, which
is printed above it. It changes no files here.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from tools.table import score_table
from unet.data.config import DataConfig, PreprocessConfig
from unet.data.masks import BOUNDARY_RULES
from unet.data.packed import load_split
from unet.data.packing import pack, told
from unet.inference.evaluation import cost, evaluate
from unet.inference.model_file import DEFAULT, find_model, load_model
from unet.model import TTA
from unet.runtime.config import load_section
from unet.runtime.device import resolve_device
from unet.runtime.process import run_stage

BATCH_SIZE = 16


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
    add(
        "--boundary", choices=BOUNDARY_RULES,
        help="what the release's boundary counts as (default: as for the first model's training)",
    )  # fmt: skip
    add("--device", default="cpu", help="cpu (default), cuda, mps or auto")
    arguments = parser.parse_args()

    device = resolve_device(arguments.device)
    models = {name: load_model(find_model(name), device) for name in arguments.model or [DEFAULT]}
    data = replace(load_section("data", DataConfig), path=arguments.folder, source="official")
    config = load_section("preprocess", PreprocessConfig)
    config = replace(config, split="official") if arguments.all else config
    first = next(iter(models.values())).info
    rule = arguments.boundary or first.get("boundary", "background")
    rows, splits = {}, {}
    with TemporaryDirectory() as folder:
        for name, (model, info) in models.items():
            size = info["image_size"]
            if size not in splits:
                packed, sized = Path(folder, str(size)), replace(config, image_size=size)
                summary = pack(Path(data.path), packed, data, sized, every=arguments.all)
                if not splits:
                    print("\n".join(told(summary)))
                splits[size] = load_split(packed / ("all" if arguments.all else "test"), device)
            result = evaluate(
                model, splits[size], threshold=info["threshold"], batch_size=BATCH_SIZE,
                device=device, boundary=rule, name=name, **({} if arguments.no_tta else TTA),
            )  # fmt: skip
            rows[name] = result.scores | cost(model, size)
            print(f"{find_model(name)}: scored at {size} x {size} pixels")
    count = len(result.table)
    which = f"All {count} images" if arguments.all else f"The {count} test images"
    passes = "one pass each" if arguments.no_tta else "with test-time augmentation"
    # A folder's own masks have no boundary.
    truth = "" if summary["source"] == "folder" else f"{BOUNDARY_RULES[rule]}, "
    print(f"\n{which} of {arguments.folder}, {truth}{passes}:\n")
    table = score_table(pd.DataFrame.from_dict(rows, orient="index"))
    print(table.rename(columns={"experiment": "model"}).to_string(index=False))


if __name__ == "__main__":
    run_stage("score", main)
