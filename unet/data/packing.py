"""From the two archives to packed arrays: streamed, decoded and resized on all cores."""

import io
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from unet.data import oxford_pets
from unet.data.config import DataConfig, PreprocessConfig
from unet.data.masks import BACKGROUND, BOUNDARY, OBJECT
from unet.data.packed import SplitWriter
from unet.data.photos import read_photo
from unet.data.splits import assign_splits
from unet.runtime.files import exclusive

CLASSES = {"object": OBJECT, "background": BACKGROUND, "boundary": BOUNDARY}


def pack_into(packed: Path, raw: Path, data: DataConfig, config: PreprocessConfig) -> None:
    """Make the folder ``packed`` of the archives in ``raw``, whole or not at all.

    Raises:
        ValueError: as :func:`pack`, or another process is at it.
    """
    packed.parent.mkdir(parents=True, exist_ok=True)
    new = packed.with_name(f".{packed.name}")
    with exclusive(packed.with_name(f".{packed.name}.lock"), "preprocess"):
        try:
            shutil.rmtree(new, ignore_errors=True)  # of a run that was killed
            summary = pack(raw, new, data, config)
            text = json.dumps(summary, indent=2) + "\n"
            (new / "dataset.json").write_text(text, encoding="utf-8")
            if packed.exists():
                shutil.rmtree(packed)
            new.rename(packed)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    for name, split in summary["splits"].items():
        shares = ", ".join(f"{label} {share:.1%}" for label, share in split["shares"].items())
        print(f"{name}: {split['images']} images; {shares}")
    unlisted, junk = summary["left_out"]["on_no_list"], summary["left_out"]["junk_files"]
    print(f"left out: {len(unlisted)} images on no list, {junk} junk files")


def pack(raw: Path, out: Path, data: DataConfig, config: PreprocessConfig) -> dict[str, Any]:
    """Write the splits' arrays into ``out`` (which must not exist) and return their summary.

    Raises:
        ValueError: naming every listed image without a trimap or the other way round, every file
            that cannot be read, and every trimap with an unknown code.
    """
    sums = {
        name: oxford_pets.md5(_there(raw / name))
        for name in (oxford_pets.IMAGES, oxford_pets.ANNOTATIONS)
    }
    index = oxford_pets.read_index(raw / oxford_pets.ANNOTATIONS)
    splits = assign_splits(index, config)
    _check_disk(out.parent, 4 * config.image_size**2 * sum(map(len, splits.values())))
    listed = {name for names in index.lists.values() for name in names}
    pixels, empty, in_archive = _write_splits(raw, out, index, splits, config.image_size)
    if pixels["train"][OBJECT] in (0, pixels["train"].sum()):
        raise ValueError(
            "the training images hold no object, or nothing else: nothing can be learnt"
        )
    official = {oxford_pets.IMAGES: data.images_md5, oxford_pets.ANNOTATIONS: data.annotations_md5}
    source = "official" if sums == official else "mirror"
    unlisted = (index.trimaps.keys() | in_archive) - listed if config.split == "official" else ()
    return {
        "source": "synthetic" if data.source == "synthetic" else source,
        "archives_md5": sums,
        "image_size": config.image_size,
        "split": config.split,
        "splits": {
            split: {
                "images": len(names),
                "shares": {
                    label: float(pixels[split][code] / pixels[split].sum())
                    for label, code in CLASSES.items()
                },
            }
            for split, names in splits.items()
        },
        "background_only": sorted(empty),
        "left_out": {"on_no_list": sorted(unlisted), "junk_files": index.num_junk},
    }


def _write_splits(
    raw: Path, out: Path, index: oxford_pets.Index, splits: dict[str, list[str]], size: int
) -> tuple[dict[str, np.ndarray], list[str], set[str]]:
    """Decode and write all images and masks.

    Returns:
        The splits' pixels of each code (3,), the names of masks that are background all over, and
        the names of all images in the archive.
    """
    rows: dict[str, list[tuple[str, int]]] = {}
    for split, names in splits.items():
        for row, name in enumerate(names):
            rows.setdefault(name, []).append((split, row))
    pixels = {split: np.zeros(len(CLASSES), dtype=np.int64) for split in splits}
    empty: list[str] = []
    in_archive: set[str] = set()
    problems = [
        f"{name}: listed, but has no trimap" for name in sorted(rows.keys() - index.trimaps.keys())
    ]

    def wanted_images() -> Iterator[tuple[str, bytes]]:
        archive = raw / oxford_pets.IMAGES
        for name, content in oxford_pets.members(archive, oxford_pets.IMAGE_MEMBERS):
            if oxford_pets.is_junk(name):
                continue
            if name in in_archive and name in rows:
                problems.append(f"{name}: two images in the archive")
            elif name in rows:
                yield name, content
            in_archive.add(name)

    with (
        ExitStack() as stack,
        tqdm(total=2 * len(rows), desc="decode", unit="file", leave=False, disable=None) as bar,
    ):
        writers = {
            split: stack.enter_context(SplitWriter(out / split, names, size))
            for split, names in splits.items()
        }
        trimaps = ((name, content) for name, content in index.trimaps.items() if name in rows)
        for name, mask in _decoded(trimaps, _read_trimap, size):
            bar.update()
            if isinstance(mask, str):
                problems.append(f"{name}: its trimap {mask}")
                continue
            counts = np.bincount(mask.ravel(), minlength=len(CLASSES))
            if counts[OBJECT] + counts[BOUNDARY] == 0:
                empty.append(name)
            for split, row in rows[name]:
                writers[split].write_mask(row, mask)
                pixels[split] += counts
        for name, image in _decoded(wanted_images(), _read_image, size):
            bar.update()
            if isinstance(image, str):
                problems.append(f"{name}: its image {image}")
                continue
            for split, row in rows[name]:
                writers[split].write_image(row, image)
    problems += [f"{name}: listed, but has no image" for name in sorted(rows.keys() - in_archive)]
    if problems:
        shown = "; ".join(problems[:20]) + ("; …" if len(problems) > 20 else "")
        raise ValueError(
            f"{len(problems)} files of the archives in {raw} are unusable: {shown}. "
            "Fetch them anew with `dvc repro -f download`"
        )
    return pixels, empty, in_archive


def _check_disk(folder: Path, needed: int) -> None:
    """Ask beforehand, not after minutes of decoding, whether ``needed`` bytes fit."""
    if needed > shutil.disk_usage(folder).free:
        raise ValueError(
            f"the disk is full: {folder} needs {(needed >> 20) + 1} MiB: free some space"
        )


def _there(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"{path} is missing: run `dvc repro download`")
    return path


def _decoded(
    members: Iterator[tuple[str, bytes]],
    read: Callable[[bytes, int], np.ndarray | str],
    size: int,
) -> Iterator[tuple[str, np.ndarray | str]]:
    """``read`` of each member, in order, on all cores; few of them are in memory at a time.

    Threads serve: Pillow decodes and resizes without Python's lock.
    """
    workers = os.cpu_count() or 1
    waiting: deque[tuple[str, Any]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for name, content in members:
            waiting.append((name, pool.submit(read, content, size)))
            if len(waiting) > 8 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


def _read_image(content: bytes, size: int) -> np.ndarray | str:
    """(size, size, 3) uint8, upright, antialiased; or what is wrong."""
    try:
        return np.asarray(read_photo(content).resize((size, size), Image.Resampling.BILINEAR))
    except ValueError as error:
        return str(error)


def _read_trimap(content: bytes, size: int) -> np.ndarray | str:
    """The trimap as a mask (size, size), nearest neighbour; or what is wrong."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode != "L":
                return f"has mode {image.mode}, not L"
            lowest, highest = image.getextrema()
            if not {lowest, highest} <= oxford_pets.TRIMAP_CODES.keys():
                return f"has codes from {lowest} to {highest}, not 1 to 3"
            trimap = np.asarray(image.resize((size, size), Image.Resampling.NEAREST))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"cannot be read ({error})"
    return _MASK_CODES[trimap]


_MASK_CODES = np.zeros(256, dtype=np.uint8)
for _code, _mask_code in oxford_pets.TRIMAP_CODES.items():
    _MASK_CODES[_code] = _mask_code
