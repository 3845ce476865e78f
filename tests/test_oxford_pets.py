"""Reading the dataset's archives: members, lists, and the messages for damage."""

import gzip
import hashlib
import io
import re
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unet.data.oxford_pets import (
    ANNOTATIONS,
    IMAGE_MEMBERS,
    IMAGES,
    TRIMAP_MEMBERS,
    breed,
    is_junk,
    md5,
    members,
    read_index,
)

LISTS = {
    "annotations/trainval.txt": b"Abyssinian_1 1 1 1\nbeagle_2 5 2 3\n",
    "annotations/test.txt": b"Abyssinian_3 1 1 1\n",
}


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_lists_in_their_order_without_comments(tmp_path: Path) -> None:
    lists = {
        "annotations/trainval.txt": b"#Image CLASS-ID\n\nbeagle_2 5 2 3\r\n  \nBombay_1 1\n",
        "annotations/test.txt": b"pug_9 1 1 1",
        "annotations/list.txt": b"elsewhere_1 1 1 1\n",
        "annotations/README": b"trainval.txt",
    }
    index = read_index(write_tar(tmp_path / ANNOTATIONS, lists))
    assert index.lists == {"trainval": ["beagle_2", "Bombay_1"], "test": ["pug_9"]}
    assert index.trimaps == {}
    assert index.num_junk == 0


def test_junk_is_counted_and_is_no_trimap(tmp_path: Path) -> None:
    files = LISTS | {
        "annotations/trimaps/._pug_1.png": b"junk",
        "annotations/trimaps/._pug_2.png": b"junk",
        "annotations/trimaps/pug_1.png": b"a PNG",
        "annotations/trimaps/notes.txt": b"",
        "annotations/._trainval.txt": b"stray_1 1 1 1\n",
        "annotations/xmls/pug_1.xml": b"",
    }
    index = read_index(write_tar(tmp_path / ANNOTATIONS, files))
    assert index.trimaps == {"pug_1": b"a PNG"}
    assert index.num_junk == 2
    assert "stray_1" not in index.lists["trainval"]


def test_the_drawn_release(raw: Path) -> None:
    index = read_index(raw / ANNOTATIONS)
    images = [name for name, _ in members(raw / IMAGES, IMAGE_MEMBERS)]
    assert set(images) == index.trimaps.keys()
    assert index.num_junk == len(index.trimaps) == 48
    assert len(index.lists["trainval"]) + len(index.lists["test"]) == 47


def test_members_stream_contents_and_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    archive = write_tar(
        tmp_path / IMAGES, {"images/b.jpg": b"second", "images/a.jpg": b"", "images/c.mat": b"x"}
    )
    assert list(members(archive, IMAGE_MEMBERS)) == [("b", b"second"), ("a", b"")]
    assert list(tmp_path.iterdir()) == [archive]


def test_a_leading_dot_slash_is_no_other_name(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / IMAGES, {"./images/a.jpg": b"a"})
    assert list(members(archive, IMAGE_MEMBERS)) == [("a", b"a")]


def test_harmful_names_are_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "inside" / "deeper"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    archive = tmp_path / IMAGES
    names = ["../evil.jpg", "images/../../evil.jpg", "/evil.jpg", "../images/evil.jpg", "images/ok"]
    with tarfile.open(archive, "w:gz") as tar:
        for name in [*names, "images/good.jpg"]:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo("images/link.jpg")
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    before = sorted(tmp_path.rglob("*"))
    assert list(members(archive, IMAGE_MEMBERS)) == [("good", b"evil")]
    assert sorted(tmp_path.rglob("*")) == before


def assert_names_the_way_out(error: ValueError, archive: Path) -> None:
    assert len(str(error).splitlines()) == 1
    assert str(archive) in str(error)
    assert "delete it and run `dvc repro -f download`" in str(error)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404</html>", b"PK\x03\x04" + bytes(600), gzip.compress(b"no tar" * 300)],
    ids=["empty", "a page", "another archive", "gzip without tar"],
)
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / ANNOTATIONS
    archive.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_index(archive)
    assert_names_the_way_out(caught.value, archive)


def test_a_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        read_index(tmp_path / ANNOTATIONS)
    assert_names_the_way_out(caught.value, tmp_path / ANNOTATIONS)


def test_a_truncated_archive(raw: Path, tmp_path: Path) -> None:
    whole = (raw / IMAGES).read_bytes()
    archive = tmp_path / IMAGES
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError) as caught:
        list(members(archive, IMAGE_MEMBERS))
    assert_names_the_way_out(caught.value, archive)


def test_an_archive_whose_checksum_is_wrong(raw: Path, tmp_path: Path) -> None:
    archive = tmp_path / IMAGES
    archive.write_bytes((raw / IMAGES).read_bytes()[:-8] + bytes(8))
    with pytest.raises(ValueError) as caught:
        list(members(archive, IMAGE_MEMBERS))
    assert_names_the_way_out(caught.value, archive)


@settings(deadline=None, max_examples=40)
@given(share=st.floats(0, 1, exclude_max=True))
def test_no_cut_invents_a_member(
    raw: Path, tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    whole = (raw / ANNOTATIONS).read_bytes()
    archive = tmp_path_factory.mktemp("cut") / ANNOTATIONS
    archive.write_bytes(whole[: int(share * len(whole))])
    expected = list(members(raw / ANNOTATIONS, TRIMAP_MEMBERS))
    got = []
    try:
        for member in members(archive, TRIMAP_MEMBERS):
            got.append(member)
    except ValueError as error:
        assert_names_the_way_out(error, archive)
    assert got == expected[: len(got)]


@pytest.mark.parametrize("missing", ["trainval", "test"])
@pytest.mark.parametrize("content", [None, b"", b"# only a comment\n\n"])
def test_a_missing_or_empty_list(tmp_path: Path, missing: str, content: bytes | None) -> None:
    files = dict(LISTS)
    del files[f"annotations/{missing}.txt"]
    if content is not None:
        files[f"annotations/{missing}.txt"] = content
    archive = write_tar(tmp_path / ANNOTATIONS, files)
    message = re.escape(f"{archive}: annotations/{missing}.txt is missing or empty")
    with pytest.raises(ValueError, match=message):
        read_index(archive)


@pytest.mark.parametrize(
    ("trainval", "test"),
    [(b"a_1 1\na_2 1\na_1 1\n", b"b_1 1\n"), (b"a_1 1\na_2 1\n", b"b_1 1\na_1 1\n")],
    ids=["on one list", "on both"],
)
def test_a_name_listed_twice(tmp_path: Path, trainval: bytes, test: bytes) -> None:
    files = {"annotations/trainval.txt": trainval, "annotations/test.txt": test}
    archive = write_tar(tmp_path / ANNOTATIONS, files)
    with pytest.raises(ValueError, match=r"annotations\.tar\.gz: listed twice: a_1$"):
        read_index(archive)


def test_a_trimap_that_is_there_twice(tmp_path: Path) -> None:
    archive = tmp_path / ANNOTATIONS
    with tarfile.open(archive, "w:gz") as tar:
        for content in (b"one", b"other"):
            member = tarfile.TarInfo("annotations/trimaps/pug_1.png")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with pytest.raises(ValueError, match=r"annotations/trimaps/pug_1\.png is in it twice"):
        read_index(archive)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Maine_Coon_12", "Maine_Coon"), ("pug_1", "pug"), ("shiba_inu_7", "shiba_inu")],
)
def test_breed(name: str, expected: str) -> None:
    assert breed(name) == expected


def test_is_junk() -> None:
    assert is_junk("._Bombay_1")
    assert not is_junk("Bombay_1")
    assert not is_junk("_.x")


@settings(deadline=None, max_examples=20)
@given(content=st.binary(max_size=300))
def test_md5(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("md5") / "file"
    path.write_bytes(content)
    assert md5(path) == hashlib.md5(content).hexdigest()
