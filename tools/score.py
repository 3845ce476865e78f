"""Score models on photographs and masks, without training.

``python -m tools.score FOLDER``, where FOLDER has the layout described for ``data.path``. It scores
the test images that the pipeline would choose, so that an existing model can be compared with one
trained on the other images; ``--all`` scores every image once, whatever ``params.yaml`` and the
folder's lists say of splits. All models of a table are scored against the same boundary rule, which
is printed above it. It changes no files here.

``--predicted MASKS`` scores the masks in a folder, NAME.png or NAME_mask.png, in place of a model:
anybody's predictions, by the same rules.
"""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from tools.table import COLUMNS, score_table
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


def mask_files(folder: Path, names: Iterable[str], size: int) -> SimpleNamespace:
    """Predicted masks in files, in place of a model: ``predict(images)`` returns those (N, 1, S, S)
    of the next N of the ``names``, 0 or 1, resized to ``size`` pixels a side; a ValueError if there
    is none."""
    left = iter(names)

    def read(name: str) -> Tensor:
        paths = [folder / f"{name}{ending}.png" for ending in ("", "_mask")]
        path = next(filter(Path.is_file, paths), None)
        if path is None:
            one, other = (path.name for path in paths)
            raise ValueError(f"{folder} has no mask of {name}: neither {one} nor {other}")
        with Image.open(path) as picture:
            small = picture.convert("L").resize((size, size), Image.Resampling.NEAREST)
        mask = torch.from_numpy(np.array(small)).float()
        return mask if mask.max() <= 1 else (mask >= 128).float()

    return SimpleNamespace(
        predict=lambda images, **_: torch.stack([read(next(left)) for _ in images])[:, None]
    )


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser("python -m tools.score", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="photographs in images/, masks in masks/")
    add(
        "--model", action="append", metavar="KEY-or-FILE",
        help=f"default: {DEFAULT}; may be given several times, for a row each",
    )  # fmt: skip
    add("--predicted", type=Path, action="append", default=[], metavar="MASKS",
        help="a folder of predicted masks, for a row of its own")  # fmt: skip
    add("--all", action="store_true", help="all images, not the test images alone")
    add("--no-tta", action="store_true", help="without test-time augmentation: one pass per image")
    add(
        "--boundary", choices=BOUNDARY_RULES,
        help="what the release's boundary counts as (default: as for the first model's training)",
    )  # fmt: skip
    add("--device", default="cpu", help="cpu (default), cuda, mps or auto")
    arguments = parser.parse_args()

    device = resolve_device(arguments.device)
    chosen = arguments.model or ([] if arguments.predicted else [DEFAULT])
    models = {name: load_model(find_model(name), device) for name in chosen}
    models |= dict.fromkeys(map(str, arguments.predicted))
    data = replace(load_section("data", DataConfig), path=arguments.folder, source="official")
    config = load_section("preprocess", PreprocessConfig)
    config = replace(config, split="official") if arguments.all else config
    infos = {name: model.info if model else {"threshold": 0.5, "image_size": config.image_size}
             for name, model in models.items()}  # fmt: skip
    first = next(iter(infos.values()))
    rule = arguments.boundary or first.get("boundary", "background")
    rows, splits = {}, {}
    with TemporaryDirectory() as folder:
        for name, info in infos.items():
            size = info["image_size"]
            if size not in splits:
                packed, sized = Path(folder, str(size)), replace(config, image_size=size)
                summary = pack(Path(data.path), packed, data, sized, every=arguments.all)
                if not splits:
                    print("\n".join(told(summary)))
                splits[size] = load_split(packed / ("all" if arguments.all else "test"), device)
            trained = models[name]
            model = trained.model if trained else mask_files(Path(name), splits[size].names, size)
            result = evaluate(
                model, splits[size], threshold=info["threshold"], batch_size=BATCH_SIZE,
                device=device, boundary=rule, name=name, **({} if arguments.no_tta else TTA),
            )  # fmt: skip
            rows[name] = result.scores | (cost(model, size) if trained else {})
            print(f"{find_model(name) if trained else name}: scored at {size} x {size} pixels")
    count = len(result.table)
    which = f"All {count} images" if arguments.all else f"The {count} test images"
    passes = "one pass each" if arguments.no_tta else "with test-time augmentation"
    # A folder's own masks have no boundary.
    truth = "" if summary["source"] == "folder" else f"{BOUNDARY_RULES[rule]}, "
    print(f"\n{which} of {arguments.folder}, {truth}{passes}:\n")
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=list(COLUMNS))
    table = score_table(table).rename(columns={"experiment": "model"})
    print(table.replace(to_replace="^nan.*", value="-", regex=True).to_string(index=False))


if __name__ == "__main__":
    run_stage("score", main)
