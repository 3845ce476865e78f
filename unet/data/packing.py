"""Pack photographs and masks from any supported layout into arrays of one image size."""

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
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
    lines.append(f"masks: {forms}")
    pairs = [
        f"{' = '.join(pair['names'])} ({' and '.join(pair['splits'])})"
        for pair in summary["near_duplicates"]
    ]
    for text, names in {
        "masks turned with their photographs, as EXIF says": summary["turned_with_photograph"],
        "masks fit both the upright and the stored photograph, taken as upright; look at them":
            summary["orientation_unclear"],
        "masks hold values above 0, but no object (if that is wrong, see data.object_values)":
            masks["without_object"],
        "masks have the object along most of their border (if they are inverted, set "
        "data.object_values to dark, or to auto where it is dark)": summary["object_at_the_border"],
        "near-duplicates in two splits (training has seen them: they score too well)": pairs,
        "folders are not read": left["folders"],
    }.items():  # fmt: skip
        if names:
            lines.append(f"{len(names)} {text}: {_some(names)}")
    return [*lines, f"{left_out}, {left['other_files']} other files"]


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
    source = open_source(raw, data, config)
    splits = {"all": source.names} if every else source.splits(config)
    size = config.image_size
    arrays = {split: create_split(out / split, names, size) for split, names in splits.items()}
    pairs, values, photos = _fill(arrays, splits, source, data.not_counted, raw)
    if data.not_counted is not None and data.not_counted not in values:
        raise ValueError(
            f"data.not_counted = {data.not_counted}: no mask holds it; they hold {listed(values)}"
        )
    pixels = {split: sum(pairs[name]["pixels"] for name in n) for split, n in splits.items()}
    for split in ("train", "test") if not every else ():
        if pixels[split][OBJECT] in (0, pixels[split][:NOT_COUNTED].sum()):
            held = f" (the masks hold {listed(values)}: see data.object_values)" if values else ""
            raise ValueError(
                f"the {split} images hold no object, or nothing else{held}: nothing can be learnt, "
                "and no score says anything; take more images, another preprocess.seed, or lists"
            )

    def those(key: str) -> list[str]:
        return sorted(name for name, pair in pairs.items() if pair[key])

    is_folder = source.about["source"] == "folder"
    unlisted = (photos | set(source.names)) - source.listed if source.listed else set()
    summary = dict(source.about)
    if is_folder:
        summary["masks"] = {
            "forms": dict(sorted(Counter(pair["form"] for pair in pairs.values()).items())),
            "values": sorted(values) if len(values) <= 16 else listed(values),
            "without_object": those("without_object"),
            "not_counted": data.not_counted,
        }
    summary |= {
        "image_size": size,
        "split": source.split,
        "splits": {
            split: {"images": len(names), "shares": _shares(pixels[split], is_folder)}
            for split, names in splits.items()
        },
        "background_only": those("background_only"),
        "left_out": {"on_no_list": [] if every else sorted(unlisted)} | source.left_out,
    }
    if is_folder:
        summary |= {
            "turned_with_photograph": those("turned"),
            "orientation_unclear": those("unclear"),
            "object_at_the_border": those("at_the_border"),
            "near_duplicates": near_duplicates({k: v[0] for k, v in arrays.items()}, splits),
        }
    return summary


def _fill(
    arrays: dict[str, tuple[np.ndarray, np.ndarray]], splits: dict[str, list[str]],
    source: Dataset, not_counted: int | None, folder: Path,
) -> tuple[dict[str, dict[str, Any]], set[int], set[str]]:  # fmt: skip
    """Read all photographs and masks into ``arrays``.

    Returns:
        Name -> what is known of the pair (:func:`_read_pair`), the values in all masks, and the
        names of all photographs there are.
    """
    rows = defaultdict(list)
    for split, names in splits.items():
        for row, name in enumerate(names):
            rows[name].append((split, row))
    problems: dict[str, list[str]] = defaultdict(list)  # what is wrong -> with which names
    problems[f"has no {source.mask}"] += sorted(rows.keys() - source.masks.keys())
    pairs: dict[str, dict[str, Any]] = {}
    values: set[int] = set()
    photos: set[str] = set()

    def wanted() -> Iterator[tuple[str, File, File]]:
        for name, file in source.images:
            photos.add(name)
            if name in rows and name in source.masks:
                yield name, file, source.masks[name]

    def fill(files: Iterator[tuple[str, File, File]], *, as_stored: bool = False) -> None:
        size = next(iter(arrays.values()))[1].shape[1]
        read = partial(_read_pair, read_mask=source.read_mask, size=size, as_stored=as_stored)
        while some := list(islice(files, 8 * (os.cpu_count() or 1))):  # at a time in memory
            names, *parts = zip(*some, strict=True)
            for name, (image, codes, pair) in zip(names, pool.map(read, *parts), strict=True):
                bar.update()
                for problem in pair["problems"]:
                    problems[problem].append(name)
                if not pair["problems"]:
                    for split, row in rows[name]:
                        arrays[split][0][row], arrays[split][1][row] = image, codes
                    values.update(pair["values"])
                    pairs[name] = pair

    with (
        tqdm(total=len(rows), desc="decode", unit="image", leave=False, disable=None) as bar,
        ThreadPoolExecutor() as pool,  # Pillow releases the GIL while it decodes and resizes
    ):
        fill(wanted())
        # Where both ways fit, the masks that fit one way alone decide, if they agree.
        decided = {way for pair in pairs.values() for way in ("turned", "upright") if pair[way]}
        unclear = {name for name, pair in pairs.items() if pair["unclear"] and len(decided) == 1}
        if decided == {"turned"}:
            again = ((n, f, source.masks[n]) for n, f in source.images if n in unclear)
            fill(again, as_stored=True)
        for name in unclear:
            pairs[name]["unclear"] = False
    problems["has no photograph"] += sorted(rows.keys() - photos)
    if len(values - {0, not_counted}) > 1:  # then either may be the object
        for name, pair in pairs.items():
            if pair["unusual"]:
                problems[f"its mask {which(pair['values'])}"].append(name)
    if any(problems.values()):
        raise ValueError(_refusal(problems, folder))
    return pairs, values, photos


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
    photo_file: File,
    mask_file: File,
    *,
    read_mask: Callable[[File], Mask],
    size: int,
    as_stored: bool = False,
) -> tuple[np.ndarray | None, np.ndarray | None, dict[str, Any]]:
    """The photograph (S, S, 3) uint8, resized with antialiasing, its mask (S, S), by nearest
    neighbour, both upright, and what is known of them: above all, their ``problems``."""
    problems, photo = [], None
    try:
        photo, tag = read_upright(photo_file)
        image = np.asarray(to_rgb(photo).resize((size, size), Image.Resampling.BILINEAR))
    except ValueError as error:
        problems.append(f"its image {error}")
    try:
        mask = read_mask(mask_file)
        if photo:
            fitted, way = _fitted(mask, photo.size, tag, as_stored=as_stored)
    except ValueError as error:
        problems.append(f"its mask {error}")
    if problems:
        return None, None, {"problems": problems}
    codes = np.asarray(fitted.resize((size, size), Image.Resampling.NEAREST))
    border = np.concatenate([codes[0], codes[-1], codes[:, 0], codes[:, -1]])
    pixels = np.bincount(codes.ravel(), minlength=256)
    about = {
        "problems": [],
        "pixels": pixels,  # of each code (256,)
        "form": mask.form,
        "values": mask.values,
        "unusual": mask.unusual,
        "without_object": any(mask.values) and not (mask.codes == OBJECT).any(),
        "background_only": not pixels[OBJECT] + pixels[BOUNDARY],
        # Which way it was drawn where EXIF turns the photograph, judged by its shape.
        **{name: way == name for name in ("turned", "upright", "unclear")},
        "at_the_border": (border == OBJECT).mean() > 0.75,
    }
    return image, codes, about


def _fitted(
    mask: Mask, size: tuple[int, int], tag: int, *, as_stored: bool
) -> tuple[Image.Image, str]:
    """The codes as they fit the photograph, of upright ``size`` (width, height) and EXIF ``tag``;
    and if that turns it, whether the mask was drawn ``upright``, on the stored picture (``turned``
    here) or is ``unclear``: fits both, and is taken as upright unless ``as_stored``.

    Raises:
        ValueError: the mask has another shape.
    """
    picture = Image.fromarray(mask.codes)
    turns = tag > 1 and mask.orientation == 1
    stored = picture.transpose(UPRIGHT[tag]) if turns else picture
    fits, stored_fits = same_shape(size, picture.size), same_shape(size, stored.size)
    if not fits and not stored_fits:
        exif = " (upright, as EXIF says)" if tag > 1 else ""
        turned = ": one of the two is turned" if picture.size == size[::-1] else ""
        raise ValueError(
            f"is {picture.width} x {picture.height} pixels, its photograph {size[0]} x {size[1]}"
            f"{exif}{turned}"
        )
    if turns and stored_fits and (as_stored or not fits):
        return stored, "turned"
    return picture, ("unclear" if stored_fits else "upright") if turns else ""


def same_shape(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) are of one picture, possibly at two scales.

    The smaller size may be rounded to whole pixels.
    """
    if first == second[::-1]:
        return first == second
    small, large = sorted((first, second))
    lowest = max((side - 1) / whole for side, whole in zip(small, large, strict=True))
    highest = min((side + 1) / whole for side, whole in zip(small, large, strict=True))
    return lowest <= highest


def _refusal(problems: dict[str, list[str]], folder: Path) -> str:
    """One line on all that is wrong, each reason once with the names it holds for."""
    lines = []
    for problem, names in problems.items():
        if names:
            more = f" (and {len(names) - 1} more: {_some(names[1:], 12)})" * (len(names) > 1)
            lines.append(f"{names[0]}{more}: {problem}")
    count = sum(map(len, problems.values()))
    return (
        f"{count} file{'s' * (count > 1)} of {folder} cannot be used: {'; '.join(lines[:12])}"
        f"{'; …' * (len(lines) > 12)}. Mend them, move photograph and mask away, or bring another "
        "copy"
    )


def _some(names: list[str], at_most: int = 5) -> str:
    return ", ".join(names[:at_most]) + (", …" if len(names) > at_most else "")
