"""Write files completely or not at all; hash them."""

import glob
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; renamed to it if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if not psutil.pid_exists(int(stale.suffixes[-2][1:])):  # left by a killed process
            stale.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno and error.filename is None:  # write() names no file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write(path: Path, content: str | bytes | memoryview) -> None:
    """Write a whole file by :func:`atomic_write`; text is UTF-8, its line ends stay.

    From memory, because what libraries raise while they write to a full disk does not say so.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, as ``sha256sum`` prints it: 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256(*paths: Path) -> str:
    """The SHA-256 of the joined SHA-256 digests of the files ``paths``: 64 hexadecimal digits."""
    digests = b"".join(bytes.fromhex(file_sha256(path)) for path in paths)
    return hashlib.sha256(digests).hexdigest()
