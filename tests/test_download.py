"""Fetching the archives, from a server that misbehaves on demand and from folders."""

import errno
import hashlib
import json
import random
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from stages import download as stage
from stages.code import notice_another_mirror
from unet.data import download
from unet.data.config import DataConfig
from unet.data.download import fetch_archives
from unet.data.oxford_pets import ANNOTATIONS, IMAGES

MIB = 1 << 20
FILES = {
    IMAGES: random.Random(1).randbytes(3 * MIB + 12345),
    ANNOTATIONS: random.Random(2).randbytes(40_000),
}


def checksum(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


MD5SUMS = "".join(f"{checksum(content)}  {name}\n" for name, content in FILES.items())


@dataclass
class Site:
    """A served folder; ``statuses`` and ``breaks`` are used up by the requests for ``images``."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    statuses: list[int] = field(default_factory=list)  # answered before the file is
    breaks: list[int] = field(default_factory=list)  # bytes after which the connection closes
    knows_ranges: bool = True
    misplaced: list[int] = field(default_factory=list)  # by how much a range starts too late
    redirect: str = ""
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # name, Range
    url: str = ""

    def ranges(self, name: str = IMAGES) -> list[str | None]:
        return [value for asked, value in self.requests if asked == name]


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            name = self.path.rpartition("/")[2]
            asked = self.headers.get("Range")
            site.requests.append((name, asked))
            if name == IMAGES and site.redirect:
                self.send_response(302)
                self.send_header("Location", site.redirect)
                self.end_headers()
                return
            content = site.files.get(name)
            status = 404 if content is None else 200
            if name == IMAGES and site.statuses:
                status = site.statuses.pop(0)
            if status != 200:
                self.send_error(status)
                return
            begin = 0
            if asked and site.knows_ranges:
                begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
                if begin >= len(content):
                    self.send_error(416)
                    return
                begin += site.misplaced.pop(0) if site.misplaced else 0
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}"
                )
            else:
                self.send_response(200)
            body = content[begin:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            stop = site.breaks.pop(0) if name == IMAGES and site.breaks else len(body)
            self.wfile.write(body[:stop])

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}/pets/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OXFORD_PETS_URL", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "MD5SUMS").write_text(MD5SUMS, encoding="utf-8")
    return folder


def config(url: str, files: dict[str, bytes] = FILES) -> DataConfig:
    return DataConfig(
        path="data/raw",
        object_values="auto",
        not_counted=None,
        source="official",
        url=url,
        images_md5=checksum(files[IMAGES]),
        annotations_md5=checksum(files[ANNOTATIONS]),
        num_synthetic=40,
    )


def fetch(url: str, target: Path) -> None:
    fetch_archives(config(url), target, backoff=0)


def fails(url: str, target: Path) -> str:
    """The one line that fetching ends with."""
    with pytest.raises(ValueError) as caught:
        fetch(url, target)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def assert_whole(target: Path) -> None:
    assert {path.name: path.read_bytes() for path in target.iterdir()} == FILES


@pytest.mark.parametrize("slash", ["", "/"])
def test_plain(site: Site, tmp_path: Path, slash: str) -> None:
    fetch(site.url.rstrip("/") + slash, tmp_path / "data" / "raw")
    assert_whole(tmp_path / "data" / "raw")
    assert site.requests == [(ANNOTATIONS, None), (IMAGES, None)]


def test_what_is_there_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    fetch(site.url, tmp_path)
    (tmp_path / ANNOTATIONS).write_bytes(b"damaged since")
    site.requests.clear()
    fetch(site.url, tmp_path)
    assert_whole(tmp_path)
    assert site.requests == [(ANNOTATIONS, None)]


def test_a_broken_transfer_is_resumed(site: Site, tmp_path: Path) -> None:
    site.breaks = [MIB + 500_000, MIB + 1]
    fetch(site.url, tmp_path)
    assert_whole(tmp_path)
    first, second, third = site.ranges()
    assert first is None
    assert 0 < int(second[6:-1]) <= MIB + 500_000
    assert int(second[6:-1]) < int(third[6:-1]) < len(FILES[IMAGES])


def test_an_early_break_is_tried_again(site: Site, tmp_path: Path) -> None:
    site.breaks = [0, 0, 1000]
    fetch(site.url, tmp_path)
    assert_whole(tmp_path)


def test_breaks_that_bring_something_on_are_not_counted(site: Site, tmp_path: Path) -> None:
    site.files[IMAGES] = random.Random(3).randbytes(8 * MIB)
    site.breaks = [MIB + 1] * 7
    fetch_archives(config(site.url, site.files), tmp_path, backoff=0)
    assert (tmp_path / IMAGES).read_bytes() == site.files[IMAGES]
    assert len(site.ranges()) == 8


def test_the_next_run_goes_on(site: Site, tmp_path: Path) -> None:
    site.breaks = [2 * MIB + 1] + [0] * 10
    message = fails(site.url, tmp_path)
    assert "cannot be reached" in message
    assert not (tmp_path / IMAGES).exists()
    site.breaks.clear()
    site.requests.clear()
    fetch(site.url, tmp_path)
    assert_whole(tmp_path)
    assert site.ranges() == [f"bytes={2 * MIB}-"]


def test_another_edition_does_not_go_on_with_the_first_ones_part(
    site: Site, tmp_path: Path
) -> None:
    site.breaks = [2 * MIB + 1] + [0] * 10
    fails(site.url, tmp_path)
    site.breaks.clear()
    site.requests.clear()
    site.files[IMAGES] = random.Random(3).randbytes(3 * MIB)
    fetch_archives(config(site.url, site.files), tmp_path, backoff=0)
    assert (tmp_path / IMAGES).read_bytes() == site.files[IMAGES]
    assert site.ranges() == [None]


def test_a_part_that_is_whole_already(site: Site, tmp_path: Path) -> None:
    content = FILES[IMAGES]
    (tmp_path / f"{IMAGES}.{checksum(content)[:8]}.part").write_bytes(content)
    fetch(site.url, tmp_path)
    assert_whole(tmp_path)
    assert site.ranges() == [f"bytes={len(content)}-"]


def test_a_part_that_is_longer_than_the_file(site: Site, tmp_path: Path) -> None:
    content = FILES[IMAGES]
    (tmp_path / f"{IMAGES}.{checksum(content)[:8]}.part").write_bytes(content + b"more")
    assert "MD5" in fails(site.url, tmp_path)
    fetch(site.url, tmp_path)
    assert_whole(tmp_path)


def test_a_server_without_ranges(site: Site, tmp_path: Path) -> None:
    site.knows_ranges = False
    site.breaks = [2 * MIB]
    fetch(site.url, tmp_path)
    assert_whole(tmp_path)
    assert site.ranges()[1] is not None


def test_a_server_that_resumes_at_another_place(site: Site, tmp_path: Path) -> None:
    site.breaks = [2 * MIB]
    site.misplaced = [7]
    fetch(site.url, tmp_path)
    assert_whole(tmp_path)


def test_a_wrong_checksum(site: Site, tmp_path: Path) -> None:
    site.files[ANNOTATIONS] = b"another edition"
    message = fails(site.url, tmp_path)
    assert site.url + ANNOTATIONS in message
    assert checksum(b"another edition") in message
    assert checksum(FILES[ANNOTATIONS]) in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_final(site: Site, tmp_path: Path, status: int) -> None:
    site.statuses = [status]
    message = fails(site.url, tmp_path)
    assert f"{site.url}{IMAGES}: the server answers {status}" in message
    assert "make demo" in message
    assert len(site.ranges()) == 1


@pytest.mark.parametrize("statuses", [[503, 503], [500, 502, 429, 408]])
def test_trouble_that_passes(site: Site, tmp_path: Path, statuses: list[int]) -> None:
    site.statuses = statuses
    fetch(site.url, tmp_path)
    assert_whole(tmp_path)


def test_trouble_that_stays(site: Site, tmp_path: Path) -> None:
    site.statuses = [503] * 50
    message = fails(site.url, tmp_path)
    assert "503" in message
    assert "make demo" in message
    assert 2 <= len(site.ranges()) <= 10


def test_pauses_grow(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=pauses.append))
    site.statuses = [503] * 3
    fetch_archives(config(site.url), tmp_path, backoff=1.0)
    assert pauses == [1.0, 2.0, 4.0]


def test_a_host_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    message = fails(f"http://127.0.0.1:{port}/", tmp_path)
    assert f"http://127.0.0.1:{port}/{ANNOTATIONS} cannot be reached" in message
    assert "make demo" in message
    assert "OXFORD_PETS_URL" in message


@pytest.mark.parametrize("url", ["http://", "http://host:port/"])
def test_what_is_no_address(tmp_path: Path, url: str) -> None:
    assert "is, or leads to, no http(s) address" in fails(url, tmp_path)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "images.tar.gz"])
def test_a_redirect_to_no_web_address_is_not_followed(
    site: Site, tmp_path: Path, target: str
) -> None:
    site.redirect = target  # the last leads to itself
    line = fails(site.url, tmp_path)
    assert f"{site.url}{IMAGES} is, or leads to, no http(s) address" in line
    assert not list(tmp_path.glob("*images*"))


def test_too_little_room_is_seen_beforehand(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=MIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    message = fails(site.url, tmp_path)
    assert f"the disk is full: {tmp_path / IMAGES}" in message
    assert (tmp_path / ANNOTATIONS).read_bytes() == FILES[ANNOTATIONS]
    assert len(site.ranges()) == 1


def test_a_disk_that_fills_up_keeps_what_was_loaded(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fills_up(response: requests.Response, size: int) -> Iterator[bytes]:
        yield response.raw.read(1000)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(requests.Response, "iter_content", fills_up)
        message = fails(site.url, tmp_path)
    assert f"the disk is full: {tmp_path / ANNOTATIONS}" in message
    fetch(site.url, tmp_path)
    assert_whole(tmp_path)
    assert site.ranges(ANNOTATIONS) == [None, "bytes=1000-"]


def test_a_disk_that_fills_up_while_copying(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fills_up(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fills_up)
    assert "the disk is full" in fails(str(mirror), tmp_path / "raw")
    assert list((tmp_path / "raw").iterdir()) == []


def test_other_trouble_with_the_disk_is_not_called_a_full_one(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(source: Path, target: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(target))

    monkeypatch.setattr(shutil, "copyfile", refuses)
    with pytest.raises(PermissionError):
        fetch(str(mirror), tmp_path / "raw")


def test_a_folder_as_the_url(mirror: Path, tmp_path: Path) -> None:
    (mirror / "MD5SUMS").unlink()
    fetch(str(mirror), tmp_path / "raw")
    assert_whole(tmp_path / "raw")


def test_a_folder_as_the_mirror(
    mirror: Path, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OXFORD_PETS_URL", f" {mirror} ")
    fetch(site.url, tmp_path / "raw")
    assert_whole(tmp_path / "raw")
    assert site.requests == []


def test_a_relative_folder_is_the_repositorys(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("OXFORD_PETS_URL", "mirror")
    assert "neither" in fails("http://unused.invalid/", tmp_path / "raw")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    fetch("http://unused.invalid/", tmp_path / "raw")
    assert_whole(tmp_path / "raw")


def test_another_edition_as_the_mirror(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror / IMAGES).write_bytes(b"small")
    sums = f"{checksum(b'small').upper()} *{IMAGES}\n" + MD5SUMS.splitlines()[1] + "\n"
    (mirror / "MD5SUMS").write_text(sums, encoding="utf-8")
    monkeypatch.setenv("OXFORD_PETS_URL", str(mirror))
    fetch("http://unused.invalid/", tmp_path / "raw")
    assert (tmp_path / "raw" / IMAGES).read_bytes() == b"small"


def test_a_mirror_whose_files_are_not_what_it_says(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror / ANNOTATIONS).write_bytes(b"damaged")
    monkeypatch.setenv("OXFORD_PETS_URL", str(mirror))
    message = fails("http://unused.invalid/", tmp_path / "raw")
    assert checksum(b"damaged") in message
    assert checksum(FILES[ANNOTATIONS]) in message
    assert list((tmp_path / "raw").iterdir()) == []


def test_a_mirror_without_an_archive(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror / IMAGES).unlink()
    monkeypatch.setenv("OXFORD_PETS_URL", str(mirror))
    assert IMAGES in fails("http://unused.invalid/", tmp_path / "raw")


def test_an_address_as_the_mirror(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["MD5SUMS"] = MD5SUMS.encode()
    monkeypatch.setenv("OXFORD_PETS_URL", site.url.rstrip("/"))
    fetch("http://unused.invalid/", tmp_path)
    assert_whole(tmp_path)
    assert [name for name, _ in site.requests] == ["MD5SUMS", ANNOTATIONS, IMAGES]


def test_an_address_without_md5sums(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OXFORD_PETS_URL", site.url)
    message = fails("http://unused.invalid/", tmp_path)
    assert f"{site.url}MD5SUMS: the server answers 404" in message


def test_a_folder_without_md5sums(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror / "MD5SUMS").unlink()
    monkeypatch.setenv("OXFORD_PETS_URL", str(mirror))
    message = fails("http://unused.invalid/", tmp_path)
    assert f"{mirror}/MD5SUMS cannot be read" in message
    assert "a mirror needs it" in message


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        ("", IMAGES),
        (MD5SUMS.splitlines()[0], ANNOTATIONS),
        (MD5SUMS.splitlines()[1], IMAGES),
        (MD5SUMS.replace(checksum(FILES[IMAGES]), "0123"), IMAGES),
        ("<html>\n <body>no such page</body>\n</html>\n", IMAGES),
        ("images.tar.gz \n \n", IMAGES),
    ],
    ids=["empty", "one", "the other", "cut", "a page", "blanks"],
)
def test_md5sums_without_an_entry(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, lacking: str
) -> None:
    (mirror / "MD5SUMS").write_text(text, encoding="utf-8")
    monkeypatch.setenv("OXFORD_PETS_URL", str(mirror))
    message = fails("http://unused.invalid/", tmp_path)
    assert f"{mirror}/MD5SUMS: no MD5 of {lacking} in it" in message


@pytest.mark.parametrize("value", ["no/such/folder", "ftp://example.org/pets/"])
def test_neither_folder_nor_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"data.url = {value}: neither" in fails(value, tmp_path / "raw")
    monkeypatch.setenv("OXFORD_PETS_URL", value)
    assert f"OXFORD_PETS_URL = {value}: neither" in fails("http://unused.invalid/", tmp_path)


@pytest.mark.parametrize("kind", ["fetched", "drawn", "own folder"])
def test_what_was_left_over_is_no_part_of_the_output(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    changes = {"drawn": {"source": "synthetic"}, "own folder": {"path": "mine"}}.get(kind, {})
    settings = replace(config(str(mirror)), **changes)
    monkeypatch.setattr(stage, "load_section", lambda *_: settings)
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "data/raw"
    raw.mkdir(parents=True)
    for name in (f"{IMAGES}.0123abcd.part", f".{ANNOTATIONS}.999999999.tmp"):
        (raw / name).touch()
    stage.main()
    kept = set() if kind == "own folder" else {IMAGES, ANNOTATIONS}
    assert {path.name for path in raw.iterdir()} == kept


@pytest.mark.parametrize("other", [True, False])
def test_another_mirror_than_the_archives_here_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], other: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    sums = {"images.tar.gz": "1" * 32, "annotations.tar.gz": "2" * 32}
    (tmp_path / "data/packed").mkdir(parents=True)
    (tmp_path / "data/packed/dataset.json").write_text(json.dumps({"archives_md5": sums}))
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    lines = (f"{'3' * 32 if other else value}  {name}\n" for name, value in sums.items())
    (mirror / "MD5SUMS").write_text("".join(lines))
    monkeypatch.setenv("OXFORD_PETS_URL", str(mirror))
    notice_another_mirror()
    assert ("`dvc repro -f download`" in capsys.readouterr().out) == other
    monkeypatch.setenv("OXFORD_PETS_URL", str(tmp_path / "nowhere"))
    notice_another_mirror()  # the download's own matter
    assert capsys.readouterr().out == ""
