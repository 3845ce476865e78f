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
from pathlib import Path, PurePosixPath

from unet.data.masks import BACKGROUND, BOUNDARY, OBJECT

IMAGES = "images.tar.gz"
ANNOTATIONS = "annotations.tar.gz"

TRIMAP_CODES = {1: OBJECT, 2: BACKGROUND, 3: BOUNDARY}  # the release's codes -> ours

IMAGE_MEMBERS = re.compile(r"images/([^/]+)\.jpg")
TRIMAP_MEMBERS = re.compile(r"annotations/trimaps/([^/]+)\.png")
IMAGE_NAME = re.compile(r"[A-Za-z][A-Za-z_-]*_\d+")
LIST_MEMBERS = re.compile(r"annotations/(trainval|test)\.txt")


@dataclass(frozen=True)
class Index:
    """The contents of ``annotations.tar.gz``.

    Attributes:
        lists: ``trainval`` and ``test`` -> their names, in the lists' order.
        trimaps: name -> the PNG file's bytes (all of them: 19 MB in the official release).
        num_junk: number of ``._`` files skipped.
    """

    lists: dict[str, list[str]]
    trimaps: dict[str, bytes]
    num_junk: int


def md5(path: Path) -> str:
    """The file's MD5 as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def members(archive: Path, pattern: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    """Stream (first group of ``pattern``, contents) of the files whose whole name matches.

    Nothing is written to disk, so names in the archive can do no harm; ``._`` files match too.

    Args:
        archive: a .tar.gz, or the folder that it unpacks to.

    Raises:
        ValueError: the archive is damaged or missing.
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
        raise ValueError(
            f"{archive} cannot be read ({error}): delete it and run `dvc repro -f download`, or "
            "bring another copy of it"
        ) from None


def is_junk(name: str) -> bool:
    """Whether a member is one of macOS's shadow files."""
    return name.startswith("._")


def breed(name: str) -> str:
    """``Maine_Coon_12`` -> ``Maine_Coon``; cat breeds begin with a capital."""
    return name.rpartition("_")[0]


def read_index(archive: Path) -> Index:
    """Read both lists and the trimaps.

    Raises:
        ValueError: a list is missing, empty, invalid, or names an image twice; a trimap occurs
            twice.
    """
    lists: dict[str, list[str]] = {}
    trimaps: dict[str, bytes] = {}
    num_junk = 0
    everything = re.compile(f"(?:{LIST_MEMBERS.pattern}|{TRIMAP_MEMBERS.pattern})")
    for name, content in members(archive, re.compile(f"({everything.pattern})")):
        if match := LIST_MEMBERS.fullmatch(name):
            lines = content.decode("utf-8", errors="replace").splitlines()
            entries = [line.split()[0] for line in lines if line.strip() and line[0] != "#"]
            if wrong := [entry for entry in entries if not IMAGE_NAME.fullmatch(entry)]:
                raise ValueError(f"{archive}: {name} lists {wrong[0][:40]!r}, no name of an image")
            lists[match[1]] = entries
        elif is_junk(stem := PurePosixPath(name).stem):
            num_junk += 1
        elif stem in trimaps:
            raise ValueError(f"{archive}: {name} is in it twice")
        else:
            trimaps[stem] = content
    for name in ("trainval", "test"):
        if not lists.get(name):
            raise ValueError(f"{archive}: annotations/{name}.txt is missing or empty")
    listed = sorted(lists["trainval"] + lists["test"])
    twice = sorted({a for a, b in zip(listed, listed[1:], strict=False) if a == b})
    if twice:
        raise ValueError(f"{archive}: listed twice: {', '.join(twice[:10])}")
    return Index(lists, trimaps, num_junk)
