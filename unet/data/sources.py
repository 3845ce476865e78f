"""The supported layouts of a dataset's folder: the Oxford-IIIT Pet release, or a user's own."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from unet.data import oxford_pets as pets
from unet.data.config import DataConfig, PreprocessConfig
from unet.data.mask_values import Mask, read_mask
from unet.data.photos import is_photo
from unet.data.splits import assign_splits, folder_splits

File = Path | bytes  # an image file's path or content
LISTS = ("train.txt", "val.txt", "test.txt")  # of a user's own folder


@dataclass(frozen=True)
class Dataset:
    """A dataset as packing reads it."""

    splits: dict[str, list[str]]  # train, val and test, or all -> names
    listed: set[str]  # names from which the splits were drawn
    images: Iterable[tuple[str, File]]  # name and file of all photographs, in the reading's order
    masks: Mapping[str, File]
    read_mask: Callable[[File], Mask]
    mask: str  # what a mask should be, for messages
    # Parts of dataset.json: the source and what identifies it; how the splits came about; what was
    # not used.
    about: dict[str, Any]
    split: str
    left_out: dict[str, Any]


def open_source(
    path: Path, data: DataConfig, config: PreprocessConfig, *, every: bool = False
) -> Dataset:
    """The dataset in ``path``: the release's archives, the unpacked release, or a user's folders.

    Args:
        every: one split, ``all``, of every image.

    Raises:
        ValueError: it is none of them, or the params do not fit it.
    """
    if not path.is_dir():
        raise ValueError(
            f"data.path = {path}: no such folder (for data/raw run `dvc repro download`)"
        )
    for name in ("images", "masks", "annotations"):
        if (path / name).is_symlink():
            raise ValueError(
                f"{path / name} is a link to a folder: DVC would not see what changes in it; name "
                "the folder that it is in, or link that, or its files"
            )
    has = {file.name for file in path.iterdir()}
    if {"images", "masks"} <= has:
        return _folder(path, data, config, every)
    for images, annotations in ((pets.IMAGES, pets.ANNOTATIONS), ("images", "annotations")):
        if {images, annotations} <= has:
            return _release(path / images, path / annotations, data, config, every)
    raise ValueError(
        f"data.path = {path} holds {', '.join(sorted(has)[:8]) or 'nothing'}: it must hold images/ "
        "and masks/, or the Oxford-IIIT Pet release: its two archives (`dvc repro -f download`), "
        "or its images/ and annotations/"
    )


def _release(
    images: Path, annotations: Path, data: DataConfig, config: PreprocessConfig, every: bool
) -> Dataset:
    """The Oxford-IIIT Pet release, as two archives or as the folders that they unpack to."""
    sums = {file.name: pets.md5(file) for file in (images, annotations) if file.is_file()}
    is_official = list(sums.values()) == [data.images_md5, data.annotations_md5]
    source = "official" if is_official else "mirror"
    source = "synthetic" if data.source == "synthetic" else source
    index = pets.read_index(annotations)
    listed = {name for names in index.lists.values() for name in names}
    return Dataset(
        splits={"all": sorted(index.trimaps)} if every else assign_splits(index, config),
        listed=set(index.trimaps) if every or config.split == "sorted" else listed,
        images=pets.members(images, pets.IMAGE_MEMBERS),
        masks=index.trimaps,
        read_mask=pets.read_trimap,
        mask="trimap",
        about={"source": source, "archives_md5": sums},
        split=config.split,
        left_out={"junk_files": index.num_junk},
    )


def _folder(path: Path, data: DataConfig, config: PreprocessConfig, every: bool) -> Dataset:
    """A user's own dataset: photographs in ``images/``, masks in ``masks/``, and optional lists.

    ``masks/NAME.png`` or ``masks/NAME_mask.png`` belongs to ``images/NAME.jpg``, and
    ``masks/mask_1.png`` to ``images/image_1.jpg``. A list holds one name (or file name) per line.
    ``config.split`` is of the release alone.
    """
    images, other_images, folders = _pictures(path / "images")
    found, other_masks, mask_folders = _pictures(path / "masks")
    masks = _masks_of(images, found)
    names = sorted(images.keys() | masks.keys())
    lists = {} if every else _read_lists(path, set(names))
    return Dataset(
        splits={"all": names} if every else folder_splits(names, lists, config),
        listed={name for entries in lists.values() for name in entries} or set(names),
        images=sorted(images.items()),
        masks=masks,
        read_mask=partial(read_mask, data=data),
        mask="mask (masks/NAME.png, masks/NAME_mask.png, or mask_1.png of image_1.jpg)",
        about={"source": "folder", "path": str(path)},
        split="listed" if lists else "random",
        left_out={"other_files": other_images + other_masks, "folders": folders + mask_folders},
    )


def _pictures(folder: Path) -> tuple[dict[str, Path], int, list[str]]:
    """Name -> file of the pictures in ``folder``, the number of its other visible files, and its
    folders, which are not read."""
    visible = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    folders = [f"{folder.name}/{file.name}/" for file in visible if file.is_dir()]
    files = [file for file in visible if not file.is_dir()]
    found: dict[str, Path] = {}
    for file in filter(is_photo, files):
        # macOS may write an accented letter as two characters, others as one.
        name = unicodedata.normalize("NFC", file.stem)
        if (other := found.setdefault(name, file)) is not file:
            raise ValueError(f"{folder}: {other.name} and {file.name} have one name: move one away")
    if not found:
        way = f", but {', '.join(folders[:5])}: put them into {folder.name}/ itself"
        raise ValueError(f"{folder} holds no pictures that can be read{way if folders else ''}")
    return found, len(files) - len(found), folders


def _masks_of(images: dict[str, Path], found: dict[str, Path]) -> dict[str, Path]:
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


def _read_lists(path: Path, names: set[str]) -> dict[str, list[str]]:
    """``train``, ``test`` and optionally ``val`` -> names; empty if there are no lists."""
    files = {file.name.lower(): file for file in path.iterdir() if file.name.lower() in LISTS}
    if files and not {"train.txt", "test.txt"} <= files.keys():
        raise ValueError(
            f"{path} has {' and '.join(files)} alone: train.txt and test.txt are needed (val.txt "
            "is drawn from train.txt where it is missing), or none of them"
        )
    lists: dict[str, list[str]] = {}
    for key, file in files.items():
        # What is not UTF-8 becomes a name that no photograph has.
        text = unicodedata.normalize("NFC", file.read_text(encoding="utf-8-sig", errors="replace"))
        found = lists[key.removesuffix(".txt")] = []
        for entry in filter(None, map(str.strip, text.splitlines())):
            # An entry is a name or a file name.
            name = entry if entry in names or not is_photo(Path(entry)) else Path(entry).stem
            if name in names:
                found.append(name)
            elif not name.startswith("#"):  # a comment, unless a photograph is called so
                raise ValueError(
                    f"{file} lists {name}, which is in neither images/ nor masks/: write a name a "
                    "line, as the photographs are called, in UTF-8"
                )
    counts = Counter(name for entries in lists.values() for name in entries)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ValueError(f"{path}: {', '.join(twice[:5])} listed twice in its lists of names")
    return lists
