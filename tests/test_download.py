"""Fetching the archives, from a server that misbehaves on demand and from folders."""

import hashlib
import json
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stages.code import notice_another_mirror
from tests.test_packing import data_config
from unet.data import download
from unet.data.config import DataConfig
from unet.data.download import fetch_archives
from unet.data.oxford_pets import ANNOTATIONS, IMAGES

MIB = 1 << 20
FILES = {
    IMAGES: random.Random(1).randbytes(3 * MIB + 12345),
    ANNOTATIONS: random.Random(2).randbytes(40_000),
}
UNUSED = "http://unused.invalid/"


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
            content = site.files.get(name)
            status = 404 if content is None else 200
            if name == IMAGES and site.statuses:
                status = site.statuses.pop(0)
            if status != 200:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            begin = int(asked[6:-1]) if asked and site.knows_ranges else 0
            if begin and begin >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            stop = site.breaks.pop(0) if name == IMAGES and site.breaks else len(content)
            self.wfile.write(content[begin : begin + stop])

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
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(download, "BACKOFF", 0)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that OXFORD_PETS_URL names."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "MD5SUMS").write_text(MD5SUMS, encoding="utf-8")
    monkeypatch.setenv("OXFORD_PETS_URL", f" {folder} ")
    return folder


def config(url: str, images: bytes = FILES[IMAGES]) -> DataConfig:
    sums = {"images_md5": checksum(images), "annotations_md5": checksum(FILES[ANNOTATIONS])}
    return replace(data_config(), url=url, **sums)


def fetch(url: str, target: Path) -> None:
    fetch_archives(config(url), target)


def fails(url: str, target: Path) -> str:
    """The one line that fetching ends with."""
    with pytest.raises((ValueError, OSError)) as caught:
        fetch(url, target)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def assert_whole(target: Path) -> None:
    assert {path.name: path.read_bytes() for path in target.iterdir()} == FILES


def test_what_is_there_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    fetch(site.url, tmp_path)
    (tmp_path / ANNOTATIONS).write_bytes(b"damaged since")
    site.requests.clear()
    fetch(site.url, tmp_path)
    assert_whole(tmp_path)
    assert site.requests == [(ANNOTATIONS, "bytes=0-")]


TROUBLE = {
    "breaks": {"breaks": [MIB + 500_000, MIB + 1]},
    "breaks early": {"breaks": [0, 0, 1000]},
    "breaks often, but goes on": {"breaks": [MIB // 4 + 1] * 11},
    "no ranges": {"breaks": [2 * MIB], "knows_ranges": False},
    "busy": {"statuses": [503, 500, 429, 408]},
}


@pytest.mark.parametrize("case", TROUBLE)
def test_trouble_that_passes(site: Site, tmp_path: Path, case: str) -> None:
    vars(site).update(TROUBLE[case])
    fetch(site.url, tmp_path)
    assert_whole(tmp_path)
    if site.knows_ranges:  # nothing is loaded twice but for the last chunk
        starts = [int(asked[6:-1]) for asked in site.ranges() if asked]
        assert starts == sorted(starts)


def test_the_next_run_goes_on(site: Site, tmp_path: Path) -> None:
    site.breaks = [2 * MIB + 1] + [0] * 10
    assert "cannot be fetched" in fails(site.url, tmp_path)
    assert not (tmp_path / IMAGES).exists()
    site.breaks.clear()
    site.requests.clear()
    fetch(site.url, tmp_path)
    assert_whole(tmp_path)
    assert site.ranges() == [f"bytes={2 * MIB}-"]


@pytest.mark.parametrize("more", [b"", b"more"])
def test_a_part_that_is_whole_or_longer(site: Site, tmp_path: Path, more: bytes) -> None:
    content = FILES[IMAGES]
    (tmp_path / f"{IMAGES}.{checksum(content)[:8]}.part").write_bytes(content + more)
    if more:
        assert "MD5" in fails(site.url, tmp_path)
    fetch(site.url, tmp_path)
    assert_whole(tmp_path)


def test_a_wrong_checksum(
    site: Site, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror / ANNOTATIONS).write_bytes(b"another edition")
    site.files |= {ANNOTATIONS: b"another edition", "MD5SUMS": MD5SUMS.encode()}
    for where in (str(mirror), site.url):
        monkeypatch.setenv("OXFORD_PETS_URL", where)
        message = fails(UNUSED, tmp_path / "raw")
        assert where in message
        assert checksum(b"another edition") in message and checksum(FILES[ANNOTATIONS]) in message
        assert list((tmp_path / "raw").iterdir()) == []


@pytest.mark.parametrize(("status", "times"), [(404, 1), (503, 5)])
def test_trouble_that_stays(site: Site, tmp_path: Path, status: int, times: int) -> None:
    site.statuses = [status] * 50
    message = fails(site.url, tmp_path)
    assert f"{site.url}{IMAGES} cannot be fetched ({status})" in message
    assert "make demo" in message and "OXFORD_PETS_URL" in message
    assert len(site.ranges()) == times
    nowhere = fails("http://127.0.0.1:9/", tmp_path / "other")  # nothing listens there
    assert f"{ANNOTATIONS} cannot be fetched (" in nowhere


def test_a_folder_as_the_url_or_as_the_mirror(
    mirror: Path, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(site.url, tmp_path / "a")
    monkeypatch.delenv("OXFORD_PETS_URL")
    (mirror / "MD5SUMS").unlink()
    fetch(str(mirror), tmp_path / "b")
    for name in "ab":
        assert_whole(tmp_path / name)
    assert site.requests == []
    # Another edition, by its own checksums.
    (mirror / IMAGES).write_bytes(b"small")
    sums = f"{checksum(b'small').upper()} *{IMAGES}\n" + MD5SUMS.splitlines()[1] + "\n"
    (mirror / "MD5SUMS").write_text(sums, encoding="utf-8")
    monkeypatch.setenv("OXFORD_PETS_URL", str(mirror))
    fetch(UNUSED, tmp_path / "raw")
    assert (tmp_path / "raw" / IMAGES).read_bytes() == b"small"


def test_a_relative_folder_is_the_repositorys(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("OXFORD_PETS_URL", "mirror")
    assert "mirror/MD5SUMS" in fails(UNUSED, tmp_path / "raw")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    fetch(UNUSED, tmp_path / "raw")
    assert_whole(tmp_path / "raw")


def test_another_mirror_than_the_archives_here_is_noticed(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    sums = {name: checksum(content) for name, content in FILES.items()}
    (tmp_path / "data/packed").mkdir(parents=True)
    for images, said in ((sums[IMAGES], False), ("1" * 32, True)):
        here = {"archives_md5": sums | {IMAGES: images}}
        (tmp_path / "data/packed/dataset.json").write_text(json.dumps(here))
        notice_another_mirror()
        assert ("`dvc repro -f download`" in capsys.readouterr().out) == said
    monkeypatch.setenv("OXFORD_PETS_URL", str(tmp_path / "nowhere"))
    notice_another_mirror()  # the download's own matter
    assert capsys.readouterr().out == ""
