"""Fetch the two archives from a URL or a folder: resumes, retries and verifies checksums."""

import errno
import os
import re
import shutil
import time
from pathlib import Path

import requests
from tqdm import tqdm

from unet.data.config import DataConfig
from unet.data.oxford_pets import ANNOTATIONS, IMAGES, md5
from unet.runtime.files import atomic_write

MIRROR_VARIABLE = "OXFORD_PETS_URL"
WAY_OUT = (
    f"check the network, or set {MIRROR_VARIABLE} to a mirror (an address or a folder with the two "
    "archives and their MD5SUMS), or run `make demo`, which needs neither"
)
NO_WEB_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.TooManyRedirects,
)
TIMEOUT = (10, 60)  # seconds to connect, and between two chunks
CHUNK = 1 << 16  # bytes; a broken transfer loses at most one chunk


def fetch_archives(config: DataConfig, target: Path, *, backoff: float = 1.0) -> None:
    """Fetch both archives into the folder ``target``, from the mirror in OXFORD_PETS_URL if set.

    An archive that is already there with the right checksum is kept.

    Args:
        backoff: seconds before the first retry; doubled before each further one.

    Raises:
        ValueError: unreachable host, missing file, wrong checksum or full disk, with advice.
    """
    base, is_address = _source(config.url)
    checksums = mirror_checksums(backoff=backoff) or {
        IMAGES: config.images_md5, ANNOTATIONS: config.annotations_md5
    }  # fmt: skip
    target.mkdir(parents=True, exist_ok=True)
    for name in (ANNOTATIONS, IMAGES):
        path = target / name
        if path.exists() and md5(path) == checksums[name]:
            tqdm.write(f"{path}: there already, checksum right")
            continue
        try:
            if is_address:
                _download(base + name, path, checksums[name], backoff)
            else:
                _copy(Path(base) / name, path, checksums[name])
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ValueError(
                f"the disk is full: {path} does not fit; free some space and run again "
                "(what was loaded is kept)"
            ) from None


def mirror_checksums(*, backoff: float = 1.0) -> dict[str, str] | None:
    """Archive -> MD5 from the mirror in OXFORD_PETS_URL; None if it is not set.

    Raises:
        ValueError: the mirror cannot be read, or lacks a checksum.
    """
    mirror = os.environ.get(MIRROR_VARIABLE, "").strip()
    return _read_md5sums(*_source(""), backoff) if mirror else None


def _source(url: str) -> tuple[str, bool]:
    """The mirror, or else ``url``, with a trailing slash, and whether it is an http(s) URL."""
    mirror = os.environ.get(MIRROR_VARIABLE, "").strip()
    base = mirror or url
    is_address = re.match(r"https?://", base) is not None
    if not is_address:
        # DVC may run in a copy of the repository; DVC_ROOT is the original.
        base = str(Path(os.environ.get("DVC_ROOT", ".")) / os.path.expanduser(base))  # noqa: PTH111
        if not Path(base).is_dir():
            name = MIRROR_VARIABLE if mirror else "data.url"
            raise ValueError(f"{name} = {mirror or url}: neither an http(s) address nor a folder")
    return base.rstrip("/") + "/", is_address


def _read_md5sums(base: str, is_address: bool, backoff: float) -> dict[str, str]:
    source = base + "MD5SUMS"
    if is_address:
        text = _attempts(source, lambda: _get(source).text, backoff)
    else:
        try:
            text = Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(
                f"{source} cannot be read ({error.strerror}): a mirror needs it"
            ) from None
    pairs = (line.split(maxsplit=1) for line in text.splitlines())
    sums = {pair[1]: pair[0] for pair in pairs if len(pair) == 2}
    sums = {name.strip().lstrip("*./"): value.lower() for name, value in sums.items()}
    for name in (IMAGES, ANNOTATIONS):
        if not re.fullmatch("[0-9a-f]{32}", sums.get(name, "")):
            raise ValueError(f"{source}: no MD5 of {name} in it")
    return sums


def _copy(source: Path, path: Path, checksum: str) -> None:
    if not source.is_file():
        raise ValueError(f"{source} is missing: the mirror must hold {IMAGES} and {ANNOTATIONS}")
    with atomic_write(path) as temporary:
        shutil.copyfile(source, temporary)
        _check(temporary, checksum, source)
    tqdm.write(f"{path}: copied from {source}")


def _download(url: str, path: Path, checksum: str, backoff: float) -> None:
    # The checksum is in the name, so that a source with other content does not resume the file.
    part = path.with_name(f"{path.name}.{checksum[:8]}.part")
    _attempts(url, lambda: _fetch(url, part), backoff, progress=lambda: _size(part))
    try:
        _check(part, checksum, url)
    except ValueError:
        part.unlink()
        raise
    part.replace(path)


def _fetch(url: str, part: Path) -> None:
    """Download the rest of ``part``; raises requests' errors if the transfer breaks."""
    begun = _size(part)
    response = _get(url, headers={"Range": f"bytes={begun}-"} if begun else {}, stream=True)
    with response:
        if response.status_code == 416:  # nothing left to send: the file is complete, or wrong
            return
        resumed = response.status_code == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {begun}-"):
            part.unlink()
            raise requests.ConnectionError("the server resumed at another place")
        length = int(response.headers.get("Content-Length", 0))
        if length > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, "no space left", str(part))
        total = length + begun * resumed
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(
                total=total or None, initial=begun * resumed, desc=part.name.split(".")[0],
                unit="B", unit_scale=True, disable=None,
            ) as bar,
        ):  # fmt: skip
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if total and _size(part) < total:
        raise requests.ConnectionError("the transfer broke off")


def _get(url: str, **options) -> requests.Response:
    # "identity": no compression in transit, which would make the offset for resuming wrong.
    headers = {"Accept-Encoding": "identity"} | options.pop("headers", {})
    response = requests.get(url, timeout=TIMEOUT, headers=headers, **options)
    if response.status_code != 416:
        response.raise_for_status()
    return response


def _attempts(url: str, action, backoff: float, progress=lambda: 0, num_attempts: int = 5):
    """Call ``action()`` and retry after a pause if that can help; progress resets the count."""
    failures, pause = 0, backoff
    while True:
        before = progress()
        try:
            return action()
        except requests.RequestException as error:
            # A redirect to another scheme, such as file:, is not followed.
            if isinstance(error, NO_WEB_ADDRESS):
                raise ValueError(f"{url} is, or leads to, no http(s) address: {WAY_OUT}") from None
            status = getattr(error.response, "status_code", None)
            if status is not None and status < 500 and status not in (408, 429):
                raise ValueError(f"{url}: the server answers {status}: {WAY_OUT}") from None
            if progress() > before:
                failures, pause = 0, backoff
            failures += 1
            if failures >= num_attempts:
                reason = f"status {status}" if status else type(error).__name__
                raise ValueError(f"{url} cannot be reached ({reason}): {WAY_OUT}") from None
            tqdm.write(f"{url}: broke off ({type(error).__name__}); again in {pause:g} s")
            time.sleep(pause)
            pause *= 2


def _check(path: Path, checksum: str, source: str | Path) -> None:
    found = md5(path)
    if found != checksum:
        raise ValueError(
            f"{source} has the MD5 {found}, not {checksum}: it is damaged or another edition; "
            f"nothing was kept. For another edition set {MIRROR_VARIABLE} to a folder or address "
            "with its MD5SUMS"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
