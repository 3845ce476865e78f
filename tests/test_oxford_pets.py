"""Reading the dataset's archives: members, lists, and the messages for damage."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from unet.data.oxford_pets import (
    ANNOTATIONS,
    breed,
    read_index,
)

LISTS = {
    "annotations/trainval.txt": b"#Image CLASS-ID\n\nbeagle_2 5 2 3\r\n  \nBombay_1 1\n",
    "annotations/test.txt": b"pug_9 1 1 1",
}


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_lists_in_their_order_without_comments_and_trimaps_without_junk(tmp_path: Path) -> None:
    files = LISTS | {
        "annotations/list.txt": b"elsewhere_1 1 1 1\n",
        "annotations/README": b"trainval.txt",
        "annotations/trimaps/._pug_1.png": b"junk",
        "annotations/trimaps/._pug_2.png": b"junk",
        "./annotations/trimaps/pug_1.png": b"a PNG",
        "annotations/trimaps/notes.txt": b"",
        "annotations/._trainval.txt": b"stray_1 1 1 1\n",
        "annotations/xmls/pug_1.xml": b"",
    }
    index = read_index(write_tar(tmp_path / ANNOTATIONS, files))
    assert index.lists == {"trainval": ["beagle_2", "Bombay_1"], "test": ["pug_9"]}
    assert index.trimaps == {"pug_1": b"a PNG"}
    assert index.num_junk == 2


DAMAGE = {
    "empty": lambda whole: b"",
    "a page": lambda whole: b"<html>404</html>",
    "another archive": lambda whole: b"PK\x03\x04" + bytes(600),
    "gzip without tar": lambda whole: gzip.compress(b"no tar" * 300),
    "truncated": lambda whole: whole[: len(whole) // 2],
    "another checksum": lambda whole: whole[:-8] + bytes(8),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_archive(raw: Path, tmp_path: Path, damage: str) -> None:
    archive = tmp_path / ANNOTATIONS
    archive.write_bytes(DAMAGE[damage]((raw / ANNOTATIONS).read_bytes()))
    with pytest.raises(ValueError, match="cannot be read .*bring another copy") as caught:
        read_index(archive)
    assert len(str(caught.value).splitlines()) == 1 and str(archive) in str(caught.value)


LACKING = {
    "annotations/test.txt is missing or empty": {"annotations/test.txt": b"# a comment\n\n"},
    "annotations/trainval.txt is missing or empty": {"annotations/trainval.txt": b""},
}


@pytest.mark.parametrize("message", LACKING)
def test_lists_that_cannot_be_used(tmp_path: Path, message: str) -> None:
    archive = write_tar(tmp_path / ANNOTATIONS, LISTS | LACKING[message])
    with pytest.raises(ValueError, match=message):
        read_index(archive)


def test_breed() -> None:
    for name in ("Maine_Coon", "pug", "shiba_inu"):
        assert breed(f"{name}_12") == name
