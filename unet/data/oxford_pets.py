"""The Oxford-IIIT Pet release: two archives, read without unpacking, or the folders in them.

``images.tar.gz`` holds ``images/NAME.jpg``; ``annotations.tar.gz`` holds
``annotations/trimaps/NAME.png`` and the lists ``annotations/{list,trainval,test}.txt`` with lines
``NAME CLASS-ID SPECIES BREED-ID``. Both hold junk: ``._NAME`` files and ``.mat`` files.
A trimap's codes are 1 (pet), 2 (background) and 3 (boundary).
"""

import gzip
import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unet.data.mask_values import Mask
from unet.data.masks import BACKGROUND, BOUNDARY, NOT_COUNTED, OBJECT
from unet.data.photos import read_upright

IMAGES = "images.tar.gz"
ANNOTATIONS = "annotations.tar.gz"

CODES = np.array([NOT_COUNTED, OBJECT, BACKGROUND, BOUNDARY], dtype=np.uint8)  # of a trimap's 1..3

IMAGE_MEMBERS = re.compile(r"images/((?!\._)[^/]+)\.jpg")  # no shadow file of macOS
ANNOTATION_MEMBERS = re.compile(r"annotations/(trimaps/[^/]+\.png|trainval\.txt|test\.txt)")


@dataclass(frozen=True)
class Index:
    """The contents of ``annotations.tar.gz``."""

    lists: dict[str, list[str]]  # trainval and test -> their names, in the lists' order
    trimaps: dict[str, bytes]  # name -> a PNG file (all: 19 MB in the official release)
    num_junk: int  # number of ._ files skipped


def md5(path: Path) -> str:
    """The file's MD5 as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def members(archive: Path, pattern: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    """Stream (first group of ``pattern``, contents) of the files whose whole name matches.

    Nothing is written to disk, so names in the archive can do no harm.

    Args:
        archive: a .tar.gz, or the folder that it unpacks to.

    Raises:
        ValueError: the archive is damaged.
    """
    if archive.is_dir():
        for path in sorted(archive.rglob("*")):
            match = pattern.fullmatch(path.relative_to(archive.parent).as_posix())
            if match and path.is_file():
                yield match[1], path.read_bytes()
        return
    try:
        # Not "r|gz", which does not verify gzip's own checksum.
        with gzip.open(archive) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as tar:
            for member in tar:
                match = pattern.fullmatch(member.name.removeprefix("./"))
                if match and member.isfile():
                    yield match[1], tar.extractfile(member).read()
            while unpacked.read(1 << 20):  # to the end, where the checksum is
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        again = "bring another copy of it (data/raw: `dvc repro -f download`)"
        raise ValueError(f"{archive} cannot be read ({error}): {again}") from None


def breed(name: str) -> str:
    """``Maine_Coon_12`` -> ``Maine_Coon``; cat breeds begin with a capital."""
    return name.rpartition("_")[0]


def read_index(archive: Path) -> Index:
    """Read both lists and the trimaps.

    Raises:
        ValueError: a list is missing or empty.
    """
    lists: dict[str, list[str]] = {}
    trimaps: dict[str, bytes] = {}
    num_junk = 0
    for path, content in members(archive, ANNOTATION_MEMBERS):
        name = Path(path).stem
        if path.endswith(".txt"):
            lines = content.decode("utf-8", errors="replace").splitlines()
            lists[name] = [ln.split()[0] for ln in lines if ln.strip() and not ln.startswith("#")]
        elif name.startswith("._"):  # a shadow file of macOS
            num_junk += 1
        else:
            trimaps[name] = content
    for name in ("trainval", "test"):
        if not lists.get(name):
            raise ValueError(f"{archive}: annotations/{name}.txt is missing or empty")
    return Index(lists, trimaps, num_junk)


def read_trimap(file: Path | bytes) -> Mask:
    """A trimap in our codes.

    Raises:
        ValueError: what is wrong, worded to follow the file's name.
    """
    image, orientation = read_upright(file)
    codes = np.asarray(image)
    if image.mode != "L" or codes.min() < 1 or codes.max() > 3:
        raise ValueError("is not grey (mode L) with the codes 1, 2 and 3")
    return Mask(CODES[codes], orientation)
