"""Pack photographs and masks from any supported layout into arrays of one image size."""

import json
import shutil
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from unet.data.config import DataConfig, PreprocessConfig
from unet.data.duplicates import near_duplicates
from unet.data.masks import BACKGROUND, BOUNDARY, NOT_COUNTED, OBJECT
from unet.data.packed import SplitWriter
from unet.data.parallel import in_order
from unet.data.photos import UPRIGHT, read_upright, to_rgb
from unet.data.sources import File, Source, open_source
from unet.runtime.files import exclusive

CLASSES = {"object": OBJECT, "background": BACKGROUND, "boundary": BOUNDARY}


def pack_into(
    packed: Path, raw: Path, data: DataConfig, config: PreprocessConfig
) -> dict[str, Any]:
    """Pack the dataset in ``raw`` into the folder ``packed``, completely or not at all.

    Returns:
        What ``dataset.json`` holds.

    Raises:
        ValueError: as :func:`pack`, or another process is packing.
    """
    packed.parent.mkdir(parents=True, exist_ok=True)
    new = packed.with_name(f".{packed.name}")
    with exclusive(packed.with_name(f".{packed.name}.lock"), "preprocess"):
        try:
            shutil.rmtree(new, ignore_errors=True)  # left by a killed run
            summary = pack(raw, new, data, config)
            text = json.dumps(summary, indent=2) + "\n"
            (new / "dataset.json").write_text(text, encoding="utf-8")
            if packed.exists():
                shutil.rmtree(packed)
            new.rename(packed)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    for line in told(summary):
        print(line)
    return summary


def told(summary: dict[str, Any]) -> list[str]:
    """The lines to print about a ``dataset.json``."""
    lines = []
    for name, split in summary["splits"].items():
        shares = ", ".join(f"{label} {share:.1%}" for label, share in split["shares"].items())
        lines.append(f"{name}: {split['images']} images; {shares}")
    left = summary["left_out"]
    if summary["source"] != "folder":
        lines.append(
            f"left out: {len(left['on_no_list'])} images on no list, "
            f"{left['junk_files']} junk files"
        )
        return lines
    forms = ", ".join(f"{count} of {form}" for form, count in summary["masks"]["forms"].items())
    lines.append(f"masks: {forms}")
    if turned := summary["turned_with_photograph"]:
        lines.append(f"masks turned with their photographs, as EXIF says: {_some(turned)}")
    if unclear := summary["orientation_unclear"]:
        lines.append(
            f"EXIF turns {len(unclear)} photographs whose masks fit both ways, taken as upright; "
            f"look at them: {_some(unclear)}"
        )
    if without := summary["masks"]["without_object"]:
        lines.append(
            f"masks that hold values above 0, but no object: {len(without)} ({_some(without)}); if "
            "that is wrong, see data.object_values"
        )
    if inverted := summary["object_at_the_border"]:
        lines.append(
            f"the object fills most of the border in {len(inverted)} masks ({_some(inverted)}): "
            "if they are inverted, set data.object_values to dark, or to auto where it is dark"
        )
    if pairs := summary["near_duplicates"]:
        exact = sum(pair["exact"] for pair in pairs)
        shown = [f"{' = '.join(pair['names'])} ({' and '.join(pair['splits'])})" for pair in pairs]
        lines.append(
            f"near-duplicates in two splits: {len(pairs)} pairs, {exact} of them exact; "
            f"images that training has seen score too well: {_some(shown)}"
        )
    folders = f", {len(left['folders'])} folders ({_some(left['folders'])})" * bool(left["folders"])
    lines.append(
        f"left out: {len(left['on_no_list'])} images on no list, {left['other_files']} other files"
        + folders
    )
    return lines


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
    files = _state(source.paths)
    splits = {"all": source.names} if every else source.assign_splits(config)
    _check_disk(out.parent, 4 * config.image_size**2 * sum(map(len, splits.values())))
    masks = _write_splits(source, out, splits, config.image_size)
    if _state(source.paths) != files:  # DVC records the folder as it is when the stage ends
        raise ValueError(f"{raw} changed while it was read: run again")
    pixels = {split: _sum(masks.pixels[name] for name in names) for split, names in splits.items()}
    described = source.describe()
    split_kind, left_out = described.pop("split"), described.pop("left_out")
    if every:
        left_out["on_no_list"] = []
    else:
        _check_objects(pixels, described.get("masks", {}).get("values"))
    summary = described | {
        "image_size": config.image_size,
        "split": split_kind,
        "splits": {
            split: {"images": len(names), "shares": _shares(pixels[split], described["source"])}
            for split, names in splits.items()
        },
        "background_only": sorted(
            name for name, count in masks.pixels.items() if not count[OBJECT] + count[BOUNDARY]
        ),
        "left_out": left_out,
    }
    if described["source"] == "folder":
        summary |= {
            "turned_with_photograph": sorted(masks.drawn["stored"]),
            "orientation_unclear": [] if masks.all_upright else sorted(masks.drawn["unclear"]),
            "object_at_the_border": sorted(masks.at_the_border),
            "near_duplicates": near_duplicates(out, splits),
        }
    return summary


def _check_objects(pixels: dict[str, np.ndarray], values: list[int] | str | None) -> None:
    """Refuse splits that are useless for training or scoring.

    Args:
        pixels: split -> pixels of each code (256,).
        values: the values in a folder's masks, for the message.
    """
    held = f" (the masks hold {values}: see data.object_values and data.not_counted)"
    held = held if values else ""
    if pixels["train"][OBJECT] in (0, pixels["train"][:NOT_COUNTED].sum()):
        raise ValueError(
            "the training images hold no object, or nothing else: nothing can be learnt" + held
        )
    if not pixels["test"][OBJECT]:
        raise ValueError(
            f"the test images hold no object: no score would say anything{held}; take more images, "
            "another preprocess.seed, or list others in test.txt"
        )


def _shares(pixels: np.ndarray, source: str) -> dict[str, float]:
    """Class -> its share of the pixels that count; ``not counted`` -> its share of all pixels."""
    classes = {k: v for k, v in CLASSES.items() if source != "folder" or v != BOUNDARY}
    counted = pixels[:NOT_COUNTED].sum()
    shares = {label: float(pixels[code] / max(1, counted)) for label, code in classes.items()}
    if pixels[NOT_COUNTED]:
        shares["not counted"] = float(pixels[NOT_COUNTED] / pixels.sum())
    return shares


class _Photo(NamedTuple):
    image: np.ndarray  # (S, S, 3) uint8
    size: tuple[int, int]  # width and height, upright
    orientation: int  # from EXIF, 1 to 8


class _Mask(NamedTuple):
    mask: np.ndarray  # (S, S) uint8 codes
    # If EXIF turns the photograph, how the mask was drawn, judged by its shape: "upright", on the
    # "stored" picture (it is turned here), or "unclear" (it fits both). Otherwise "plain".
    drawn: str
    at_the_border: bool  # the object fills most of the border


class _Masks:
    """What is known about the masks so far, by name."""

    def __init__(self) -> None:
        self.pixels: dict[str, np.ndarray] = {}  # name -> pixels of each code (256,)
        self.drawn: dict[str, list[str]] = {"plain": [], "upright": [], "stored": [], "unclear": []}
        self.at_the_border: set[str] = set()

    @property
    def all_as_stored(self) -> bool:
        """Whether all masks whose shape decides were drawn on the stored pictures."""
        return bool(self.drawn["stored"]) and not self.drawn["upright"]

    @property
    def all_upright(self) -> bool:
        """Whether all masks whose shape decides were drawn upright."""
        return bool(self.drawn["upright"]) and not self.drawn["stored"]


def _write_splits(source: Source, out: Path, splits: dict[str, list[str]], size: int) -> _Masks:
    """Decode and write all photographs and masks."""
    rows: dict[str, list[tuple[str, int]]] = {}
    for split, names in splits.items():
        for row, name in enumerate(names):
            rows.setdefault(name, []).append((split, row))
    problems = source.check(rows.keys())
    photos: dict[str, _Photo] = {}
    masks = _Masks()
    with (
        ExitStack() as stack,
        tqdm(total=2 * len(rows), desc="decode", unit="file", leave=False, disable=None) as bar,
    ):
        writers = {
            split: stack.enter_context(SplitWriter(out / split, names, size))
            for split, names in splits.items()
        }
        read = partial(_read_photo, size=size)
        for name, photo in in_order(source.images(rows.keys()), read):
            bar.update()
            if isinstance(photo, str):
                problems.append(f"{name}: its image {photo}")
                continue
            for split, row in rows[name]:
                writers[split].write_image(row, photo.image)
            photos[name] = photo._replace(image=np.empty(0))
        problems += source.missing_images()

        def write_masks(names: Collection[str], *, as_stored: bool = False) -> None:
            read = partial(_read_mask, source=source, photos=photos, size=size, as_stored=as_stored)
            for name, found in in_order(source.masks(names), read):
                bar.update(not as_stored)
                if isinstance(found, str):
                    problems.append(f"{name}: its {source.mask} {found}")
                    continue
                for split, row in rows[name]:
                    writers[split].write_mask(row, found.mask)
                masks.pixels[name] = np.bincount(found.mask.ravel(), minlength=256)
                masks.drawn[found.drawn].append(name)
                masks.at_the_border.discard(name)
                masks.at_the_border |= {name} if found.at_the_border else set()

        write_masks(rows.keys())
        if masks.all_as_stored and (again := masks.drawn["unclear"]):
            masks.drawn["unclear"] = []
            write_masks(again, as_stored=True)
    if problems:
        shown = "; ".join(_grouped(problems))
        files = "1 file" if len(problems) == 1 else f"{len(problems)} files"
        raise ValueError(f"{files} of {source.where} cannot be used: {shown}. {source.way_out}")
    return masks


def _state(paths: list[Path]) -> dict[str, tuple[int, int]]:
    """Each file in or below ``paths`` -> its size in bytes and modification time in ns."""
    found = {}
    for path in (file for whole in paths for file in (whole, *whole.rglob("*")) if file.is_file()):
        with suppress(OSError):
            found[str(path)] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found


def _check_disk(folder: Path, needed: int) -> None:
    """Raise now, not after minutes of decoding, if ``needed`` bytes do not fit."""
    if needed > shutil.disk_usage(folder).free:
        raise ValueError(
            f"the disk is full: {folder} needs {(needed >> 20) + 1} MiB: free some space"
        )


def _sum(pixels: Any) -> np.ndarray:
    return sum(pixels, np.zeros(256, dtype=np.int64))


def _read_photo(_name: str, file: File, *, size: int) -> _Photo | str:
    """The photograph, upright and resized with antialiasing; or what is wrong."""
    try:
        picture, tag = read_upright(file)
        resized = to_rgb(picture).resize((size, size), Image.Resampling.BILINEAR)
        return _Photo(np.asarray(resized), picture.size, tag)
    except ValueError as error:
        return str(error)


def _read_mask(
    name: str, file: File, *, source: Source, photos: Mapping[str, _Photo], size: int,
    as_stored: bool = False,
) -> _Mask | str:  # fmt: skip
    """The mask, upright and resized by nearest neighbour; or what is wrong.

    Args:
        as_stored: assume that a mask that fits both ways was drawn on the stored picture.
    """
    try:
        codes, tag = source.read_mask(name, file)
    except ValueError as error:
        return str(error)
    mask, drawn = Image.fromarray(codes), "plain"
    if photo := photos.get(name):  # None: the photograph is unusable
        fits = same_shape(photo.size, mask.size)
        # EXIF turns the photograph, but not the mask: was it drawn before or after the turn?
        turn = UPRIGHT.get(photo.orientation) if tag == 1 else None
        may_be_stored = turn is not None and same_shape(
            photo.size[::-1] if photo.orientation >= 5 else photo.size, mask.size
        )
        if may_be_stored and (as_stored or not fits):
            mask, drawn = mask.transpose(turn), "stored"
        elif fits:
            drawn = "unclear" if may_be_stored else "upright" if turn is not None else "plain"
        elif tag >= 5 and same_shape(photo.size, mask.size[::-1]):
            # It was upright already, with the photograph's tag: back again.
            mask = mask.transpose(UPRIGHT[{6: 8, 8: 6}.get(tag, tag)])
        else:
            width, height = photo.size
            sizes = f"{mask.width} x {mask.height} pixels, its photograph {width} x {height}"
            exif = " (upright, as EXIF says)" if photo.orientation > 1 else ""
            turned = ": one of the two is turned" if mask.size == photo.size[::-1] else ""
            return f"is {sizes}{exif}{turned}"
    resized = np.asarray(mask.resize((size, size), Image.Resampling.NEAREST))
    border = np.concatenate([resized[0], resized[-1], resized[:, 0], resized[:, -1]])
    return _Mask(resized, drawn, bool((border == OBJECT).mean() > 0.75))


def same_shape(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) are of one picture, possibly at two scales.

    The smaller size may be rounded to whole pixels.
    """
    if first == second:
        return True
    if first == second[::-1]:
        return False
    small, large = sorted((first, second))
    lowest = max((side - 1) / whole for side, whole in zip(small, large, strict=True))
    highest = min((side + 1) / whole for side, whole in zip(small, large, strict=True))
    return lowest <= highest


def _grouped(problems: list[str], at_most: int = 12) -> list[str]:
    """Merge problems (``name: text``) that have the same text."""
    names: dict[str, list[str]] = {}
    for problem in problems:
        name, _, text = problem.partition(": ")
        names.setdefault(text, []).append(name)
    lines = []
    for text, (first, *more) in names.items():
        others = f" (and {len(more)} more: {_some(more, at_most)})" if more else ""
        lines.append(f"{first}{others}: {text}")
    return lines[:at_most] + ["…"] * (len(lines) > at_most)


def _some(names: list[str], at_most: int = 5) -> str:
    return ", ".join(names[:at_most]) + (", …" if len(names) > at_most else "")
