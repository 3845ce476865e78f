"""Pack photographs and masks from any supported layout into arrays of one image size."""

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from unet.data.config import DataConfig, PreprocessConfig
from unet.data.duplicates import near_duplicates
from unet.data.mask_values import Mask, listed, which
from unet.data.masks import BACKGROUND, BOUNDARY, NOT_COUNTED, OBJECT
from unet.data.packed import create_split
from unet.data.photos import UPRIGHT, read_upright, to_rgb
from unet.data.sources import Dataset, File, open_source

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]  # split -> images, masks (unet.data.packed)


def pack_into(
    packed: Path, raw: Path, data: DataConfig, config: PreprocessConfig
) -> dict[str, Any]:
    """Pack the dataset in ``raw`` into the folder ``packed``, completely or not at all.

    Returns:
        What ``dataset.json`` holds.
    """
    new = packed.with_name(f".{packed.name}")
    shutil.rmtree(new, ignore_errors=True)  # left by a killed run
    try:
        summary = pack(raw, new, data, config)
        text = json.dumps(summary, indent=2) + "\n"
        (new / "dataset.json").write_text(text, encoding="utf-8")
        shutil.rmtree(packed, ignore_errors=True)
        new.rename(packed)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    print("\n".join(told(summary)))
    return summary


def told(summary: dict[str, Any]) -> list[str]:
    """The lines to print about a ``dataset.json``."""
    lines = []
    for name, split in summary["splits"].items():
        shares = ", ".join(f"{label} {share:.1%}" for label, share in split["shares"].items())
        lines.append(f"{name}: {split['images']} images; {shares}")
    left = summary["left_out"]
    left_out = f"left out: {len(left['on_no_list'])} images on no list"
    if summary["source"] != "folder":
        return [*lines, f"{left_out}, {left['junk_files']} junk files"]
    masks = summary["masks"]
    forms = ", ".join(f"{count} of {form}" for form, count in masks["forms"].items())
    pairs = [
        f"{' = '.join(pair['names'])} ({' and '.join(pair['splits'])})"
        for pair in summary["near_duplicates"]
    ]
    notes = {
        "masks turned with their photographs, as EXIF says": summary["turned_with_photograph"],
        "masks fit either way, taken as upright; look at them": summary["orientation_unclear"],
        "masks without object, though not black (data.object_values)": masks["without_object"],
        "masks inverted? (data.object_values: dark, or auto)": summary["object_at_the_border"],
        "near-duplicates in two splits (training has seen them: they score too well)": pairs,
        "folders are not read": left["folders"],
    }
    noted = [f"{len(names)} {text}: {_some(names)}" for text, names in notes.items() if names]
    return [*lines, f"masks: {forms}", *noted, f"{left_out}, {left['other_files']} other files"]


def pack(
    raw: Path, out: Path, data: DataConfig, config: PreprocessConfig, *, every: bool = False
) -> dict[str, Any]:
    """Write the splits' arrays into ``out`` (which must not exist) and return their summary.

    Args:
        every: one split, ``all``, of every image there is, instead of those that ``config`` and
            the lists say.

    Raises:
        ValueError: names the photographs without a mask, masks without a photograph, unreadable
            files, and masks with another shape or unknown values.
    """
    source = open_source(raw, data, config, every=every)
    splits, size = source.splits, config.image_size
    arrays = {split: create_split(out / split, names, size) for split, names in splits.items()}
    read, all_names, turns = _fill(arrays, source, data.not_counted, raw)
    values = {value for mask in read.values() for value in mask.values}
    if data.not_counted is not None and data.not_counted not in values:
        raise ValueError(
            f"data.not_counted = {data.not_counted}: no mask holds it; they hold {listed(values)}"
        )
    pixels = {
        split: sum(np.bincount(mask.ravel(), minlength=256) for mask in masks)
        for split, (_, masks) in arrays.items()
    }  # of each code (256,)
    for split in ("train", "test") if not every else ():
        if pixels[split][OBJECT] in (0, pixels[split][:NOT_COUNTED].sum()):
            held = f" (the masks hold {listed(values)}: see data.object_values)" if values else ""
            raise ValueError(
                f"the {split} images hold no object, or nothing else{held}: take more images, "
                "another preprocess.seed, or lists"
            )

    def those(test: Callable[[np.ndarray], bool]) -> list[str]:
        """The names of the images whose packed mask passes ``test``."""
        pairs = (zip(splits[split], arrays[split][1], strict=True) for split in splits)
        return sorted({name for some in pairs for name, mask in some if test(mask)})

    is_folder = source.about["source"] == "folder"
    summary = dict(source.about)
    if is_folder:
        summary["masks"] = {
            "forms": dict(sorted(Counter(mask.form for mask in read.values()).items())),
            "values": sorted(values) if len(values) <= 16 else listed(values),
            "without_object": sorted(name for name, mask in read.items() if mask.without_object),
            "not_counted": data.not_counted,
        }
    summary |= {
        "image_size": size,
        "split": source.split,
        "splits": {
            split: {"images": len(names), "shares": _shares(pixels[split], is_folder)}
            for split, names in splits.items()
        },
        "background_only": those(lambda mask: not np.isin(mask, (OBJECT, BOUNDARY)).any()),
        "left_out": {"on_no_list": sorted(all_names - source.listed)} | source.left_out,
    }
    if is_folder:
        summary |= turns | {
            "object_at_the_border": those(
                lambda m: (np.r_[m[0], m[-1], m[:, 0], m[:, -1]] == OBJECT).mean() > 0.75
            ),
            "near_duplicates": near_duplicates({k: v[0] for k, v in arrays.items()}, splits),
        }
    return summary


def _fill(
    arrays: Arrays, source: Dataset, not_counted: int | None, folder: Path
) -> tuple[dict[str, Mask], set[str], dict[str, list[str]]]:
    """Read all photographs and masks into ``arrays``.

    Returns:
        Name -> its mask without the codes, the names of all photographs and masks there are, and
        the names of masks that were turned, or perhaps should be.
    """
    rows = defaultdict(list)
    for split, names in source.splits.items():
        for row, name in enumerate(names):
            rows[name].append((split, row))
    size = next(iter(arrays.values()))[1].shape[1]
    problems: dict[str, list[str]] = defaultdict(list)  # what is wrong -> with which names
    problems[f"has no {source.mask}"] += sorted(rows.keys() - source.masks.keys())
    read: dict[str, Mask] = {}
    photos: set[str] = set()
    ways: dict[str, list[str]] = defaultdict(list)  # how masks fit (_fitting) -> their names
    as_stored: dict[str, np.ndarray] = {}  # where both ways fit

    pair = partial(_read_pair, source=source, size=size)
    files = iter(source.images)
    with (
        tqdm(total=len(rows), desc="decode", unit="image", leave=False, disable=None) as bar,
        ThreadPoolExecutor() as pool,  # Pillow releases the GIL while it decodes and resizes
    ):
        while some := list(islice(files, 8 * (os.cpu_count() or 1))):  # at a time in memory
            photos |= {name for name, _ in some}
            wanted = [item for item in some if item[0] in rows and item[0] in source.masks]
            for (name, _), found in zip(wanted, pool.map(pair, wanted), strict=True):
                bar.update()
                if isinstance(found, str):
                    problems[found].append(name)
                    continue
                image, masks, read[name] = found
                ways[" or ".join(masks)].append(name)
                if len(masks) == 2:
                    as_stored[name] = masks["turned"]
                for split, row in rows[name]:
                    arrays[split][0][row] = image
                    arrays[split][1][row] = next(iter(masks.values()))
    upright, turned, unclear = ways["upright"], ways["turned"], ways["upright or turned"]
    # Where both ways fit, the masks that fit one way alone decide, if they agree.
    if turned and not upright:
        turned += unclear
        for name in unclear:
            for split, row in rows[name]:
                arrays[split][1][row] = as_stored[name]
    unclear = [] if bool(upright) != bool(turned) else unclear
    problems["has no photograph"] += sorted(rows.keys() - photos)
    values = {value for mask in read.values() for value in mask.values}
    if len(values - {0, not_counted}) > 1:  # then either may be the object
        for name, mask in read.items():
            if mask.unusual:
                problems[f"its mask {which(mask.values)}"].append(name)
    if count := sum(map(len, problems.values())):
        reasons = [f"{_some(names, 12)}: {text}" for text, names in problems.items() if names]
        raise ValueError(
            f"{count} file{'s' * (count > 1)} of {folder} cannot be used: {'; '.join(reasons[:12])}"
            ". Mend them, move photograph and mask away, or bring another copy"
        )
    turns = {"turned_with_photograph": sorted(turned), "orientation_unclear": sorted(unclear)}
    return read, photos | source.masks.keys(), turns


def _shares(pixels: np.ndarray, is_folder: bool) -> dict[str, float]:
    """Class -> its share of the pixels that count; ``not counted`` -> its share of all pixels."""
    classes = {"object": OBJECT, "background": BACKGROUND}
    classes |= {} if is_folder else {"boundary": BOUNDARY}
    counted = max(1, pixels[:NOT_COUNTED].sum())
    shares = {label: float(pixels[code] / counted) for label, code in classes.items()}
    if pixels[NOT_COUNTED]:
        shares["not counted"] = float(pixels[NOT_COUNTED] / pixels.sum())
    return shares


def _read_pair(
    named: tuple[str, File], source: Dataset, size: int
) -> tuple[np.ndarray, dict[str, np.ndarray], Mask] | str:
    """The photograph (S, S, 3) uint8, resized with antialiasing; its mask (S, S), by nearest
    neighbour, for each way in which it fits (:func:`_fitting`), and what was read, without the
    codes. Or what is wrong."""
    name, file = named
    part = "image"
    try:
        photo, tag = read_upright(file)
        image = np.asarray(to_rgb(photo).resize((size, size), Image.Resampling.BILINEAR))
        part = "mask"
        mask = source.read_mask(source.masks[name])
        fitting = _fitting(mask, photo.size, tag)
    except ValueError as error:
        return f"its {part} {error}"
    nearest = Image.Resampling.NEAREST
    masks = {way: np.asarray(m.resize((size, size), nearest)) for way, m in fitting.items()}
    return image, masks, mask._replace(codes=None)


def _fitting(mask: Mask, size: tuple[int, int], tag: int) -> dict[str, Image.Image]:
    """The codes, upright, for each way in which they fit a photograph of upright ``size`` (width,
    height): if its EXIF ``tag`` turns it, as drawn ``upright``, on the stored picture (``turned``
    here) or both.

    Raises:
        ValueError: the mask has another shape.
    """
    picture = Image.fromarray(mask.codes)
    ways = {"": picture}
    if tag > 1 and mask.orientation == 1:
        ways = {"upright": picture, "turned": picture.transpose(UPRIGHT[tag])}
    fitting = {way: p for way, p in ways.items() if same_shape(size, p.size)}
    if not fitting:
        exif = " (upright, as EXIF says)" if tag > 1 else ""
        turned = ": one of the two is turned" if picture.size == size[::-1] else ""
        raise ValueError(
            f"is {picture.width} x {picture.height} pixels, its photograph {size[0]} x {size[1]}"
            f"{exif}{turned}"
        )
    return fitting


def same_shape(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) are of one picture, possibly at two scales.

    The sides of the smaller size may be rounded up or down to whole pixels.
    """
    (width, height), (whole_width, whole_height) = sorted((first, second))
    is_turned = first == second[::-1] and first != second
    difference = abs(width * whole_height - height * whole_width)
    return difference <= whole_width + whole_height and not is_turned


def _some(names: list[str], at_most: int = 5) -> str:
    more = f", … ({len(names)} in all)" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more
