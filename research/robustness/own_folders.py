"""Generated folders of users' own data, and checks of what the stage ``preprocess`` does with them.

Every case starts as pairs of a photograph and its mask. Oddities change the pairs, the lists and
the settings, and record the expected result. The meaning of masks, as described in
docs/own-data.md, is implemented here a second time, independently.
"""

import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from research.robustness import forms
from research.robustness.bad_input import PATIENCE, Ended, Outcome, contents, inside, run_main
from stages import preprocess
from unet.runtime.process import run_stage

ROOT = Path(__file__).resolve().parents[2]
OBJECT, BACKGROUND, NOT_COUNTED = 1, 0, 255  # in the packed arrays


@dataclass
class Pair:
    """A photograph and its mask, to be drawn.

    Attributes:
        name: its name in lists, and the photograph's stem if ``stem`` is empty.
        drawn: how the mask is stored if EXIF turns the photograph.
        problem: its photograph or mask must be refused.
        unclear: it may be used or refused.
        reason: why it is refused.
    """

    name: str
    form: str = "PNG"
    mask_form: str = "0 and 255"
    content: str = "animal"  # or: nothing, everything, void
    inverted: bool = False
    orientation: int = 1
    drawn: str = "upright"  # or: as stored, with its own tag, with a copied tag
    shape: str = "same"  # or: half, off by one, cropped, turned
    ending: str = ""  # appended to the mask's stem
    stem: str = ""
    has_photo: bool = True
    has_mask: bool = True
    spoil: str = ""  # or: photo none, photo cut, mask none, mask cut
    problem: bool = False
    unclear: bool = False
    reason: str = ""
    # Set when the pair is drawn:
    upright: np.ndarray | None = None
    tolerance: float = 0.0
    values: np.ndarray | None = None  # of the stored mask
    tag: int = 1  # the mask's own EXIF orientation


@dataclass
class Case:
    """A folder that will be written.

    Attributes:
        lists: split -> names; ``written``: split -> content of the list's file.
        files: path -> content of more files.
        linked: what is a link: images, masks, both (refused); whole, files (allowed).
        refused_for: the folder must be refused with one of these texts; empty: it need not be.
        other_files: number of files in the two folders that are not pictures.
    """

    pairs: list[Pair]
    settings: dict[str, Any]
    lists: dict[str, list[str]] = field(default_factory=dict)
    written: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    linked: str = ""
    refused_for: list[str] = field(default_factory=list)
    what: list[str] = field(default_factory=list)
    other_files: int = 0


def some(case: Case, rng: random.Random, at_most: int = 4) -> list[Pair]:
    """A few of the pairs."""
    return rng.sample(case.pairs, min(len(case.pairs), rng.randrange(1, at_most + 1)))


NAMES = [
    "two words", "dots.and.more", "-dash", "comma, and 'quotes\"", "caf\u00e9", "\u5199\u771f",
    "\U0001f408\u200d\u2b1b", "at 3.01\u202fPM", "100%", "#1", "x" * 200, "~", "$HOME", "[1]*?",
    "back\\slash", "\u200emark", "cat.jpg", "null", "1e3", "CAPITALS", "None", "0012",
    "1_000", "3.0",
]  # fmt: skip


def names(case: Case, rng: random.Random) -> None:
    """Odd names, and masks named after their photographs in all possible ways."""
    kind = rng.choice(["odd", "odd", "odd", "accent", "control", "both", "masks", "mask", "lost"])
    pair, other = case.pairs[0], case.pairs[-1]
    case.what.append(kind)
    if kind == "odd":
        for one, name in zip(case.pairs, rng.sample(NAMES, 4), strict=False):
            one.name, one.ending = name, rng.choice(["", "_mask"])
            case.what.append(ascii(name))
    elif kind == "accent":  # one character in the list, two in the photograph's name
        pair.name, pair.stem = "caf\u00e9", "cafe\u0301"
    elif kind == "control":
        pair.name = rng.choice(["new\nline", "tab\there", "\udcff\udcfe", "a\u2028b", "a\x85b"])
        case.refused_for.append("rename it")
    elif kind == "both":
        case.files[f"images/{pair.name}.gif"] = forms.saved(Image.new("RGB", (9, 9)), "GIF")
        case.refused_for.append("have one name")
    elif kind == "masks":
        case.files[f"masks/{pair.name}_mask.gif"] = forms.saved(Image.new("L", (9, 9)), "GIF")
        case.refused_for.append("are masks of one photograph" if not pair.ending else "one name")
    elif kind == "mask" and other is not pair:  # two photographs, `a` and `a_mask`
        other.name, other.ending, pair.ending = f"{pair.name}_mask", rng.choice(["", "_mask"]), ""
    elif kind == "lost" and other is not pair:  # `a_mask.png` belongs only to `a_mask`
        pair.ending, other.name, other.has_mask = "_mask", f"{pair.name}_mask", False
        pair.problem, other.unclear = True, True


def photographs(case: Case, rng: random.Random) -> None:
    """Photographs in any format."""
    for pair in case.pairs:
        pair.form = rng.choice([form for form in forms.PHOTOS if "giant" not in form])
        case.what.append(pair.form)


# For these masks the settings must say which values are the object.
AMBIGUOUS = ("labels", "VOC's border", "labels with a void", "0 and 128")


def masks(case: Case, rng: random.Random) -> None:
    """Masks in any form, several forms in one folder."""
    usual = [f for f in forms.MASKS if f not in AMBIGUOUS]
    usual = [f for f in usual if not forms.MASKS[f].refused]
    chosen = [rng.choice(usual) for _ in range(3)]
    if rng.random() < 0.4:
        chosen = [rng.choice(list(forms.MASKS))]
    for pair in case.pairs:
        pair.mask_form = rng.choice(chosen)
    case.what.append(", ".join(chosen))


def objects(case: Case, rng: random.Random) -> None:
    """Masks without an object, with nothing but an object, or inverted."""
    kind = rng.choice(["nothing", "everything", "inverted", "mixed"])
    for pair in case.pairs if rng.random() < 0.4 else some(case, rng):
        pair.inverted = kind == "inverted"
        pair.content = rng.choice(["nothing", "everything"]) if kind == "mixed" else kind
    case.what.append(kind)


def sizes(case: Case, rng: random.Random) -> None:
    """Masks at half the scale, turned, cropped, or off by a pixel."""
    for pair in some(case, rng):
        pair.shape = rng.choice(3 * ["half", "off by one"] + ["cropped", "turned"])
        case.what.append(f"{pair.name!a} {pair.shape}")


def turned(case: Case, rng: random.Random) -> None:
    """Photographs turned by their EXIF tag; masks upright, as stored, or with a tag of their own.

    Usually all masks are of one kind; sometimes they come from two programs.
    """
    usual = rng.choice(["upright", "as stored"])
    mixed = rng.random() < 0.3
    for pair in case.pairs if rng.random() < 0.5 else some(case, rng):
        pair.form, pair.orientation = rng.choice(list(forms.WITH_EXIF)), rng.randrange(2, 9)
        pair.drawn = rng.choice(["upright", "as stored"]) if mixed else usual
        if rng.random() < 0.3:
            pair.drawn = rng.choice(["with its own tag", "with a copied tag"])
        pair.shape = rng.choice(["same", "same", "half"])
        case.what.append(f"{pair.name!a} {pair.form} {pair.orientation} {pair.drawn} {pair.shape}")


def partners(case: Case, rng: random.Random) -> None:
    """A photograph without a mask, or a mask without a photograph."""
    for pair in some(case, rng, 2):
        if pair.problem:  # its mask already belongs to another photograph
            continue
        setattr(pair, rng.choice(["has_photo", "has_mask"]), False)
        pair.problem = True
        case.what.append(f"{pair.name!a} alone")


def spoilt(case: Case, rng: random.Random) -> None:
    """A photograph or mask that is not a picture, or is cut short."""
    for pair in some(case, rng, 2):
        pair.spoil = rng.choice(["photo", "mask"]) + rng.choice([" none", " cut"])
        pair.problem, pair.unclear = "none" in pair.spoil, "cut" in pair.spoil
        case.what.append(f"{pair.name!a} {pair.spoil}")


def lists(case: Case, rng: random.Random) -> None:
    """Lists in every notation, valid and invalid."""
    for pair, name in zip(case.pairs, rng.sample(NAMES, rng.randrange(4)), strict=False):
        if pair.name.endswith(f"_{case.pairs.index(pair)}") and not pair.stem:
            pair.name = name
    listed = [pair.name for pair in case.pairs]
    rng.shuffle(listed)
    if len(listed) < 4:
        return
    left_out = rng.randrange(0, 2)
    case.lists = {"train": listed[left_out + 2 :], "test": listed[left_out : left_out + 1]}
    case.lists |= {"val": listed[left_out + 1 : left_out + 2]}
    if rng.random() < 0.3:
        case.lists["train"] += case.lists.pop("val")
    kind = rng.choice(["right"] * 6 + ["unknown", "twice", "in two", "empty", "no test", "UTF-16",
                                       "folder", "comma"])  # fmt: skip
    train, test = case.lists["train"], case.lists["test"]
    case.what.append(f"lists {kind}")
    written = {split: list(entries) for split, entries in case.lists.items()}
    if kind == "unknown":
        written["train"].append("no such name")
        case.refused_for.append("train.txt lists no such name")
    elif kind == "twice":
        written["train"].append(train[0])
        case.refused_for.append("is listed in")
    elif kind == "in two":
        written["train"].append(test[0])
        case.refused_for.append("is listed in")
    elif kind == "empty":
        written["test"] = []
        case.refused_for.append("test.txt lists none")
    elif kind == "no test":
        del written["test"]
        case.refused_for.append("no test.txt")
    elif kind == "comma" and len(train) > 1:
        written["train"] = [", ".join(train)]
        case.refused_for.append("train.txt lists")
    encoding = "utf-16" if kind == "UTF-16" else "utf-8"
    if kind == "UTF-16":
        case.refused_for.append("must be text in UTF-8")
    for split, entries in written.items():
        style = rng.choice(["", "BOM", "CRLF", "blank", "comment", "suffix", "path"])
        case.what.append(style)
        if style in ("suffix", "path"):
            entries = [f"{entry}.png" for entry in entries]
        if style == "path":
            entries = [f"/home/me/images/{entry}" for entry in entries]
        if style == "blank":
            entries = [part for entry in entries for part in ("", f"  {entry}  ")]
        if style == "comment":
            entries = ["# a comment", *entries]
        text = ("\r\n" if style == "CRLF" else "\n").join(entries) + "\n" * rng.randrange(2)
        case.written[split] = (("\ufeff" if style == "BOM" else "") + text).encode(
            encoding, "surrogatepass"
        )
    if kind == "folder":
        del case.written["train"]
        case.files["train.txt/x"] = b""
        case.refused_for.append("train.txt cannot be read")


def junk(case: Case, rng: random.Random) -> None:
    """Files that systems and people leave behind, and links instead of folders or files."""
    more = {
        "images/Thumbs.db": 1, "masks/.DS_Store": 0, "images/._a.png": 0, "images/notes.txt": 1,
        "masks/old/a.png": 1, "images/x.jpg/y": 1, "masks/desktop.ini": 1, "readme.md": 0,
        "images/a.png~": 1, "images/.hidden.jpg": 0,
    }  # fmt: skip
    for path in rng.sample(list(more), rng.randrange(1, 6)):
        case.files[path] = b"junk"
        case.other_files += more[path]
        case.what.append(path)
    if rng.random() < 0.6:
        case.linked = rng.choice(["images", "masks", "both", "whole", "whole", "files", "files"])
        case.what.append(f"linked: {case.linked}")
    if case.linked in ("images", "masks", "both"):  # DVC would not see what changes in them
        case.refused_for.append("is a link to a folder")


def settings(case: Case, rng: random.Random) -> None:
    """data.object_values and data.not_counted, valid and invalid."""
    kind = rng.choice(["labels", "VOC", "half", "unknown value", "unknown not counted", "inverted",
                       "contradiction", "few named", "dark", "dark", "void", "void",
                       "all void"])  # fmt: skip
    case.what.append(kind)
    data = case.settings["data"]
    if kind in ("labels", "few named"):
        for pair in case.pairs:
            pair.mask_form = "labels"
        data["object_values"] = [1, 3] if kind == "labels" else [3]
        data["not_counted"] = rng.choice([2, None])
    elif kind == "VOC":
        for pair in case.pairs:
            pair.mask_form = "VOC's border"
        data["not_counted"] = 255
    elif kind == "half":
        for pair in case.pairs:
            pair.mask_form = rng.choice(["antialiased", "0 and 128", "labels", "16 bits", "JPEG"])
        data["object_values"] = "half"
    elif kind == "unknown value":
        data["object_values"] = [77]
    elif kind == "unknown not counted":
        data["not_counted"] = 77
    elif kind == "dark":
        chosen = rng.sample([f for f in forms.MASKS if not forms.MASKS[f].refused], 3)
        for pair in case.pairs:
            pair.inverted = True
            pair.mask_form = rng.choice(["antialiased", "JPEG", *chosen])
        data["object_values"] = "dark"
        data["not_counted"] = 255 if rng.random() < 0.2 else None
    elif kind == "void":
        for pair in case.pairs:
            pair.mask_form = "labels with a void"
        # Masks of this form are ambiguous, even if only the value that does not count is given.
        data["object_values"] = rng.choice(["auto", "auto", [1, 2], [2]])
        data["not_counted"] = rng.choice([None, 255])
    elif kind == "all void":
        for pair in case.pairs:
            pair.mask_form = "VOC's border"
        for pair in some(case, rng, 2):
            pair.content = "void"
        data["not_counted"] = 255
    elif kind == "inverted":
        for pair in case.pairs:
            pair.inverted = True
        data["object_values"] = [0]
    else:
        data["object_values"], data["not_counted"] = [255], 255
        case.refused_for.append("data.not_counted = 255 is one of data.object_values")


def few(case: Case, rng: random.Random) -> None:
    """One to three images."""
    del case.pairs[rng.randrange(1, 4) :]
    case.what.append(f"{len(case.pairs)} images")


ODDITIES: dict[str, Callable[[Case, random.Random], None]] = {
    "folder: names": names,
    "folder: photographs": photographs,
    "folder: masks": masks,
    "folder: objects": objects,
    "folder: sizes": sizes,
    "folder: turned": turned,
    "folder: partners": partners,
    "folder: damaged": spoilt,
    "folder: lists": lists,
    "folder: junk, links": junk,
    "folder: settings": settings,
    "folder: few images": few,
}
MIXED = "folders with several of these"
KINDS = [*ODDITIES, MIXED]
# Settings come first, as they choose the masks' forms; lists come when all names are known.
ORDER = [settings, few, masks, objects, photographs, turned, sizes, names, lists, partners, spoilt,
         junk]  # fmt: skip


def make(kind: str, rng: random.Random) -> Case:
    """A case with the oddity ``kind``, or several; not yet drawn."""
    data = {"path": "own", "object_values": "auto", "not_counted": None}
    sizes_ = {"image_size": rng.choice([8, 32, 33, 64]), "val_fraction": rng.choice([0.1, 0.3])}
    case = Case([Pair(f"photo_{i}") for i in range(rng.randrange(4, 9))],
                {"data": data, "preprocess": sizes_})  # fmt: skip
    chosen = [ODDITIES[kind]] if kind in ODDITIES else rng.sample(ORDER, rng.randrange(2, 4))
    for oddity in sorted(chosen, key=ORDER.index):
        oddity(case, rng)
    return case


def write(case: Case, folder: Path, rng: random.Random) -> None:
    """Write the case to ``folder``: pairs, lists, other files, links and params."""
    own = folder / "own"
    places = {"images": own / "images", "masks": own / "masks"}
    if case.linked == "whole":
        (folder / "elsewhere").mkdir()
        own.symlink_to(rng.choice([folder / "elsewhere", "elsewhere"]))
    own.mkdir(exist_ok=True)
    for kind, place in places.items():
        if case.linked in (kind, "both"):
            (folder / f"elsewhere {kind}").mkdir()
            place.symlink_to(folder / f"elsewhere {kind}")
        else:
            place.mkdir()
    for pair in case.pairs:
        draw(pair, case, own, rng)
    for split, content in case.written.items():
        (own / f"{split}.txt").write_bytes(content)
    if case.linked == "files":
        for number, file in enumerate([file for file in own.rglob("*") if file.is_file()]):
            kept = folder / "store" / str(number)  # a meaningless name, as in DVC's cache
            kept.parent.mkdir(exist_ok=True)
            file.rename(kept)
            file.symlink_to(kept)
    for path, content in case.files.items():
        (own / path).parent.mkdir(parents=True, exist_ok=True)
        (own / path).write_bytes(content)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, changes in case.settings.items():
        params[section] |= changes
    case.settings = params
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def draw(pair: Pair, case: Case, own: Path, rng: random.Random) -> None:
    """Draw a photograph and its mask."""
    pixels, mask = forms.animal(rng)
    if rng.random() < 0.2:  # a square
        side = min(mask.shape)
        pixels, mask = pixels[:side, :side], mask[:side, :side]
    block = forms.exif(pair.orientation) if pair.orientation > 1 else b""
    made, suffix = forms.photograph(pair.form, pixels, rng, orientation=pair.orientation,
                                    block=block)  # fmt: skip
    if made.shown is None:
        pair.problem = True
    else:
        pair.upright = forms.upright(made.shown, pair.orientation)
        pair.tolerance = made.tolerance
    photo = made.content
    form = forms.MASKS[pair.mask_form]
    if pair.content in ("nothing", "everything"):
        mask = np.full_like(mask, pair.content == "everything")
    values = form.values(mask != pair.inverted)
    if pair.content == "void":
        values = np.full_like(values, case.settings["data"]["not_counted"])
    if pair.shape == "half":
        values = values[::2, ::2]
    elif pair.shape == "off by one":
        values = values[: -rng.randrange(0, 2) or None, :-1]
    elif pair.shape == "cropped":
        values = values[:, : values.shape[1] * 3 // 4]
    elif pair.shape == "turned":
        values = values.T
    if pair.drawn in ("as stored", "with its own tag"):
        values = forms.STORED[pair.orientation](values)
    pair.values = values = np.ascontiguousarray(values)
    ending = rng.choice(form.suffixes)
    pair.tag = pair.orientation if pair.drawn.endswith("tag") else 1
    if pair.tag > 1:
        ending = ".jpg" if form.lossy else ".png"
    content = forms.mask_file(form, values, ending, pair.tag)
    pair.problem = pair.problem or form.refused
    if pair.spoil:
        old = photo if "photo" in pair.spoil else content
        new = forms.no_picture(rng) if "none" in pair.spoil else forms.truncated(old, rng)
        photo, content = (new, content) if "photo" in pair.spoil else (photo, new)
    if pair.has_photo:
        (own / "images" / f"{pair.stem or pair.name}{suffix}").write_bytes(photo)
    if pair.has_mask:
        (own / "masks" / f"{pair.name}{pair.ending}{ending}").write_bytes(content)


@dataclass
class Reading:
    """What a folder's masks mean according to the documentation.

    Attributes:
        codes: name -> upright codes (H, W), for unambiguous masks.
        turned: names of masks that are turned with their photographs.
        unclear: names of masks that may or may not have to be turned.
    """

    codes: dict[str, np.ndarray] = field(default_factory=dict)
    turned: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)


def meaning(case: Case) -> Reading:
    """The meaning of the masks according to docs/own-data.md."""
    data = case.settings["data"]
    wanted, ignored = data["object_values"], data["not_counted"]
    usable = [p for p in used_pairs(case) if p.has_mask and not forms.MASKS[p.mask_form].refused]
    everything = {int(v) for p in usable for v in np.unique(p.values)} - {0, ignored}
    stored = {}
    for pair in usable:
        held = {int(value) for value in np.unique(pair.values)} - {ignored}
        white = 255 if pair.values.max() <= 255 else 65535
        soft = forms.MASKS[pair.mask_form].soft
        two_values = held <= {0, 1} or held <= {0, white}
        if isinstance(wanted, list):
            is_object = np.isin(pair.values, wanted)
        elif wanted == "dark":
            is_object = pair.values == 0 if two_values else pair.values < white / 2
        elif two_values:
            is_object = pair.values != 0
        elif wanted == "half" or soft:
            is_object = pair.values > white / 2
        elif len(everything) == 1:
            is_object = pair.values == next(iter(everything))
        else:
            continue
        codes = np.where(is_object, OBJECT, BACKGROUND)
        codes[pair.values == ignored if ignored is not None else np.zeros_like(is_object)] = 255
        if (codes == NOT_COUNTED).all():
            pair.reason = "its mask counts nowhere"
        else:
            stored[pair.name] = codes
    return oriented(usable, stored)


def oriented(pairs: list[Pair], stored: dict[str, np.ndarray]) -> Reading:
    """Turn masks like their photographs; masks of other shapes are left out."""
    reading, either = Reading(), []
    upright_ones = False
    for pair in pairs:
        if pair.upright is None or pair.name not in stored:
            continue
        codes, shown = stored[pair.name], pair.upright.shape[:2]
        if pair.tag > 1:
            turned_ = forms.upright(codes, pair.tag)
            if fit(turned_.shape, shown):
                reading.codes[pair.name] = turned_
            elif fit(codes.shape, shown):
                reading.codes[pair.name] = codes
            continue
        as_shown = fit(codes.shape, shown)
        as_stored = fit(codes.shape, shown[:: 1 if pair.orientation < 5 else -1])
        if as_shown:
            reading.codes[pair.name] = codes
        elif as_stored:
            reading.codes[pair.name] = forms.upright(codes, pair.orientation)
            reading.turned.append(pair.name)
        if pair.orientation > 1 and as_shown and as_stored:
            either.append(pair)
        elif pair.orientation > 1:
            upright_ones = upright_ones or as_shown
    if reading.turned and not upright_ones:  # turn these like all the others
        for pair in either:
            reading.codes[pair.name] = forms.upright(stored[pair.name], pair.orientation)
            reading.turned.append(pair.name)
    elif reading.turned or not upright_ones:
        reading.unclear = [pair.name for pair in either]
    return reading


def fit(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two sizes are equal up to a scale, with sides rounded to a pixel."""
    if one == other[::-1]:
        return one == other
    small, large = sorted((one, other), key=lambda size: size[0] * size[1])
    (a, b), (c, d) = small, large
    # There is a scale s with |a - s c| <= 1 and |b - s d| <= 1.
    return (a - 1) * d <= (b + 1) * c and (b - 1) * c <= (a + 1) * d


def used_pairs(case: Case) -> list[Pair]:
    """The pairs that are on a list; all pairs if there are no lists."""
    listed = {name for entries in case.lists.values() for name in entries}
    return [pair for pair in case.pairs if not listed or pair.name in listed]


def try_folder(folder: Path, kind: str, rng: random.Random) -> Outcome:
    """Write a folder and run the stage on it."""
    case = make(kind, rng)
    folder.mkdir()
    write(case, folder, rng)
    old = folder / "data/packed/old.txt"  # from an earlier run: it must stay if this one fails
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    before = contents(folder)
    started = time.perf_counter()
    with inside(folder):
        try:
            ended = run_main("preprocess", lambda: run_stage("preprocess", preprocess.main))
        except Exception as error:
            verdict, line = "traceback", repr(error)
        else:
            line = ended.message or ""
            changed = contents(folder) != before
            verdict = "left behind" if line and changed else judge(case, ended, folder)
    seconds = round(time.perf_counter() - started, 2)
    verdict = verdict if seconds < PATIENCE else "too slow"
    return Outcome(kind, ", ".join(case.what), verdict, line, seconds)


def judge(case: Case, ended: Ended, folder: Path) -> str:
    """``used`` or ``refused``, or what the stage did wrong."""
    message, pairs = ended.message, used_pairs(case)
    reading = meaning(case)
    codes = reading.codes
    bad = [p for p in pairs if p.problem or (p.name not in codes and not p.unclear)]
    sure, possible = hopeless(case, codes)
    named, perhaps_named = unheld(case)
    if message is None:
        if case.refused_for or bad or sure or named:
            return f"accepted: {case.refused_for or [p.name for p in bad] or sure or named}"
        return compare(case, reading, folder)
    if len(message.splitlines()) != 1:
        return "more than a line"
    if case.refused_for:
        # If there are several reasons, any of them may be found first.
        reasons = [*case.refused_for, *(p.name for p in bad), *possible, *perhaps_named]
        return "refused" if any(why in message for why in reasons) else "another reason"
    if "holds no pictures" in message:
        lone = not any(p.has_photo for p in case.pairs) or not any(p.has_mask for p in case.pairs)
        return "refused" if lone else "another reason"
    # These problems are found before any photograph is read.
    if any(why in message for why in ({TOO_FEW} & possible) | perhaps_named):
        return "refused"
    if bad:
        lacking = [p.name for p in bad if f"{p.name}: {p.reason}" not in message]
        return f"not named: {lacking}" if lacking else "refused"
    if any(why in message for why in possible):
        return "refused"
    unclear = [p for p in pairs if p.unclear or forms.MASKS[p.mask_form].lossy]
    if any(f"{p.name}: " in message for p in unclear):
        return "refused"
    return "another reason" if sure or named else "good data refused"


TOO_FEW = "split of"
NOTHING_LEARNT = "the training images hold no object, or nothing else: nothing can be learnt"
NOTHING_SAID = "the test images hold no object: no score would say anything"


def hopeless(case: Case, codes: dict[str, np.ndarray]) -> tuple[set[str], set[str]]:
    """Why the folder is useless as a whole: messages that must appear, and that may appear."""
    if not case.lists and len(case.pairs) < 3:
        return {TOO_FEW}, {TOO_FEW}
    side = case.settings["preprocess"]["image_size"]
    pairs = {pair.name: pair for pair in case.pairs}
    splits = drawn_splits(case)
    sure, possible = set(), set()
    for split, wanted, why in [
        ("train", (OBJECT, BACKGROUND), NOTHING_LEARNT),
        ("test", (OBJECT,), NOTHING_SAID),
    ]:
        for code in wanted:
            least = most = 0
            for name in splits[split]:
                if name not in codes:  # damaged, or refused
                    most += 1
                    continue
                counts = [(mask == code).sum() for mask in sampled(codes[name], side)]
                flat = np.ptp(pairs[name].values) == 0
                # The values at the edges of a JPEG are not known.
                lossy = forms.MASKS[pairs[name].mask_form].lossy and not flat
                least += max(0, min(counts) - 0.03 * side**2 * lossy)
                most += max(counts) + lossy
            sure |= {why} if most == 0 else set()
            possible |= {why} if least == 0 else set()
    return sure, possible


def drawn_splits(case: Case) -> dict[str, list[str]]:
    """Split -> its images: as listed, or the first ones in an order by a hash of seed and name."""
    preprocess_ = case.settings["preprocess"]

    def order(name: str) -> str:
        text = f"{preprocess_['seed']}:{name}".encode(errors="replace")
        return hashlib.sha256(text).hexdigest()

    splits = dict(case.lists) or {"train": [pair.name for pair in case.pairs]}
    for split in ("test", "val"):
        if split not in splits:
            names_ = sorted(splits["train"], key=order)
            count = max(1, round(preprocess_[f"{split}_fraction"] * len(names_)))
            splits[split], splits["train"] = names_[:count], names_[count:]
    return splits


def sampled(codes: np.ndarray, side: int) -> list[np.ndarray]:
    """The possible masks (side, side): a centre between two pixels may take either."""
    height, width = codes.shape
    rows, columns = ((np.arange(side) + 0.5) * n / side for n in (height, width))
    return [
        codes[(rows + down).astype(int)][:, (columns + right).astype(int)]
        for down in (-1e-6, 1e-6)
        for right in (-1e-6, 1e-6)
    ]


def unheld(case: Case) -> tuple[set[str], set[str]]:
    """Values in the settings that no mask has: messages that must appear, and that may appear."""
    data, pairs = case.settings["data"], [p for p in used_pairs(case) if p.has_mask]
    readable = [p for p in pairs if not forms.MASKS[p.mask_form].refused and "mask" not in p.spoil]
    held = {int(value) for pair in readable for value in np.unique(pair.values)}
    wanted = data["object_values"] if isinstance(data["object_values"], list) else []
    lacking = {f"data.object_values: no mask holds {v}" for v in {*wanted} - held}
    not_counted = {data["not_counted"]} - {None}
    lacking |= {f"data.not_counted: no mask holds {v}" for v in not_counted - held}
    # The values of a JPEG or a damaged file are not all known.
    lossy = any(forms.MASKS[p.mask_form].lossy or "mask" in p.spoil for p in pairs)
    return set() if lossy else lacking, lacking


def compare(case: Case, reading: Reading, folder: Path) -> str:
    """``used`` if the packed arrays are right, else what is wrong."""
    packed = folder / "data/packed"
    summary = json.loads((packed / "dataset.json").read_text(encoding="utf-8"))
    pairs = {pair.name: pair for pair in used_pairs(case)}
    found = {}
    border = []
    for split in ("train", "val", "test"):
        listed = (packed / split / "names.txt").read_text(encoding="utf-8").split("\n")[:-1]
        found[split] = listed
        images, masks_ = (np.load(packed / split / f"{kind}.npy") for kind in ("images", "masks"))
        for name, image, mask in zip(listed, images, masks_, strict=True):
            pair, side = pairs[name], len(image)
            small = Image.fromarray(pair.upright).resize((side, side), Image.Resampling.BILINEAR)
            off = np.abs(image.astype(float) - np.asarray(small)).mean()
            if off > pair.tolerance + 0.01:
                return f"{name!a}: the image differs by {off:.1f}"
            lossy = forms.MASKS[pair.mask_form].lossy
            wanted = np.stack(sampled(reading.codes[name], side))
            # JPEG keeps some pixels of the value that does not count and changes others.
            off = ((mask != wanted) & ~(lossy & (wanted == NOT_COUNTED))).all(0).mean()
            if off > (0.03 if lossy else 0):
                return f"{name!a}: the mask differs in {off:.1%}"
            edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
            border += [name] * bool((edge == OBJECT).mean() > 0.75)
    if Counter(sum(found.values(), [])) != Counter(list(pairs)):
        return "not each pair once"
    if {split: sorted(names_) for split, names_ in drawn_splits(case).items()} != found:
        return "other splits"
    if sorted(border) != summary["object_at_the_border"]:
        return "inverted masks not pointed out"
    if sorted(reading.turned) != summary["turned_with_photograph"]:
        return "turned masks not pointed out"
    if sorted(reading.unclear) != summary["orientation_unclear"]:
        return "masks that fit both ways not pointed out"
    if summary["left_out"]["other_files"] != case.other_files:
        return "other files miscounted"
    unlisted = sorted({p.name for p in case.pairs} - set(pairs))
    return "used" if summary["left_out"]["on_no_list"] == unlisted else "unlisted not said"
