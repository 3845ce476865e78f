"""A user's own dataset: ``images/`` and ``masks/`` with equal names, and optional lists.

``masks/NAME.png`` or ``masks/NAME_mask.png`` belongs to ``images/NAME.jpg``; any suffix that
:mod:`unet.data.photos` reads will do. ``train.txt``, ``val.txt`` and ``test.txt`` beside the two
folders hold one name (or file name) per line.
"""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from unet.data.photos import is_photo

LISTS = ("train.txt", "val.txt", "test.txt")
MASK_ENDING = "_mask"
# Line ends, other control characters and undecodable bytes. Allowed is what cameras, phones and
# users do write: narrow spaces, direction marks, joined emoji.
UNLISTABLE = ("Cc", "Cs", "Zl", "Zp")


@dataclass(frozen=True)
class FolderIndex:
    """What a folder holds.

    Attributes:
        images: name -> its photograph.
        masks: name -> its mask.
        lists: ``train``, ``test`` and optionally ``val`` -> names; empty if there are no lists.
        names: all names that have a photograph or a mask, sorted.
        unlisted: names that are on no list; empty if there are no lists.
        other_files: number of visible files and folders in the two folders that are not pictures.
    """

    images: dict[str, Path]
    masks: dict[str, Path]
    lists: dict[str, list[str]]
    names: list[str]
    unlisted: list[str]
    other_files: int


def read_folder(path: Path) -> FolderIndex:
    """Pair photographs and masks by name.

    Raises:
        ValueError: two files have one name, a folder has no pictures, or the lists do not fit.
    """
    images, others = _pictures(path / "images")
    found, more = _pictures(path / "masks")
    # A photograph's own name may end like this: an exact match comes first.
    masks = {
        name if name in images else name.removesuffix(MASK_ENDING): file
        for name, file in found.items()
    }
    if len(masks) < len(found):
        both = [name for name in found if name.endswith(MASK_ENDING) and name not in images]
        both = [name for name in both if name.removesuffix(MASK_ENDING) in found]
        raise ValueError(
            f"{path / 'masks'}: {both[0].removesuffix(MASK_ENDING)} and {both[0]} are masks of one "
            "photograph: move one away"
        )
    for kind, files in (("images", images), ("masks", masks)):
        if not files:
            raise ValueError(f"{path / kind} holds no pictures of a format that can be read")
    names = sorted(images.keys() | masks.keys())
    lists = _read_lists(path, set(names))
    listed = {name for entries in lists.values() for name in entries}
    unlisted = [name for name in names if name not in listed] if lists else []
    return FolderIndex(images, masks, lists, names, unlisted, others + more)


def _pictures(folder: Path) -> tuple[dict[str, Path], int]:
    """Name -> file of the pictures in ``folder``, and the number of its other entries."""
    found: dict[str, Path] = {}
    others = 0
    for file in sorted(folder.iterdir()):
        if not is_photo(file) or file.is_dir():
            others += not file.name.startswith(".")
            continue
        name = _name(file.stem)
        if name in found:
            raise ValueError(
                f"{folder}: {found[name].name} and {file.name} have one name: move one away"
            )
        if any(unicodedata.category(character) in UNLISTABLE for character in name):
            raise ValueError(f"{folder}: {file.name!r} has a name that cannot be listed: rename it")
        found[name] = file
    return found, others


def _name(text: str) -> str:
    """Normalise ``text``: macOS may write an accented letter as two characters, others as one."""
    return unicodedata.normalize("NFC", text)


def _read_lists(path: Path, names: set[str]) -> dict[str, list[str]]:
    for file in sorted(path.iterdir()):
        if file.name.lower() in LISTS and file.name not in LISTS:
            raise ValueError(f"{file}: a list of names is called {file.name.lower()}: rename it")
    files = [path / name for name in LISTS if (path / name).exists()]
    if not files:
        return {}
    if missing := [name for name in ("train.txt", "test.txt") if not (path / name).exists()]:
        raise ValueError(
            f"{path} has {files[0].name}, but no {missing[0]}: train.txt and test.txt are needed "
            "(val.txt is drawn from train.txt where it is missing), or none of them"
        )
    lists = {file.stem: _read_list(file, names) for file in files}
    seen: dict[str, str] = {}
    for split, entries in lists.items():
        for name in entries:
            if name in seen:
                same = seen[name] == split
                where = f"twice in {split}.txt" if same else f"in {seen[name]}.txt and {split}.txt"
                raise ValueError(f"{path}: {name} is listed {where}: each may stand once")
            seen[name] = split
    return lists


def _read_list(file: Path, names: set[str]) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read ({error}): it must be text in UTF-8") from None
    entries = [_name(line.strip()) for line in text.splitlines()]
    # An entry is a name or a file name.
    found = [
        entry if entry in names or not is_photo(Path(entry)) else Path(entry).stem
        for entry in entries
        if entry
    ]
    # A line that begins with # is a comment, unless a photograph is called so.
    found = [name for name in found if name in names or not name.startswith("#")]
    if unknown := [name for name in found if name not in names]:
        raise ValueError(
            f"{file} lists {unknown[0]}, which is in neither images/ nor masks/"
            + (f" (nor is {unknown[1]})" if len(unknown) == 2 else "")
            + (f" (nor are {len(unknown) - 1} others)" if unknown[2:] else "")
            + ": write a name a line, as the photographs are called"
        )
    return found
