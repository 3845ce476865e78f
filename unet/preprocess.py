"""From the two archives to packed arrays: streamed, decoded and resized on all cores."""

import io
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

from unet import archives
from unet.config import DataConfig, PreprocessConfig
from unet.dataset import SplitWriter
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
    listed = {name for names in index.lists.values() for name in names}
    unlisted = index.trimaps.keys() - listed
    problems = [
        f"{name}: listed, but has no trimap" for name in sorted(used - index.trimaps.keys())
    ]
    needed = 4 * config.image_size**2 * sum(len(names) for names in splits.values())  # bytes
    if needed > shutil.disk_usage(out.parent).free:
        # Asked beforehand, not after minutes of decoding.
        raise ValueError(
            f"the disk is full: {out.parent} needs {(needed >> 20) + 1} MiB: free some space"
        )
    rows: dict[str, list[tuple[str, int]]] = {}
    for split, names in splits.items():
        for row, name in enumerate(names):
            rows.setdefault(name, []).append((split, row))
    pixels = {split: np.zeros(4, dtype=np.int64) for split in splits}
    empty: list[str] = []
    found: set[str] = set()

    def wanted_images() -> Iterator[tuple[str, bytes]]:
        for name, content in archives.members(raw / archives.IMAGES, archives.IMAGE_MEMBERS):
            if name in found:
                problems.append(f"{name}: two images in the archive")
            elif name in rows:
                found.add(name)
                yield name, content
            elif name not in listed and not archives.is_junk(name):
                unlisted.add(name)

    with (
        ExitStack() as stack,
        tqdm(total=2 * len(used), desc="decode", unit="file", leave=False, disable=None) as bar,
    ):
        writers = {
            split: stack.enter_context(SplitWriter(out / split, names, config.image_size))
            for split, names in splits.items()
        }
        trimaps = ((name, content) for name, content in index.trimaps.items() if name in rows)
        for name, trimap in _decoded(trimaps, _read_trimap, config.image_size):
            bar.update()
            if isinstance(trimap, str):
                problems.append(f"{name}: its trimap {trimap}")
                continue
            counts = np.array([np.count_nonzero(trimap == code) for code in range(4)])
            if counts[PET] + counts[BOUNDARY] == 0:
                empty.append(name)
            for split, row in rows[name]:
                writers[split].write_trimap(row, trimap)
                pixels[split] += counts
        for name, image in _decoded(wanted_images(), _read_image, config.image_size):
            bar.update()
            if isinstance(image, str):
                problems.append(f"{name}: its image {image}")
                continue
            for split, row in rows[name]:
                writers[split].write_image(row, image)
    problems += [f"{name}: listed, but has no image" for name in sorted(used - found)]
    if problems:
        shown = "; ".join(problems[:20]) + ("; …" if len(problems) > 20 else "")
        raise ValueError(
            f"{len(problems)} files of the archives in {raw} are unusable: {shown}. "
            "Fetch them anew with `dvc repro -f download`"
        )
    if pixels["train"][PET] in (0, pixels["train"].sum()):
        raise ValueError("the training images hold no pet, or nothing else: nothing can be learnt")
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
            lowest, highest = image.getextrema()
            trimap = np.asarray(image.resize((size, size), Image.Resampling.NEAREST))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"cannot be read ({error})"
    known = min(CLASSES.values()) <= lowest and highest <= max(CLASSES.values())
    return trimap if known else f"has codes from {lowest} to {highest}, not 1 to 3"


def replace_folder(new: Path, old: Path) -> None:
    """Put the folder ``new`` where ``old`` is."""
    if old.exists():
        shutil.rmtree(old)
    new.rename(old)
