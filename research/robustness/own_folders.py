"""Folders of one's own, generated, and what the stage ``preprocess`` makes of them.

Every case begins as pairs of a photograph and its mask; oddities change them, the lists and the
settings, and note what is to come of it. What the documentation (docs/own-data.md) says that masks
mean is written down here once more, independently.
"""

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
        name: as it is listed, and the photograph's stem where ``stem`` is empty.
        problem: its photograph or mask is to be refused.
        unclear: whether it is used or refused cannot be said.
        lossy: the mask is not stored as it was drawn.
    """

    name: str
    form: str = "PNG"
    mask_form: str = "0 and 255"
    content: str = "animal"  # or: nothing, everything
    inverted: bool = False
    orientation: int = 1
    shape: str = "same"  # or: half, off by one, cropped, turned, as stored, with its own tag
    ending: str = ""  # of the mask's stem
    stem: str = ""
    has_photo: bool = True
    has_mask: bool = True
    spoil: str = ""  # photo or mask: is no picture; is cut
    problem: bool = False
    unclear: bool = False
    # Drawn:
    upright: np.ndarray | None = None
    tolerance: float = 0.0
    values: np.ndarray | None = None  # of the mask, upright
    turned: bool = False


@dataclass
class Case:
    """A folder to be.

    Attributes:
        lists: split -> names, and how they are written.
        files: more files, path -> content.
        refused_for: one of these is in the message that refuses all; empty: all can be used.
        other_files: how many files in the two folders are no pictures.
    """

    pairs: list[Pair]
    settings: dict[str, Any]
    lists: dict[str, list[str]] = field(default_factory=dict)
    written: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    linked: bool = False
    refused_for: list[str] = field(default_factory=list)
    what: list[str] = field(default_factory=list)
    other_files: int = 0


def some(case: Case, rng: random.Random, at_most: int = 4) -> list[Pair]:
    """A few of the pairs."""
    return rng.sample(case.pairs, min(len(case.pairs), rng.randrange(1, at_most + 1)))


NAMES = [
    "two words", "dots.and.more", "-dash", "comma, and 'quotes\"", "caf\u00e9", "\u5199\u771f",
    "\U0001f408\u200d\u2b1b", "at 3.01\u202fPM", "100%", "#1", "x" * 200, "~", "$HOME", "[1]*?",
    "back\\slash", "\u200emark", "cat.jpg", "null", "1e3", "CAPITALS", "None",
]  # fmt: skip


def names(case: Case, rng: random.Random) -> None:
    """Odd names; masks called by them in every way."""
    kind = rng.choice(["odd", "odd", "odd", "accent", "control", "both", "masks", "mask", "lost"])
    pair, other = case.pairs[0], case.pairs[-1]
    case.what.append(kind)
    if kind == "odd":
        for one, name in zip(case.pairs, rng.sample(NAMES, 4), strict=False):
            one.name, one.ending = name, rng.choice(["", "_mask"])
            case.what.append(ascii(name))
    elif kind == "accent":  # one letter here, two there
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
    elif kind == "lost" and other is not pair:  # `a_mask.png` is the mask of `a_mask` alone
        pair.ending, other.name, other.has_mask = "_mask", f"{pair.name}_mask", False
        pair.problem, other.unclear = True, True


def photographs(case: Case, rng: random.Random) -> None:
    """Any format; turned by its tag."""
    for pair in case.pairs:
        pair.form = rng.choice([form for form in forms.PHOTOS if "giant" not in form])
        case.what.append(pair.form)


def masks(case: Case, rng: random.Random) -> None:
    """Any form, several in one folder."""
    usual = [f for f in forms.MASKS if f not in ("labels", "VOC's border", "0 and 128")]
    usual = [f for f in usual if not forms.MASKS[f].refused]
    chosen = [rng.choice(usual) for _ in range(3)]
    if rng.random() < 0.4:
        chosen = [rng.choice(list(forms.MASKS))]
    for pair in case.pairs:
        pair.mask_form = rng.choice(chosen)
    case.what.append(", ".join(chosen))


def objects(case: Case, rng: random.Random) -> None:
    """No object, nothing else, inverted."""
    kind = rng.choice(["nothing", "everything", "inverted", "mixed"])
    for pair in case.pairs if rng.random() < 0.4 else some(case, rng):
        pair.inverted = kind == "inverted"
        pair.content = rng.choice(["nothing", "everything"]) if kind == "mixed" else kind
    case.what.append(kind)


def sizes(case: Case, rng: random.Random) -> None:
    """Half the scale, turned, cropped, off by a pixel."""
    for pair in some(case, rng):
        pair.shape = rng.choice(3 * ["half", "off by one"] + ["cropped", "turned"])
        case.what.append(f"{pair.name!a} {pair.shape}")


def turned(case: Case, rng: random.Random) -> None:
    """Photographs upright by their tag, masks upright, as stored, or with a tag of their own."""
    for pair in some(case, rng):
        pair.form, pair.orientation = rng.choice(list(forms.WITH_EXIF)), rng.randrange(2, 9)
        pair.shape = rng.choice(["same", "half", "with its own tag", "as stored"])
        if pair.orientation < 5 and pair.shape == "as stored":
            pair.shape = "same"  # nothing tells
        case.what.append(f"{pair.name!a} {pair.form} {pair.orientation} {pair.shape}")


def partners(case: Case, rng: random.Random) -> None:
    """A photograph without a mask, or the other way round."""
    for pair in some(case, rng, 2):
        if pair.problem:  # its mask is another's already
            continue
        setattr(pair, rng.choice(["has_photo", "has_mask"]), False)
        pair.problem = True
        case.what.append(f"{pair.name!a} alone")


def spoilt(case: Case, rng: random.Random) -> None:
    """No picture, cut short, or some bytes changed."""
    for pair in some(case, rng, 2):
        pair.spoil = rng.choice(["photo", "mask"]) + rng.choice([" none", " cut"])
        pair.problem, pair.unclear = "none" in pair.spoil, "cut" in pair.spoil
        case.what.append(f"{pair.name!a} {pair.spoil}")


def lists(case: Case, rng: random.Random) -> None:
    """Lists in every spelling, right and wrong."""
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
        case.written[split] = (("\ufeff" if style == "BOM" else "") + text).encode(encoding)
    if kind == "folder":
        del case.written["train"]
        case.files["train.txt/x"] = b""
        case.refused_for.append("train.txt cannot be read")


def junk(case: Case, rng: random.Random) -> None:
    """What systems and people leave beside; links instead of folders."""
    more = {
        "images/Thumbs.db": 1, "masks/.DS_Store": 0, "images/._a.png": 0, "images/notes.txt": 1,
        "masks/old/a.png": 1, "images/x.jpg/y": 1, "masks/desktop.ini": 1, "readme.md": 0,
        "images/a.png~": 1, "images/.hidden.jpg": 0,
    }  # fmt: skip
    for path in rng.sample(list(more), rng.randrange(1, 6)):
        case.files[path] = b"junk"
        case.other_files += more[path]
        case.what.append(path)
    case.linked = rng.random() < 0.4
    if case.linked:  # DVC would not see what changes in them
        case.refused_for.append("is a link to a folder")


def settings(case: Case, rng: random.Random) -> None:
    """data.object_values and data.not_counted, right and wrong."""
    kind = rng.choice(["labels", "VOC", "half", "unknown value", "unknown not counted", "inverted",
                       "contradiction", "few named"])  # fmt: skip
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
        case.refused_for.append("data.object_values: no mask holds 77")
    elif kind == "unknown not counted":
        data["not_counted"] = 77
        case.refused_for.append("data.not_counted: no mask holds 77")
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
# Settings first, as they choose the masks' forms; lists when all names are known.
ORDER = [settings, few, masks, objects, photographs, turned, sizes, names, lists, partners, spoilt,
         junk]  # fmt: skip


def make(kind: str, rng: random.Random) -> Case:
    """A case, not yet drawn."""
    data = {"path": "own", "object_values": "auto", "not_counted": None}
    sizes_ = {"image_size": rng.choice([8, 32, 33, 64]), "val_fraction": rng.choice([0.1, 0.3])}
    case = Case([Pair(f"photo_{i}") for i in range(rng.randrange(4, 9))],
                {"data": data, "preprocess": sizes_})  # fmt: skip
    chosen = [ODDITIES[kind]] if kind in ODDITIES else rng.sample(ORDER, rng.randrange(2, 4))
    for oddity in sorted(chosen, key=ORDER.index):
        oddity(case, rng)
    return case


def write(case: Case, folder: Path, rng: random.Random) -> None:
    """Draw the pairs into ``folder``."""
    own = folder / "own"
    places = {"images": own / "images", "masks": own / "masks"}
    for kind, place in places.items():
        if case.linked:
            (folder / f"elsewhere {kind}").mkdir(parents=True)
            own.mkdir(exist_ok=True)
            place.symlink_to(folder / f"elsewhere {kind}")
        else:
            place.mkdir(parents=True)
    for pair in case.pairs:
        pixels, mask = forms.animal(rng)
        block = forms.exif(pair.orientation) if pair.orientation > 1 else b""
        made, suffix = forms.photograph(pair.form, pixels, rng, orientation=pair.orientation,
                                        block=block)  # fmt: skip
        if made.shown is None:
            pair.problem = True
        else:
            pair.upright, pair.tolerance = (
                forms.upright(made.shown, pair.orientation),
                made.tolerance,
            )
        photo = made.content
        form = forms.MASKS[pair.mask_form]
        if pair.content in ("nothing", "everything"):
            mask = np.full_like(mask, pair.content == "everything")
        values = form.values(mask != pair.inverted)
        if pair.shape == "half":
            values = values[::2, ::2]
        elif pair.shape == "off by one":
            values = values[: -rng.randrange(0, 2) or None, :-1]
        elif pair.shape == "cropped":
            values = values[:, : values.shape[1] * 3 // 4]
            pair.problem = True
        elif pair.shape == "turned":
            values = values.T
            pair.problem = pair.problem or values.shape != mask.shape
        pair.values = values
        ending = rng.choice(form.suffixes)
        stored = values
        if pair.shape in ("as stored", "with its own tag"):
            stored = np.ascontiguousarray(forms.STORED[pair.orientation](values))
            pair.turned = pair.shape == "as stored" and stored.shape != values.shape
            if pair.shape == "as stored" and not pair.turned:
                pair.unclear = True  # a square: nothing tells
        tag = pair.orientation if pair.shape == "with its own tag" else 1
        if tag > 1:
            ending = ".jpg" if form.lossy else ".png"
        content = forms.mask_file(form, stored, ending, tag)
        pair.problem = pair.problem or form.refused
        if pair.spoil:
            old = photo if "photo" in pair.spoil else content
            new = forms.no_picture(rng) if "none" in pair.spoil else forms.truncated(old, rng)
            photo, content = (new, content) if "photo" in pair.spoil else (photo, new)
        stem = pair.stem or pair.name
        if pair.has_photo:
            (places["images"] / f"{stem}{suffix}").write_bytes(photo)
        if pair.has_mask:
            (places["masks"] / f"{pair.name}{pair.ending}{ending}").write_bytes(content)
    for split, content in case.written.items():
        (own / f"{split}.txt").write_bytes(content)
    for path, content in case.files.items():
        (own / path).parent.mkdir(parents=True, exist_ok=True)
        (own / path).write_bytes(content)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, changes in case.settings.items():
        params[section] |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def meaning(case: Case) -> dict[str, np.ndarray]:
    """Name -> the mask's codes, as docs/own-data.md says; those that can be read in one way."""
    data = case.settings["data"]
    wanted, ignored = data["object_values"], data["not_counted"]
    usable = [p for p in used_pairs(case) if p.has_mask and not forms.MASKS[p.mask_form].refused]
    everything = {int(v) for p in usable for v in np.unique(p.values)} - {0, ignored}
    found = {}
    for pair in usable:
        held = {int(value) for value in np.unique(pair.values)} - {ignored}
        white = 255 if pair.values.max() <= 255 else 65535
        soft = forms.MASKS[pair.mask_form].soft
        if isinstance(wanted, list):
            is_object = np.isin(pair.values, wanted)
        elif held <= {0, 1} or held <= {0, white}:
            is_object = pair.values != 0
        elif wanted == "half" or soft:
            is_object = pair.values > white / 2
        elif len(everything) == 1:
            is_object = pair.values == next(iter(everything))
        else:
            continue
        codes = np.where(is_object, OBJECT, BACKGROUND)
        codes[pair.values == ignored if ignored is not None else np.zeros_like(is_object)] = 255
        found[pair.name] = codes
    return found


def used_pairs(case: Case) -> list[Pair]:
    """Those that are on a list, where there are lists."""
    listed = {name for entries in case.lists.values() for name in entries}
    return [pair for pair in case.pairs if not listed or pair.name in listed]


def try_folder(folder: Path, kind: str, rng: random.Random) -> Outcome:
    """A folder, and the stage."""
    case = make(kind, rng)
    folder.mkdir()
    write(case, folder, rng)
    old = folder / "data/packed/old.txt"  # of an earlier run: it stays where this one fails
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
    """``used`` or ``refused``; or what is wrong."""
    message, pairs = ended.message, used_pairs(case)
    codes = meaning(case)
    bad = [p for p in pairs if p.problem or (p.name not in codes and not p.unclear)]
    unclear = any(pair.unclear or forms.MASKS[pair.mask_form].lossy for pair in pairs)
    problem = hopeless(case, codes)
    if message is None:
        if case.refused_for or bad or problem:
            return f"accepted: {case.refused_for or [p.name for p in bad] or problem}"
        return compare(case, codes, folder)
    if len(message.splitlines()) != 1:
        return "more than a line"
    if case.refused_for:
        # Whichever of several is found first.
        reasons = [*case.refused_for, *(p.name for p in bad), *([problem] if problem else [])]
        return "refused" if any(why in message for why in reasons) else "another reason"
    if problem and problem in message:
        return "refused"
    if "holds no pictures" in message:
        lone = not any(p.has_photo for p in case.pairs) or not any(p.has_mask for p in case.pairs)
        return "refused" if lone else "another reason"
    if bad:
        lacking = [p.name for p in bad if f"{p.name}: " not in message]
        return f"not named: {lacking}" if lacking else "refused"
    if problem and not unclear:
        return "another reason"
    if "nothing can be learnt" in message:
        test = max(1, round(0.2 * len(pairs)))
        val = max(1, round(case.settings["preprocess"]["val_fraction"] * (len(pairs) - test)))
        train = len(case.lists.get("train", [])) or len(pairs) - test - val
        whole = [c for c in codes.values() if not (c == BACKGROUND).any()]
        empty = [c for c in codes.values() if not (c == OBJECT).any()]
        unclear = unclear or max(len(whole), len(empty)) >= train
    return "refused" if unclear else "good data refused"


def hopeless(case: Case, codes: dict[str, np.ndarray]) -> str:
    """Why no split of good pairs would do: they are too few, or all alike."""
    if not case.lists and len(case.pairs) < 3:
        return "split of"
    # Which are drawn for training is not said again here: all alike, or nearly, is enough.
    seen = [(c == OBJECT).any() for c in codes.values()]
    other = [(c == BACKGROUND).any() for c in codes.values()]
    if codes and (not any(seen) or not any(other)):
        return "nothing can be learnt"
    return ""


def compare(case: Case, codes: dict[str, np.ndarray], folder: Path) -> str:
    """What the packed arrays have wrong."""
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
            height, width = codes[name].shape
            rows, columns = ((np.arange(side) + 0.5) * n / side for n in (height, width))
            # A centre on the line between two pixels may be rounded to either.
            near = [
                codes[name][(rows + down).astype(int)][:, (columns + right).astype(int)]
                for down in (-1e-6, 1e-6)
                for right in (-1e-6, 1e-6)
            ]
            off = (mask != near).all(0).mean()
            lossy = forms.MASKS[pair.mask_form].lossy
            if off > (0.03 if lossy else 0):
                return f"{name!a}: the mask differs in {off:.1%}"
            edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
            border += [name] * bool((edge == OBJECT).mean() > 0.75)
    if Counter(sum(found.values(), [])) != Counter(list(pairs)):
        return "not each pair once"
    if any(set(found[s]) != set(names_) for s, names_ in case.lists.items() if s == "test"):
        return "not the listed test images"
    if "val" in case.lists and {s: sorted(n) for s, n in case.lists.items()} != found:
        return "not the listed splits"
    if sorted(border) != summary["object_at_the_border"]:
        return "inverted masks not pointed out"
    if sorted(p.name for p in pairs.values() if p.turned) != summary["turned_with_photograph"]:
        return "turned masks not pointed out"
    if summary["left_out"]["other_files"] != case.other_files:
        return "other files miscounted"
    unlisted = sorted({p.name for p in case.pairs} - set(pairs))
    return "used" if summary["left_out"]["on_no_list"] == unlisted else "unlisted not said"
