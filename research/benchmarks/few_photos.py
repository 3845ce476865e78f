"""A few photographs: training from random weights or from a released model, over seeds.

``python -m research.benchmarks.few_photos [--seeds 0 1 2]``; needs ``dvc repro download``.

Each seed uses 40 different photographs of the official test list, which no released model has seen.
Unlike the masks that the models learnt, their masks include the boundary. They are stored like a
user's own folder, 36 for training and 4 for validation, and packed as in the pipeline. The scores
are of 400 photographs that no seed uses. Results: results/few_photos.json.
"""

import argparse
import hashlib
import io
import sys
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from research.benchmarks.common import machine, write_results
from unet.config import Params, load_params
from unet.data import oxford_pets
from unet.data.config import DOWNLOADED
from unet.data.packed import load_split
from unet.data.packing import pack_into
from unet.inference.evaluation import evaluate
from unet.inference.model_file import load_model
from unet.model import UNet
from unet.runtime.device import set_up
from unet.training.loop import fit
from unet.training.start import load_start

EXPERIMENT = "mp_tr_bce"
NUM_PHOTOS, NUM_VAL, NUM_TEST = 40, 4, 400
EPOCHS, BATCH_SIZE = 40, 8  # 200 steps
MAX_LR = (0.004, 0.001)  # that of the recipe, and a quarter of it


def write_folder(folder: Path, names: list[str]) -> None:
    """Write the photographs ``names``, masks of the whole animals, and lists of the splits."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    images = oxford_pets.members(DOWNLOADED / oxford_pets.IMAGES, oxford_pets.IMAGE_MEMBERS)
    for name, content in images:
        if name in names:
            (folder / f"images/{name}.jpg").write_bytes(content)
    trimaps = oxford_pets.read_index(DOWNLOADED / oxford_pets.ANNOTATIONS).trimaps
    for name in names:
        with Image.open(io.BytesIO(trimaps[name])) as trimap:
            animal = np.asarray(trimap) != 2
        Image.fromarray(animal.astype(np.uint8) * 255).save(folder / f"masks/{name}.png")
    few = names[:NUM_PHOTOS]
    lists = {"train": few[NUM_VAL:], "val": few[:NUM_VAL], "test": names[NUM_PHOTOS:]}
    for split, listed in lists.items():
        (folder / f"{split}.txt").write_text("\n".join(listed), encoding="utf-8")


def choose(seed: int) -> list[str]:
    """The names of the seed's 40 photographs, followed by the 400 to score."""
    listed = oxford_pets.read_index(DOWNLOADED / oxford_pets.ANNOTATIONS).lists["test"]
    order = sorted(listed, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    test, others = order[:NUM_TEST], order[NUM_TEST:]
    return others[NUM_PHOTOS * seed : NUM_PHOTOS * (seed + 1)] + test


def run(seed: int, params: Params, folder: Path) -> dict[str, float]:
    """Way to a model -> its IoU, for one seed."""
    write_folder(folder / "own", choose(seed))
    data = replace(params.data, path=str(folder / "own"), source="official")
    packed = folder / "packed"
    pack_into(packed, folder / "own", data, params.preprocess)
    device = set_up(params.train.device)
    train, val, test = (load_split(packed / name, device) for name in ("train", "val", "test"))

    def score(model: UNet, threshold: float) -> float:
        batch_size = params.evaluate.batch_size
        found = evaluate(model, test, threshold=threshold, batch_size=batch_size, device=device)
        return found.scores["iou"]

    released = Path(f"released/{EXPERIMENT}.safetensors")
    model, info = load_model(released, device)
    scores = {"the released model as it is": score(model, info["threshold"])}
    experiment = params.experiments[EXPERIMENT]
    start = load_start(str(released), EXPERIMENT, vars(experiment))
    origins = {"random weights": None, "the released model": start}
    for max_lr, (origin, weights) in product(MAX_LR, origins.items()):
        name = f"from {origin}, max_lr {max_lr:g}"
        own = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "seed": seed, "max_lr": max_lr}
        with tempfile.TemporaryDirectory() as checkpoint:
            trained, threshold, _ = fit(
                experiment, replace(params.train, **own), train_split=train, val_split=val,
                foreground_share=train.foreground_share, device=device, start=weights,
                checkpoint=Path(checkpoint), name=name,
            )  # fmt: skip
        scores[name] = score(trained, threshold)
        print(f"seed {seed}, {name}: IoU {scores[name]:.4f}", file=sys.stderr, flush=True)
    return scores


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    params = load_params()
    runs = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as folder:
            runs.append({"seed": seed, "iou": run(seed, params, Path(folder))})
        steps = EPOCHS * -(-(NUM_PHOTOS - NUM_VAL) // BATCH_SIZE)
        write_results("few_photos", {"machine": machine(), "steps": steps, "runs": runs})


if __name__ == "__main__":
    main()
