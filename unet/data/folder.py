"""A user's own dataset: ``images/`` and ``masks/`` with equal names, and optional lists.

``masks/NAME.png`` or ``masks/NAME_mask.png`` belongs to ``images/NAME.jpg``, and
``masks/mask_1.png`` to ``images/image_1.jpg``; any suffix that :mod:`unet.data.photos` reads will
do. ``train.txt``, ``val.txt`` and ``test.txt`` beside the two folders hold one name (or file name)
per line.
"""

import re
import unicodedata
from collections import Counter
from pathlib import Path

from unet.data.photos import is_photo

LISTS = ("train.txt", "val.txt", "test.txt")


def pictures(folder: Path) -> tuple[dict[str, Path], int, list[str]]:
    """Name -> file of the pictures in ``folder``, the number of its other visible files, and its
    folders, which are not read.

    Raises:
        ValueError: two files have one name, or there are no pictures.
    """
    visible = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    folders = [f"{folder.name}/{file.name}/" for file in visible if file.is_dir()]
    files = [file for file in visible if not file.is_dir()]
    found: dict[str, Path] = {}
    for file in filter(is_photo, files):
        if (other := found.setdefault(_name(file.stem), file)) is not file:
            raise ValueError(f"{folder}: {other.name} and {file.name} have one name: move one away")
    if not found:
        inside = f", but {', '.join(folders[:5])}: put them into {folder.name}/ itself" * bool(
            folders
        )
        raise ValueError(f"{folder} holds no pictures of a format that can be read{inside}")
    return found, len(files) - len(found), folders


def masks_of(images: dict[str, Path], found: dict[str, Path]) -> dict[str, Path]:
    """The files of masks, ``found`` by their own names, by the names of their photographs."""
    masks: dict[str, Path] = {}
    for own, file in found.items():
        # A photograph's own name may end like this: an exact match comes first.
        may_be = (own, own.removesuffix("_mask"), re.sub("^mask_", "image_", own))
        name = next((name for name in may_be if name in images), may_be[1])
        if (other := masks.setdefault(name, file)) is not file:
            both = f"{file.parent}: {other.name} and {file.name}"
            raise ValueError(f"{both} are masks of one photograph: move one away")
    return masks


def read_lists(path: Path, names: set[str]) -> dict[str, list[str]]:
    """``train``, ``test`` and optionally ``val`` -> names; empty if there are no lists.

    Raises:
        ValueError: a list is missing or unreadable, or names what is unknown or listed already.
    """
    files = {file.name.lower(): file for file in path.iterdir() if file.name.lower() in LISTS}
    if missing := [name for name in ("train.txt", "test.txt") if files and name not in files]:
        raise ValueError(
            f"{path} has {min(files)}, but no {missing[0]}: train.txt and test.txt are needed "
            "(val.txt is drawn from train.txt where it is missing), or none of them"
        )
    lists = {file.removesuffix(".txt"): _read_list(files[file], names) for file in sorted(files)}
    counts = Counter(name for entries in lists.values() for name in entries)
    if twice := [name for name, count in counts.items() if count > 1]:
        where = " and ".join(f"{name}.txt" for name in lists if twice[0] in lists[name])
        raise ValueError(f"{path}: {twice[0]} is listed twice, in {where}: each may stand once")
    return lists


def _read_list(file: Path, names: set[str]) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} cannot be read ({error}): it must be text in UTF-8") from None
    found = []
    for entry in map(_name, filter(None, map(str.strip, lines))):
        # An entry is a name or a file name.
        name = entry if entry in names or not is_photo(Path(entry)) else Path(entry).stem
        if name in names:
            found.append(name)
        elif not name.startswith("#"):  # a comment, unless a photograph is called so
            raise ValueError(
                f"{file} lists {name}, which is in neither images/ nor masks/: write a name a "
                "line, as the photographs are called"
            )
    return found


def _name(text: str) -> str:
    """Normalise ``text``: macOS may write an accented letter as two characters, others as one."""
    return unicodedata.normalize("NFC", text)
