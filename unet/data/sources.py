"""The supported layouts of a dataset's folder, each as a source of photographs and masks."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unet.data import oxford_pets
from unet.data.config import DOWNLOADED, DataConfig, PreprocessConfig
from unet.data.folder import LISTS, expected_masks, read_folder
from unet.data.mask_values import MaskReader
from unet.data.photos import read_upright
from unet.data.splits import assign_splits, folder_splits

File = Path | bytes  # an image file's path or content


class Source(Protocol):
    """What packing needs from a dataset.

    Attributes:
        mask: what a mask is called in messages.
        where: where the files are, in messages.
        way_out: advice about unusable files, in messages.
        paths: the files and folders that are read.
        names: of all images, also those on no list, sorted.
    """

    paths: list[Path]
    names: list[str]
    mask: str
    where: str
    way_out: str

    def assign_splits(self, config: PreprocessConfig) -> dict[str, list[str]]:
        """``train``, ``val`` and ``test`` -> names, sorted."""

    def check(self, names: Collection[str]) -> list[str]:
        """Problems with ``names`` that are known before reading photographs, one line each."""

    def images(self, names: Collection[str]) -> Iterator[tuple[str, File]]:
        """(name, file) of the photographs ``names``, each once."""

    def missing_images(self) -> list[str]:
        """Problems with names that :meth:`images` found, one line each."""

    def masks(self, names: Collection[str]) -> Iterator[tuple[str, File]]:
        """(name, file) of the masks ``names``."""

    def read_mask(self, name: str, file: File) -> tuple[np.ndarray, int]:
        """The mask, upright, codes (H, W) uint8 (:mod:`unet.data.masks`), and its own EXIF tag, 1
        to 8, by which it was turned; raises a ValueError, worded to follow its name."""

    def describe(self) -> dict[str, Any]:
        """Its part of ``dataset.json``; only after all photographs have been read."""


def open_source(path: Path, data: DataConfig, config: PreprocessConfig) -> Source:
    """The dataset in ``path``: the release's archives, the unpacked release, or a user's folders.

    Raises:
        ValueError: it is none of them, or the params do not fit it.
    """
    archives = [path / name for name in (oxford_pets.IMAGES, oxford_pets.ANNOTATIONS)]
    missing = [file for file in archives if not file.is_file()]
    if len(missing) == 1 or (missing and path == DOWNLOADED):
        is_ours = path == DOWNLOADED
        way = "run `dvc repro download`" if is_ours else "bring the other archive as well"
        raise ValueError(f"{missing[0]} is missing: {way}")
    if not path.is_dir():
        raise ValueError(f"data.path = {path}: no such folder")
    for name in ("images", "masks", "annotations", "annotations/trimaps"):
        if (path / name).is_symlink():
            raise ValueError(
                f"{path / name} is a link to a folder: DVC would not see what changes in it; name "
                "the folder that it is in, or link that, or its files"
            )
    has_masks = all((path / name).is_dir() for name in ("images", "masks"))
    unpacked = [path / "images", path / "annotations"]
    for files in (archives, unpacked):
        if all(file.exists() for file in files) and not has_masks:
            return OxfordPets(*files, data, config)
    if has_masks:
        return Folder(path, data, config)
    found = sorted(f"{file.name}/" if file.is_dir() else file.name for file in path.iterdir())
    shown = ", ".join(found[:8]) + (", …" if len(found) > 8 else "")
    raise ValueError(
        f"data.path = {path} holds {shown or 'nothing'}: it must hold images/ and masks/, or the "
        "Oxford-IIIT Pet release: its two archives, or its images/ and annotations/"
    )


class OxfordPets:
    """The Oxford-IIIT Pet release, as two archives or as the folders that they unpack to."""

    mask = "trimap"

    def __init__(
        self, images: Path, annotations: Path, data: DataConfig, config: PreprocessConfig
    ) -> None:
        if data.object_values != "auto" or data.not_counted is not None:
            raise ValueError(
                f"data.object_values = {data.object_values}, data.not_counted = "
                f"{data.not_counted}: only masks of your own have them; for the Oxford-IIIT Pet "
                "release they must be auto and null"
            )
        self.paths = self._images, self._annotations = [images, annotations]
        self._data, self._config = data, config
        self._in_archive: set[str] = set()
        self._problems: list[str] = []
        self._packed = images.is_file()
        self._sums = {f.name: oxford_pets.md5(f) for f in (images, annotations) if f.is_file()}
        self._index = oxford_pets.read_index(annotations)
        self.names = sorted(self._index.trimaps)
        self.where = f"the archives in {images.parent}" if self._packed else str(images.parent)
        fetch = ", or fetch them anew with `dvc repro -f download`"
        self.way_out = f"Mend them{fetch if data.is_downloaded else ' or bring another copy'}"

    def assign_splits(self, config: PreprocessConfig) -> dict[str, list[str]]:
        """By the release's lists, or as in the published table."""
        return assign_splits(self._index, config)

    def check(self, names: Collection[str]) -> list[str]:
        """Names without a trimap."""
        lacking = sorted(set(names) - self._index.trimaps.keys())
        return [f"{name}: listed, but has no trimap" for name in lacking]

    def images(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """In the archive's order; also records the names of all its images."""
        wanted = set(names)
        for name, content in oxford_pets.members(self._images, oxford_pets.IMAGE_MEMBERS):
            if oxford_pets.is_junk(name):
                continue
            if name in self._in_archive and name in wanted:
                self._problems.append(f"{name}: two images in the archive")
            elif name in wanted:
                yield name, content
            self._in_archive.add(name)
        lacking = sorted(wanted - self._in_archive)
        self._problems += [f"{name}: listed, but has no image" for name in lacking]

    def missing_images(self) -> list[str]:
        """Names with no image or with two."""
        return self._problems

    def masks(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """In the archive's order."""
        wanted = set(names)
        return ((name, file) for name, file in self._index.trimaps.items() if name in wanted)

    def read_mask(self, name: str, file: File) -> tuple[np.ndarray, int]:
        """The trimap, converted to our codes."""
        image, tag = read_upright(file)
        if image.mode != "L":
            raise ValueError(f"has mode {image.mode}, not L")
        lowest, highest = image.getextrema()
        if not {lowest, highest} <= oxford_pets.TRIMAP_CODES.keys():
            raise ValueError(f"has codes from {lowest} to {highest}, not 1 to 3")
        return _MASK_CODES[np.asarray(image)], tag

    def describe(self) -> dict[str, Any]:
        """Which edition it is, and what was left out."""
        official = [self._data.images_md5, self._data.annotations_md5]
        source = "official" if list(self._sums.values()) == official else "mirror"
        is_official_split = self._config.split == "official"
        listed = {name for names in self._index.lists.values() for name in names}
        unlisted = (self._index.trimaps.keys() | self._in_archive) - listed
        return {
            "source": "synthetic" if self._data.source == "synthetic" else source,
            "archives_md5": self._sums,
            "split": self._config.split,
            "left_out": {
                "on_no_list": sorted(unlisted) if is_official_split else [],
                "junk_files": self._index.num_junk,
            },
        }


_MASK_CODES = np.zeros(256, dtype=np.uint8)
for _code, _mask_code in oxford_pets.TRIMAP_CODES.items():
    _MASK_CODES[_code] = _mask_code


class Folder:
    """Photographs in ``images/`` and masks in ``masks/``, with equal names."""

    mask = "mask"

    def __init__(self, path: Path, data: DataConfig, config: PreprocessConfig) -> None:
        if config.split != "official":
            raise ValueError(
                f"preprocess.split = {config.split} is of the Oxford-IIIT Pet release: for a "
                f"folder of your own it must be official, which takes {', '.join(LISTS)} there, "
                "or draws the splits where there are none"
            )
        self._path = path
        self._index = read_folder(path)
        self.names = self._index.names
        self._reader = MaskReader(data.object_values, data.not_counted)
        self.where = str(path)
        self.paths = [path / name for name in ("images", "masks", *LISTS)]
        self.way_out = "Mend them, or move photograph and mask away"

    def assign_splits(self, config: PreprocessConfig) -> dict[str, list[str]]:
        """By the folder's lists, or drawn at random by ``config``."""
        return folder_splits(self.names, self._index.lists, config)

    def check(self, names: Collection[str]) -> list[str]:
        """Names without a mask or photograph, and masks that are unreadable or ambiguous."""
        index, problems = self._index, []
        # One text for all, so that it is said once: with the first one's name.
        if no_mask := sorted(set(names) - index.masks.keys()):
            text = f"has no mask (expected: {expected_masks(no_mask[0])})"
            problems += [f"{name}: {text}" for name in no_mask]
        if no_photo := sorted(set(names) - index.images.keys()):
            text = f"has a mask, but no photograph (expected: images/{no_photo[0]}.jpg)"
            problems += [f"{name}: {text}" for name in no_photo]
        masks = {name: index.masks[name] for name in sorted(names) if name in index.masks}
        return problems + self._reader.look_at(masks)

    def images(self, names: Collection[str]) -> Iterator[tuple[str, Path]]:
        """Sorted by name."""
        found = self._index.images
        return ((name, found[name]) for name in sorted(names) if name in found)

    def missing_images(self) -> list[str]:
        """Always empty: :meth:`check` reports them."""
        return []

    def masks(self, names: Collection[str]) -> Iterator[tuple[str, Path]]:
        """Sorted by name, those that :meth:`check` accepted."""
        found = self._index.masks
        return (
            (name, found[name])
            for name in sorted(names)
            if name in found and name in self._reader.rules
        )

    def read_mask(self, name: str, file: File) -> tuple[np.ndarray, int]:
        """By the rule that :meth:`check` found for its values."""
        return self._reader.read(name, file)

    def describe(self) -> dict[str, Any]:
        """How the masks were read, and what was left out."""
        index = self._index
        return {
            "source": "folder",
            "path": str(self._path),
            "split": "listed" if index.lists else "random",
            "masks": self._reader.describe(),
            "left_out": {
                "on_no_list": sorted(index.unlisted),
                "other_files": index.other_files,
                "folders": index.folders,
            },
        }
