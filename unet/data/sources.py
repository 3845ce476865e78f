"""The supported layouts of a dataset's folder: the Oxford-IIIT Pet release, or a user's own."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from unet.data import oxford_pets as pets
from unet.data.config import DataConfig, PreprocessConfig
from unet.data.folder import masks_of, pictures, read_lists
from unet.data.mask_values import Mask, read_mask
from unet.data.splits import assign_splits, folder_splits

File = Path | bytes  # an image file's path or content


@dataclass(frozen=True)
class Dataset:
    """A dataset as packing reads it."""

    names: list[str]  # of all images that have a mask, or should
    listed: set[str] | None  # names on its lists; None if there are none
    splits: Callable[[PreprocessConfig], dict[str, list[str]]]  # draws train, val and test
    images: Iterable[tuple[str, File]]  # name and file of all photographs, in the reading's order
    masks: Mapping[str, File]
    read_mask: Callable[[File], Mask]
    mask: str  # what a mask should be, for messages
    # Parts of dataset.json: the source and what identifies it; how the splits came about; what was
    # not used.
    about: dict[str, Any]
    split: str
    left_out: dict[str, Any]


def open_source(path: Path, data: DataConfig, config: PreprocessConfig) -> Dataset:
    """The dataset in ``path``: the release's archives, the unpacked release, or a user's folders.

    Raises:
        ValueError: it is none of them, or the params do not fit it.
    """
    if not path.is_dir():
        raise ValueError(f"data.path = {path}: no such folder")
    for name in ("images", "masks", "annotations"):
        if (path / name).is_symlink():
            raise ValueError(
                f"{path / name} is a link to a folder: DVC would not see what changes in it; name "
                "the folder that it is in, or link that, or its files"
            )
    has = {file.name for file in path.iterdir()}
    if {"images", "masks"} <= has:
        return _folder(path, data, config)
    for images, annotations in ((pets.IMAGES, pets.ANNOTATIONS), ("images", "annotations")):
        if {images, annotations} <= has:
            return _release(path / images, path / annotations, data, config)
    raise ValueError(
        f"data.path = {path} holds {', '.join(sorted(has)[:8]) or 'nothing'}: it must hold images/ "
        "and masks/, or the Oxford-IIIT Pet release: its two archives (`dvc repro -f download`), "
        "or its images/ and annotations/"
    )


def _release(
    images: Path, annotations: Path, data: DataConfig, config: PreprocessConfig
) -> Dataset:
    """The Oxford-IIIT Pet release, as two archives or as the folders that they unpack to."""
    sums = {file.name: pets.md5(file) for file in (images, annotations) if file.is_file()}
    is_official = list(sums.values()) == [data.images_md5, data.annotations_md5]
    source = "official" if is_official else "mirror"
    source = "synthetic" if data.source == "synthetic" else source
    index = pets.read_index(annotations)
    listed = {name for names in index.lists.values() for name in names}
    return Dataset(
        names=sorted(index.trimaps),
        splits=partial(assign_splits, index),
        listed=None if config.split == "sorted" else listed,
        images=pets.members(images, pets.IMAGE_MEMBERS),
        masks=index.trimaps,
        read_mask=pets.read_trimap,
        mask="trimap",
        about={"source": source, "archives_md5": sums},
        split=config.split,
        left_out={"junk_files": index.num_junk},
    )


def _folder(path: Path, data: DataConfig, config: PreprocessConfig) -> Dataset:
    """Photographs in ``images/`` and masks in ``masks/``, with equal names."""
    if config.split != "official":
        raise ValueError(
            f"preprocess.split = {config.split} is of the Oxford-IIIT Pet release: for a folder of "
            "your own set official"
        )
    images, other_images, folders = pictures(path / "images")
    found, other_masks, mask_folders = pictures(path / "masks")
    masks = masks_of(images, found)
    names = sorted(images.keys() | masks.keys())
    lists = read_lists(path, set(names))
    return Dataset(
        names=names,
        splits=partial(folder_splits, names, lists),
        listed={name for entries in lists.values() for name in entries} if lists else None,
        images=sorted(images.items()),
        masks=masks,
        read_mask=partial(read_mask, data=data),
        mask="mask (masks/NAME.png, masks/NAME_mask.png, or mask_1.png of image_1.jpg)",
        about={"source": "folder", "path": str(path)},
        split="listed" if lists else "random",
        left_out={"other_files": other_images + other_masks, "folders": folders + mask_folders},
    )
