"""From the two archives to packed arrays: streamed, decoded and resized on all cores."""

import io
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from unet import archives
from unet.config import DataConfig, PreprocessConfig
from unet.dataset import create_split
from unet.splits import assign_splits
from unet.trimaps import BACKGROUND, BOUNDARY, PET

CLASSES = {"pet": PET, "background": BACKGROUND, "boundary": BOUNDARY}


def pack(raw: Path, out: Path, data: DataConfig, config: PreprocessConfig) -> dict[str, Any]:
    """Write the splits' arrays into ``out`` (which must not exist) and return their summary.

    Raises:
        ValueError: naming every listed image without a trimap or the other way round, every file
            that cannot be read, and every trimap with an unknown code.
    """
    sums = {
        name: archives.md5(_there(raw / name)) for name in (archives.IMAGES, archives.ANNOTATIONS)
    }
    index = archives.read_index(raw / archives.ANNOTATIONS)
    splits = assign_splits(index, config)
    used = set().union(*splits.values())
    problems = [f"{name}: listed, but has no trimap" for name in sorted(used - index.trimaps)]
    needed = 4 * config.image_size**2 * sum(len(names) for names in splits.values())  # bytes
    if needed > shutil.disk_usage(out.parent).free:
        # Asked beforehand: a mapped file that outgrows the disk kills the process without a word.
        raise ValueError(
            f"the disk is full: {out.parent} needs {needed >> 20} MiB: free some space"
        )
    arrays = {
        name: create_split(out / name, names, config.image_size) for name, names in splits.items()
    }
    rows: dict[str, list[tuple[str, int]]] = {}
    for split, names in splits.items():
        for row, name in enumerate(names):
            rows.setdefault(name, []).append((split, row))
    pixels = {split: np.zeros(4, dtype=np.int64) for split in splits}
    empty: list[str] = []
    found: set[str] = set()
    unlisted: set[str] = set()
    listed = {name for names in index.lists.values() for name in names}

    def wanted(members: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
        for name, content in members:
            if name in rows:
                yield name, content
            elif name not in listed and not archives.is_junk(name):
                unlisted.add(name)

    def store(which: int, name: str, array: np.ndarray) -> None:
        for split, row in rows[name]:
            arrays[split][which][row] = array

    with tqdm(total=2 * len(used), desc="decode", unit="file", leave=False, disable=None) as bar:
        trimaps = archives.members(raw / archives.ANNOTATIONS, archives.TRIMAP_MEMBERS)
        for name, trimap in _decoded(wanted(trimaps), _read_trimap, config.image_size):
            bar.update()
            if isinstance(trimap, str):
                problems.append(f"{name}: its trimap {trimap}")
                continue
            store(1, name, trimap)
            counts = np.bincount(trimap.ravel(), minlength=4)
            if counts[PET] + counts[BOUNDARY] == 0:
                empty.append(name)
            for split, _ in rows[name]:
                pixels[split] += counts
        images = archives.members(raw / archives.IMAGES, archives.IMAGE_MEMBERS)
        for name, image in _decoded(wanted(images), _read_image, config.image_size):
            bar.update()
            found.add(name)
            if isinstance(image, str):
                problems.append(f"{name}: its image {image}")
                continue
            store(0, name, image)
    problems += [f"{name}: listed, but has no image" for name in sorted(used - found)]
    if problems:
        shown = "; ".join(problems[:20]) + ("; …" if len(problems) > 20 else "")
        raise ValueError(
            f"{len(problems)} files of the archives in {raw} are unusable: {shown}. "
            "Fetch them anew with `dvc repro -f download`"
        )
    if pixels["train"][PET] in (0, pixels["train"].sum()):
        raise ValueError("the training images hold no pet, or nothing else: nothing can be learnt")
    for images_array, trimaps_array in arrays.values():
        images_array.flush()
        trimaps_array.flush()
    official = {archives.IMAGES: data.images_md5, archives.ANNOTATIONS: data.annotations_md5}
    return {
        "source": "synthetic" if data.source == "synthetic" else
                  "official" if sums == official else "mirror",
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
        "left_out": {
            "on_no_list": sorted(unlisted) if config.split == "official" else [],
            "junk_files": index.num_junk,
        },
    }  # fmt: skip


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
    """(size, size, 3) uint8, antialiased, from any file that Pillow opens; or what is wrong."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            rgb = (
                image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
            )
            return np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"cannot be read ({error})"


def _read_trimap(content: bytes, size: int) -> np.ndarray | str:
    """(size, size) uint8 of the codes 1 to 3, nearest neighbour; or what is wrong."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode != "L":
                return f"has mode {image.mode}, not L"
            codes = np.flatnonzero(image.histogram()).tolist()
            trimap = np.asarray(image.resize((size, size), Image.Resampling.NEAREST))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"cannot be read ({error})"
    unknown = sorted(set(codes) - set(CLASSES.values()))
    return f"has unknown codes {unknown}" if unknown else trimap


def replace_folder(new: Path, old: Path) -> None:
    """Put the folder ``new`` where ``old`` is."""
    if old.exists():
        shutil.rmtree(old)
    new.rename(old)
