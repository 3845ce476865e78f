"""Pack photographs and masks from any supported layout into arrays of one image size."""

import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from unet.data.config import DataConfig, PreprocessConfig
from unet.data.duplicates import near_duplicates
from unet.data.mask_values import Mask, check_settings, listed, which
from unet.data.masks import BACKGROUND, BOUNDARY, NOT_COUNTED, OBJECT
from unet.data.packed import create_split
from unet.data.photos import UPRIGHT, read_upright, to_rgb
from unet.data.sources import File, open_source
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
    new = packed.with_name(f".{packed.name}")
    with exclusive(packed.with_name(f".{packed.name}.lock"), "preprocess"):
        try:
            shutil.rmtree(new, ignore_errors=True)  # left by a killed run
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
    return [*lines, f"{left_out}, {left['other_files']} other files{folders}"]


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
    before = _modified(raw)
    source = open_source(raw, data, config)
    splits = {"all": source.names} if every else source.splits(config)
    size = config.image_size
    arrays = {split: create_split(out / split, names, size) for split, names in splits.items()}
    rows: dict[str, list[tuple[str, int]]] = {}
    for split, names in splits.items():
        for row, name in enumerate(names):
            rows.setdefault(name, []).append((split, row))
    problems: dict[str, list[str]] = {}  # what is wrong -> with which names
    for name in sorted(rows.keys() - source.masks.keys()):
        problems.setdefault(f"has no {source.mask}", []).append(name)
    photos: set[str] = set()

    def wanted() -> Iterator[tuple[str, File, File]]:
        for name, file in source.images:
            photos.add(name)
            if name in rows and name in source.masks:
                yield name, file, source.masks[name]

    pairs: dict[str, _Pair] = {}
    values: set[int] = set()  # in all masks
    with tqdm(total=len(rows), desc="decode", unit="image", leave=False, disable=None) as bar:
        read = partial(_read_pair, read_mask=source.read_mask, size=size)
        for name, (image, codes, pair) in _in_order(read, wanted()):
            bar.update()
            for problem in pair.problems:
                problems.setdefault(problem, []).append(name)
            if pair.problems:
                continue
            for split, row in rows[name]:
                arrays[split][0][row], arrays[split][1][row] = image, codes
            values.update(pair.values)
            pairs[name] = pair if pair.unusual else pair._replace(values=())
    for name in sorted(rows.keys() - photos):
        problems.setdefault("has no photograph", []).append(name)
    if len(values - {0, data.not_counted}) > 1:
        for name, pair in pairs.items():
            if pair.unusual:  # with two values either may be the object
                problems.setdefault(f"its mask {which(pair.values)}", []).append(name)
    if problems:
        raise ValueError(_refusal(problems, raw))
    check_settings(values, data)
    if _modified(raw) != before:  # DVC records the folder as it is when the stage ends
        raise ValueError(f"{raw} changed while it was read: run again")

    def those(what: Callable[[_Pair], bool]) -> list[str]:
        return sorted(name for name, pair in pairs.items() if what(pair))

    pixels = {split: sum(pairs[name].pixels for name in names) for split, names in splits.items()}
    if not every:
        _check_objects(pixels, values)
    is_folder = source.about["source"] == "folder"
    summary = dict(source.about)
    if is_folder:
        summary["masks"] = {
            "forms": dict(sorted(Counter(pair.form for pair in pairs.values()).items())),
            "values": sorted(values) if len(values) <= 16 else listed(values),
            "without_object": those(lambda pair: pair.without_object),
            "not_counted": data.not_counted,
        }
    unlisted = (photos | set(source.names)) - source.listed if source.listed else set()
    summary |= {
        "image_size": size,
        "split": source.split,
        "splits": {
            split: {"images": len(names), "shares": _shares(pixels[split], is_folder)}
            for split, names in splits.items()
        },
        "background_only": those(lambda pair: not pair.pixels[OBJECT] + pair.pixels[BOUNDARY]),
        "left_out": {"on_no_list": [] if every else sorted(unlisted)} | source.left_out,
    }
    if is_folder:
        summary |= {
            "turned_with_photograph": those(lambda pair: pair.turned),
            "orientation_unclear": those(lambda pair: pair.unclear),
            "object_at_the_border": those(lambda pair: pair.at_the_border),
            "near_duplicates": near_duplicates({k: v[0] for k, v in arrays.items()}, splits),
        }
    return summary


def _check_objects(pixels: dict[str, np.ndarray], values: set[int]) -> None:
    """Refuse splits (-> pixels of each code (256,)) that are useless for training or scoring."""
    held = f" (the masks hold {listed(values)}: see data.object_values and data.not_counted)"
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


def _shares(pixels: np.ndarray, is_folder: bool) -> dict[str, float]:
    """Class -> its share of the pixels that count; ``not counted`` -> its share of all pixels."""
    counted = max(1, pixels[:NOT_COUNTED].sum())
    shares = {label: float(pixels[code] / counted) for label, code in CLASSES.items()}
    if is_folder:
        del shares["boundary"]
    if pixels[NOT_COUNTED]:
        shares["not counted"] = float(pixels[NOT_COUNTED] / pixels.sum())
    return shares


class _Pair(NamedTuple):
    """What is known of a photograph and its mask."""

    problems: tuple[str, ...] = ()
    pixels: np.ndarray | None = None  # of each code (256,)
    form: str = ""  # how the mask was read
    values: tuple[int, ...] = ()  # that the mask holds
    unusual: bool = False  # one of them is the object only if no other mask holds another
    without_object: bool = False  # though the mask holds values above 0
    turned: bool = False  # the mask was drawn on the stored picture, judged by its shape
    unclear: bool = False  # its shape fits both the stored and the upright picture
    at_the_border: bool = False  # the object fills most of the border


def _read_pair(
    photo_file: File, mask_file: File, *, read_mask: Callable[[File], Mask], size: int
) -> tuple[np.ndarray | None, np.ndarray | None, _Pair]:
    """The photograph (S, S, 3) uint8, resized with antialiasing, its mask (S, S) uint8, by nearest
    neighbour, both upright, and what is known of them; or what is wrong."""
    problems, photo = [], None
    try:
        photo, tag = read_upright(photo_file)
        image = np.asarray(to_rgb(photo).resize((size, size), Image.Resampling.BILINEAR))
    except ValueError as error:
        problems.append(f"its image {error}")
    try:
        mask = read_mask(mask_file)
        picture = Image.fromarray(mask.codes)
        if photo:
            picture, turned, unclear = _upright(picture, mask.orientation, photo.size, tag)
    except ValueError as error:
        problems.append(f"its mask {error}")
    if problems:
        return None, None, _Pair(tuple(problems))
    codes = np.asarray(picture.resize((size, size), Image.Resampling.NEAREST))
    border = np.concatenate([codes[0], codes[-1], codes[:, 0], codes[:, -1]])
    return (
        image,
        codes,
        _Pair(
            pixels=np.bincount(codes.ravel(), minlength=256),
            form=mask.form,
            values=mask.values,
            unusual=mask.unusual,
            without_object=any(mask.values) and not (mask.codes == OBJECT).any(),
            turned=turned,
            unclear=unclear,
            at_the_border=bool((border == OBJECT).mean() > 0.75),
        ),
    )


def _upright(
    mask: Image.Image, own_tag: int, size: tuple[int, int], tag: int
) -> tuple[Image.Image, bool, bool]:
    """A mask that fits its photograph, whether it was turned with it, and whether both fit.

    Args:
        mask: turned as its file's own tag ``own_tag`` says.
        size: of the photograph, upright: width and height.
        tag: the photograph's.

    Raises:
        ValueError: its shape is another.
    """
    # Without a tag it may be drawn on the stored picture. With one it may have been upright
    # already, the tag copied from the photograph: then back again.
    turn = UPRIGHT.get(tag if own_tag == 1 else {6: 8, 8: 6}.get(own_tag, own_tag))
    other = mask.transpose(turn) if turn is not None else mask
    fits, other_fits = same_shape(size, mask.size), same_shape(size, other.size)
    if not fits and not other_fits:
        exif = " (upright, as EXIF says)" if tag > 1 else ""
        turned = ": one of the two is turned" if mask.size == size[::-1] else ""
        raise ValueError(
            f"is {mask.width} x {mask.height} pixels, its photograph {size[0]} x {size[1]}{exif}"
            f"{turned}"
        )
    may_be_stored = other_fits and own_tag == 1 and tag > 1
    return mask if fits else other, may_be_stored and not fits, may_be_stored and fits


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


def _in_order(
    read: Callable[[File, File], Any], files: Iterable[tuple[str, File, File]]
) -> Iterator[tuple[str, Any]]:
    """Yield (name, ``read(photograph, mask)``), on all cores, with few in memory at a time.

    Uses threads, because Pillow releases the GIL while it decodes and resizes.
    """
    workers = os.cpu_count() or 1
    waiting: deque[tuple[str, Future]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for name, *pair in files:
            waiting.append((name, pool.submit(read, *pair)))
            if len(waiting) > 8 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for name, future in waiting:
            yield name, future.result()


def _modified(folder: Path) -> dict[Path, int]:
    """Each file in ``folder`` -> when it was modified, in ns."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def _refusal(problems: dict[str, list[str]], folder: Path, at_most: int = 12) -> str:
    """One line on all that is wrong, each reason once with the names it holds for."""
    lines = []
    for problem, (first, *more) in problems.items():
        others = f" (and {len(more)} more: {_some(more, at_most)})" if more else ""
        lines.append(f"{first}{others}: {problem}")
    shown = "; ".join(lines[:at_most] + ["…"] * (len(lines) > at_most))
    count = sum(map(len, problems.values()))
    return (
        f"{count} file{'s' * (count > 1)} of {folder} cannot be used: {shown}. Mend them, move "
        "photograph and mask away, or bring another copy"
    )


def _some(names: list[str], at_most: int = 5) -> str:
    return ", ".join(names[:at_most]) + (", …" if len(names) > at_most else "")
