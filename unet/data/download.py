"""Fetch the two archives from a URL or a folder: resumes, retries and verifies checksums."""

import os
import re
import shutil
import time
from pathlib import Path

import requests
from tqdm import tqdm

from unet.data.config import DataConfig
from unet.data.oxford_pets import ANNOTATIONS, IMAGES, md5

MIRROR_VARIABLE = "OXFORD_PETS_URL"
TIMEOUT = (10, 60)  # seconds to connect, and between two chunks
CHUNK = 1 << 16  # bytes; a broken transfer loses at most one chunk
TRIES = 5  # without one byte more
BACKOFF = 0.5  # seconds; doubled before each try


def fetch_archives(config: DataConfig, target: Path) -> None:
    """Fetch both archives into the folder ``target``, from the mirror in OXFORD_PETS_URL if set.

    An archive that is already there with the right checksum is kept.

    Raises:
        ValueError: unreachable host, missing file or wrong checksum, with advice.
    """
    base = _source(config.url)
    official = {ANNOTATIONS: config.annotations_md5, IMAGES: config.images_md5}
    target.mkdir(parents=True, exist_ok=True)
    for name, checksum in (mirror_checksums() or official).items():
        path = target / name
        if path.exists() and md5(path) == checksum:
            tqdm.write(f"{path}: there already, checksum right")
            continue
        # The checksum is in the name, so that a source with other content does not resume the file.
        part = path.with_name(f"{name}.{checksum[:8]}.part")
        if _is_address(base):
            _download(base + name, part)
        else:
            shutil.copyfile(base + name, part)
        if (found := md5(part)) != checksum:
            part.unlink()
            raise ValueError(
                f"{base}{name} has the MD5 {found}, not {checksum}: it is damaged or another "
                f"edition, of which {MIRROR_VARIABLE} can name a folder or address with MD5SUMS"
            )
        part.replace(path)


def mirror_checksums() -> dict[str, str] | None:
    """Archive -> MD5 from the mirror in OXFORD_PETS_URL; None if it is not set."""
    if not os.environ.get(MIRROR_VARIABLE, "").strip():
        return None
    source = _source("") + "MD5SUMS"
    if _is_address(source):
        try:
            response = requests.get(source, timeout=TIMEOUT)
            response.raise_for_status()
        except requests.RequestException as error:
            raise _unreachable(source, error) from None
        text = response.text
    else:
        text = Path(source).read_text(encoding="utf-8")
    found = re.findall(r"(\w{32}) [ *](?:\./)?(\S+)", text)
    sums = {name: checksum.lower() for checksum, name in found}
    if missing := {IMAGES, ANNOTATIONS} - sums.keys():
        raise ValueError(f"{source}: no MD5 of {min(missing)} in it")
    return {name: sums[name] for name in (ANNOTATIONS, IMAGES)}


def _source(url: str) -> str:
    """The address or folder of the mirror, or else ``url``, with a slash at its end."""
    base = os.environ.get(MIRROR_VARIABLE, "").strip() or url
    if not _is_address(base):
        # DVC may run in a copy of the repository; DVC_ROOT is the original.
        base = str(Path(os.environ.get("DVC_ROOT", "."), Path(base).expanduser()))
    return base.rstrip("/") + "/"


def _is_address(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _unreachable(url: str, error: requests.RequestException) -> ValueError:
    answer = getattr(error.response, "status_code", None) or type(error).__name__
    return ValueError(
        f"{url} cannot be fetched ({answer}): check the network, or set {MIRROR_VARIABLE} to a "
        "mirror (docs/installation.md), or run `make demo`, which needs neither"
    )


def _download(url: str, part: Path) -> None:
    """Download the rest of ``part``, going on where a transfer broke off."""
    tries = 0
    while True:
        begin = part.stat().st_size if part.exists() else 0
        # "identity": no compression in transit, which would make the offset for resuming wrong.
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={begin}-"}
        try:
            with requests.get(url, headers=headers, timeout=TIMEOUT, stream=True) as response:
                if response.status_code == 416:  # nothing left to send
                    return
                response.raise_for_status()
                done = begin * (response.status_code == 206)  # else it sends all of it again
                total = done + int(response.headers.get("Content-Length", 0))
                shown = {"total": total or None, "initial": done, "desc": part.name.split(".")[0]}
                with (
                    part.open("ab" if done else "wb") as file,
                    tqdm.wrapattr(file, "write", **shown, disable=None) as out,
                ):
                    for chunk in response.iter_content(CHUNK):
                        out.write(chunk)
            return
        except requests.RequestException as error:
            status = getattr(error.response, "status_code", 500)
            tries = 1 if part.exists() and part.stat().st_size > begin else tries + 1
            if tries == TRIES or (status < 500 and status not in (408, 429)):
                raise _unreachable(url, error) from None
            tqdm.write(f"{url}: broke off ({type(error).__name__}); going on")
            time.sleep(BACKOFF * 2**tries)
