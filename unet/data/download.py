"""Fetch the two archives from a URL or a folder: resumes, retries and verifies checksums."""

import os
import re
import shutil
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.util import Retry

from unet.data.config import DataConfig
from unet.data.oxford_pets import ANNOTATIONS, IMAGES, md5

MIRROR_VARIABLE = "OXFORD_PETS_URL"
WAY_OUT = (
    f"check the network, or set {MIRROR_VARIABLE} to a mirror (an address or a folder with the two "
    "archives and their MD5SUMS), or run `make demo`, which needs neither"
)
TIMEOUT = (10, 60)  # seconds to connect, and between two chunks
CHUNK = 1 << 16  # bytes; a broken transfer loses at most one chunk
TRIES = 5  # without one byte more
BACKOFF = 1.0  # seconds before the second retry of a request; doubled before each further one


def fetch_archives(config: DataConfig, target: Path) -> None:
    """Fetch both archives into the folder ``target``, from the mirror in OXFORD_PETS_URL if set.

    An archive that is already there with the right checksum is kept.

    Raises:
        ValueError: unreachable host, missing file or wrong checksum, with advice.
    """
    base = _source(config.url)
    official = {IMAGES: config.images_md5, ANNOTATIONS: config.annotations_md5}
    checksums = mirror_checksums() or official
    target.mkdir(parents=True, exist_ok=True)
    for name in (ANNOTATIONS, IMAGES):
        path = target / name
        if path.exists() and md5(path) == checksums[name]:
            tqdm.write(f"{path}: there already, checksum right")
            continue
        # The checksum is in the name, so that a source with other content does not resume the file.
        part = path.with_name(f"{name}.{checksums[name][:8]}.part")
        if _is_address(base):
            _download(base + name, part)
        else:
            shutil.copyfile(base + name, part)
        if (found := md5(part)) != checksums[name]:
            part.unlink()
            raise ValueError(
                f"{base}{name} has the MD5 {found}, not {checksums[name]}: it is damaged or "
                f"another edition; nothing was kept. For another edition set {MIRROR_VARIABLE} to "
                "a folder or address with its MD5SUMS"
            )
        part.replace(path)


def mirror_checksums(*, tries: int = TRIES) -> dict[str, str] | None:
    """Archive -> MD5 from the mirror in OXFORD_PETS_URL; None if it is not set.

    Raises:
        ValueError: the mirror cannot be read, or lacks a checksum.
    """
    if not os.environ.get(MIRROR_VARIABLE, "").strip():
        return None
    source = _source("") + "MD5SUMS"
    if _is_address(source):
        text = _get(source, tries=tries).text
    else:
        text = Path(source).read_text(encoding="utf-8")
    pairs = (line.split(maxsplit=1) for line in text.splitlines() if len(line.split()) == 2)
    sums = {name.strip().lstrip("*./"): checksum.lower() for checksum, name in pairs}
    for name in (IMAGES, ANNOTATIONS):
        if name not in sums:
            raise ValueError(f"{source}: no MD5 of {name} in it")
    return sums


def _source(url: str) -> str:
    """The address or folder of the mirror, or else ``url``, with a slash at its end."""
    mirror = os.environ.get(MIRROR_VARIABLE, "").strip()
    base = mirror or url
    if not _is_address(base):
        # DVC may run in a copy of the repository; DVC_ROOT is the original.
        base = str(Path(os.environ.get("DVC_ROOT", "."), Path(base).expanduser()))
        if not Path(base).is_dir():
            name = MIRROR_VARIABLE if mirror else "data.url"
            raise ValueError(f"{name} = {mirror or url}: neither an http(s) address nor a folder")
    return base.rstrip("/") + "/"


def _is_address(source: str) -> bool:
    return re.match("https?://", source) is not None


def _get(url: str, *, begin: int = 0, tries: int = TRIES) -> requests.Response:
    """The answer, whose body is not read yet; ``begin``: the first byte that is wanted."""
    # "identity": no compression in transit, which would make the offset for resuming wrong.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begin}-"} if begin else {})
    trouble = [408, 429, *range(500, 600)]
    retry = Retry(
        tries - 1, backoff_factor=BACKOFF, status_forcelist=trouble, raise_on_status=False,
        respect_retry_after_header=False,
    )  # fmt: skip
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    try:
        response = session.get(url, headers=headers, timeout=TIMEOUT, stream=True)
        if response.status_code != 416:  # nothing left to send
            response.raise_for_status()
    except requests.RequestException as error:
        answer = getattr(error.response, "status_code", None) or type(error).__name__
        raise ValueError(f"{url} cannot be fetched ({answer}): {WAY_OUT}") from None
    return response


def _download(url: str, part: Path) -> None:
    """Download the rest of ``part``, going on where a transfer broke off."""
    tries = 0
    while True:
        begin = part.stat().st_size if part.exists() else 0
        with _get(url, begin=begin) as response:
            if response.status_code == 416:
                return
            begin *= response.status_code == 206  # else it sends all of it again
            total = begin + int(response.headers.get("Content-Length", 0))
            try:
                with (
                    part.open("ab" if begin else "wb") as file,
                    tqdm(total=total or None, initial=begin, unit="B", unit_scale=True,
                         desc=part.name.split(".")[0], disable=None) as bar,
                ):  # fmt: skip
                    for chunk in response.iter_content(CHUNK):
                        file.write(chunk)
                        bar.update(len(chunk))
                return
            except requests.RequestException as error:
                tries = 0 if part.stat().st_size > begin else tries + 1
                if tries == TRIES:
                    broke = type(error).__name__
                    raise ValueError(f"{url} cannot be fetched ({broke}): {WAY_OUT}") from None
                tqdm.write(f"{url}: broke off ({type(error).__name__}); going on")
