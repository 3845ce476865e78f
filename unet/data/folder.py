"""A user's own dataset: ``images/`` and ``masks/`` with equal names, and optional lists.

``masks/NAME.png`` or ``masks/NAME_mask.png`` belongs to ``images/NAME.jpg``, and
``masks/mask_1.png`` to ``images/image_1.jpg``; any suffix that :mod:`unet.data.photos` reads will
do. ``train.txt``, ``val.txt`` and ``test.txt`` beside the two folders hold one name (or file name)
per line.
"""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from unet.data.photos import is_photo

LISTS = ("train.txt", "val.txt", "test.txt")
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
        other_files: number of visible files in the two folders that are not pictures.
        folders: the folders in the two folders, none of which is read.
    """

    images: dict[str, Path]
    masks: dict[str, Path]
    lists: dict[str, list[str]]
    names: list[str]
    unlisted: list[str]
    other_files: int
    folders: list[str]


def read_folder(path: Path) -> FolderIndex:
    """Pair photographs and masks by name.

    Raises:
        ValueError: two files have one name, a folder has no pictures, or the lists do not fit.
    """
    images, others, folders = _pictures(path / "images")
    found, other_masks, mask_folders = _pictures(path / "masks")
    masks: dict[str, Path] = {}
    for own, file in found.items():
        # A photograph's own name may end like this: an exact match comes first.
        may_be = (own, own.removesuffix("_mask"), re.sub("^mask_", "image_", own))
        name = next((name for name in may_be if name in images), may_be[1])
        if name in masks:
            raise ValueError(
                f"{path / 'masks'}: {masks[name].name} and {file.name} are masks of one "
                "photograph: move one away"
            )
        masks[name] = file
    for kind, files, inside in (("images", images, folders), ("masks", masks, mask_folders)):
        if not files:
            way = f", but {', '.join(inside[:5])}: put them into {kind}/ itself" if inside else ""
            raise ValueError(f"{path / kind} holds no pictures of a format that can be read{way}")
    names = sorted(images.keys() | masks.keys())
    lists = _read_lists(path, set(names))
    listed = {name for entries in lists.values() for name in entries}
    unlisted = [name for name in names if name not in listed] if lists else []
    folders += mask_folders
    return FolderIndex(images, masks, lists, names, unlisted, others + other_masks, folders)


def _pictures(folder: Path) -> tuple[dict[str, Path], int, list[str]]:
    """Name -> file of the pictures in ``folder``, the number of its other files, its folders."""
    found: dict[str, Path] = {}
    folders: list[str] = []
    others = 0
    for file in sorted(folder.iterdir()):
        if file.name.startswith("."):
            continue
        if file.is_dir():
            folders.append(f"{folder.name}/{file.name}/")
            continue
        if not is_photo(file):
            others += 1
            continue
        name = _name(file.stem)
        if name in found:
            raise ValueError(
                f"{folder}: {found[name].name} and {file.name} have one name: move one away"
            )
        if any(unicodedata.category(character) in UNLISTABLE for character in name):
            raise ValueError(f"{folder}: {file.name!r} has a name that cannot be listed: rename it")
        found[name] = file
    return found, others, folders


def expected_masks(name: str) -> str:
    """What the mask of the photograph ``name`` may be called, for messages."""
    names = [name, f"{name}_mask"]
    names += ["mask_" + name.removeprefix("image_")] if name.startswith("image_") else []
    return " or ".join(f"masks/{name}.png" for name in names)


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
