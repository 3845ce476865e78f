"""Small runs of the stages, and what each of them writes, to compare one commit with another.

``python -m tests.behaviour --record`` writes ``behaviour.json``, which ``test_behaviour`` compares
on any CPU. ``python -m tests.behaviour OUT.json`` writes exact hashes of all outputs: on one
machine, the files of two commits with the same behaviour are equal.
"""

import argparse
import contextlib
import csv
import gzip
import hashlib
import io
import json
import math
import re
import runpy
import shutil
import sys
import tarfile
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors import safe_open

from unet.inference.model_file import load_model
from unet.inference.predict import predict
from unet.runtime.config import read_yaml

ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).with_suffix(".json")

# All that matters is set, so that the record does not follow params.yaml.
SMALL: dict[str, Any] = {
    "train.epochs": 3, "train.batch_size": 4, "train.start_from": "released/scratch",
    "train.boundary": "background", "train.seed": 4,
    "train.optimizer": "muon", "train.schedule": "one_cycle", "train.max_lr": 0.03,
    "train.warmup": 0.2, "train.weight_decay": 0.05,
    "train.grow_from": 1.0, "train.grow_until": 0.6,
    "train.keep": "last", "train.store": "float32", "train.amp": "none", "train.device": "cpu",
    "train.threads": 1, "train.augment.flip": True, "train.augment.scale": [0.9, 1.05],
    "train.augment.shift": 0.05, "train.augment.rotate": 6, "train.augment.brightness": 0.2,
    "train.augment.color": 0.05, "train.augment.contrast": 0, "train.augment.saturation": 0,
    "train.augment.paste": 0, "train.augment.soft_edges": False,
    "preprocess.image_size": 16, "preprocess.split": "official", "preprocess.val_fraction": 0.25,
    "preprocess.test_fraction": 0.25, "preprocess.seed": 0, "preprocess.limit": None,
    "evaluate.batch_size": 4, "evaluate.tta": False, "evaluate.device": "cpu",
    "data.path": "data/raw", "data.object_values": "auto", "data.not_counted": None,
    "data.source": "official",
    "experiments": {
        "mp_tr_dice": {"downsample": "mp", "upsample": "tr", "loss": "dice"},
        "str_tr_bce": {
            "downsample": "str_conv", "upsample": "tr", "loss": "bce", "pos_weight": "auto",
        },
        "mp_ups_bce": {
            "downsample": "mp", "upsample": "ups", "loss": "bce", "pos_weight": 2.5,
        },
        "str_ups_dice": {"downsample": "str_conv", "upsample": "ups", "loss": "dice"},
    },
}  # fmt: skip
for experiment in SMALL["experiments"].values():
    experiment |= {"width": 4, "depth": 2}
DICE, BCE, *OTHERS = SMALL["experiments"]


# Data, the same on every machine


def draw(seed: int, size: tuple[int, int] = (40, 28)) -> tuple[np.ndarray, np.ndarray]:
    """A bright ellipse on dark noise: the picture (H, W, 3) uint8, and each pixel's place (H, W):
    below 1 inside the ellipse, above 1 outside."""
    random = np.random.RandomState(seed)  # its numbers stay the same in all versions of NumPy
    width, height = size
    x, y = random.randint(width // 3, 2 * width // 3), random.randint(height // 3, 2 * height // 3)
    across, down = random.randint(width // 6, width // 3), random.randint(height // 5, height // 3)
    rows, columns = np.mgrid[:height, :width]
    place = ((columns - x) / across) ** 2 + ((rows - y) / down) ** 2
    picture = random.randint(0, 120, (height, width, 3))
    picture[place < 1] += random.randint(60, 130, 3)
    picture[:, :4] += 50  # so that left and right, top and bottom differ
    picture[:3] //= 2
    return picture.astype(np.uint8), place


def png(array: np.ndarray | Image.Image, *, orientation: int = 1, form: str = "PNG") -> bytes:
    """The content of an image file, with an EXIF tag if ``orientation`` is not 1."""
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    buffer = io.BytesIO()
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(buffer, form, **({"exif": exif} if orientation > 1 else {}))
    return buffer.getvalue()


def write_release(folder: Path) -> None:
    """Two archives as those of the Oxford-IIIT Pet release, but with exact pixels."""
    images, annotations = {"images/notes.mat": b"-"}, {}
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for seed in range(30):
        name = f"{('Big_Cat', 'small_dog', 'tall_dog')[seed % 3]}_{seed // 3 + 1}"
        picture, place = draw(seed, (28, 40) if seed % 4 == 1 else (40, 28))
        trimap = np.where(place < 0.8, 1, np.where(place < 1.3, 3, 2)).astype(np.uint8)
        images[f"images/{name}.jpg"] = png(picture)
        annotations[f"annotations/trimaps/{name}.png"] = png(trimap)
        annotations[f"annotations/trimaps/._{name}.png"] = b"-"
        if seed != 4:  # on no list
            lists["test" if seed % 3 == 1 else "trainval"].append(f"{name} 1 1 1\n")
    annotations |= {f"annotations/{k}.txt": "".join(v).encode() for k, v in lists.items()}
    folder.mkdir(parents=True)
    for kind, files in (("images", images), ("annotations", annotations)):
        with (
            gzip.GzipFile(folder / f"{kind}.tar.gz", "wb", mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w") as tar,
        ):
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def write_own(folder: Path, mask_of: Callable[[int, np.ndarray], bytes], count: int = 16) -> None:
    """``images/`` and ``masks/``, the masks' files made by ``mask_of`` from seed and places."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for seed in range(count):
        picture, place = draw(100 + seed)
        name = f"pic {seed:02}"
        (folder / f"images/{name}.png").write_bytes(png(picture, orientation=turned(seed)))
        ending = "" if seed % 2 else "_mask"
        (folder / f"masks/{name}{ending}.png").write_bytes(mask_of(seed, place))


def turned(seed: int) -> int:
    """The EXIF tag of an own folder's photograph: three of them are turned."""
    return {1: 6, 3: 8, 6: 3}.get(seed, 1)


def plain_masks(folder: Path) -> None:
    """0 and 255 in several modes; one drawn on the stored picture, one upright, one either way."""

    def mask_of(seed: int, place: np.ndarray) -> bytes:
        mask = Image.fromarray(((place < 1) * 255).astype(np.uint8))
        if turned(seed) == 8:
            mask = mask.transpose(Image.Transpose.ROTATE_90)
        return png(mask.convert(("L", "1", "RGB", "L")[seed % 4]))

    write_own(folder, mask_of)
    (folder / "images/notes.txt").touch()


def soft_masks(folder: Path) -> None:
    """Grey along the edges; not turned."""
    write_own(folder, lambda _, place: png((510 * (1.5 - place)).clip(0, 255).astype(np.uint8)))


def label_masks(folder: Path) -> None:
    """0, 1 and 2, and 255 along the edges; lists without val.txt."""

    def mask_of(seed: int, place: np.ndarray) -> bytes:
        label = 1 + seed % 2
        labels = np.where(place < 0.8, label, np.where(place < 1.3, 255, 0))
        return png(labels.astype(np.uint8))

    write_own(folder, mask_of)
    names = [f"pic {seed:02}" for seed in (5, 9, 2, 0, 12, 7, 3, 15, 1, 8, 11, 4, 13, 6)]
    (folder / "train.txt").write_text("".join(f"{name}\n" for name in names[:10]))
    (folder / "test.txt").write_text("".join(f"{name}.png\n" for name in names[10:]))


# Runs


@dataclass(frozen=True)
class Run:
    """A run of the stages in a folder of its own.

    Attributes:
        changes: params that differ from SMALL and from those of its data.
        data: the run that packs the data; "": itself, from what ``write`` writes.
        keys: the experiments to train and to evaluate.
        start: a run whose models lie in the folder ``start``.
        killed: stop the training after its first epoch, then begin again.
        predict: find the object in a photograph, with the mean of the models.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    data: str = "release"
    write: Callable[[Path], None] | None = None
    keys: tuple[str, ...] = ()
    start: str = ""
    killed: bool = False
    predict: bool = False


def trained(*keys: str, **options: Any) -> Run:
    """A run that trains and evaluates ``keys``, by default the first experiment."""
    changes = {k: options.pop(k) for k in list(options) if "." in k}
    return Run(changes, keys=keys or (DICE,), **options)


OWN = {"data.path": "own"}
RUNS: dict[str, Run] = {
    # packed data
    "release": Run(data="", write=write_release),
    "sorted": Run({"preprocess.split": "sorted"}, data="", write=write_release),
    "limited": Run({"preprocess.limit": 5}, data="", write=write_release),
    "plain": Run(OWN, data="", write=plain_masks),
    "soft": Run(OWN, data="", write=soft_masks),
    "listed": Run(
        OWN | {"data.object_values": [1, 2], "data.not_counted": 255}, data="",
        write=label_masks,
    ),
    # trained models and their scores
    "background": trained(DICE, BCE),
    **{
        rule: trained(DICE, BCE, **{"train.boundary": rule})
        for rule in ("object", "middle", "ignore")
    },
    "best": trained(BCE, **{"train.boundary": "object", "train.keep": "best"}),
    "float16": trained(**{"train.store": "float16"}),
    "growing": trained(**{"train.grow_from": 0.5}),
    "killed": trained(killed=True),
    "from-a-file": trained(start="background",
                           **{"train.start_from": f"start/{DICE}.safetensors"}),
    "from-a-folder": trained(BCE, start="background",
                             **{"train.start_from": "start"}),
    "augmented": trained(**{
        "train.augment.contrast": 0.3, "train.augment.saturation": 0.5, "train.augment.paste": 0.5,
        "train.augment.soft_edges": True,
    }),
    "architectures": trained(*OTHERS, predict=True, **{"train.seed": 2}),
    "tta": trained(**{"evaluate.tta": True}),
    "sorted-models": trained(data="sorted"),
    "own-folder": trained(data="plain"),
    "own-soft": trained(data="soft", **{"train.augment.soft_edges": True}),
    "own-lists": trained(DICE, BCE, data="listed",
                         **{"train.augment.soft_edges": True}),
}  # fmt: skip


def run(name: str, root: Path) -> Path:
    """The folder below ``root`` with the outputs of the run ``name``, which is done if need be."""
    folder, this = root / name, RUNS[name]
    if (folder / "done").exists():
        return folder
    needed = {other: run(other, root) for other in (this.data, this.start) if other}
    (folder / "data").mkdir(parents=True)
    params = read_yaml(ROOT / "params.yaml")
    inherited = RUNS[this.data].changes if this.data else {}
    for path, value in (SMALL | inherited | this.changes).items():
        section = params
        *parents, last = path.split(".")
        for parent in parents:
            section = section[parent]
        section[last] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    if this.start:
        shutil.copytree(needed[this.start] / "models", folder / "start")
    with contextlib.chdir(folder):
        if this.data:
            shutil.copytree(needed[this.data] / "data/packed", "data/packed")
        else:
            this.write(Path(params["data"]["path"]))
            stage("preprocess")
        for key in this.keys:
            if this.killed:
                stage("train", key, until="epoch 1/")
                timing = Path(f"plots/timing/{key}.csv").read_text()
            stage("train", key)
            if this.killed:
                resumed = Path(f"plots/timing/{key}.csv").read_text().startswith(timing)
                assert resumed and timing.count("\n") == 2, f"{name}: trained anew"
            stage("evaluate", key)
        if this.predict:
            models = [load_model(f"models/{key}.safetensors") for key in this.keys]
            found = predict(Image.fromarray(draw(7)[0]), *models)
            np.savez("predicted.npz", probabilities=found.probabilities, mask=found.mask)
    (folder / "done").touch()
    return folder


class Killed(io.StringIO):
    """Standard output that stops the program, as Ctrl-C does, when it says ``text``."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def write(self, text: str) -> int:
        if self.text in text:
            raise KeyboardInterrupt
        return super().write(text)


def stage(name: str, *arguments: str, until: str = "") -> None:
    """``python -m stages.NAME ARGUMENTS`` in this process; stopped when it says ``until``."""
    before, sys.argv = sys.argv, [f"stages/{name}.py", *arguments]
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # the module may be imported already
            contextlib.redirect_stdout(Killed(until) if until else io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            runpy.run_module(f"stages.{name}", run_name="__main__")
        assert not until, f"{name} never said {until!r}"
    except SystemExit as error:
        if not until or error.code != 130:  # as after Ctrl-C
            raise AssertionError(error.code) from error
    finally:
        sys.argv = before


# Outputs

WRITTEN = ("models", "metrics", "predictions", "plots/curves", "predicted.npz")
# Hashes of files whose bytes depend on the CPU, or on the library that compresses.
HASHES = ("predictions", "curve", "start_from", "archives_md5")


def outputs(name: str, root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the run ``name`` wrote, without timings: file -> name -> array, number or text."""
    folder = run(name, root)
    tops = [folder / top for top in (WRITTEN if RUNS[name].data else ("data/packed",))]
    for path in sorted(path for top in tops for path in (top, *top.rglob("*"))):
        if path.is_file() and path.suffix != ".jpg":  # of predictions that are compared
            yield path.relative_to(folder).as_posix(), content(path)


def content(path: Path) -> dict[str, Any]:
    match path.suffix:
        case ".npy":
            return {"array": np.load(path)}
        case ".npz":
            with np.load(path) as arrays:
                return dict(arrays)
        case ".txt":
            return {"lines": path.read_text(encoding="utf-8").splitlines()}
        case ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        case ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            columns = {key: [row[key] for row in rows] for key in rows[0]}
            return {k: v if k == "name" else np.array(v, float) for k, v in columns.items()}
        case ".safetensors":
            with safe_open(path, framework="np") as file:
                tensors = {key: file.get_tensor(key) for key in sorted(file.keys())}
                return tensors | json.loads(file.metadata()["unet"])
    raise AssertionError(f"{path}: an output of an unknown kind")


def digest(array: np.ndarray) -> str:
    """Of the shape, the dtype and the values."""
    value = hashlib.sha256(np.ascontiguousarray(array)).hexdigest()
    return f"{array.shape} {array.dtype} {value[:16]}"


def exact(name: str, root: Path) -> dict[str, dict[str, Any]]:
    """All outputs of a run, to the last bit: file -> name -> value; arrays as their hashes."""
    return {
        file: {k: digest(v) if isinstance(v, np.ndarray) else v for k, v in values.items()}
        for file, values in outputs(name, root)
    }


def summary(name: str, root: Path) -> dict[str, dict[str, Any]]:
    """The outputs of a run as they are on every CPU: file -> name -> value. Floating-point numbers
    are so up to a tolerance (:func:`difference`), all else exactly."""
    return {file: plain(summarised(file, values)) for file, values in outputs(name, root)}


def summarised(file: str, values: dict[str, Any]) -> dict[str, Any]:
    values = {key: value for key, value in values.items() if key not in HASHES}
    if file.endswith(".safetensors"):
        tensors = {k: v for k, v in values.items() if isinstance(v, np.ndarray)}
        parts = dict.fromkeys(key.partition(".")[0] for key in tensors)
        return {
            "dtypes": dict(sorted(Counter(str(t.dtype) for t in tensors.values()).items())),
            **{p: weights([t for k, t in tensors.items() if k.startswith(p)]) for p in parts},
            **{key: value for key, value in values.items() if key not in tensors},
        }
    if file.endswith("images.csv"):
        # What is true; what is predicted of an image may depend on the CPU.
        objects, others = values["tp"] + values["fn"], values["fp"] + values["tn"]
        return {
            "name": values["name"],
            "objects": objects.astype(int),
            "others": others.astype(int),
        }
    if file.startswith("predictions/"):  # packed bits
        return {"pixels": np.unpackbits(values["array"]).mean()}
    if file == "predicted.npz":
        return {"pixels": values["mask"].mean(), "mean": values["probabilities"].mean(),
                "columns": values["probabilities"].mean(0)}  # fmt: skip
    if file.endswith(".progress.npz"):
        return values | {"probabilities": values["probabilities"].mean((2, 3))}
    if file.startswith("metrics/") and isinstance(values["iou"], dict):
        return {"iou": list(values["iou"].values())}
    return {
        key: digest(value) if isinstance(value, np.ndarray) and value.ndim > 1 else value
        for key, value in values.items()
    }


def weights(tensors: list[np.ndarray]) -> np.ndarray:
    """The norm, and a sum that changes if values change places."""
    joined = np.concatenate([tensor.ravel() for tensor in tensors]).astype(float)
    return np.array([np.linalg.norm(joined), joined @ np.cos(np.arange(len(joined)))])


def plain(value: Any) -> Any:
    """As JSON keeps it, numbers with nine digits."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


# Comparison

RELATIVE = 1e-3  # of numbers
PIXELS = 0.01  # of shares of pixels, some of which lie at the threshold
COUNTED = re.compile("accuracy|iou|dice|precision|recall|pixels")


def difference(key: str, found: Any, recorded: Any) -> float:
    """How far a value is from the recorded one, in tolerances; infinite if it must be equal."""
    if recorded == [] or found is None or np.array(recorded).dtype.kind != "f":
        return 0.0 if found == recorded else math.inf
    first, second = np.array(found, float), np.array(recorded)
    if first.shape != second.shape:
        return math.inf
    allowed = PIXELS if COUNTED.search(key) else RELATIVE * max(1e-6, np.abs(second).max())
    return float(np.abs(first - second).max() / allowed)


def differences(
    found: dict[str, dict[str, Any]], recorded: dict[str, dict[str, Any]]
) -> dict[str, float]:
    """:func:`difference` of all that is recorded; what is new does not matter."""
    return {
        f"{file}: {key}": difference(key, found.get(file, {}).get(key), value)
        for file, values in recorded.items()
        for key, value in values.items()
    }


def load_record() -> dict[str, dict[str, dict[str, Any]]]:
    return json.loads(RECORD.read_text(encoding="utf-8"))


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser("python -m tests.behaviour")
    parser.add_argument("out", nargs="?", metavar="OUT.json", help="exact hashes of all outputs")
    parser.add_argument("--record", action="store_true", help=f"renew {RECORD.name}")
    arguments = parser.parse_args()
    if bool(arguments.out) == arguments.record:
        parser.error("OUT.json or --record")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.out:
            found = {name: exact(name, Path(folder)) for name in RUNS}
            text = json.dumps(found, indent=1)
            path = Path(arguments.out)
        else:  # a file's values on one line
            found = {name: summary(name, Path(folder)) for name in RUNS}
            text = re.sub("\n   +", " ", json.dumps(found, indent=1)).replace("\n  }", " }")
            path = RECORD
    path.write_text(text + "\n", encoding="utf-8")
    print(f"{len(RUNS)} runs: {path}")


if __name__ == "__main__":
    main()
